"""How long events are kept: the age and size the options give, what recovery still needs, and where consumers are."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

_LAG_SHARE = 0.8  # of the size limit: a consumer so far behind is about to lose events


class EventSegment(NamedTuple):
    """A sealed event segment. sealed_ms: when its last event was written, Unix milliseconds. low, high: the mail
    segments it tells of (0, 0: none; None: not known)."""

    number: int
    end: int
    sealed_ms: int
    low: int | None
    high: int | None


class Retention:
    """segments: the sealed ones, oldest first. pins: by consumer, the cursor that it reads from next. held_back: the
    lowest and highest mail segment that keep the oldest one beyond its time; (0, 0): none that is known."""

    def __init__(self, keep_ms: int, keep_bytes: int) -> None:
        self.segments: list[EventSegment] = []
        self.pins: dict[str, int] = {}
        self.held_back = (0, 0)
        self._keep_ms = keep_ms
        self._keep_bytes = keep_bytes

    def outdated(self, now_ms: int, mail_segments: Collection[int]) -> list[int]:
        """Numbers of the segments that may go, oldest first. They go from the front only: the header of the first that
        stays carries the balance of all before it.

        A consumer's pin holds a segment beyond its time, but not beyond the size limit: a consumer that nobody runs any
        more must not fill the disk. Nothing but the end of the mail itself frees what recovery needs.
        """
        total = sum(segment.end for segment in self.segments)
        pinned = min(self.pins.values(), default=1 << 63) >> 32
        numbers: list[int] = []
        self.held_back = (0, 0)
        for segment in self.segments:
            too_much = total > self._keep_bytes
            too_old = segment.sealed_ms < now_ms - self._keep_ms and segment.number < pinned
            if not (too_much or too_old):
                break
            if self._needed(segment, mail_segments):
                self.held_back = segment.low or 0, segment.high or 0
                break
            numbers.append(segment.number)
            total -= segment.end
        return numbers

    def _needed(self, segment: EventSegment, mail_segments: Collection[int]) -> bool:
        if segment.low is None or segment.high is None:
            return bool(mail_segments)
        return any(segment.low <= number <= segment.high for number in mail_segments)

    def removed(self, number: int) -> list[str]:
        """Forget the segment. Returns the consumers that lost events by it."""
        self.segments = [segment for segment in self.segments if segment.number != number]
        return [name for name, cursor in self.pins.items() if cursor >> 32 <= number]

    def lagging(self) -> list[str]:
        """Consumers that will soon lose events to the size limit."""
        limit = self._keep_bytes * _LAG_SHARE
        return [
            name
            for name, cursor in self.pins.items()
            if sum(segment.end for segment in self.segments if segment.number >= cursor >> 32) > limit
        ]
