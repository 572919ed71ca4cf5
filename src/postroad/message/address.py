"""Mailboxes as RFC 5321 4.1.2 and RFC 6531 3.3 write them, and the routing domain that queues are named by."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple

import idna

MAX_LOCAL = 64  # octets, RFC 5321 4.5.3.1.1
MAX_DOMAIN = 255  # octets, RFC 5321 4.5.3.1.2
MAX_PATH = 254  # octets: 256 with the angle brackets, RFC 5321 4.5.3.1.3

# atext of RFC 5322 3.2.3, and UTF8-non-ascii of RFC 6531 3.3 (controls C1 left out: no mailbox needs them).
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u00a0-\U0010ffff]+"
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*\Z")
# qtextSMTP / quoted-pairSMTP: printable ASCII only, so that no control character can ride in a quoted local part.
_QUOTED_STRING = re.compile(r'"(?:[ !#-\[\]-~\u00a0-\U0010ffff]|\\[ -~])*"\Z')
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_\-]{0,61}[A-Za-z0-9_])?\Z")


class AddressError(ValueError):
    """The text is not a mailbox. The message says what is wrong with it, fit to be shown to the client."""


class Mailbox(NamedTuple):
    """local and domain as written; routing: the domain in lower-case A-labels, or an address literal "[192.0.2.1]"."""

    local: str
    domain: str
    routing: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"


def parse_mailbox(text: str, *, utf8: bool = True) -> Mailbox:
    """Read `local@domain`, without angle brackets. utf8: non-ASCII is allowed (SMTPUTF8 was asked for).

    Raises AddressError.
    """
    if not utf8 and not text.isascii():
        raise AddressError("the address needs SMTPUTF8")
    octets = len(text) if text.isascii() else _octets(text)
    if octets > MAX_PATH:
        raise AddressError(f"the address is longer than {MAX_PATH} octets")
    # The last @ divides: a quoted local part may hold one, a domain never does.
    local, at, domain = text.rpartition("@")
    if not at:
        raise AddressError("the address has no @")
    if not local:
        raise AddressError("nothing stands before the @")
    if len(local) > MAX_LOCAL or (not local.isascii() and _octets(local) > MAX_LOCAL):
        raise AddressError(f"the local part is longer than {MAX_LOCAL} octets")
    if not _DOT_STRING.match(local) and not _QUOTED_STRING.match(local):
        raise AddressError("the local part is not well formed")
    return Mailbox(local, domain, routing_domain(domain))


def _octets(text: str) -> int:
    """Length in UTF-8. A lone surrogate has none, and no address holds one."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise AddressError("the address is not valid Unicode") from None


@lru_cache(maxsize=65536)
def routing_domain(domain: str) -> str:
    """The name that mail for this domain is queued under: lower case, A-labels (RFC 5890), no final dot; an address
    literal (RFC 5321 4.1.3) in its canonical form. Raises AddressError."""
    if domain.startswith("["):
        return _literal(domain)
    if not domain:
        raise AddressError("nothing stands after the @")
    if domain.isascii():
        name = domain.lower()
    else:
        try:
            name = idna.encode(domain, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise AddressError("the domain is not a valid international name") from None
    if len(name) > MAX_DOMAIN:
        raise AddressError(f"the domain is longer than {MAX_DOMAIN} octets")
    labels = name.split(".")
    if not all(_LABEL.match(label) for label in labels):
        raise AddressError("the domain is not well formed")
    if labels[-1].isdigit():
        raise AddressError("the domain ends in a number; an address literal stands in [brackets]")
    return name


def _literal(domain: str) -> str:
    if not domain.endswith("]"):
        raise AddressError("the address literal has no closing bracket")
    inside = domain[1:-1]
    try:
        if inside[:5].lower() == "ipv6:":
            # "%" would carry a scope id, which means nothing outside the host that wrote it.
            if "%" in inside:
                raise ValueError
            return f"[ipv6:{ipaddress.IPv6Address(inside[5:])}]"
        return f"[{ipaddress.IPv4Address(inside)}]"
    except ValueError:
        raise AddressError("the address literal is not an IP address") from None
