"""A property-based attack on whole sessions with TLS, AUTH, PROXY and XCLIENT switched on: whatever comes, in whatever
pieces, replies stay well formed, nothing raises, and nobody relays who has shown nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.inject import SmtpListener
from postroad.inject.session import Session
from tests.inject.kit import MemoryAcceptor, read_answers
from tests.inject.trusted import KEY, Authority, coded, listening

LINES = st.sampled_from(
    [
        b"EHLO c.example",
        b"LHLO c.example",
        b"STARTTLS",
        b"AUTH PLAIN",
        b"AUTH PLAIN =",
        b"AUTH LOGIN",
        b"AUTH PLAIN " + coded("\0SMTP_Injection\0wrong"),
        b"AUTH SCRAM-SHA-256 " + coded("n,,n=nobody,r=abc"),
        b"AUTH XOAUTH2",
        coded("SMTP_Injection"),
        coded("wrong"),
        b"*",
        b"",
        b"=",
        b"XCLIENT ADDR=198.51.100.7",
        b"XCLIENT NAME=[UNAVAILABLE] LOGIN=a",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 1 25",
        b"MAIL FROM:<a@b.example> AUTH=<>",
        b"MAIL FROM:<a@b.example>",
        b"RCPT TO:<c@d.example>",
        b"DATA",
        b"BDAT 3 LAST",
        b".",
        b"RSET",
        b"NOOP",
        b"\x16\x03\x01\x02\x00\x01",
    ]
)
PIECES = st.lists(LINES.map(lambda line: line + b"\r\n") | st.binary(max_size=40), min_size=1, max_size=25)


class Wirelike(asyncio.Transport):
    """The loop's end of a connection, in memory: what a session writes, and whether it is closed."""

    def __init__(self, peer: str) -> None:
        super().__init__({"peername": (peer, 50000)})
        self.out = b""
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.out += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return

    def taken(self) -> bytes:
        out, self.out = self.out, b""
        return out


class Attack:
    """One session, fed without a socket."""

    def __init__(self, listener: SmtpListener, loop: asyncio.AbstractEventLoop, peer: str = "192.0.2.9") -> None:
        self.wire = Wirelike(peer)
        self.session = Session(listener, loop)
        self.session.connection_made(self.wire)

    def feed(self, data: bytes) -> bytes:
        if not self.wire.closed:
            self.session.data_received(data)
        return self.wire.taken()

    def over(self) -> None:
        self.session.connection_lost(None)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(Path(tmp_path_factory.mktemp("attack")))


def on_loop(run: Callable[[asyncio.AbstractEventLoop], None]) -> None:
    async def inside() -> None:
        run(asyncio.get_running_loop())

    asyncio.run(inside())


QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", ["smtp", "submission", "lmtp"])
@QUICK
@given(pieces=PIECES)
def test_in_the_clear(authority: Authority, kind: str, pieces: list[bytes]) -> None:
    acceptor = MemoryAcceptor()
    listener = listening(acceptor, authority, kind=kind, auth=True, auth_without_tls=True)

    def run(loop: asyncio.AbstractEventLoop) -> None:
        attack = Attack(listener, loop)
        read_answers(attack.wire.taken())
        for piece in pieces:
            out = attack.feed(piece)
            if attack.session._crypt is None:
                read_answers(out)
        assert attack.session.account is None
        attack.over()
        assert not listener.sessions and not listener.held

    on_loop(run)
    assert not acceptor.transactions


@QUICK
@given(pieces=PIECES, cut=st.integers(1, 200))
def test_under_tls(authority: Authority, pieces: list[bytes], cut: int) -> None:
    """The same inside TLS, its records cut anywhere."""
    acceptor = MemoryAcceptor()
    listener = listening(acceptor, authority, tls="implicit", auth=True, xclient_networks=["198.51.100.0/24"])

    def run(loop: asyncio.AbstractEventLoop) -> None:
        attack = Attack(listener, loop)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = authority.client().wrap_bio(incoming, outgoing, server_hostname="mx.example")
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(attack.feed(outgoing.read()))
        heard = bytearray()
        for piece in [b"EHLO c.example\r\n", *pieces]:
            if piece:
                client.write(piece)
            data = outgoing.read()
            for at in range(0, len(data), cut):
                incoming.write(attack.feed(data[at : at + cut]))
            try:
                while text := client.read(65_536):
                    heard += text
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                break
        read_answers(bytes(heard))
        assert attack.session.account is None
        attack.over()

    on_loop(run)
    assert not acceptor.transactions


@QUICK
@given(pieces=PIECES)
def test_behind_a_balancer(authority: Authority, pieces: list[bytes]) -> None:
    listener = listening(MemoryAcceptor(), authority, auth=True, proxy_networks=["192.0.2.0/24"])

    def run(loop: asyncio.AbstractEventLoop) -> None:
        attack = Attack(listener, loop)
        assert attack.wire.taken() == b""
        out = b""
        for piece in pieces:
            out += attack.feed(piece)
            if attack.session._crypt is not None:
                break
        assert not out or out.startswith(b"220 ")
        attack.over()
        assert not listener.sessions and not listener._by_address

    on_loop(run)


@QUICK
@given(pieces=PIECES, key=st.booleans())
def test_nothing_but_the_key_opens_the_relay(authority: Authority, pieces: list[bytes], key: bool) -> None:
    acceptor = MemoryAcceptor()
    listener = listening(acceptor, authority, auth=True, auth_without_tls=True, max_bad_commands=1000)
    listener.certificates = None

    def run(loop: asyncio.AbstractEventLoop) -> None:
        attack = Attack(listener, loop)
        attack.wire.taken()
        for piece in pieces:
            if piece.upper().startswith((b"STARTTLS", b"QUIT")) or b"BDAT" in piece or not piece.endswith(b"\r\n"):
                continue
            attack.feed(piece)
        # Out of whatever state it is in.
        for line in (b"*", b".", b"*", b"RSET", b"EHLO c.example"):
            attack.feed(line + b"\r\n")
        if key:
            listener.guesses = type(listener.guesses)()
            attack.feed(b"AUTH PLAIN " + coded(f"\0SMTP_Injection\0{KEY}") + b"\r\n")
        attack.feed(b"MAIL FROM:<a@b.example>\r\n")
        (answer,) = read_answers(attack.feed(b"RCPT TO:<c@d.example>\r\n"))
        assert answer.code == (250 if key else 550)
        attack.over()

    on_loop(run)
