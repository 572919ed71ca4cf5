"""From an accepted envelope and content to the Transaction that is handed to the acceptor, trace fields in front."""

from __future__ import annotations

from postroad.config.schema import ListenerOptions
from postroad.inject.events import Content
from postroad.message import REQUIRE_TLS, Body, Context, Recipient, Transaction, parse_message_id
from postroad.message.header import field
from postroad.message.trace import date_field, message_id_field, received_field


def build_transaction(
    given: Content,
    *,
    options: ListenerOptions,
    connection: Context,
    remote: str,
    helo: str,
    extended: bool,
    hostname: str,
    identifier: str,
    wall: float,
    own: bool = False,
    authenticated: bool = False,
    tls: str = "",
    lmtp: bool = False,
    client_name: str = "",
) -> Transaction:
    """remote: the client's IP address; identifier: this transaction's id as text; wall: Unix seconds now. own: the
    client may send anywhere, by whatever right. tls: "" or version and cipher. client_name: its host
    name, where a relay told."""
    envelope = given.envelope
    number = parse_message_id(identifier)
    event: dict[str, object] = {"transmission_id": str(number)}
    if "subaccount_id" in connection:
        event["subaccount_id"] = connection["subaccount_id"]
    trace = b""
    if options.trace:
        protocol = _protocol(envelope.smtputf8, extended, lmtp, authenticated, tls)
        recipients = envelope.recipients
        trace = received_field(
            helo=helo,
            peer=remote,
            name=client_name,
            tls=tls,
            hostname=hostname,
            protocol=protocol,
            identifier=identifier,
            wall=wall,
            # One of several recipients must not learn of the others here.
            recipient=_ascii_form(recipients[0]) if len(recipients) == 1 else "",
        )
    if (own or options.relay) and options.add_missing:
        trace += _missing_fields(given.content, given.body_start, identifier, hostname, wall)
    return Transaction(
        envelope.sender,
        envelope.recipients,
        Body(given.content, trace, dotted=given.dotted),
        connection=connection,
        context={REQUIRE_TLS: "yes"} if envelope.requiretls else None,
        ret=envelope.ret,
        envid=envelope.envid,
        smtputf8=envelope.smtputf8,
        event=event,
        id=number,
    )


def _protocol(smtputf8: bool, extended: bool, lmtp: bool, authenticated: bool, tls: str) -> str:
    """The word behind "with" (RFC 3848, RFC 6531 4.3): HELO has no such forms, whatever it came over."""
    if not extended:
        return "SMTP"
    name = "LMTP" if lmtp else "SMTP"
    return ("UTF8" if smtputf8 else "" if lmtp else "E") + name + ("S" if tls else "") + ("A" if authenticated else "")


def _ascii_form(recipient: Recipient) -> str:
    """The address, with the ASCII form of its domain where that is all it takes: else our own trace field would demand
    SMTPUTF8 of every host further on, and the message could not reach those that lack it."""
    address = recipient.address
    if address.isascii():
        return address
    local = address.rpartition("@")[0]
    return f"{local}@{recipient.domain}" if local.isascii() else address


def _missing_fields(content: bytes, end: int, identifier: str, hostname: str, wall: float) -> bytes:
    """Date and Message-ID, where a client of ours left them out (RFC 6409 8.2, 8.3)."""
    added = b""
    # Nearly every message has both, spelt so; only where they seem to be missing a pattern looks more closely.
    if content.find(b"\nDate:", 0, end) < 0 and field(content, b"Date", end) is None:
        added += date_field(wall)
    if content.find(b"\nMessage-ID:", 0, end) < 0 and field(content, b"Message-ID", end) is None:
        added += message_id_field(identifier, hostname)
    return added
