"""The load generator against the lab's providers and a small HTTP server: what it counts is what the far end saw."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes

import pytest

from postroad.lab.ledger import Ledger
from postroad.lab.load import LoadPlan, LoadResult, run_load
from postroad.lab.load.plan import body, head, items, stuffed
from postroad.lab.provider import Provider
from postroad.lab.rules import Rule

HOST = "127.0.0.1"


@asynccontextmanager
async def far_end(*rules: Rule, **options: object) -> AsyncIterator[tuple[Provider, tuple[str, int]]]:
    one = Provider("x", rules=rules, rng=random.Random(1), ledger=Ledger(keep=10_000), **options)  # type: ignore[arg-type]
    port = await one.start()
    try:
        yield one, (HOST, port)
    finally:
        await one.stop()


def total(result: LoadResult) -> int:
    return result.accepted + result.refused.total() + result.failed.total()


MIX = {"a.test": 3.0, "b.test": 1.0, "chosen@c.test": 1.0}


@pytest.mark.parametrize(("pipelining", "per_session"), [(True, 7), (True, 0), (False, 7)])
async def test_counts_are_equal_on_both_ends(pipelining: bool, per_session: int) -> None:
    told: list[int] = []
    async with far_end() as (one, target):
        plan = LoadPlan(
            count=300,
            smtp=target,
            smtp_connections=10,
            recipients=MIX,
            sizes={300: 1, 5000: 1},
            pipelining=pipelining,
            per_session=per_session,
            keep_ids=True,
        )
        result = await run_load(plan, told.append)
        assert (result.accepted, total(result)) == (300, 300)
        assert result.domains == {name: counts.messages for name, counts in one.ledger.domains.items()}
        assert set(result.domains) == {"a.test", "b.test", "c.test"}
        assert one.ledger.duplicates == 0
        assert {one.ledger.copies(key, recipient) for key, recipient in result.accepted_ids} == {1}
        assert len(set(result.accepted_ids)) == len(result.latencies) == 300
        assert told[-1] == 300
        assert 0 < result.percentile(50) <= result.percentile(99) <= result.percentile(100)


async def test_content_is_what_the_plan_says() -> None:
    async with far_end() as (one, target):
        plan = LoadPlan(count=20, smtp=target, sizes={100: 1, 20_000: 1}, smtp_connections=3)
        await run_load(plan)
        expected = {head(item) + body(item.size) for item in items(plan)}
        assert {arrival.content for arrival in one.ledger.arrivals} == expected
        for content in expected:
            message = message_from_bytes(content)
            assert not message.defects
            assert message["Message-ID"] == f"<{message['X-Lab-Id']}@load.test>"
        assert any(b"\r\n." in content for content in expected)


def test_the_same_plan_sends_the_same_messages_and_another_seed_others() -> None:
    plans = [LoadPlan(count=50, smtp=(HOST, 1), recipients=MIX, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (list(items(plan)) for plan in plans)
    assert first == again
    assert not {item.key for item in first} & {item.key for item in other}


@pytest.mark.parametrize("text", [b".\r\n", b"a\r\n.\r\n..\r\n", b"a\r\n"])
def test_stuffing(text: bytes) -> None:
    lines = text.split(b"\r\n")
    assert stuffed(text) == b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)


@pytest.mark.parametrize("pipelining", [True, False])
async def test_refusals_are_counted_by_reply_and_the_session_goes_on(pipelining: bool) -> None:
    rules = [
        Rule(name="sender", step="mail", percent=20, reply="450 4.1.8 Sender"),
        Rule(name="recipient", percent=20, reply="550 5.1.1 Recipient"),
        Rule(name="data", step="data", percent=20, reply="451 4.3.0 Data"),
        Rule(name="message", step="message", percent=20, reply="554 5.7.1 Message"),
    ]
    async with far_end(*rules) as (one, target):
        result = await run_load(
            LoadPlan(count=400, smtp=target, smtp_connections=4, recipients=MIX, pipelining=pipelining, per_session=0)
        )
        replies = {rule.reply: one.hits[rule.name] for rule in rules}
        assert result.refused == replies
        assert all(replies.values())
        assert result.accepted == one.ledger.messages == 400 - sum(replies.values())
        assert not result.failed


async def test_sessions_that_end_are_replaced() -> None:
    rules = [
        Rule(name="enough", step="mail", messages=3, reply="421 4.7.0 Enough"),
        Rule(name="lost", step="message", percent=10, close="instead"),
    ]
    async with far_end(*rules) as (one, target):
        result = await run_load(LoadPlan(count=200, smtp=target, smtp_connections=5, per_session=0))
        assert result.refused == {"421 4.7.0 Enough": one.hits["enough"]}
        assert result.failed == {"connection closed by the server": one.hits["lost"]}
        assert result.accepted == one.ledger.messages
        assert total(result) == 200


async def test_a_server_that_refuses_every_session_ends_the_run() -> None:
    async with far_end(Rule(name="no", step="connect", reply="554 5.3.2 No")) as (one, target):
        result = await run_load(LoadPlan(count=1000, smtp=target, smtp_connections=2))
        assert result.accepted == 0
        assert total(result) == 1000
        assert one.hits["no"] <= 10


async def test_nobody_listens() -> None:
    async with far_end() as (_, target):
        pass
    result = await run_load(LoadPlan(count=5, smtp=target, smtp_connections=1))
    assert result.failed == {"no connection could be had": 5}


async def test_the_time_limit_ends_a_run_that_hangs() -> None:
    async with far_end(Rule(name="stuck", step="message", delay=3600)) as (_, target):
        result = await run_load(LoadPlan(count=50, smtp=target, smtp_connections=4, seconds=0.3))
        assert result.accepted == 0
        assert total(result) == 50


@pytest.mark.parametrize(
    "host", ["192.0.2.1", "10.0.0.1", "0.0.0.0", "::", "mail.example.com", "localhost", "127.0.0.1.evil.test", ""]
)
def test_load_is_sent_to_loopback_only(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        LoadPlan(count=1, smtp=(host, 25))
    with pytest.raises(ValueError, match="loopback"):
        LoadPlan(count=1, smtp=(HOST, 25), http=(host, 80), http_share=0.5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"count": -1}, "count"),
        ({"count": 10**9}, "count"),
        ({"http_share": 1.5}, "http_share"),
        ({"http_share": 0.5}, "server is missing"),
        ({"smtp": None}, "server is missing"),
        ({"recipients": {}}, "recipient"),
        ({"sizes": {}}, "size"),
    ],
)
def test_plans_that_cannot_be_carried_out(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        LoadPlan(**{"count": 1, "smtp": (HOST, 25), **options})  # type: ignore[arg-type]


# HTTP: a server of a few lines that answers as api.md 2.6 says


@asynccontextmanager
async def http_end(refuse: str = "") -> AsyncIterator[tuple[list[dict[str, object]], tuple[str, int]]]:
    """Takes transmissions; refuses those whose recipient begins with `refuse`, and closes after every tenth reply."""
    requests: list[dict[str, object]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for number in range(1, 11):
                header = (await reader.readuntil(b"\r\n\r\n")).decode()
                assert header.startswith("POST /api/v1/transmissions HTTP/1.1\r\n")
                assert "\r\nAuthorization: secret\r\n" in header
                length = int(header.lower().split("content-length: ")[1].split("\r\n")[0])
                request = json.loads(await reader.readexactly(length))
                requests.append(request)
                bad = refuse and request["recipients"][0]["address"]["email"].startswith(refuse)
                reply = {"errors": [{"message": "no"}]} if bad else {"results": {"total_accepted_recipients": 1}}
                octets = json.dumps(reply).encode()
                close = "Connection: close\r\n" if number == 10 else ""
                status = "400 Bad Request" if bad else "200 OK"
                writer.write(f"HTTP/1.1 {status}\r\n{close}Content-Length: {len(octets)}\r\n\r\n".encode() + octets)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield requests, (HOST, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await server.wait_closed()


async def test_http_requests_and_counts() -> None:
    async with http_end() as (requests, target):
        plan = LoadPlan(
            count=100, http=target, http_share=1, api_key="secret", recipients=MIX, http_connections=3, keep_ids=True
        )
        result = await run_load(plan)
        assert (result.accepted, total(result)) == (100, 100)
        sent = {(item.key, item.recipient, body(item.size).decode()) for item in items(plan)}
        seen = set()
        for request in requests:
            recipients, content = request["recipients"], request["content"]
            assert isinstance(recipients, list) and isinstance(content, dict)
            (recipient,) = recipients
            seen.add((content["headers"]["X-Lab-Id"], recipient["address"]["email"], content["text"]))
        assert seen == sent
        assert {(key, recipient) for key, recipient, _ in sent} == set(result.accepted_ids)


async def test_http_refusals() -> None:
    async with http_end(refuse="chosen") as (_, target):
        result = await run_load(LoadPlan(count=100, http=target, http_share=1, api_key="secret", recipients=MIX))
        ((reply, times),) = result.refused.items()
        assert reply == 'HTTP 400 {"errors": [{"message": "no"}]}'
        assert times == 100 - result.accepted > 0
        assert not result.failed


async def test_both_ways_share_one_plan() -> None:
    async with far_end() as (one, smtp), http_end() as (requests, http):
        plan = LoadPlan(count=100, smtp=smtp, http=http, http_share=0.3, api_key="secret", recipients=MIX)
        result = await run_load(plan)
        assert result.accepted == 100
        assert (one.ledger.messages, len(requests)) == (70, 30)


async def test_a_server_that_does_not_speak_http() -> None:
    async with far_end() as (_, target):
        result = await run_load(LoadPlan(count=10, http=target, http_share=1, http_connections=2))
        assert result.accepted == 0
        assert total(result) == 10
