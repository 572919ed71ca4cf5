"""Connections: what is not HTTP, bounds in number and time, start and stop."""

from __future__ import annotations

import asyncio
import json
import os

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.config.schema import Duration, Size
from tests.api.harness import KEY, Served, exchange, post, serving, simple


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


async def test_close_cuts_what_is_left(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as served:
        served.acceptor.gate = asyncio.Event()
        request = asyncio.create_task(served.client.post(simple()))
        while not served.acceptor.pending:
            await served.client.request("GET", "/health")
        await served.server.close()
        with pytest.raises((ConnectionError, OSError)):
            await request
        served.acceptor.gate.set()
    assert caplog.records == []


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


def test_on_uvloop() -> None:
    """The rest of the tests run on asyncio's own loop; the engine runs on this one."""

    async def run() -> None:
        async with serving(max_body=Size(200_000)) as served:
            assert (await served.client.post(simple())).status == 200
            assert (await served.client.post(b" " * 4_000_000, headers={"Connection": "close"})).status == 413
            assert (await exchange(served.server.address, b"GET /" + b"a" * 100_000, end=False))[:12] == b"HTTP/1.1 414"
            served.acceptor.gate = asyncio.Event()
            request = asyncio.create_task(served.client.post(simple()))
            while not served.acceptor.pending:
                assert (await served.client.request("GET", "/health")).status == 200
            served.server.stop_accepting()
            assert not await served.server.drain(0)
            served.acceptor.gate.set()
            assert await served.server.drain(30)
            assert (await request).status == 200

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def test_a_body_that_trickles_in_is_not_waited_for() -> None:
    """Each octet comes before the silence is too long, but the request never comes in whole."""
    async with serving(idle_time=Duration(20), request_time=Duration(0.2)) as served:
        host, _, port = served.server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(post(b"", "Content-Length: 100000"))
        ended = asyncio.ensure_future(reader.read())
        while not ended.done():
            writer.write(b" ")
            await asyncio.wait([ended], timeout=0.02)
        assert ended.exception() is not None or ended.result() == b""
        writer.close()


async def test_requests_in_a_row_are_no_slow_request() -> None:
    async with serving(idle_time=Duration(20), request_time=Duration(1)) as served:
        loop = asyncio.get_running_loop()
        until = loop.time() + 2.5
        while loop.time() < until:
            assert (await served.client.request("GET", "/health")).status == 200
