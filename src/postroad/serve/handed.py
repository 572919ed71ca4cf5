"""A transaction as it goes from one engine to another: the bytes on the local socket. Pure.

There: the lengths of the three parts, what is known of the transaction (MessagePack), its trace, its content: as they
are, so that no octet of a body is looked at. Back: length and MessagePack of an `Answer`.
"""

from __future__ import annotations

from struct import Struct

import msgspec

from postroad.message import Body, Context, Notify, Recipient, Ret, Transaction

LENGTHS = Struct("<IIQ")  # head, trace, content
LENGTH = 4  # octets of an answer's length


class HandedRecipient(msgspec.Struct, array_like=True):
    address: str
    domain: str
    notify: int
    orcpt: str
    context: Context | None
    event: dict[str, object] | None


class Handed(msgspec.Struct, array_like=True):
    """sequence: of this transaction on its connection; the answer repeats it. id: what its client was told, or 0."""

    sequence: int
    id: int
    sender: str
    recipients: list[HandedRecipient]
    connection: Context
    context: Context
    method: str
    ret: int
    envid: str
    smtputf8: bool
    event: dict[str, object]
    dotted: bool


class Answer(msgspec.Struct, array_like=True):
    """ids: of the messages, in order, when they are kept; else code and text of the refusal. Sequence 0, before all
    others: I am here. Sequence 0 later: look-ups have shown to which provider domains belong (rolled; "": to none)."""

    sequence: int
    ids: list[int]
    code: int = 0
    text: str = ""
    rolled: dict[str, str] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode_handed = msgspec.msgpack.Decoder(Handed).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode


def pack(sequence: int, transaction: Transaction) -> list[bytes]:
    """What to write, in pieces."""
    body = transaction.body
    head = _encode(
        Handed(
            sequence,
            transaction.id,
            transaction.sender,
            [
                HandedRecipient(each.address, each.domain, each.notify, each.orcpt, each.context, each.event)
                for each in transaction.recipients
            ],
            transaction.connection,
            transaction.context,
            transaction.method,
            transaction.ret,
            transaction.envid,
            transaction.smtputf8,
            transaction.event,
            body.dotted,
        )
    )
    return [LENGTHS.pack(len(head), len(body.trace), len(body.content)) + head + body.trace, body.content]


def unpack(head: bytes, trace: bytes, content: bytes) -> tuple[int, Transaction]:
    """(sequence, transaction). Raises msgspec.DecodeError."""
    handed = _decode_handed(head)
    return handed.sequence, Transaction(
        handed.sender,
        [
            Recipient(
                each.address,
                each.domain,
                notify=Notify(each.notify),
                orcpt=each.orcpt,
                context=each.context,
                event=each.event,
            )
            for each in handed.recipients
        ],
        Body(content, trace, dotted=handed.dotted),
        connection=handed.connection,
        context=handed.context,
        method=handed.method,
        ret=Ret(handed.ret),
        envid=handed.envid,
        smtputf8=handed.smtputf8,
        event=handed.event,
        id=handed.id,
    )


def pack_answer(answer: Answer) -> bytes:
    data = _encode(answer)
    return len(data).to_bytes(LENGTH, "little") + data


def unpack_answer(data: bytes) -> Answer:
    """Raises msgspec.DecodeError."""
    return _decode_answer(data)
