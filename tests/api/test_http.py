"""HTTP itself: keys, methods, paths, encodings, bounds, hostile connections, start and stop."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.auth import ApiKeys, new_key
from postroad.config.schema import ApiKey, Duration, Size
from postroad.message import Reply
from tests.api.harness import DIGEST, KEY, Served, serving, simple


async def exchange(address: str, data: bytes, *, end: bool = True) -> bytes:
    """Send octets and read until the server closes."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    if end:
        writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


def post(body: bytes, *more: str) -> bytes:
    fields = [f"Authorization: {KEY}", "Content-Type: application/json", *more]
    return ("POST /api/v1/transmissions HTTP/1.1\r\nHost: x\r\n" + "\r\n".join(fields) + "\r\n\r\n").encode() + body


BODY = json.dumps(simple()).encode()


@pytest.mark.parametrize("key", [None, "", "x" * 40, "Basic eDo=", "Basic !", KEY + " x", "é"])
async def test_unauthorized(served: Served, key: str | None) -> None:
    served.client.key = key
    answer = await served.client.post(simple())
    assert answer.status == 401
    assert answer.body == {"errors": [{"message": "Unauthorized"}]}
    assert served.acceptor.kept == []


@pytest.mark.parametrize("form", ["{key}", "Bearer {key}", "Basic {basic}"])
async def test_forms_of_the_key(served: Served, form: str) -> None:
    served.client.key = form.format(key=KEY, basic=base64.b64encode(f"{KEY}:".encode()).decode())
    assert (await served.client.post(simple())).status == 200


async def test_key_of_another_network() -> None:
    async with serving(keys=[ApiKey(label="far", sha256=DIGEST, networks=["192.0.2.0/24"])]) as served:
        answer = await served.client.post(simple())
        assert answer.status == 403
        assert answer.body["errors"][0]["message"] == "Forbidden."


async def test_keys_are_replaced_while_serving(served: Served) -> None:
    key, digest = new_key()
    served.server.keys = ApiKeys([ApiKey(label="new", sha256=digest)])
    assert (await served.client.post(simple())).status == 401
    served.client.key = key
    assert (await served.client.post(simple())).status == 200


@pytest.mark.parametrize(
    "path", ["/", "/nope", "/api/v1", "/api/v1/transmissions/1/2", "/API/v1/transmissions", "/%00"]
)
async def test_unknown_paths(served: Served, path: str) -> None:
    answer = await served.client.request("GET", path)
    assert answer.status == 404
    assert answer.body["errors"][0]["code"] == "1101"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "TRACE"])
async def test_unknown_methods(served: Served, method: str) -> None:
    answer = await served.client.request(method, "/api/v1/transmissions?")
    assert answer.status == 405
    assert answer.body["errors"][0]["code"] == "1102"
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize(
    "path",
    ["/api/v1/transmissions", "/api/v1/transmissions/", "/api/v1/transmissions?", "/api/labs/transmissions/?a=b"],
)
async def test_paths_of_transmissions(served: Served, path: str) -> None:
    answer = await served.client.request("POST", path, BODY, {"Content-Type": "application/json; charset=utf-8"})
    assert answer.status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
async def test_content_types(served: Served, kind: str) -> None:
    answer = await served.client.post(simple(), headers={"Content-Type": kind})
    assert answer.status == 415
    assert answer.body["errors"][0]["code"] == "1700"


@pytest.mark.parametrize("asked", ["-1", "x", "1.5", "", "9" * 20, "²"])
async def test_bad_query(served: Served, asked: str) -> None:
    answer = await served.client.post(simple(), query=f"?num_rcpt_errors={quote(asked)}")
    assert answer.status == 400
    assert answer.body["errors"][0]["code"] == "1200"


@pytest.mark.parametrize(("value", "status"), [("0", 200), ("7", 400), ("x", 400), ("-1", 400)])
async def test_subaccount_header(served: Served, value: str, status: int) -> None:
    assert (await served.client.post(simple(), headers={"X-MSYS-SUBACCOUNT": value})).status == status


async def test_health_and_readiness(served: Served) -> None:
    served.client.key = None
    assert (await served.client.request("GET", "/health")).status == 200
    assert (await served.client.request("GET", "/ready")).status == 200
    served.acceptor.not_now = Reply(452, "4.3.1 full")
    assert (await served.client.request("GET", "/health")).status == 200
    answer = await served.client.request("GET", "/ready")
    assert answer.status == 503
    assert answer.body["errors"][0]["description"] == "452 4.3.1 full"


