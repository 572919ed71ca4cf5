"""Two thousand connections that do nothing, or next to nothing, leave all others served."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator

import pytest

from tests.inject.kit import Client, MemoryAcceptor, make_listener

CROWD = 2000


@pytest.fixture
def many_files() -> Iterator[None]:
    """Both ends of each connection are ours: two descriptors each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CROWD + 500
    assert hard == resource.RLIM_INFINITY or hard >= wanted, f"this test needs ulimit -n {wanted}"
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_crowd_of_slow_clients_leaves_others_served(many_files: None) -> None:
    acceptor = MemoryAcceptor()
    listener = make_listener(acceptor, backlog=CROWD, max_sessions_per_peer=0)
    await listener.start()
    crowd: list[Client] = []
    for number in range(CROWD):
        client = await Client.connect(listener, limit=4096)
        kind = number % 4
        if kind == 0:
            pass  # does not even wait for the greeting
        elif kind == 1:
            await client.hello()
        else:
            await client.hello()
            await client.open()
            if kind == 3:
                assert (await client.say(b"DATA\r\n")).code == 354
        crowd.append(client)
    assert listener.sessions == CROWD

    served = 0

    async def drip() -> None:
        """All the while, half of the crowd sends an octet now and then: of a command, or of content."""
        turn = 0
        while True:
            for number in range(2 + turn % 2, CROWD, 4):
                crowd[number].writer.write(b"R" if turn % 2 == 0 else b"x")
                if number % 400 < 4:
                    await asyncio.sleep(0)
            turn += 1

    dripping = asyncio.ensure_future(drip())
    for _ in range(10):
        client = await Client.connect(listener)
        await client.hello()
        for _ in range(10):
            assert (await client.send(b"Subject: x\r\n\r\n" + b"y" * 70 + b"\r\n")).code == 250
            served += 1
        assert (await client.say(b"QUIT\r\n")).code == 221
        await client.close()
    dripping.cancel()
    assert served == len(acceptor.transactions) == 100
    # The crowd's sessions are alive and in step.
    for client in crowd[1::400]:
        assert (await client.say(b"NOOP\r\n")).code == 250
    for client in crowd[3::400]:
        assert (await client.say(b"\r\n.\r\n")).code == 250
    for client in crowd:
        client.writer.transport.abort()
    await listener.close()
    assert listener.sessions == 0 and listener.held == 0
    for client in crowd:
        await client.close()
