"""Messages that were accepted and stand in no record whose ids can be read: the events alone still name them.

Normally there is none, and nobody looks: that accepted = terminal + live shows it. Where the sum is not right, or a
record's ids are damaged, the events are read once more, for those about places where no record can be read.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from postroad.journal.catalog import Segment
from postroad.journal.disk import Disk
from postroad.journal.format import FILE_HEADER_SIZE
from postroad.journal.records import ACCEPTED, STATE, TERMINAL, Damage, pack_place, split_place
from postroad.journal.scan import EventRow, EventScanner, MailRow

_SEGMENT_END = 1 << 32  # no offset is as large


class Records:
    """Which parts of the mail segments hold records with readable ids, learned from one pass over all of them.

    moved: ids in compaction's copies, 8 bytes each. Events may name such a message by a place that is gone.
    """

    def __init__(self) -> None:
        self.moved = array("Q")
        self._holes: dict[int, list[tuple[int, int]]] = {}  # by segment: (start, end)
        self._behind = FILE_HEADER_SIZE

    def begin(self, segment: int) -> None:
        self._holes[segment] = []
        self._behind = FILE_HEADER_SIZE

    def saw(self, segment: int, row: MailRow) -> None:
        """A record of the segment begun last, in the order of the file."""
        if row.entries is None:
            return
        if row.offset > self._behind:
            self._holes[segment].append((self._behind, row.offset))
        self._behind = row.offset + row.size

    def end(self, segment: int) -> None:
        self._holes[segment].append((self._behind, _SEGMENT_END))

    def in_segment(self, place: int) -> bool:
        """Does the place's segment exist?"""
        return place >> 32 in self._holes

    def readable(self, place: int) -> bool:
        segment, offset = split_place(place)
        holes = self._holes.get(segment)
        return holes is not None and not any(start <= offset < end for start, end in holes)


class Search:
    """found: (place, message id, index) of the nameless messages, rising; complete when run() is through."""

    def __init__(self, disk: Disk, directory: Path, salt: int, records: Records) -> None:
        self.found: list[tuple[int, int, int]] = []
        self._disk = disk
        self._directory = directory
        self._salt = salt
        self._records = records
        self._open: dict[int, tuple[int, int]] = {}  # message id: place, index

    def run(self, segments: list[Segment], done: set[int], window: int, missed: int) -> Iterator[None]:
        """segments: all event segments kept. done: ids known to have ended. window: bytes between two turns.
        missed: accepted - terminal - live."""
        for segment in segments:
            file = self._disk.open(self._directory / segment.name)
            for some in EventScanner(file, segment.number, self._salt, segment.end).windows(window):
                self._look_at(some.rows)
                yield
        for message_id in self._records.moved:
            self._open.pop(message_id, None)
        lost = {(place, one, index) for one, (place, index) in self._open.items() if one not in done}
        # Where the whole segment is gone, the message may have ended, and only its TERMINAL event be damaged. The
        # headers' counts know better.
        here = {entry for entry in lost if self._records.in_segment(entry[0])}
        self.found = sorted(lost if len(lost) <= missed else here)

    def _look_at(self, rows: Iterable[EventRow]) -> None:
        for row in rows:
            if row.flags & TERMINAL:
                self._open.pop(row.message_id, None)
            elif row.flags & (ACCEPTED | STATE) and row.place and not self._records.readable(row.place):
                self._open[row.message_id] = row.place, row.index

    def damage(self, known: Iterable[Damage]) -> list[Damage]:
        """What to report. known: damage of mail records whose ids could not be read; these are named where they begin
        with the message's place."""
        reports = {pack_place(one.segment, one.offset): one for one in known}
        for place, entries in groupby(self.found, lambda entry: entry[0]):
            _, ids, indexes = zip(*entries, strict=True)
            segment, offset = split_place(place)
            report = reports.get(place)
            if report is None:
                report = Damage("mail", segment, offset, 0, "there is no record of accepted messages")
            reports[place] = report._replace(place=place, ids=ids, indexes=indexes)
        return list(reports.values())
