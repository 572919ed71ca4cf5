"""Reading a segment file from front to back, over damage.

A scanner yields windows of records. Where no valid header stands, it looks for the next one: what lies between is a gap
(bytes lost with the power, or damaged). It reads a window at a time, so memory stays bounded whatever the file holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from xxhash import xxh3_64_intdigest

from postroad.journal.disk import File
from postroad.journal.format import (
    EVENT,
    EVENT_CHECKED,
    EVENT_HEADER,
    EVENT_MAGIC,
    FILE_HEADER_SIZE,
    HEADER_SIZE,
    HOMED_MAIL,
    MAGIC_BYTES,
    MAIL,
    MOVED,
    MailHead,
    body_hash,
    read_mail_entries,
    read_mail_head,
    void_size,
)
from postroad.journal.records import LiveRecipient, pack_place

WINDOW = 1 << 20
_ZEROS = bytes(WINDOW)


class Gap(NamedTuple):
    """Bytes in which no record could be found. zeros: they were never written (or lost unsynced)."""

    offset: int
    length: int
    zeros: bool


class EventRow(NamedTuple):
    offset: int
    size: int
    kind: int
    flags: int
    index: int  # type: ignore[assignment]  # hides tuple.index
    length: int
    attempts: int
    message_id: int
    place: int
    next_attempt_ms: int
    time_ms: int
    payload_hash: int


class MailRow(NamedTuple):
    """entries, meta: None when the bytes are not those that were written."""

    offset: int
    size: int
    head: MailHead
    entries: list[LiveRecipient] | None
    meta: bytes | None

    @property
    def moved(self) -> bool:
        return bool(self.head.flags & MOVED)

    @property
    def homed(self) -> bool:
        """It came from another journal, and was announced here as mail that is new."""
        return bool(self.head.flags & HOMED_MAIL)

    @property
    def body_length(self) -> int:
        return self.head.trace_length + self.head.content_length


Row = TypeVar("Row", EventRow, MailRow)


class Window(NamedTuple, Generic[Row]):
    """Records of one piece of the file. data: the bytes of the file from base on."""

    base: int
    data: bytes
    rows: list[Row]


class Scanner(Generic[Row]):
    """gaps: found so far, in order; the last one is the tail behind all records, if it has any length.
    voids: offsets of the void records found so far. end: behind the last record found so far."""

    stream: int

    def __init__(self, file: File, segment: int, salt: int, end: int, start: int = FILE_HEADER_SIZE) -> None:
        """end: where the segment ends for sure (the file's size when nothing better is known)."""
        self.file = file
        self.segment = segment
        self.end = start
        self.gaps: list[Gap] = []
        self.voids: list[int] = []
        self._key = salt ^ pack_place(segment, 0)  # ^ offset gives salt ^ place: the offset is the place's low half
        self._start = start
        self._limit = end

    def _parse(self, data: bytes, pos: int, offset: int) -> Row | int:
        """The record at data[pos:], which stands at this offset of the file. 0: there is none. n: n bytes from pos on
        are needed to tell."""
        raise NotImplementedError

    def windows(self, window: int = WINDOW, *, stop: bool = False) -> Iterator[Window[Row]]:
        """window: bytes read at once. stop: end at the first bytes that are no record, instead of looking further."""
        at, limit, gap, want = self._start, self._limit, -1, window
        magic = MAGIC_BYTES[self.stream]
        while at + HEADER_SIZE <= limit:
            want = min(want, limit - at)
            data = self.file.read(at, want)
            short = len(data) < want  # the file ends before it should
            last = len(data) - HEADER_SIZE
            want = window
            rows: list[Row] = []
            pos = 0
            while pos <= last:
                row = self._parse(data, pos, at + pos)
                if not isinstance(row, int):
                    if gap >= 0:
                        self._close_gap(gap, at + pos)
                        gap = -1
                    rows.append(row)
                    pos += row.size
                elif row > len(data) - pos and not short:
                    want = max(window, row)
                    break
                elif void := void_size(data, pos, self._key ^ (at + pos)):
                    if gap >= 0:
                        self._close_gap(gap, at + pos)
                        gap = -1
                    self.voids.append(at + pos)
                    pos += void
                    self.end = at + pos
                elif stop:
                    short = True
                    break
                else:
                    gap = at + pos if gap < 0 else gap
                    pos = _next_magic(data, magic, pos + 8, last)
            if rows:
                self.end = max(self.end, rows[-1].offset + rows[-1].size)
                yield Window(at, data, rows)
            if short:
                break
            at += pos
        gap = self.end if gap < 0 else gap
        if gap < limit:
            self._close_gap(gap, limit)

    def rows(self, window: int = WINDOW) -> Iterator[Row]:
        for some in self.windows(window):
            yield from some.rows

    def _close_gap(self, start: int, end: int) -> None:
        self.gaps.append(Gap(start, end - start, is_zero(self.file, start, end)))


class EventScanner(Scanner[EventRow]):
    """Headers are checked, payloads are not: see payload()."""

    stream = EVENT

    def _parse(self, data: bytes, pos: int, offset: int) -> EventRow | int:
        fields: tuple[int, ...] = EVENT_HEADER.unpack_from(data, pos)
        magic, kind, flags, index, length, *rest, check = fields
        if magic != EVENT_MAGIC or check != xxh3_64_intdigest(data[pos : pos + EVENT_CHECKED], self._key ^ offset):
            return 0
        size = HEADER_SIZE + (length + 7 & ~7)
        if offset + size > self._limit:
            return 0
        if pos + size > len(data):
            return size
        return EventRow._make((offset, size, kind, flags, index, length, *rest))


def payload(window: Window[EventRow], row: EventRow) -> bytes | None:
    """The event's JSON; None when it is damaged."""
    start = row.offset - window.base + HEADER_SIZE
    data = window.data[start : start + row.length]
    return data if xxh3_64_intdigest(data) == row.payload_hash else None


class MailScanner(Scanner[MailRow]):
    """Headers, entries and meta are checked, bodies are skipped unread: see row_is_whole()."""

    stream = MAIL

    def _parse(self, data: bytes, pos: int, offset: int) -> MailRow | int:
        key = self._key ^ offset
        head = read_mail_head(data, pos, key)
        if head is None:
            return 0
        size, front = head.record_size, head.front_size
        if offset + size > self._limit:
            return 0
        if pos + front + head.meta_length > len(data):
            return front + head.meta_length
        meta = data[pos + front : pos + front + head.meta_length]
        whole = xxh3_64_intdigest(meta) == head.meta_hash
        return MailRow(offset, size, head, read_mail_entries(data, pos, head, key), meta if whole else None)


def row_is_whole(file: File, row: MailRow) -> bool:
    """Is all of the record as it was written? Reads its trace and content."""
    if row.entries is None or row.meta is None:
        return False
    start = row.offset + row.head.front_size + row.head.meta_length
    data = file.read(start, row.body_length)
    trace, content = data[: row.head.trace_length], memoryview(data)[row.head.trace_length :]
    return len(data) == row.body_length and body_hash(trace, content) == row.head.body_hash


def _next_magic(data: bytes, magic: bytes, pos: int, last: int) -> int:
    """Where the next record may begin: at the magic, or behind all that was searched."""
    while True:
        pos = data.find(magic, pos)
        if pos < 0 or pos > last:
            return (last | 7) + 1
        if pos & 7 == 0:
            return pos
        pos += 1


def is_zero(file: File, start: int, end: int) -> bool:
    """Does the file hold nothing but zeros there? What lies behind its end counts as zeros."""
    while start < end:
        data = file.read(start, min(WINDOW, end - start))
        if not data:
            return True
        if data != _ZEROS[: len(data)]:
            return False
        start += len(data)
    return True