async def test_description_of_the_api(served: Served) -> None:
    answer = await served.client.request("GET", "/api/v1/openapi.json")
    schemas = answer.body["components"]["schemas"]
    references = {
        word.removeprefix("#/components/schemas/") for word in _strings(answer.body) if word.startswith("#/components/")
    }
    assert references <= set(schemas)
    content = schemas["ContentShape"]["properties"]
    assert {"from", "subject", "text", "html", "email_rfc822"} <= set(content)
    assert "post" in answer.body["paths"]["/api/v1/transmissions"]


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [found for each in value.values() for found in _strings(each)]
    if isinstance(value, list):
        return [found for each in value for found in _strings(each)]
    return [value] if isinstance(value, str) else []


async def test_a_fault_of_ours_tells_nothing() -> None:
    async with serving() as served:

        def broken(_: object) -> Reply | None:
            raise RuntimeError("secret of the house")

        served.acceptor.at_once = True
        served.acceptor.refuse = broken
        answer = await served.client.post(simple())
        assert answer.status == 500
        assert answer.body == {"errors": [{"message": "internal server error"}]}
        # The connection and the server live on.
        assert (await served.client.request("GET", "/health")).status == 200


# --- bodies


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "GZIP"])
async def test_gzip(served: Served, name: str) -> None:
    for body in (gzip.compress(BODY), gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])):
        answer = await served.client.post(body, headers={"Content-Encoding": name})
        assert answer.status == 200
    assert (await served.client.post(simple(), headers={"Content-Encoding": "identity"})).status == 200


@pytest.mark.parametrize(
    "body", [gzip.compress(BODY)[:-4], b"not gzip", gzip.compress(BODY) + b"tail", gzip.compress(BODY)[:20]]
)
async def test_damaged_gzip(served: Served, body: bytes) -> None:
    answer = await served.client.post(body, headers={"Content-Encoding": "gzip"})
    assert answer.status == 400
    assert "gzip" in answer.body["errors"][0]["description"]


async def test_unknown_encoding(served: Served) -> None:
    answer = await served.client.post(simple(), headers={"Content-Encoding": "br"})
    assert answer.status == 415
    assert answer.headers["accept-encoding"] == "gzip"


async def test_gzip_bomb() -> None:
    async with serving(max_body=Size(1 << 20)) as served:
        bomb = gzip.compress(b" " * (64 << 20))
        assert len(bomb) < 1 << 20
        answer = await served.client.post(bomb, headers={"Content-Encoding": "gzip"})
        assert answer.status == 413
        assert served.server.memory_of_bodies == 0


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large_body(chunked: bool) -> None:
    async with serving(max_body=Size(100_000)) as served:
        if chunked:
            chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            data = post(chunk * 3 + b"0\r\n\r\n", "Transfer-Encoding: chunked", "Connection: close")
            reply = await exchange(served.server.address, data, end=False)
            assert reply.startswith(b"HTTP/1.1 413 ")
        else:
            answer = await served.client.post(b" " * 200_000)
            assert answer.status == 413
            assert answer.body["errors"][0]["description"] == "the request body is larger than 100000 bytes"
        assert (await served.client.post(simple())).status == 200
        assert served.server.memory_of_bodies == 0


async def test_a_refusal_reaches_a_client_that_is_still_sending(served: Served) -> None:
    """Closing with unread octets would reset the connection and lose the reply."""
    served.client.key = None
    for _ in range(5):
        answer = await served.client.post(b" " * 8_000_000, headers={"Connection": "close"})
        assert answer.status == 401


async def test_an_endless_body_is_cut_off() -> None:
    async with serving(max_body=Size(100_000)) as served:
        data = post(b"", "Transfer-Encoding: chunked")
        host, _, port = served.server.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        sent = 0
        try:
            while sent < 100 << 20:
                writer.write(chunk)
                await writer.drain()
                sent += len(chunk)
        except ConnectionError:
            pass
        assert sent < 100 << 20
        writer.close()
        assert (await served.client.post(simple())).status == 200


async def test_too_large_content() -> None:
    async with serving(max_content=Size(10_000)) as served:
        for content in ({"text": "x " * 6000}, {"text": "x", "html": "é" * 2000}):
            answer = await served.client.post(simple(content={**simple()["content"], **content}))
            assert answer.status == 413
        raw = "From: a@b.example\r\n\r\n" + "x\r\n" * 4000
        assert (await served.client.post(simple(content={"email_rfc822": raw}))).status == 413


