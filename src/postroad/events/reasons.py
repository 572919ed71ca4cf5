"""A reply as the `reason` and `raw_reason` of an event: one line, bounded, safe to store, and groupable."""

from __future__ import annotations

import ipaddress
import re

from postroad.message import Reply

MAX_REASON = 1024  # characters; a reply can be long, and every event of a refused campaign repeats it

_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?= |$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?:(?<=IPv6:)|(?<![\w:.]))[0-9A-Fa-f:]{2,39}(?:(?<=\d)(?:\.\d{1,3}){3})?(?![\w:]|\.\d)")


def sound(text: str) -> str:
    """The text without lone surrogates (octets that were no UTF-8), each shown as U+FFFD, so that it can be encoded."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def raw_reason(reply: Reply, internal: bool = False) -> str:
    """Code and text. An internal reply gets the mark [internal] behind its enhanced code, as Momentum writes it."""
    text = sound(_CONTROL.sub(" ", reply.text[: MAX_REASON + 1]))
    if internal and "[internal]" not in text:
        code = _CODE.match(text)
        cut = code.end() if code else 0
        text = f"{text[:cut]} [internal]{text[cut:] if cut else ' ' + text}".strip()
    whole = f"{reply.code} {text}".rstrip()
    return whole if len(whole) <= MAX_REASON else whole[: MAX_REASON - 3] + "..."


def masked(reason: str) -> str:
    """The reason with every IPv4 and IPv6 address written as a.b.c.d."""
    if ":" in reason:  # first: an IPv6 address may end in the dotted form of IPv4
        reason = _IPV6.sub(_mask, reason)
    return _IPV4.sub(_mask, reason)


def _mask(match: re.Match[str]) -> str:
    # The patterns only find candidates: "12:30:00" and "999.1.1.1" are left alone.
    try:
        ipaddress.ip_address(match[0])
    except ValueError:
        return match[0]
    return "a.b.c.d"
