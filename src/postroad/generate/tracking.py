"""Tracked links, pixels and the List-Unsubscribe of one recipient's message (api.md 4.10, 10.3; RFC 2369, RFC 8058)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from postroad.generate.template import Click
from postroad.message.links import MAX_METADATA, About, Aim, Linked, LinkKeys, Signer

_encode = msgspec.json.Encoder().encode
MAX_URL = 4096  # octets; a longer link is not tracked (api.md 4.10)


class Site(NamedTuple):
    """Where tracked links lead. base: scheme and host, without a slash at the end, as `https://click.example.com`."""

    base: str
    keys: LinkKeys


class Wishes(NamedTuple):
    """What is to be tracked of one recipient. unsubscribe: does the message get a List-Unsubscribe of ours?"""

    clicks: bool = True
    opens: bool = True
    initial: bool = True
    unsubscribe: bool = False


class Trackers(NamedTuple):
    """As members of a Filling."""

    track: Callable[[Click], str | None] | None = None
    top: str = ""
    bottom: str = ""
    unsubscribe: bytes = b""


def trackers(site: Site, about: About, wishes: Wishes) -> Trackers:
    """Raises ValueError when there is more to say of the message than a link holds."""
    signer = site.keys.signer(about)
    return Trackers(
        _clicks(site.base, signer) if wishes.clicks else None,
        _pixel(site.base, signer, Aim.INITIAL_OPEN) if wishes.initial else "",
        _pixel(site.base, signer, Aim.OPEN) if wishes.opens else "",
        _unsubscribe(site.base, signer) if wishes.unsubscribe else b"",
    )


def carried(metadata: object) -> dict[str, Any]:
    """As much of a recipient's metadata as a link carries."""
    if not isinstance(metadata, dict) or not metadata:
        return {}
    room = MAX_METADATA
    found: dict[str, Any] = {}
    for name, value in metadata.items():
        room -= len(_encode(name)) + len(_encode(value)) + 2
        if room < 0:
            break
        found[name] = value
    return found


def _clicks(base: str, signer: Signer) -> Callable[[Click], str | None]:
    start = f"{base}/{Aim.CLICK}/"

    def track(click: Click) -> str | None:
        if len(click.url) > MAX_URL or len(click.url.encode(errors="replace")) > MAX_URL:
            return None
        token = signer.token(Linked("f", click.url, click.name, click.unsubscribe))
        return f"{start}{quote(click.sublink, safe='')}/{token}" if click.sublink else start + token

    return track


def _pixel(base: str, signer: Signer, aim: Aim) -> str:
    token = signer.token(Linked(aim.value))
    return f'<img border="0" width="1" height="1" alt="" src="{base}/{aim.value}/{token}">\n'


def _unsubscribe(base: str, signer: Signer) -> bytes:
    # A URL can't be folded without harm to readers that do not join it; a token is short enough for one line.
    token = signer.token(Linked(Aim.UNSUBSCRIBE.value))
    field = f"List-Unsubscribe: <{base}/{Aim.UNSUBSCRIBE.value}/{token}>\r\n"
    if len(field) > 998:
        return b""
    return field.encode() + b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