async def test_too_many_recipients() -> None:
    async with serving(max_recipients=3) as served:
        assert (await served.client.post(simple(recipients=["a@b.example"] * 3))).status == 200
        answer = await served.client.post(simple(recipients=["a@b.example"] * 4))
        assert answer.status == 422
        assert answer.body["errors"][0]["description"] == "recipients is limited to 3 entries"


async def test_no_thread_is_used(served: Served) -> None:
    """The simulation runs this server on a loop without threads; a guard or handler in a thread would break it."""

    def refuse(*_: object) -> None:
        raise AssertionError("run_in_executor was called")

    host, _, port = served.server.address.rpartition(":")
    loop = asyncio.get_running_loop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "run_in_executor", refuse)
        for data in (
            post(BODY, f"Content-Length: {len(BODY)}", "Connection: close"),
            post(b"{", "Content-Length: 1", "Connection: close"),
            b"GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(data)
            assert b"HTTP/1.1 500" not in await reader.read()
            writer.close()


async def test_bodies_in_memory_are_bounded() -> None:
    async with serving(max_in_flight=Size(150_000)) as served:
        served.acceptor.gate = asyncio.Event()
        big = simple(content={**simple()["content"], "text": "x" * 100_000})
        first = asyncio.create_task(served.client.post(big))
        while not served.acceptor.pending:
            await served.client.request("GET", "/health")
        answer = await served.client.post(big)
        assert answer.status == 429
        assert answer.body["errors"][0]["message"] == "Too many requests"
        assert "retry-after" in answer.headers
        served.acceptor.gate.set()
        assert (await first).status == 200
        assert (await served.client.post(big)).status == 200
        assert served.server.memory_of_bodies == 0


async def test_a_client_that_leaves_early_frees_its_memory(served: Served) -> None:
    await exchange(served.server.address, post(BODY[:50], f"Content-Length: {len(BODY)}"))
    assert (await served.client.post(simple())).status == 200
    assert served.server.memory_of_bodies == 0
    assert len(served.acceptor.kept) == 1


async def test_chunked_and_split_anyhow(served: Served) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(BODY[at : at + 7]), BODY[at : at + 7]) for at in range(0, len(BODY), 7))
    data = post(chunks + b"0\r\n\r\n", "Transfer-Encoding: chunked", "Connection: close")
    host, _, port = served.server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for at in range(0, len(data), 11):
        writer.write(data[at : at + 11])
        await writer.drain()
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    data = post(BODY, f"Content-Length: {len(BODY)}") * 5
    reply = await exchange(
        served.server.address, data + post(b"x", "Content-Length: 1", "Connection: close"), end=False
    )
    assert [part[:3] for part in reply.split(b"HTTP/1.1 ")[1:]] == [b"200"] * 5 + [b"400"]
    assert len(served.acceptor.kept) == 5


async def test_expect_continue(served: Served) -> None:
    data = post(b"", f"Content-Length: {len(BODY)}", "Expect: 100-continue", "Connection: close")
    host, _, port = served.server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(BODY)
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_refused_body_is_not_asked_for() -> None:
    async with serving(max_body=Size(1000)) as served:
        data = post(b"", "Content-Length: 5000", "Expect: 100-continue", "Connection: close")
        assert (await exchange(served.server.address, data, end=False)).startswith(b"HTTP/1.1 413 ")


# --- connections


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /" + b"a" * 200_000, 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000, 400),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000, 400),
        (b"GET / HTTP/1.1\r\n" + b"X" * 200_000, 400),
        (b"CONNECT x:25 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else None,
)
async def test_what_is_not_http(served: Served, data: bytes, status: int) -> None:
    reply = await exchange(served.server.address, data, end=False)
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/json" in head
    assert json.loads(body)["errors"][0]["message"]
    assert (await served.client.request("GET", "/health")).status == 200


async def test_trailers_are_bounded(served: Served) -> None:
    data = post(b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 20_000, "Transfer-Encoding: chunked")
    await exchange(served.server.address, data, end=False)
    assert (await served.client.request("GET", "/health")).status == 200


