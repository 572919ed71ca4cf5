"""Whole sessions over real sockets, in pieces and behind a PROXY header, against the slow and obvious server."""

from __future__ import annotations

import asyncio
import contextlib
import re
from random import Random
from typing import Any

import pytest

from postroad.inject import SmtpListener
from postroad.message import Reply
from tests.inject.kit import MemoryAcceptor
from tests.inject.reference import Judge, Server
from tests.inject.test_fuzz_reference import OPTIONS, session
from tests.inject.test_proxy import version_2
from tests.inject.trusted import Authority, listening

_QUEUED = re.compile(rb"250 2\.0\.0 Ok: queued as [0-9A-Za-z]+\r\n")
# How a session goes on after these depends on how TCP cuts it, or on time.
_LEFT_OUT = re.compile(rb"(?:STARTTLS|AUTH)[^\r\n]*")


class _Yes(Judge):
    """The listener takes all mail of whom it trusts."""

    def sender(self, address: str) -> Reply | None:
        return None

    def recipient(self, address: str) -> Reply | None:
        return None

    def data(self, sender: str) -> Reply | None:
        return None

    def content(self, content: bytes) -> Reply | None:
        return None

    def speaks_for(self, address: str | None) -> Reply | None:
        return None


async def _said(listener: SmtpListener, header: bytes, said: bytes, rng: Random) -> bytes:
    """All that the listener says to this, in some pieces."""
    reader, writer = await asyncio.open_connection(*listener.addresses[0])
    octets = header + said
    edges = sorted(rng.randrange(len(octets) + 1) for _ in range(rng.choice([0, 1, 5])))
    with contextlib.suppress(ConnectionError):
        for a, b in zip([0, *edges], [*edges, len(octets)], strict=True):
            writer.write(octets[a:b])
            await writer.drain()
        writer.write_eof()
    found = await reader.read()
    writer.close()
    return found


@pytest.mark.parametrize("rounds", [150, pytest.param(20_000, marks=pytest.mark.soak)])
async def test_sessions_in_pieces_behind_a_proxy_header(rounds: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    acceptor = MemoryAcceptor()
    changes: dict[str, Any] = {
        name: getattr(OPTIONS, name) for name in OPTIONS.__struct_fields__ if name.startswith("max_")
    }
    changes |= {"auth": True, "auth_without_tls": True, "auth_mechanisms": ["PLAIN", "LOGIN"], "relay": True}
    changes |= {"proxy_networks": ["127.0.0.0/8"], "xclient_networks": ["127.0.0.0/8"]}
    listener = listening(acceptor, Authority(tmp_path_factory.mktemp("tls")), **changes)
    await listener.start()
    letters = 0
    try:
        for seed in range(rounds):
            rng = Random(seed)
            said = _LEFT_OUT.sub(b"NOOP", session(rng)[0])
            header = rng.choice(
                [b"PROXY TCP4 198.51.100.7 192.0.2.1 1 25\r\n", version_2("2001:db8::7", 9, b"\x04\0\1x")]
            )
            server = Server(OPTIONS, _Yes())
            server.receive(said)
            ours = _QUEUED.sub(b"250 2.0.0 Ok\r\n", await _said(listener, header, said, rng))
            assert ours == server.out, (seed, said)
            letters += len(server.letters)
            assert [t.body.content for t in acceptor.transactions] == [letter.content for letter in server.letters], (
                seed
            )
            acceptor.transactions.clear()
    finally:
        await listener.close()
    assert letters > rounds / 3
