"""What engines pass on to control: whole requests, over real sockets at both ends."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec import Struct

from postroad.api.local import PEER
from postroad.api.passing import Passing
from postroad.api.route import Answer, Ask, Nothing, PlainAsk, Route
from postroad.store.database import Database
from tests.api.harness import Client, exchange, post, serving
from tests.api.office import MASTER_KEY, opened


class Word(Struct):
    word: str


class Told(NamedTuple):
    """What the far end saw, and what lets it go on."""

    seen: list[Any]
    gate: asyncio.Event
    waiting: asyncio.Event


def routes(told: Told) -> list[Route[Any, Any]]:
    async def show(ask: PlainAsk) -> dict[str, object]:
        fields = {name: value for name, value in ask.headers.items() if name.startswith("x-") or name == "via"}
        return {"results": {"peer": ask.caller.peer, "id": ask.path["id"], "headers": fields}}

    async def create(ask: Ask[Word, Nothing]) -> dict[str, object]:
        told.seen.append(ask.body.word)
        return {"results": {"octets": len(ask.body.word)}}

    async def remove(ask: PlainAsk) -> None:
        told.seen.append(ask.path["id"])

    async def stream(ask: PlainAsk) -> Answer:
        del ask

        async def pieces() -> AsyncIterator[bytes]:
            yield b'{"first":1,'
            await told.gate.wait()
            yield b'"big":"%s"}' % (b"x" * 1_000_000)

        return Answer(pieces())

    async def wait(ask: PlainAsk) -> dict[str, object]:
        del ask
        told.waiting.set()
        await told.gate.wait()
        return {}

    return [
        Route(method="GET", path="/account/{id}", handler=show, summary="s"),
        Route(method="POST", path="/account", handler=create, summary="s", body=Word, max_body=1 << 20),
        Route(method="DELETE", path="/account/{id}", handler=remove, summary="s", answers=None),
        Route(method="GET", path="/account/stream", handler=stream, summary="s"),
        Route(method="GET", path="/account/wait", handler=wait, summary="s"),
    ]


class Chain(NamedTuple):
    """An engine in front of control."""

    address: str
    client: Client
    told: Told
    socket: Path


@pytest.fixture
async def chain(database: Database, tmp_path: Path) -> AsyncIterator[Chain]:
    told = Told([], asyncio.Event(), asyncio.Event())
    async with (
        opened(database, tmp_path, routes=routes(told)) as office,
        serving(control=Passing(office.path)) as served,
    ):
        address = served.server.address
        yield Chain(address, Client(address, MASTER_KEY), told, office.path)


JSON = {"Content-Type": "application/json"}


async def test_a_request_is_answered_by_control(chain: Chain) -> None:
    answer = await chain.client.request("POST", "/api/v1/account", b'{"word":"hello"}', JSON)
    assert (answer.status, answer.body) == (200, {"results": {"octets": 5}})
    assert answer.headers["x-request-id"]
    assert answer.headers.get("connection") != "close"
    answer = await chain.client.request("DELETE", "/api/v1/account/a+b@c.example")
    assert (answer.status, answer.body) == (204, None)
    assert chain.told.seen == ["hello", "a+b@c.example"]


async def test_a_client_can_not_say_who_it_is(chain: Chain) -> None:
    forged = {
        PEER.decode(): "203.0.113.9",
        "X-Postroad-Other": "1",
        "X-Own": "kept",
        "Connection": "X-Hop",
        "X-Hop": "1",
    }
    answer = await chain.client.request("GET", "/api/v1/account/%C3%A9%2B", headers=forged)
    results = answer.body["results"]
    assert (results["peer"], results["id"]) == ("127.0.0.1", "é+")
    assert results["headers"][PEER.decode()] == "127.0.0.1"
    assert results["headers"]["x-own"] == "kept"
    assert not {"x-postroad-other", "x-hop"} & set(results["headers"])


async def test_ids_of_requests(chain: Chain) -> None:
    given = await chain.client.request("GET", "/api/v1/account/1", headers={"X-Request-Id": "mine-1"})
    assert given.headers["x-request-id"] == given.body["results"]["headers"]["x-request-id"] == "mine-1"
    for bad in ("a b", "x" * 65, "é"):
        made = await chain.client.request("GET", "/api/v1/account/1", headers={"X-Request-Id": bad})
        assert made.headers["x-request-id"] == made.body["results"]["headers"]["x-request-id"] != bad


async def test_bodies_of_unknown_length_and_packed_ones(chain: Chain) -> None:
    body = json.dumps({"word": "x" * 300_000}).encode()
    packed = gzip.compress(body)
    head = (
        f"POST /api/v1/account HTTP/1.1\r\nHost: x\r\nAuthorization: {MASTER_KEY}\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    ).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:200_000], body[200_000:]))
    answer = await exchange(chain.address, head + b"\r\n" + chunks + b"0\r\n\r\n", end=False)
    assert answer.endswith(b'{"results":{"octets":300000}}')
    answer = await exchange(
        chain.address, head + b"Content-Encoding: gzip\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed), end=False
    )
    assert answer.endswith(b'{"results":{"octets":300000}}')


async def test_a_body_that_is_too_large_is_refused_before_it_is_there(chain: Chain) -> None:
    for body in (b"x" * 3_000_000, gzip.compress(b" " * 100_000_000)):
        encoding = {"Content-Encoding": "gzip"} if body[:1] != b"x" else {}
        answer = await chain.client.request("POST", "/api/v1/account", body, {**JSON, **encoding})
        assert (answer.status, answer.body["errors"][0]["message"]) == (413, "payload too large")
    assert chain.told.seen == []


async def test_an_answer_comes_piece_by_piece(chain: Chain) -> None:
    host, _, port = chain.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=4 << 20)
    writer.write(f"GET /api/v1/account/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {MASTER_KEY}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and b"transfer-encoding: chunked" in head
    assert await reader.readuntil(b'{"first":1,') != b""
    chain.told.gate.set()
    assert (await reader.readuntil(b"0\r\n\r\n")).count(b"x") == 1_000_000
    writer.close()


async def test_head_has_no_body(chain: Chain) -> None:
    answer = await chain.client.request("HEAD", "/api/v1/account/1")
    assert (answer.status, answer.body) == (200, None)
    assert int(answer.headers["content-length"]) > 0


async def test_keys_and_unknown_places_are_control_s_words(chain: Chain) -> None:
    chain.client.key = "wrong"
    assert (await chain.client.request("GET", "/api/v1/account/1")).body == {"errors": [{"message": "Unauthorized"}]}
    chain.client.key = MASTER_KEY
    answer = await chain.client.request("GET", "/api/v1/nothing")
    assert (answer.status, answer.body["errors"][0]["code"]) == (404, "1101")
    answer = await chain.client.request("PATCH", "/api/v1/account")
    assert (answer.status, answer.body["errors"][0]["code"]) == (405, "1102")
    assert "POST" in answer.headers["allow"]
    answer = await chain.client.request("OPTIONS", "/api/v1/account")
    assert answer.status == 204 and "POST" in answer.headers["allow"]


async def test_the_one_path_that_both_answer(database: Database, tmp_path: Path) -> None:
    told = Told([], asyncio.Event(), asyncio.Event())
    route = Route(method="GET", path="/transmissions", handler=nothing, summary="s")
    async with (
        opened(database, tmp_path, routes=[route, *routes(told)]) as office,
        serving(control=Passing(office.path)) as served,
    ):
        client = Client(served.server.address, MASTER_KEY)
        assert (await client.request("GET", "/api/v1/transmissions?")).body == {"results": []}
        for method, status in (("PUT", 405), ("OPTIONS", 204)):
            answer = await client.request(method, "/api/v1/transmissions/")
            assert answer.status == status
            assert {"GET", "POST"} <= set(answer.headers["allow"].replace(" ", "").split(","))
        assert (await served.client.post(b"{")).status == 400


async def nothing(ask: PlainAsk) -> dict[str, object]:
    del ask
    return {"results": []}


async def test_while_control_is_away_mail_goes_on(tmp_path: Path) -> None:
    async with serving(control=Passing(tmp_path / "none.sock")) as served:
        for method in ("GET", "POST", "DELETE"):
            answer = await served.client.request(method, "/api/v1/templates")
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            assert answer.body["errors"][0]["code"] == "1502"
        body = b'{"recipients":[{"address":"a@b.example"}],"content":{"from":"c@d.example","subject":"s","text":"t"}}'
        answer_ = await exchange(
            served.server.address, post(body, f"Content-Length: {len(body)}", "Connection: close"), end=False
        )
        assert answer_.startswith(b"HTTP/1.1 200")


@contextlib.asynccontextmanager
async def falling(path: Path, said: bytes) -> AsyncIterator[None]:
    """A control that says this much and falls."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    yield
    server.close()
    await server.wait_closed()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nconte", b"nonsense\r\n\r\n"])
