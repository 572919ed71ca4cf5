"""SPF records: terms of a policy (RFC 7208 4.6, 5, 6)."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from postroad.auth.spf.macros import MacroError, MacroText

_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.\-]*)=(.*)\Z", re.DOTALL)
_MECHANISM = re.compile(r"([+\-?~]?)([A-Za-z][A-Za-z0-9]*)([:/].*)?\Z", re.DOTALL)
_CIDR = re.compile(r"(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?\Z")
_KINDS = frozenset(("all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"))
_MAX_LENGTH = 16384


class RecordError(ValueError):
    """The record breaks the grammar: PermError."""


class Mechanism(NamedTuple):
    """qualifier: one of "+-~?". target: a domain-spec, or None for the domain itself. network: of ip4 and ip6.
    prefix4, prefix6: bits of an address that count, for a and mx."""

    qualifier: str
    kind: str
    target: MacroText | None = None
    network: IPv4Network | IPv6Network | None = None
    prefix4: int = 32
    prefix6: int = 128


class SpfRecord(NamedTuple):
    mechanisms: tuple[Mechanism, ...]
    redirect: MacroText | None = None
    explanation: MacroText | None = None


def is_record(text: bytes) -> bool:
    """Does it claim to be an SPF record of version 1 (RFC 7208 4.5)?"""
    return text[:6].lower() == b"v=spf1" and text[6:7] in (b"", b" ")


def parse_record(raw: bytes) -> SpfRecord:
    """The whole record is read before anything is looked up: an error anywhere spoils it (RFC 7208 4.6). Raises
    RecordError."""
    if not is_record(raw):
        raise RecordError("no v=spf1")
    if len(raw) > _MAX_LENGTH:
        raise RecordError(f"more than {_MAX_LENGTH} octets")
    try:
        text = raw[6:].decode("ascii")
    except UnicodeDecodeError:
        raise RecordError("octets that are not ASCII") from None
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, MacroText] = {}
    for term in text.split(" "):
        if not term:
            continue
        try:
            modifier = _MODIFIER.match(term)
            if modifier is None:
                mechanisms.append(_mechanism(term))
                continue
            name = modifier[1].lower()
            value = MacroText(modifier[2])
        except MacroError as error:
            raise RecordError(f"{term[:60]!r}: {error}") from None
        if name in ("redirect", "exp"):
            if name in modifiers:
                raise RecordError(f"{name}= stands twice")
            if not value.ends_well:
                raise RecordError(f"{term[:60]!r}: no domain")
            modifiers[name] = value
    return SpfRecord(tuple(mechanisms), modifiers.get("redirect"), modifiers.get("exp"))


def _mechanism(term: str) -> Mechanism:
    match = _MECHANISM.match(term)
    if match is None or match[2].lower() not in _KINDS:
        raise RecordError(f"unknown term {term[:60]!r}")
    qualifier, kind, rest = match[1] or "+", match[2].lower(), match[3] or ""
    if kind == "all":
        if rest:
            raise RecordError(f"{term[:60]!r}: all takes nothing")
        return Mechanism(qualifier, kind)
    if kind in ("ip4", "ip6"):
        return Mechanism(qualifier, kind, network=_network(kind, rest, term))
    prefix4, prefix6 = 32, 128
    if kind in ("a", "mx"):
        rest, prefix4, prefix6 = _prefixes(rest, term)
    target = None
    if rest:
        target = MacroText(rest[1:])
        if rest[0] != ":" or not target.ends_well:
            raise RecordError(f"{term[:60]!r}: no domain")
    elif kind in ("include", "exists"):
        raise RecordError(f"{term[:60]!r}: which domain?")
    return Mechanism(qualifier, kind, target, None, prefix4, prefix6)


def _prefixes(rest: str, term: str) -> tuple[str, int, int]:
    """What stands in front of the lengths; the lengths."""
    # The domain may hold slashes, within macros only: the lengths are what stands at the very end.
    begin = len(rest)
    match = re.search(r"(?:/[0-9]+)?(?://[0-9]+)?\Z", rest)
    if match is not None:
        begin = match.start()
    lengths = _CIDR.match(rest[begin:])
    if lengths is None:
        raise RecordError(f"{term[:60]!r}: a bad prefix length")
    prefix4, prefix6 = int(lengths[1] or 32), int(lengths[2] or 128)
    if prefix4 > 32 or prefix6 > 128:
        raise RecordError(f"{term[:60]!r}: a bad prefix length")
    return rest[:begin], prefix4, prefix6


def _network(kind: str, rest: str, term: str) -> IPv4Network | IPv6Network:
    address, slash, length = rest[1:].partition("/")
    bits = 32 if kind == "ip4" else 128
    if rest[:1] != ":" or (slash and not re.fullmatch(r"0|[1-9][0-9]{0,2}", length)) or "%" in address:
        raise RecordError(f"{term[:60]!r}: no network")
    prefix = int(length) if slash else bits
    try:
        if kind == "ip4":
            return IPv4Network((address, prefix), strict=False)
        return IPv6Network((address, prefix), strict=False)
    except ValueError:
        raise RecordError(f"{term[:60]!r}: no network") from None
