"""Who is too slow, and when: on the simulated loop, where waiting costs nothing and the time is exact."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest

from postroad.config.schema import Duration
from postroad.inject import SmtpListener
from postroad.lab.sim import Process, SimLoop, SimNet
from tests.inject.kit import Client, MemoryAcceptor, make_listener, until

IDLE, MESSAGE = 300.0, 1800.0


class Stage:
    """A listener on a simulated machine, and clients outside it."""

    def __init__(self, seed: int = 1, **changes: Any) -> None:
        self.loop = SimLoop(Random(seed))
        net = SimNet(self.loop, Random(seed + 1))
        net.add_machine("10.0.0.2")
        self.host = Process(self.loop, "host", ["10.0.0.1"])
        self.client = Process(self.loop, "client", ["10.0.0.2"])
        self.acceptor = MemoryAcceptor()
        times = {"idle_time": Duration(IDLE), "message_time": Duration(MESSAGE), "max_idle_commands": 2_000_000}
        self.listener: SmtpListener = make_listener(self.acceptor, address="10.0.0.1:25", **times | changes)

    def play(self, scene: Coroutine[Any, Any, None]) -> None:
        async def whole() -> None:
            await self.host.run(self.listener.start())
            await self.client.run(scene)
            await self.host.run(self.listener.close())

        try:
            self.loop.run_until_complete(whole())
            assert self.host.leftovers() == []
        finally:
            self.loop.close()

    async def connect(self) -> Client:
        client = await Client.connect(self.listener)
        await client.hello()
        return client


async def _rest(client: Client) -> bytes:
    try:
        return await client.ended()
    except ConnectionError:
        return b""


def test_silence_ends_the_session() -> None:
    stage = Stage()

    async def scene() -> None:
        client = await stage.connect()
        begun = stage.loop.time()
        assert str(await client.read()).startswith("421 4.4.2")
        assert stage.loop.time() - begun == pytest.approx(IDLE, abs=2)
        await client.close()

    stage.play(scene())


def test_commands_keep_the_session_open() -> None:
    stage = Stage()

    async def scene() -> None:
        client = await stage.connect()
        for _ in range(20):
            await asyncio.sleep(IDLE - 10)
            assert (await client.say(b"NOOP\r\n")).code == 250
        begun = stage.loop.time()
        assert str(await client.read()).startswith("421 4.4.2")
        assert stage.loop.time() - begun == pytest.approx(IDLE, abs=2)
        await client.close()

    stage.play(scene())


@pytest.mark.parametrize("crumb", [b"N", b"\r", b"x" * 10])
def test_half_a_command_does_not(crumb: bytes) -> None:
    stage = Stage()

    async def scene() -> None:
        client = await stage.connect()
        begun = stage.loop.time()

        async def drip() -> None:
            while True:
                client.writer.write(crumb)
                await asyncio.sleep(20)

        dripping = asyncio.ensure_future(drip())
        assert str(await client.read()).startswith("421 4.4.2")
        assert stage.loop.time() - begun == pytest.approx(IDLE, abs=25)
        dripping.cancel()
        await client.close()

    stage.play(scene())


@pytest.mark.parametrize(
    ("command", "crumb"),
    [
        (b"DATA\r\n", b"x\r\n"),
        (b"BDAT 100000\r\n", b"x"),
        (b"BDAT 1\r\nx", b"BDAT 1\r\nx"),
        (b"RSET\r\nBDAT 99999999\r\n", b"x"),
    ],
)
def test_a_message_must_come_in_time(command: bytes, crumb: bytes) -> None:
    stage = Stage()

    async def scene() -> None:
        client = await stage.connect()
        await client.open()
        begun = stage.loop.time()
        client.writer.write(command)

        async def drip() -> None:
            while True:
                await asyncio.sleep(60)
                client.writer.write(crumb)

        dripping = asyncio.ensure_future(drip())
        heard = await client.ended()
        assert heard.splitlines()[-1].startswith(b"421 4.4.2 The message")
        assert stage.loop.time() - begun == pytest.approx(MESSAGE, abs=70)
        dripping.cancel()
        await client.close()

    stage.play(scene())
    assert stage.acceptor.transactions == [] and stage.listener.held == 0


def test_silence_in_a_message_ends_the_session_sooner() -> None:
    stage = Stage()

    async def scene() -> None:
        client = await stage.connect()
        await client.open()
        await client.say(b"DATA\r\n")
        client.writer.write(b"half")
        begun = stage.loop.time()
        assert str(await client.read()).startswith("421 4.4.2 Nothing")
        assert stage.loop.time() - begun == pytest.approx(IDLE, abs=2)
        await client.close()

    stage.play(scene())


def test_a_long_session_of_many_messages_is_not_one_long_message() -> None:
    stage = Stage()

    async def scene() -> None:
        client = await stage.connect()
        for _ in range(30):
            await client.open()
            assert (await client.say(b"DATA\r\n")).code == 354
            await asyncio.sleep(200)
            # The next transaction stands right behind the end of this one.
            client.writer.write(b"x\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n")
            assert [(await client.read()).code for _ in range(4)] == [250, 250, 250, 354]
            await asyncio.sleep(200)
            assert (await client.say(b"y\r\n.\r\n")).code == 250
        await client.close()

    stage.play(scene())
    assert len(stage.acceptor.transactions) == 60


def test_a_slow_commit_is_not_the_clients_fault() -> None:
    stage = Stage()
    stage.acceptor.hold = True

    async def scene() -> None:
        client = await stage.connect()
        await client.open()
        await client.say(b"DATA\r\n")
        client.writer.write(b"x\r\n.\r\n")
        await stage.acceptor.held()
        await asyncio.sleep(MESSAGE + IDLE)
        stage.host.call(stage.acceptor.release)
        assert (await client.read()).code == 250
        begun = stage.loop.time()
        assert str(await client.read()).startswith("421 4.4.2")
        assert stage.loop.time() - begun == pytest.approx(IDLE, abs=2)
        await client.close()

    stage.play(scene())


def test_who_hears_the_last_word_and_stays_is_thrown_out() -> None:
    stage = Stage()

    async def scene() -> None:
        client = await stage.connect()
        assert str(await client.say(b"GET / HTTP/1.0\r\n")).startswith("421")
        begun = stage.loop.time()
        # The server has ended its side; the client keeps its own open, and writes on.
        assert await client.ended() == b""
        while stage.listener.sessions:
            client.writer.write(b"NOOP\r\n")
            await asyncio.sleep(0.5)
        assert stage.loop.time() - begun == pytest.approx(5, abs=1)
        await client.close()

    stage.play(scene())


def test_who_does_not_read_is_thrown_out() -> None:
    stage = Stage()

    async def scene() -> None:
        client = await stage.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        begun = stage.loop.time()
        for _ in range(100):
            client.writer.write(b"HELP\r\n" * 10_000)
        await until(lambda: not stage.listener.sessions, step=1)
        assert stage.loop.time() - begun == pytest.approx(IDLE, abs=5)
        await client.close()

    stage.play(scene())


def test_drain_waits_as_long_as_told() -> None:
    stage = Stage()

    async def scene() -> None:
        client = await stage.connect()
        await client.open()
        begun = stage.loop.time()
        assert await stage.host.run(stage.listener.drain(30.0)) == 1
        assert stage.loop.time() - begun == pytest.approx(30, abs=0.1)
        assert str(await client.read()).startswith("421 4.3.2")
        assert await _rest(client) == b""
        await client.close()

    stage.play(scene())


def test_a_session_that_lasts_long_ends_between_two_messages() -> None:
    stage = Stage()
    session = 4 * 3600.0

    async def scene() -> None:
        client = await stage.connect()
        begun = stage.loop.time()
        for _ in range(int(session / (IDLE - 10)) + 2):
            await asyncio.sleep(IDLE - 10)
            reply = await client.say(b"NOOP\r\n")
            if reply.code != 250:
                break
        assert str(reply).startswith("421 4.4.2 This session lasts long enough")
        assert session <= stage.loop.time() - begun <= session + 2 * IDLE
        await client.close()

    stage.play(scene())


def test_a_transaction_may_outlast_the_session_but_not_for_ever() -> None:
    stage = Stage()
    session = 4 * 3600.0

    async def scene() -> None:
        client = await stage.connect()
        begun = stage.loop.time()
        assert (await client.say(b"MAIL FROM:<a@b.example>\r\n")).code == 250
        for _ in range(int(2 * session / (IDLE - 10)) + 5):
            if (await client.say(b"NOOP\r\n")).code != 250:
                break
            await asyncio.sleep(IDLE - 10)
        assert 2 * session <= stage.loop.time() - begun <= 2 * session + 2 * IDLE
        await client.close()

    stage.play(scene())