async def test_control_falls_before_it_answers(tmp_path: Path, said: bytes) -> None:
    path = tmp_path / "s"
    async with falling(path, said), serving(control=Passing(path)) as served:
        answer = await served.client.request("GET", "/api/v1/templates")
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        answer = await served.client.request("POST", "/api/v1/templates", b"{}", JSON)
        assert answer.status == 503 and "look whether it was done" in answer.body["errors"][0]["description"]


async def test_control_falls_within_its_answer(tmp_path: Path) -> None:
    """The client must see that it did not get the whole."""
    path = tmp_path / "s"
    said = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    async with falling(path, said), serving(control=Passing(path)) as served:
        answer = await exchange(served.server.address, b"GET /api/v1/x HTTP/1.1\r\nHost: x\r\n\r\n", end=False)
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\n{")


async def test_no_more_than_a_number_wait_for_control(database: Database, tmp_path: Path) -> None:
    told = Told([], asyncio.Event(), asyncio.Event())
    async with (
        opened(database, tmp_path, routes=routes(told)) as office,
        serving(control=Passing(office.path, most=1)) as served,
    ):
        client = Client(served.server.address, MASTER_KEY)
        first = asyncio.ensure_future(client.request("GET", "/api/v1/account/wait"))
        await told.waiting.wait()
        second = await client.request("GET", "/api/v1/account/1")
        assert (second.status, second.headers["retry-after"]) == (503, "1")
        told.gate.set()
        assert (await first).status == 200
        assert (await client.request("GET", "/api/v1/account/1")).status == 200


async def test_a_client_that_goes_gives_its_place_to_the_next(database: Database, tmp_path: Path) -> None:
    told = Told([], asyncio.Event(), asyncio.Event())
    async with (
        opened(database, tmp_path, routes=routes(told)) as office,
        serving(control=Passing(office.path, most=1)) as served,
    ):
        host, _, port = served.server.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /api/v1/account/wait HTTP/1.1\r\nHost: x\r\nAuthorization: {MASTER_KEY}\r\n\r\n".encode())
        await told.waiting.wait()
        writer.transport.abort()
        client = Client(served.server.address, MASTER_KEY)
        async with asyncio.timeout(30):
            while (await client.request("GET", "/api/v1/account/1")).status == 503:
                pass
        told.gate.set()