async def test_any_octets_leave_the_server_alive() -> None:
    methods = [b"GET ", b"POST ", b"/api/v1/transmissions", b" HTTP/1.1\r\n", b"\r\n", b"\r\n\r\n", b"\n", b"{}"]
    fields = [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", f"Authorization: {KEY}\r\n".encode()]
    words = st.sampled_from([*methods, *fields, b"5\r\n", b"0\r\n\r\n"])
    async with serving() as served:
        loop = asyncio.get_running_loop()

        @given(st.lists(words | st.binary(max_size=20), max_size=15).map(b"".join))
        @settings(max_examples=150, deadline=None)
        def attack(data: bytes) -> None:
            reply = asyncio.run_coroutine_threadsafe(exchange(served.server.address, data), loop).result()
            assert not reply or reply.startswith(b"HTTP/1.1 ")
            assert b"HTTP/1.1 5" not in reply
            assert b"Traceback" not in reply

        await asyncio.to_thread(attack)
        assert (await served.client.request("GET", "/health")).status == 200


async def test_connections_are_bounded() -> None:
    async with serving(max_connections=3) as served:
        host, _, port = served.server.address.rpartition(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
        for _, writer in held:  # a reply shows that the server counts the connection
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        for reader, _ in held:
            await reader.readuntil(b"}}")
        assert (await exchange(served.server.address, b"", end=False)).startswith(b"HTTP/1.1 503 ")
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /he",
        b"GET /health HTTP/1.1\r\nHost: x\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
        post(b"{", "Content-Length: 100"),
    ],
    ids=["nothing", "line", "head", "keep-alive", "body"],
)
async def test_silent_connections_are_closed(data: bytes) -> None:
    async with serving(idle_time=Duration(0.1)) as served:
        await exchange(served.server.address, data, end=False)  # returns when the server closes


async def test_a_slow_commit_is_not_silence() -> None:
    async with serving(idle_time=Duration(0.05)) as served:
        served.acceptor.gate = asyncio.Event()
        request = asyncio.create_task(served.client.post(simple()))
        # Another connection is opened and timed out meanwhile: more than idle_time has gone by.
        while not served.acceptor.pending:
            await exchange(served.server.address, b"", end=False)
        await exchange(served.server.address, b"", end=False)
        served.acceptor.gate.set()
        assert (await request).status == 200


async def test_drain_finishes_what_has_begun() -> None:
    async with serving() as served:
        served.acceptor.gate = asyncio.Event()
        host, _, port = served.server.address.rpartition(":")
        idle, idle_writer = await asyncio.open_connection(host, int(port))
        request = asyncio.create_task(served.client.post(simple()))
        while not served.acceptor.pending:
            await served.client.request("GET", "/health")
        served.server.stop_accepting()
        assert not await served.server.drain(0)
        assert await idle.read() == b""
        idle_writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, int(port))
        served.acceptor.gate.set()
        assert await served.server.drain(30)
        answer = await request
        assert answer.status == 200
        assert answer.headers["connection"] == "close"


async def test_close_cuts_what_is_left() -> None:
    async with serving() as served:
        served.acceptor.gate = asyncio.Event()
        request = asyncio.create_task(served.client.post(simple()))
        while not served.acceptor.pending:
            await served.client.request("GET", "/health")
        await served.server.close()
        with pytest.raises((ConnectionError, OSError)):
            await request
        served.acceptor.gate.set()


async def test_ipv6_address() -> None:
    async with serving(address="[::1]:0") as served:
        host, _, port = served.server.address.rpartition(":")
        assert host == "[::1]"
        _, writer = await asyncio.open_connection("::1", int(port))
        writer.close()


@pytest.mark.parametrize("address", ["", "localhost", "127.0.0.1:x", "127.0.0.1:70000"])
async def test_bad_address(address: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        async with serving(address=address):
            pass


async def test_two_servers_share_a_port() -> None:
    async with serving(reuse_port=True) as first, serving(address=first.server.address, reuse_port=True) as second:
        assert first.server.address == second.server.address
        first.server.stop_accepting()
        assert (await second.client.post(simple())).status == 200
        assert len(second.acceptor.kept) == 1


async def test_many_idle_connections_leave_others_served() -> None:
    async with serving() as served:
        host, _, port = served.server.address.rpartition(":")
        before = _resident()
        held = [await asyncio.open_connection(host, int(port)) for _ in range(500)]
        for number, (_, writer) in enumerate(held):
            if number % 2:
                writer.write(b"POST /api/v1/transmissions HTTP/1.1\r\nX: ")
        for _ in range(20):
            assert (await served.client.post(simple())).status == 200
        # Both ends of 500 connections live in this process.
        assert _resident() - before < 40 << 20
        for _, writer in held:
            writer.close()


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
