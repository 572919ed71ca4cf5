"""Which mail segments still hold messages that are not done. Counted in memory, rebuilt by recovery."""

from __future__ import annotations

from array import array


class LiveSegment:
    """total, live: messages that its records hold, and those not done. done: ids of those done (8 bytes each), so that
    compaction can tell them apart. sealed: nothing is added any more. counted: total and live are complete."""

    __slots__ = ("counted", "done", "live", "sealed", "total", "tried")

    def __init__(self, *, sealed: bool = False, counted: bool = True) -> None:
        self.total = 0
        self.live = 0
        self.done = array("Q")
        self.sealed = sealed
        self.counted = counted
        self.tried = -1  # live when compaction last found it not worth the work

    @property
    def empty(self) -> bool:
        return self.live <= 0 and self.sealed and self.counted


class LiveTable:
    """segments: by number. doomed: numbers of empty ones, in the order in which they are to be removed. The order
    matters: a segment never goes before one that its moved records were copied from."""

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
        if entry.empty:
            self._doom(segment)

    def left(self, segment: int) -> None:
        """One of its messages was copied to another segment."""
        entry = self.segments[segment]
        entry.live -= 1
        if entry.empty:
            self._doom(segment)

    def seal(self, segment: int) -> None:
        entry = self.segments.setdefault(segment, LiveSegment())
        entry.sealed = True
        if entry.empty:
            self._doom(segment)

    def counted(self, segment: int) -> None:
        """Recovery is through with the segment."""
        entry = self.segments[segment]
        entry.counted = True
        if entry.empty:
            self._doom(segment)

    def _doom(self, segment: int) -> None:
        if segment not in self.doomed:
            self.doomed.append(segment)

    def removed(self, segment: int) -> None:
        self.doomed.remove(segment)
        del self.segments[segment]

    @property
    def messages(self) -> int:
        return sum(entry.live for entry in self.segments.values())
