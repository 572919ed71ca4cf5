"""LMTP in (RFC 2033): LHLO, and after the content a reply for each recipient."""

from __future__ import annotations

import asyncio
import smtplib

import pytest

from postroad.config.schema import ListenerOptions, Size
from postroad.inject import Content, Event
from postroad.inject.offer import offer_for
from postroad.message import Reply
from tests.inject.kit import MemoryAcceptor, Talk, accept_all
from tests.inject.trusted import listening

OPTIONS = ListenerOptions(kind="lmtp", max_message_size=Size(100))


def talk(options: ListenerOptions = OPTIONS, refusal: Reply | None = None) -> Talk:
    def policy(event: Event) -> Reply | None:
        return refusal if isinstance(event, Content) else accept_all(event)

    made = Talk(options, policy)
    made.machine.offer = offer_for(options, False, False, False)
    assert made.one(b"LHLO c.example\r\n").code == 250
    assert made.one(b"MAIL FROM:<a@b.example>\r\n").code == 250
    for name in ("one", "two", "three"):
        assert made.one(f"RCPT TO:<{name}@d.example>\r\n".encode()).code == 250
    return made


@pytest.mark.parametrize("verb", [b"EHLO", b"HELO"])
def test_it_wants_lhlo(verb: bytes) -> None:
    made = Talk(OPTIONS)
    made.machine.offer = offer_for(OPTIONS, False, False, False)
    assert made.one(verb + b" c.example\r\n").code == 500
    assert Talk().one(b"LHLO c.example\r\n").code == 502


@pytest.mark.parametrize("refusal", [None, Reply(550, "5.7.1 no"), Reply(452, "4.3.1 full")])
def test_a_reply_a_recipient(refusal: Reply | None) -> None:
    made = talk(refusal=refusal)
    assert made.one(b"DATA\r\n").code == 354
    answers = made.say(b"Subject: x\r\n\r\ny\r\n.\r\nNOOP\r\n")
    code = 250 if refusal is None else refusal.code
    assert [answer.code for answer in answers] == [code] * 3 + [250]


@pytest.mark.parametrize("content", [b"x" * 200 + b"\r\n", b"bare\nline\r\n"])
def test_what_the_machine_refuses_is_refused_to_each(content: bytes) -> None:
    made = talk()
    made.one(b"DATA\r\n")
    answers = made.say(content + b".\r\n")
    assert len(answers) == 3 and all(answer.code >= 550 for answer in answers)


def test_chunks_have_one_reply_but_the_last() -> None:
    made = talk()
    assert made.one(b"BDAT 5\r\nab\r\nc").code == 250
    assert len(made.say(b"BDAT 3 LAST\r\nd\r\n")) == 3


def test_a_session_that_ends_says_so_once() -> None:
    made = talk(refusal=Reply(421, "4.3.2 bye"))
    made.one(b"DATA\r\n")
    assert [answer.code for answer in made.say(b"x\r\n.\r\n")] == [421]


def test_without_recipients_data_is_503() -> None:
    made = talk()
    made.one(b"RSET\r\n")
    made.one(b"MAIL FROM:<a@b.example>\r\n")
    assert made.one(b"DATA\r\n").code == 503


async def test_smtplib_speaks_it() -> None:
    acceptor = MemoryAcceptor()
    listener = listening(acceptor, kind="lmtp", relay_domains=["d.example"])
    await listener.start()

    def run() -> dict[str, tuple[int, bytes]]:
        with smtplib.LMTP("127.0.0.1", listener.addresses[0][1], timeout=20) as client:
            return client.sendmail("a@b.example", ["c@d.example"], "Subject: x\r\n\r\ny\r\n")

    assert await asyncio.get_running_loop().run_in_executor(None, run) == {}
    await listener.close()
    assert b"with LMTP id " in acceptor.transactions[0].body.trace
