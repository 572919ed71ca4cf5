"""Ordinary sessions against aiosmtpd: the same codes, the same envelopes, the same content."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.inject.kit import HOSTNAME, Answer, Client, MemoryAcceptor, make_listener


class Letter(NamedTuple):
    sender: str
    recipients: list[str]
    content: bytes


class _Keep:
    """A handler of aiosmtpd that keeps what it gets."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content
        assert content is not None
        sender = envelope.mail_from or ""
        self.letters.append(Letter("" if sender == "<>" else sender, envelope.rcpt_tos, content))
        return "250 OK"


@asynccontextmanager
async def oracle(keep: _Keep) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(keep, hostname=HOSTNAME, enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


_SESSIONS: dict[str, list[bytes]] = {
    "one message": [
        b"EHLO c.example",
        b"MAIL FROM:<a@b.example>",
        b"RCPT TO:<c@d.example>",
        b"DATA",
        b"A: b\r\n\r\nc\r\n.",
    ],
    "after HELO": [b"HELO c.example", b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>", b"DATA", b"x\r\n."],
    "dots": [b"EHLO c.example", b"MAIL FROM:<>", b"RCPT TO:<c@d.example>", b"DATA", b"..\r\n...a\r\n.b\r\nc.\r\n."],
    "empty": [b"EHLO c.example", b"MAIL FROM:<>", b"RCPT TO:<c@d.example>", b"DATA", b"."],
    "eight bits": [
        b"EHLO c.example",
        b"MAIL FROM:<a@b.example> BODY=8BITMIME SIZE=20",
        b"RCPT TO:<c@d.example>",
        b"DATA",
        b"\xff\xfe\r\n.",
    ],
    "SMTPUTF8": [
        b"EHLO c.example",
        "MAIL FROM:<é@b.example> SMTPUTF8".encode(),
        "RCPT TO:<ü@d.example>".encode(),
        b"DATA",
        b"x\r\n.",
    ],
    "two messages": [
        b"EHLO c.example",
        *[b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>", b"RCPT TO:<e@f.example>", b"DATA", b"one\r\n."],
        *[b"MAIL FROM:<g@h.example>", b"RCPT TO:<i@j.example>", b"DATA", b"two\r\n."],
    ],
    "reset": [
        b"EHLO c.example",
        *[b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>", b"RSET"],
        *[b"MAIL FROM:<e@f.example>", b"RCPT TO:<g@h.example>", b"DATA", b"x\r\n."],
    ],
    "out of order": [b"MAIL FROM:<a@b.example>", b"EHLO c.example", b"RCPT TO:<a@b.example>", b"DATA", b"NOOP"],
    "twice": [b"EHLO c.example", b"MAIL FROM:<a@b.example>", b"MAIL FROM:<a@b.example>"],
    "syntax": [
        b"EHLO",
        b"EHLO c.example",
        b"MAIL",
        b"MAIL FROM:",
        b"MAIL FROM:<a@b.example> SIZE=x",
        b"FOO",
        b"EXPN x",
    ],
    "parameters": [b"EHLO c.example", b"MAIL FROM:<a@b.example> FOO=BAR", b"MAIL FROM:<a@b.example> BODY=9BIT"],
    "small talk": [b"EHLO c.example", b"NOOP", b"noop x", b"VRFY a@b.example", b"RSET", b"QUIT"],
}


async def _talk(port: int, lines: list[bytes]) -> list[Answer]:
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    answers = [await client.read()]
    answers += [await client.say(line + b"\r\n") for line in lines]
    await client.close()
    return answers


@pytest.mark.parametrize("lines", _SESSIONS.values(), ids=_SESSIONS.keys())
async def test_ordinary_sessions(lines: list[bytes]) -> None:
    acceptor, keep = MemoryAcceptor(), _Keep()
    listener = make_listener(acceptor)
    await listener.start()
    async with oracle(keep) as port:
        theirs = await _talk(port, lines)
        ours = await _talk(listener.addresses[0][1], lines)
    await listener.close()
    assert [answer.code for answer in ours] == [answer.code for answer in theirs]
    assert keep.letters == [
        Letter(t.sender, [r.address for r in t.recipients], t.body.content) for t in acceptor.transactions
    ]
