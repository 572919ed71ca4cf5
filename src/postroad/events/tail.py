"""Reading events straight from the journal's files, in any process, whether an engine runs or not."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from typing import Protocol

from msgspec.json import Decoder

from postroad.config.values import parse_duration
from postroad.events.hose import At, Start
from postroad.journal import HoseEvent

_decode = Decoder(dict[str, object]).decode
_UNIX = re.compile(r"@(\d+(?:\.\d+)?)\Z", re.ASCII)
_DIGITS = re.compile(r"\d{1,20}\Z", re.ASCII)


class Reader(Protocol):
    """The part of journal.EventReader that is needed here."""

    def begin(self) -> int: ...

    def end(self) -> int: ...

    def at(self, wall: float) -> int: ...

    def read(self, cursor: int, limit: int = ..., max_bytes: int = ...) -> tuple[list[HoseEvent], int]: ...


def parse_start(text: str, now: float) -> Start:
    """ "begin", "end", a cursor, "@1493050627" (Unix seconds), "2017-04-24T16:17:07Z" (without a zone: UTC), or "2h"
    (that long before `now`). Raises ValueError that says what is possible."""
    if text == "begin":
        return "begin"
    if text == "end":
        return "end"
    if _DIGITS.match(text):
        return int(text)
    if match := _UNIX.match(text):
        return At(float(match[1]))
    try:
        return At(now - parse_duration(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text[:40]!r} is not begin, end, a cursor, @SECONDS, a time such as 2026-01-31T12:00:00Z"
            ' or an age such as "2h"'
        ) from None
    return At((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def find(reader: Reader, start: Start) -> int:
    """The cursor of a start. Raises ValueError for one behind the last event: nothing would ever come from there."""
    match start:
        case "begin":
            return reader.begin()
        case "end":
            return reader.end()
        case At(wall):
            return reader.at(wall)
        case int():
            if start > (end := reader.end()):
                raise ValueError(f"there is no cursor {start}; the last one is {end}")
            return start


def tail(
    reader: Reader, cursor: int, kinds: Collection[int] | None = None, pause: Callable[[], object] | None = None
) -> Iterator[HoseEvent]:
    """Committed events from a cursor on. pause: called when there are no more, before looking again; None: end."""
    while True:
        events, following = reader.read(cursor)
        for event in events:
            if kinds is None or event.kind in kinds:
                yield event
        if following == cursor:
            if pause is None:
                return
            pause()
        cursor = following


def json_line(event: HoseEvent, cursor: str = "") -> bytes:
    """The event as it is stored, with its cursor (`cursor`, if given) as the first member: where to begin to see it
    again. What a terminal might obey is escaped; JSON itself escapes no more than the controls below 32."""
    line = b'{"cursor":"%b",%b' % ((cursor or str(event.cursor)).encode(), event.payload[1:])
    text = line.decode()
    if text.isprintable():
        return line
    return "".join(c if c.isprintable() else _escaped(c) for c in text).encode()


def _escaped(character: str) -> str:
    """RFC 8259 7."""
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def text_line(event: HoseEvent, cursor: str = "") -> str:
    """cursor, time, type, recipient, and what matters most of the rest. Only printable characters: what strangers wrote
    must not command the terminal."""
    members = _decode(event.payload)
    moment = datetime.fromtimestamp(event.time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    head = f"{cursor or event.cursor} {moment} {members.get('type')} {members.get('rcpt_to', '-')}"
    rest = [f"{name}={members[name]}" for name in _SHOWN if name in members]
    for name in ("raw_reason", "remote_reply", "subject"):
        if name in members:
            rest.append(f"{name}={members[name]!r}")
            break
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join([head, *rest]))


_SHOWN = (
    *("message_id", "msg_from", "msg_size", "mx_host", "ip_address", "remote_addr", "num_retries", "queue_time"),
    *("bounce_class", "next_attempt"),
)
