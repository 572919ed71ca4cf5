"""Links that may be tracked, compiled."""

from __future__ import annotations

import html as markup
from typing import NamedTuple

from postroad.generate.template.frame import Act, Click, Frame

_NAME_OCTETS = 63  # of a link's name


class LinkParts(NamedTuple):
    """A link in compiled form. name and sublink: what writes them, or their text."""

    url: str | Act
    name: str | Act
    sublink: str | Act
    unsubscribe: bool
    number: int


def _written(frame: Frame, part: str | Act) -> str:
    if isinstance(part, str):
        return part
    outer = frame.out
    frame.out = []
    part(frame)
    text = "".join(frame.out)
    frame.out = outer
    return text


def named(name: str) -> str:
    """A link's name, cut between characters."""
    octets = name.encode("utf-8", "replace")
    if len(octets) <= _NAME_OCTETS:
        return name or "Raw URL"
    return octets[:_NAME_OCTETS].decode("utf-8", "ignore")


def link(parts: LinkParts, *, html: bool, at: int) -> Act:
    """A link that may be tracked. Its address stands escaped in html, and is handed on as it is meant."""
    ready: Click | None = None
    if isinstance(parts.url, str) and isinstance(parts.name, str) and isinstance(parts.sublink, str):
        url = markup.unescape(parts.url) if html else parts.url
        name = markup.unescape(parts.name) if html else parts.name
        ready = Click(url, named(name), parts.unsubscribe, parts.sublink, parts.number)

    def act(frame: Frame) -> None:
        written = _written(frame, parts.url)
        # What varies is counted where it is written.
        counted = 0 if isinstance(parts.url, str) else len(written)
        if frame.track is not None:
            click = ready
            if click is None or frame.level:
                name, sublink = _written(frame, parts.name), _written(frame, parts.sublink)
                address = markup.unescape(written) if html else written
                if html:
                    name = markup.unescape(name)
                number = parts.number if not frame.level else -1
                click = Click(address, named(name), parts.unsubscribe, sublink, number)
            found = frame.track(click)
            if found is not None:
                written = markup.escape(found) if html else found
        frame.spend(0, max(len(written) - counted, 0), at)
        frame.out.append(written)

    return act
