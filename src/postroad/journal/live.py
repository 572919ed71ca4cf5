"""Which mail segments still hold messages that are not done. Counted in memory, rebuilt by recovery."""

from __future__ import annotations

from array import array


class LiveSegment:
    """total, live: messages that its records hold, and those not done. done: ids of those done or moved away (8 bytes
    each), so that compaction can tell them apart.

    sealed: nothing is added any more. counted: total and live are complete. origins: segments that messages of this one
    were copied from. It must not go before them: without the copy, the original would count again.
    """

    __slots__ = ("counted", "done", "live", "origins", "sealed", "total", "tried")

    def __init__(self, *, sealed: bool = False, counted: bool = True) -> None:
        self.total = 0
        self.live = 0
        self.done = array("Q")
        self.sealed = sealed
        self.counted = counted
        self.origins: set[int] = set()
        self.tried = -1  # live when compaction last found it not worth the work

    @property
    def empty(self) -> bool:
        return self.live <= 0 and self.sealed and self.counted


class LiveTable:
    """segments: by number. doomed: numbers of those that can be removed, in the order in which they must be."""

    def __init__(self) -> None:
        self.segments: dict[int, LiveSegment] = {}
        self.doomed: list[int] = []

    def add(self, segment: int, messages: int) -> None:
        entry = self.segments.get(segment)
        if entry is None:
            entry = self.segments[segment] = LiveSegment()
        entry.total += messages
        entry.live += messages

    def ended(self, segment: int, message_id: int) -> None:
        entry = self.segments.get(segment)
        if entry is None:
            return  # the segment went already: all its messages had ended
        entry.live -= 1
        entry.done.append(message_id)
        if entry.live <= 0:
            self.review(segment)

    def moved(self, segment: int, message_id: int, to: int) -> None:
        """A message of the segment was copied to another."""
        self.segments[to].origins.add(segment)
        self.ended(segment, message_id)

    def seal(self, segment: int) -> None:
        self.segments.setdefault(segment, LiveSegment()).sealed = True
        self.review(segment)

    def removed(self, segment: int) -> None:
        self.doomed.remove(segment)
        del self.segments[segment]
        for number, entry in self.segments.items():
            if segment in entry.origins:
                entry.origins.discard(segment)
                self.review(number)

    def review(self, segment: int) -> None:
        """Doom the segment if nothing needs it any more. It may be gone already: mail goes out during recovery."""
        entry = self.segments.get(segment)
        if entry is not None and entry.empty and entry.origins.isdisjoint(self.segments) and segment not in self.doomed:
            self.doomed.append(segment)

    @property
    def messages(self) -> int:
        return sum(entry.live for entry in self.segments.values())
