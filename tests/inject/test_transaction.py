"""From content to transaction: trace fields in front, nothing else changed."""

from __future__ import annotations

import pytest

from postroad.config.schema import ListenerOptions
from postroad.inject import Content, Envelope
from postroad.inject.transaction import build_transaction
from postroad.message import Recipient, Ret, Transaction
from postroad.message.header import count, field, header_end

_CONTEXT = {"remote_addr": "192.0.2.7"}


def build(
    content: bytes = b"Date: x\r\nMessage-ID: <y@z>\r\n\r\nbody\r\n",
    recipients: int = 1,
    *,
    smtputf8: bool = False,
    extended: bool = True,
    relay: bool = True,
    trace: bool = True,
    add_missing: bool = True,
) -> Transaction:
    envelope = Envelope("s@client.example", "client.example", smtputf8=smtputf8, ret=Ret.FULL, envid="e+2Bv")
    envelope.recipients = [Recipient(f"r{n}@b.example", "b.example") for n in range(recipients)]
    return build_transaction(
        Content(envelope, content, False, header_end(content)),
        options=ListenerOptions(relay=relay, trace=trace, add_missing=add_missing),
        connection=_CONTEXT,
        remote="192.0.2.7",
        helo="client.example",
        extended=extended,
        hostname="mx.example",
        identifier="00000000000000ab",
        wall=1_700_000_000.0,
    )


def test_received_names_the_client_and_a_lone_recipient() -> None:
    transaction = build()
    assert transaction.body.trace == (
        b"Received: from client.example ([192.0.2.7])\r\n"
        b"\tby mx.example with ESMTP id 00000000000000ab\r\n"
        b"\tfor <r0@b.example>;\r\n"
        b"\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
    )
    assert b"for <" not in build(recipients=2).body.trace


@pytest.mark.parametrize(
    ("smtputf8", "extended", "word"), [(False, True, b"ESMTP"), (False, False, b"SMTP"), (True, True, b"UTF8SMTP")]
)
def test_received_names_the_protocol(smtputf8: bool, extended: bool, word: bytes) -> None:
    assert b" with " + word + b" id " in build(smtputf8=smtputf8, extended=extended).body.trace


def test_the_envelope_is_handed_on_whole() -> None:
    transaction = build(recipients=3)
    assert transaction.sender == "s@client.example" and transaction.method == "esmtp"
    assert [r.address for r in transaction.recipients] == ["r0@b.example", "r1@b.example", "r2@b.example"]
    assert (transaction.ret, transaction.envid, transaction.smtputf8) == (Ret.FULL, "e+2Bv", False)
    assert transaction.connection is _CONTEXT and transaction.context == {}
    assert transaction.id == 0xAB and transaction.event == {"transmission_id": "171"}
    assert transaction.body.content == b"Date: x\r\nMessage-ID: <y@z>\r\n\r\nbody\r\n"


@pytest.mark.parametrize(
    ("content", "date", "message_id"),
    [
        (b"Date: x\r\nMessage-ID: <y>\r\n\r\n", 0, 0),
        (b"Subject: x\r\nDate: x\r\nMessage-ID: <y>\r\n\r\n", 0, 0),
        (b"DATE : x\r\nmessage-id:\r\n <y>\r\n\r\n", 0, 0),
        (b"Subject: x\r\n\r\nDate: in the body\r\nMessage-ID: too\r\n", 1, 1),
        (b"X-Date: x\r\nX-Message-ID: y\r\n\r\n", 1, 1),
        (b"Date: x\r\n\r\n", 0, 1),
        (b"Message-Id: <y>\r\n\r\n", 1, 0),
        (b"", 1, 1),
    ],
)
def test_missing_fields_are_added_for_our_own_clients(content: bytes, date: int, message_id: int) -> None:
    for add in (True, False):
        trace = build(content, add_missing=add).body.trace
        assert count(trace, b"Date") == (date if add else 0)
        assert count(trace, b"Message-ID") == (message_id if add else 0)
        assert count(trace, b"Received") == 1
    assert count(build(content, relay=False).body.trace, b"Date") == 0


def test_added_fields() -> None:
    trace = build(b"").body.trace
    assert field(trace, b"Message-ID") == b"<00000000000000ab@mx.example>"
    assert field(trace, b"Date") == b"Tue, 14 Nov 2023 22:13:20 +0000"


def test_no_trace() -> None:
    assert build(trace=False).body.trace == b""
