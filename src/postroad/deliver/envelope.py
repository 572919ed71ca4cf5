"""MAIL and RCPT for one message, with the parameters that the peer announced (RFC 1870, 6152, 6531, 3461, 8689)."""

from __future__ import annotations

import re
from typing import NamedTuple

from postroad.message import REQUIRE_TLS, Message, Notify, Ret
from postroad.message.address import AddressError, routing_domain
from postroad.message.header import header_end

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+\Z")  # RFC 3461 4
_ORCPT = re.compile(r"[A-Za-z0-9-]+;(?:[!-*,-<>-~]|\+[0-9A-F]{2})+\Z")
_UTF8_ORCPT = re.compile(r"utf-8;[!-<>-~\u00a0-\U0010ffff]+\Z", re.IGNORECASE)  # RFC 6533 3
_RET = {Ret.FULL: " RET=FULL", Ret.HEADERS: " RET=HDRS"}
_NOTIFY_WORDS = ((Notify.SUCCESS, "SUCCESS"), (Notify.FAILURE, "FAILURE"), (Notify.DELAY, "DELAY"))


class Capabilities(NamedTuple):
    """What the peer's EHLO reply offered. size: octets of the largest message, 0 no fixed limit, -1 not announced.

    auth: SASL mechanisms, upper case. starttls and auth wait for TLS policy and credentials to use them.
    """

    pipelining: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    dsn: bool = False
    size: int = -1
    starttls: bool = False
    auth: tuple[str, ...] = ()
    requiretls: bool = False


def parse_capabilities(lines: list[bytes]) -> Capabilities:
    """lines: those of the EHLO reply without code; the first is a greeting. What is not understood is not offered."""
    words: dict[str, list[str]] = {}
    for line in lines[1:]:
        # "AUTH=PLAIN" is how hosts of the last century wrote it, and some still do beside the standard form.
        name, *arguments = line.decode("ascii", "replace").upper().replace("=", " ").split() or [""]
        words.setdefault(name, []).extend(arguments)
    size = words.get("SIZE")
    limit = -1
    if size is not None:
        # More than 20 digits is RFC 1870's own limit; int() of a megabyte of digits would be an attack.
        limit = int(size[0]) if size and size[0].isdecimal() and size[0].isascii() and len(size[0]) <= 20 else 0
    return Capabilities(
        pipelining="PIPELINING" in words,
        eight_bit="8BITMIME" in words,
        smtputf8="SMTPUTF8" in words,
        dsn="DSN" in words,
        size=limit,
        starttls="STARTTLS" in words,
        auth=tuple(words.get("AUTH", ())),
        requiretls="REQUIRETLS" in words,
    )


class NeedsSmtputf8(Exception):
    """The message can't be sent to a host without SMTPUTF8 (RFC 6531 3.5). The argument says what needs it."""


class BadEnvelope(Exception):
    """An address holds a line break: it would be a command of its own. The argument names the place."""


def envelope(message: Message, octets: int, offered: Capabilities) -> tuple[str, str]:
    """The MAIL and the RCPT command, without line ends. octets: the message's size.

    An eight-bit body goes as it is to a host without 8BITMIME: nearly all of them pass it on unharmed, as every large
    MTA relies on, and the conversion RFC 6152 asks for would break signatures. Raises NeedsSmtputf8, BadEnvelope.
    """
    sender = message.sender
    recipient = message.recipient
    utf8 = False
    if message.smtputf8 or not (sender.isascii() and recipient.isascii()):
        sender, recipient, utf8 = _international(message, offered.smtputf8)
    mail = f"MAIL FROM:<{sender}>"
    rcpt = f"RCPT TO:<{recipient}>"
    if offered.size >= 0:
        mail = f"{mail} SIZE={octets}"
    if offered.eight_bit and message.body is not None and message.body.eight_bit:
        mail += " BODY=8BITMIME"
    if utf8:
        mail += " SMTPUTF8"
    if REQUIRE_TLS in message.context:
        mail += " REQUIRETLS"
    if offered.dsn:
        if message.ret or message.envid:
            mail += _mail_dsn(message)
        if message.notify or message.orcpt:
            rcpt += _rcpt_dsn(message, utf8)
    return mail, rcpt


def _international(message: Message, offered: bool) -> tuple[str, str, bool]:
    """Sender, recipient, and whether SMTPUTF8 must be asked for. What is ASCII after all goes as plain mail, so that a
    host further on that knows no SMTPUTF8 can have it too; domains have an ASCII form (RFC 5890)."""
    sender = _ascii_domain(message.sender)
    recipient = _ascii_domain(message.recipient)
    if not sender.isascii():
        what = "the sender's address"
    elif not recipient.isascii():
        what = "the recipient's address"
    elif message.smtputf8 and not _header_is_ascii(message):
        what = "the header"
    else:
        return sender, recipient, False
    if not offered:
        raise NeedsSmtputf8(what)
    return message.sender, message.recipient, True


def _ascii_domain(address: str) -> str:
    local, at, domain = address.rpartition("@")
    if not at or domain.isascii():
        return address
    try:
        return f"{local}@{routing_domain(domain)}"
    except AddressError:
        return address  # it stays non-ASCII, and so needs SMTPUTF8


def _header_is_ascii(message: Message) -> bool:
    body = message.body
    if body is None:
        return True
    return body.trace.isascii() and (not body.eight_bit or body.content[: header_end(body.content)].isascii())


def _mail_dsn(message: Message) -> str:
    text = _RET.get(message.ret, "")
    # ENVID and ORCPT came from a client and are passed on as they came, so only what is well formed goes on.
    if message.envid and _XTEXT.match(message.envid):
        text += f" ENVID={message.envid}"
    return text


def _rcpt_dsn(message: Message, utf8: bool) -> str:
    text = ""
    if message.notify & Notify.NEVER:
        text = " NOTIFY=NEVER"
    elif message.notify:
        text = " NOTIFY=" + ",".join(word for flag, word in _NOTIFY_WORDS if message.notify & flag)
    if message.orcpt and (_ORCPT.match(message.orcpt) or (utf8 and _UTF8_ORCPT.match(message.orcpt))):
        text += f" ORCPT={message.orcpt}"
    return text


def commands(message: Message, octets: int, offered: Capabilities) -> tuple[bytes, bytes]:
    """The MAIL and the RCPT line. Raises NeedsSmtputf8, BadEnvelope."""
    mail, rcpt = envelope(message, octets, offered)
    # Addresses were checked when the message was taken; this is the last place before the wire, and cheap.
    if "\n" in mail or "\r" in mail:
        raise BadEnvelope("the sender's address")
    if "\n" in rcpt or "\r" in rcpt:
        raise BadEnvelope("the recipient's address")
    try:
        return f"{mail}\r\n".encode(), f"{rcpt}\r\n".encode()
    except UnicodeEncodeError:
        raise BadEnvelope("an address") from None
