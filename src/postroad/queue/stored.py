"""The envelope and contexts of a transaction as the journal keeps them: MessagePack arrays, what recovery needs first.

Arrays, not maps: a field may be added at the end, and an older reader skips it.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec

from postroad.journal import JOB, Event
from postroad.message import PRIORITY, Body, Context, Message, Notify, Ret, Transaction


class StoredRecipient(msgspec.Struct, array_like=True):
    """job, at: the job that made its message, and its place in that one's list."""

    domain: str
    binding: str
    expires: float
    address: str
    notify: int
    orcpt: str
    context: Context | None
    event: bytes
    priority: str = ""
    subaccount: str = ""
    campaign: str = ""
    job: int = 0
    at: int = 0


class Envelope(msgspec.Struct, array_like=True):
    recipients: list[StoredRecipient]
    sender: str
    ret: int
    envid: str
    smtputf8: bool
    method: str
    connection: Context
    context: Context


_Skipped = msgspec.Raw


class Due(msgspec.Struct, array_like=True):
    """What recovery wants to know of one recipient; the rest of the array is skipped undecoded."""

    domain: str
    binding: str
    expires: float
    address: _Skipped
    notify: _Skipped
    orcpt: _Skipped
    context: _Skipped
    event: _Skipped
    priority: str = ""
    subaccount: str = ""
    campaign: str = ""
    job: int = 0
    at: int = 0


class _Dues(msgspec.Struct, array_like=True):
    recipients: list[Due]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Envelope).decode
_decode_dues = msgspec.msgpack.Decoder(_Dues).decode


def encode(transaction: Transaction, messages: list[Message]) -> bytes:
    """The `meta` of the journal's mail record. messages: one a recipient, in order."""
    subaccount, campaign = (str(transaction.event.get(name) or "") for name in ("subaccount_id", "campaign_id"))
    return _encode(
        Envelope(
            [
                StoredRecipient(
                    *(m.domain, m.binding, m.expires, m.recipient, m.notify, m.orcpt, r.context, m.event),
                    *(m.context.get(PRIORITY, ""), subaccount, campaign, *(r.job or (0, 0))),
                )
                for m, r in zip(messages, transaction.recipients, strict=True)
            ],
            transaction.sender,
            transaction.ret,
            transaction.envid,
            transaction.smtputf8,
            transaction.method,
            transaction.connection,
            transaction.context,
        )
    )


def decode_dues(meta: bytes) -> list[Due]:
    """Raises msgspec.DecodeError when the bytes are not ours."""
    return _decode_dues(meta).recipients


def envelope_of(meta: bytes) -> Envelope:
    """Raises msgspec.DecodeError when the bytes are not ours."""
    return _decode(meta)


# In the members that events repeat it stands before all that an injector gave (events/encode.py); inside of a string
# its quotes would be escaped.
_ROUTED = re.compile(rb',"routing_domain":"[^"]*"')


def rerouted(meta: bytes, slots: Collection[int], binding: str, domain: str) -> bytes:
    """The same with another binding and routing domain (where these are not "") for the recipients in these slots.
    Their events to come tell the new routing domain."""
    envelope = _decode(meta)
    for slot in slots:
        recipient = envelope.recipients[slot]
        recipient.binding = binding or recipient.binding
        if domain:
            recipient.domain = domain
            recipient.event = _ROUTED.sub(b',"routing_domain":' + msgspec.json.encode(domain), recipient.event, 1)
    return _encode(envelope)


def common_event(meta: bytes, index: int) -> tuple[bytes, str, Context]:
    """(members common to the message's events, binding, connection): what a lost injection event is made from again."""
    stored = _decode(meta)
    recipient = stored.recipients[index]
    return recipient.event, recipient.binding, stored.connection


def mark_job(event: Event, meta: bytes, index: int) -> Event:
    """The injection event of a message, made again, with what queue.keep() says in it of the job that made the
    message."""
    job = _decode_dues(meta).recipients[index].job
    if job:
        event.flags |= JOB
        event.next_attempt_ms = job
    return event


def fill(message: Message, meta: bytes, index: int, body: Body | None) -> None:
    """Give a message that was packed its envelope, contexts and body back."""
    stored = _decode(meta)
    recipient = stored.recipients[index]
    message.sender = stored.sender
    message.recipient = recipient.address
    message.domain = recipient.domain
    message.binding = recipient.binding
    message.expires = recipient.expires
    message.notify = Notify(recipient.notify)
    message.orcpt = recipient.orcpt
    message.ret = Ret(stored.ret)
    message.envid = stored.envid
    message.smtputf8 = stored.smtputf8
    message.method = stored.method
    message.connection = stored.connection
    message.context = stored.context | recipient.context if recipient.context else stored.context
    message.event = recipient.event
    message.body = body
