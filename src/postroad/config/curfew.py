"""Times of the week at which no mail is delivered, by the clocks of a time zone. Pure: time is given.

A window begins when the clocks of its zone first show its begin, and ends when they show its end for the last time;
where they are set forward past one of the two, it counts as shown at that moment. So a window that the change of
clocks touches is rather too long than too short.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"(?:([A-Za-z,\-]+) )?(\d\d):(\d\d)-(\d\d):(\d\d) ([A-Za-z0-9_+\-/]{1,64})")
_DAY = timedelta(days=1)
# Windows that touch are one; more of them than this in a row are all week.
_LONGEST = 8 * 86400.0


class Window(NamedTuple):
    """days: weekdays on which it begins, from 0 for Monday. begin, end: minutes of the day; an end at or before the
    begin is one of the next day."""

    days: frozenset[int]
    begin: int
    end: int
    zone: ZoneInfo


def parse_window(text: str) -> Window:
    """ "Mon-Fri 22:00-07:00 Europe/Berlin"; without days it is one of every day. Raises ValueError that says why."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError('must be times and a zone such as "22:00-07:00 Europe/Berlin" or "Sat,Sun 00:00-24:00 UTC"')
    begin = _minutes(match[2], match[3])
    end = _minutes(match[4], match[5])
    if begin == 1440 or begin == end:
        raise ValueError("begins and ends at the same time; a whole day is 00:00-24:00")
    try:
        zone = ZoneInfo(match[6])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"names a time zone that this system does not know: {match[6]}") from None
    return Window(_days(match[1] or "mon-sun"), begin, end, zone)


def _minutes(hour: str, minute: str) -> int:
    total = int(hour) * 60 + int(minute)
    if int(minute) > 59 or total > 1440:
        raise ValueError(f"has a time that no clock shows: {hour}:{minute}")
    return total


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            raise ValueError("has days other than Mon, Tue, Wed, Thu, Fri, Sat and Sun, as in Mon-Fri or Sat,Sun")
        at = _DAYS.index(first)
        length = (_DAYS.index(last) - at) % 7 if dash else 0
        found.update((at + step) % 7 for step in range(length + 1))
    return frozenset(found)


class Curfew:
    """Several windows together."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows = tuple(windows)
        self._from = self._until = 0.0  # the answer of last time counts in between
        self._held: float | None = None

    def until(self, wall: float) -> float | None:
        """When deliveries may begin (Unix seconds), or None when they may now; inf when the windows leave no time.
        wall: Unix seconds."""
        if self._from <= wall < self._until:
            return self._held
        end = wall
        while (later := self._end(end)) is not None:
            end = later
            if end - wall > _LONGEST:
                end = float("inf")
                break
        self._from = wall
        if end > wall:
            self._held, self._until = end, end
        else:
            self._held, self._until = None, self._next(wall)
        return self._held

    def _end(self, wall: float) -> float | None:
        """The latest end of the windows that are open."""
        ends = [end for begin, end in self._near(wall) if begin <= wall < end]
        return max(ends, default=None)

    def _next(self, wall: float) -> float:
        """The next begin of a window, or some time before it."""
        begins = [begin for begin, _ in self._near(wall) if begin > wall]
        return min([*begins, wall + 43200.0])

    def _near(self, wall: float) -> Iterator[tuple[float, float]]:
        """The windows around that time: those of the days before, at and after it."""
        for window in self._windows:
            today = datetime.fromtimestamp(wall, window.zone).date()
            for day in (today - _DAY, today, today + _DAY):
                if day.weekday() in window.days:
                    yield (
                        _shown(day, window.begin, window.zone, 0),
                        _shown(day if window.end > window.begin else day + _DAY, window.end, window.zone, 1),
                    )


def _shown(day: date, minute: int, zone: ZoneInfo, fold: int) -> float:
    """When the clocks show this time of that day: for the first time (fold 0) or the last (1)."""
    if minute == 1440:
        day, minute = day + _DAY, 0
    local = datetime.combine(day, time(minute // 60, minute % 60, fold=fold), zone)
    instant = local.timestamp()
    back = datetime.fromtimestamp(instant, zone)
    if back.replace(tzinfo=None, fold=0) == local.replace(tzinfo=None, fold=0):
        return instant
    # The clocks are set forward past it: the moment at which that happens lies between the two readings.
    low, high = sorted(local.replace(fold=each).timestamp() for each in (0, 1))
    before = _offset(low - 1, zone)
    low -= 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
    return high


def _offset(wall: float, zone: ZoneInfo) -> timedelta | None:
    return datetime.fromtimestamp(wall, UTC).astimezone(zone).utcoffset()


@lru_cache(maxsize=1024)
def curfew(texts: tuple[str, ...]) -> Curfew | None:
    """None when there are no windows. Raises ValueError."""
    return Curfew([parse_window(text) for text in texts]) if texts else None
