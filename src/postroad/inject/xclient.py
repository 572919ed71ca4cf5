"""The arguments of XCLIENT as Postfix documents it (XCLIENT_README): what a trusted relay knows of its client.

Pure: text in, attributes out, `BadCommand` with the reply to give when the text is wrong.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from postroad.inject import replies
from postroad.inject.commands import BadCommand

_UNKNOWN = frozenset(("[UNAVAILABLE]", "[TEMPUNAVAIL]"))
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})++")
_CODED = re.compile(r"\+([0-9A-Fa-f]{2})")
_WORD = re.compile(r"[!-~]{1,255}")


class Client(NamedTuple):
    """None: not said. "": the relay does not know it. addr: IP address as text. proto: SMTP or ESMTP."""

    name: str | None = None
    addr: str | None = None
    port: str | None = None
    proto: str | None = None
    helo: str | None = None
    login: str | None = None
    destaddr: str | None = None
    destport: str | None = None


def parse_xclient(text: str) -> Client:
    found: dict[str, str] = {}
    for pair in text.split():
        name, parted, value = pair.partition("=")
        name = name.upper()
        if not parted or name not in replies.ATTRIBUTES or name.lower() in found or not _XTEXT.fullmatch(value):
            raise BadCommand(replies.XCLIENT_SYNTAX)
        value = _CODED.sub(lambda match: chr(int(match[1], 16)), value)
        if value.upper() in _UNKNOWN:
            value = ""
        elif not _WORD.fullmatch(value):
            raise BadCommand(replies.XCLIENT_SYNTAX)
        found[name.lower()] = _checked(name, value)
    if not found:
        raise BadCommand(replies.XCLIENT_SYNTAX)
    return Client(**found)


def _checked(name: str, value: str) -> str:
    if not value:
        return value
    if name in ("ADDR", "DESTADDR"):
        literal = value[5:] if value[:5].upper() == "IPV6:" else value
        try:
            return str(ipaddress.ip_address(literal))
        except ValueError:
            raise BadCommand(replies.XCLIENT_SYNTAX) from None
    if name in ("PORT", "DESTPORT") and not (value.isdigit() and len(value) <= 5 and int(value) <= 65_535):
        raise BadCommand(replies.XCLIENT_SYNTAX)
    if name == "PROTO" and value.upper() not in ("SMTP", "ESMTP"):
        raise BadCommand(replies.XCLIENT_SYNTAX)
    return value.upper() if name == "PROTO" else value
