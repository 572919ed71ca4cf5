"""The events of several journals as one stream, the earliest first. Its cursor tells where each journal stands, as
"0:CURSOR,1:CURSOR"; that of one journal 0 alone is its plain number."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from postroad.events.hose import Start
from postroad.events.tail import Reader, find, parse_start
from postroad.journal import HoseEvent

_CURSORS = re.compile(r"\d{1,2}:\d{1,20}(,\d{1,2}:\d{1,20})*\Z", re.ASCII)


class Placed(NamedTuple):
    """cursor: of the whole stream; reading from it begins with this event."""

    event: HoseEvent
    cursor: str


def parse_starts(text: str, now: float) -> Start | dict[int, int]:
    """As events.parse_start, or a cursor of several journals. Raises ValueError."""
    if _CURSORS.match(text):
        pairs = (part.split(":") for part in text.split(","))
        return {int(journal): int(cursor) for journal, cursor in pairs}
    return parse_start(text, now)


def find_all(readers: Mapping[int, Reader], start: Start | dict[int, int]) -> dict[int, int]:
    """The cursor in each journal. A journal that came to be after the cursor was given is read from its begin. Raises
    ValueError."""
    if isinstance(start, dict):
        return {number: find(reader, start.get(number, "begin")) for number, reader in readers.items()}
    if isinstance(start, int) and readers.keys() != {0}:
        raise ValueError(f'there are {len(readers)} journals: a cursor names each, as "0:{start},1:..."')
    return {number: find(reader, start) for number, reader in readers.items()}


def tail_all(
    readers: Mapping[int, Reader],
    cursors: Mapping[int, int],
    kinds: Collection[int] | None = None,
    pause: Callable[[], object] | None = None,
) -> Iterator[Placed]:
    """Committed events from the cursors on. pause: called when there are no more, before looking again; None: end. An
    event that another journal commits late may come after later ones; none is left out."""
    heads: dict[int, deque[HoseEvent]] = {number: deque() for number in readers}
    following = dict(cursors)
    ends = dict(cursors)  # behind what was read of each
    while True:
        more = False
        for number, reader in readers.items():
            if not heads[number]:
                events, after = reader.read(following[number])
                more = more or after != following[number]
                if not events:
                    following[number] = after
                heads[number].extend(events)
                ends[number] = after
        waiting = [number for number in readers if heads[number]]
        if not waiting:
            if not more:
                if pause is None:
                    return
                pause()
            continue
        number = min(waiting, key=lambda each: (heads[each][0].time_ms, each))
        event = heads[number].popleft()
        following[number] = event.cursor
        if kinds is None or event.kind in kinds:
            yield Placed(event, _text(following))
        following[number] = heads[number][0].cursor if heads[number] else ends[number]


def _text(cursors: Mapping[int, int]) -> str:
    if cursors.keys() == {0}:
        return str(cursors[0])
    return ",".join(f"{number}:{cursor}" for number, cursor in cursors.items())
