"""Macro strings of SPF (RFC 7208 7): `%{ir}.%{v}._spf.%{d2}`."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple
from urllib.parse import quote

_EXPAND = re.compile(r"%(?:\{([A-Za-z])([0-9]*)([rR]?)([.\-+,/_=]*)\}|([%_\-]))")
_LITERAL = re.compile(r"[\x21-\x24\x26-\x7e]+")
_LITERAL_OR_SPACE = re.compile(r"[\x20-\x24\x26-\x7e]+")
_SPECIAL = {"%": "%", "_": " ", "-": "%20"}
_LETTERS = "slodiphv"
_EXPLAIN_LETTERS = "crt"


class MacroError(ValueError):
    """A macro string that breaks the grammar."""


class Sender(NamedTuple):
    """What macros speak of. address: the client's; local, domain: of MAIL FROM, `postmaster` and the HELO name where it
    is empty; helo: as given. receiver: our name; now: seconds since 1970."""

    address: IPv4Address | IPv6Address
    local: str
    domain: str
    helo: str
    receiver: str = "unknown"
    now: int = 0


class _Macro(NamedTuple):
    letter: str
    keep: int  # labels from the right; 0 is all
    reverse: bool
    delimiters: str


class MacroText:
    """A parsed macro string. explanation: of an exp= text, where spaces and the letters c, r and t may stand too.
    Raises MacroError."""

    def __init__(self, text: str, *, explanation: bool = False) -> None:
        self.text = text
        self._parts: list[str | _Macro] = []
        literal = _LITERAL_OR_SPACE if explanation else _LITERAL
        at = 0
        while at < len(text):
            match = literal.match(text, at)
            if match is not None:
                self._parts.append(match[0])
            else:
                match = _EXPAND.match(text, at)
                if match is None:
                    raise MacroError(f"a bad macro at {text[at : at + 20]!r}")
                self._parts.append(_SPECIAL[match[5]] if match[5] else _macro(match, explanation))
            at = match.end()

    @property
    def wants_name(self) -> bool:
        """Does %{p} stand in it, which costs look-ups?"""
        return any(isinstance(part, _Macro) and part.letter.lower() == "p" for part in self._parts)

    @property
    def ends_well(self) -> bool:
        """Is it a domain-spec (RFC 7208 7.1): does it end in a macro, or in a label that could be a top one's?"""
        if not self._parts:
            return False
        last = self._parts[-1]
        if isinstance(last, _Macro):
            return True
        if self.text.endswith(("%%", "%_", "%-")):
            return True
        label = last.removesuffix(".").rpartition(".")[2]
        whole = "." in last.removesuffix(".")
        return whole and _is_top_label(label)

    def expand(self, sender: Sender, domain: str, name: str = "unknown") -> str:
        """domain: the one being checked; name: the validated name of the client, for %{p}."""
        return "".join(part if isinstance(part, str) else _expand(part, sender, domain, name) for part in self._parts)

    def domain(self, sender: Sender, domain: str, name: str = "unknown") -> str:
        """As a name to look up: labels cut from the left until it fits 253 octets (RFC 7208 7.3), no final dot."""
        text = self.expand(sender, domain, name).removesuffix(".")
        while len(text) > 253:
            _, dot, rest = text.partition(".")
            if not dot:
                break
            text = rest
        return text


def _is_top_label(label: str) -> bool:
    if not label or not label.replace("-", "").isalnum() or label.startswith("-") or label.endswith("-"):
        return False
    return not label.isdigit()


def _macro(match: re.Match[str], explanation: bool) -> _Macro:
    letter = match[1]
    if letter.lower() not in _LETTERS and not (explanation and letter.lower() in _EXPLAIN_LETTERS):
        raise MacroError(f"there is no macro %{{{letter}}}")
    keep = 0
    if match[2]:
        keep = int(match[2][:4])
        if not keep:
            raise MacroError("a macro keeps no label")
    return _Macro(letter, keep, bool(match[3]), match[4])


def _expand(macro: _Macro, sender: Sender, domain: str, name: str) -> str:
    value = _value(macro.letter.lower(), sender, domain, name)
    if macro.keep or macro.reverse or macro.delimiters:
        parts = re.split(f"[{re.escape(macro.delimiters or '.')}]", value)
        if macro.reverse:
            parts.reverse()
        value = ".".join(parts[-macro.keep :] if macro.keep else parts)
    return quote(value, safe="-._~") if macro.letter.isupper() else value


def _value(letter: str, sender: Sender, domain: str, name: str) -> str:
    match letter:
        case "s":
            return f"{sender.local}@{sender.domain}"
        case "l":
            return sender.local
        case "o":
            return sender.domain
        case "d":
            return domain
        case "i":
            if isinstance(sender.address, IPv6Address):
                return ".".join(sender.address.exploded.replace(":", "").upper())
            return str(sender.address)
        case "p":
            return name
        case "v":
            return "in-addr" if isinstance(sender.address, IPv4Address) else "ip6"
        case "h":
            return sender.helo
        case "c":
            return str(ipaddress.ip_address(sender.address))
        case "r":
            return sender.receiver
        case _:
            return str(sender.now)
