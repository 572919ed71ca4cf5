"""The texts of `routes`: where mail goes, in the words of an operator (momentum.md 4.4). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl

OWN_MX = "__mx__"
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::(\d{1,5}))?")


class Way(NamedTuple):
    """host: a name, an IP address without brackets, the path of a Unix socket, or OWN_MX, the hosts of the domain
    itself. port: 0 for the one that is usual on the path. mx: the MX of the host, not the host. preference: the lowest
    first; equal ones share the mail."""

    host: str
    port: int
    mx: bool
    preference: int


def parse_way(text: str, position: int) -> Way:
    """ "HOST", "HOST:PORT", "[IPv6]:PORT", "unix:/path", "__mx__", each with "?pref=N" and "?type=mx", and with
    "smtp://" in front or not. position: in the list, from 0; the preference of what gives none. Raises ValueError."""
    place, _, query = text.removeprefix("smtp://").partition("?")
    preference, mx = position, False
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "pref" and re.fullmatch(r"\d{1,5}", value):
            preference = int(value)
        elif name == "type" and value in ("mx", "a"):
            mx = value == "mx"
        else:
            raise ValueError(f'"{name}={value}" is neither pref=NUMBER nor type=mx or type=a')
    if place == OWN_MX and mx:
        raise ValueError("__mx__ is the MX of the domain already: no type")
    if place == OWN_MX:
        return Way(OWN_MX, 0, False, preference)
    if place.startswith("unix:/") and not mx:
        return Way(place.removeprefix("unix:"), 0, False, preference)
    match = _PLACE.fullmatch(place)
    if match is None:
        raise ValueError('must be HOST, HOST:PORT, [IPv6]:PORT, unix:/path or __mx__, with "?pref=N&type=mx" or not')
    port = 0 if match[2] is None else int(match[2])
    if match[2] is not None and not 0 < port < 65536:
        raise ValueError(f"port {match[2]} can't be connected to")
    return Way(match[1].strip("[]"), port, mx, preference)


def parse_ways(texts: list[str]) -> list[Way]:
    """Raises ValueError."""
    return [parse_way(text, position) for position, text in enumerate(texts)]
