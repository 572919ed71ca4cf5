"""Reading single mail records, and reading the event stream by cursor. All of it blocks, and any thread may do it.

`EventReader` needs nothing but the files, so another process may follow the events of a running engine.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from postroad.journal.catalog import Segment, read_stream, segment_name
from postroad.journal.disk import Disk, File, OsDisk
from postroad.journal.errors import JournalDamaged, JournalError
from postroad.journal.format import (
    EVENT,
    FILE_HEADER_SIZE,
    HEADER_SIZE,
    MAIL,
    FileHeader,
    body_hash,
    read_mail_entries,
    read_mail_head,
)
from postroad.journal.records import HoseEvent, StoredMail, pack_place, split_place
from postroad.journal.scan import WINDOW, EventScanner, payload

_OPEN_FILES = 64
_FIRST_READ = 16 << 10


class MailReader:
    """Reads mail by place, and keeps the files it read last open."""

    def __init__(self, disk: Disk, directory: Path, salt: int) -> None:
        self._disk = disk
        self._directory = directory
        self._salt = salt
        self._lock = Lock()
        self._files: OrderedDict[int, File] = OrderedDict()

    def read(self, place: int) -> StoredMail:
        """Raises JournalDamaged when the record is not as it was written, JournalError when it can't be read."""
        segment, offset = split_place(place)
        try:
            return self._read(segment, offset)
        except OSError as error:
            raise JournalError(f"mail segment {segment}, offset {offset}, can't be read: {error}") from error

    def _read(self, segment: int, offset: int) -> StoredMail:
        where = f"mail segment {segment}, offset {offset}"
        key = self._salt ^ pack_place(segment, offset)
        file = self._open(segment)
        data = file.read(offset, _FIRST_READ)
        head = read_mail_head(data, 0, key) if len(data) >= HEADER_SIZE else None
        if head is None:
            raise JournalDamaged(f"{where}: there is no valid mail record")
        if head.record_size > len(data):
            data += file.read(offset + len(data), head.record_size - len(data))
        entries = read_mail_entries(data, 0, head, key)
        if entries is None:
            raise JournalDamaged(f"{where}: the message ids are damaged")
        trace_at = head.front_size + head.meta_length
        content_at = trace_at + head.trace_length
        meta = data[head.front_size : trace_at]
        if xxh3_64_intdigest(meta) != head.meta_hash:
            raise JournalDamaged(f"{where}: the message's envelope is damaged")
        trace, content = data[trace_at:content_at], data[content_at : content_at + head.content_length]
        if body_hash(trace, content) != head.body_hash:
            raise JournalDamaged(f"{where}: the message's content is damaged")
        return StoredMail(
            [entry.message_id for entry in entries],
            [entry.index for entry in entries],
            head.received_ms,
            meta,
            trace,
            content,
        )

    def _open(self, segment: int) -> File:
        with self._lock:
            file = self._files.get(segment)
            if file is None:
                file = self._disk.open(self._directory / segment_name(MAIL, segment))
                self._files[segment] = file
                if len(self._files) > _OPEN_FILES:
                    self._files.popitem(last=False)
            else:
                self._files.move_to_end(segment)
            return file

    def forget(self, segment: int) -> None:
        """The segment is removed; its room on the disk comes free once no reader is midway in it."""
        with self._lock:
            self._files.pop(segment, None)


class _View(NamedTuple):
    """The event segments as they were at some moment. numbers: rising."""

    numbers: list[int]
    segments: dict[int, Segment]
    salt: int


class EventReader:
    """Reads events by cursor from the files of a journal.

    Without `committed`, the last segment is read as far as it is written; those events may be a moment ahead of their
    commit, so an observer may see one that a power cut then takes back.
    """

    def __init__(self, directory: Path, disk: Disk | None = None, committed: Callable[[], int] | None = None) -> None:
        """committed: the cursor behind the last committed event."""
        self._directory = directory
        self._disk: Disk = disk if disk is not None else OsDisk()
        self._committed = committed
        self._lock = Lock()
        self._headers: dict[int, FileHeader] = {}
        self._view = _View([], {}, 0)  # replaced as a whole: other threads may be reading by it

    def begin(self) -> int:
        """Cursor of the first event that is still kept."""
        numbers = self._refresh().numbers
        return pack_place(numbers[0], FILE_HEADER_SIZE) if numbers else 0

    def end(self) -> int:
        """Cursor behind the last event."""
        if self._committed is not None:
            return self._committed()
        view = self._refresh()
        if not view.numbers:
            return 0
        last = view.numbers[-1]
        scanner = self._scanner(view, last, FILE_HEADER_SIZE)
        for _ in scanner.windows(stop=True):
            pass
        return pack_place(last, scanner.end)

    def at(self, wall: float) -> int:
        """Cursor of the first event at or after this moment (Unix seconds)."""
        view = self._refresh()
        moment = int(wall * 1000)
        # Passing over segments that were followed by another one before the moment.
        headers = [view.segments[number].header for number in view.numbers]
        created = [header.created_ms if header is not None else 0 for header in headers]
        first = max((at for at, begun_ms in enumerate(created) if begun_ms and begun_ms <= moment), default=0)
        for number in view.numbers[first:]:
            for row in self._scanner(view, number, FILE_HEADER_SIZE).rows():
                if row.time_ms >= moment:
                    return pack_place(number, row.offset)
        return self.end()

    def read(self, cursor: int, limit: int = 1000, max_bytes: int = 1 << 20) -> tuple[list[HoseEvent], int]:
        """Up to limit events with up to max_bytes of payload (but at least one, if there is any) from cursor on, and
        the cursor for the next call. A cursor before begin() reads from there; one behind the end reads nothing."""
        events: list[HoseEvent] = []
        stop = self._committed() if self._committed is not None else None
        view = self._view
        fresh = False
        while stop is None or cursor < stop:
            number, offset = split_place(cursor)
            if number not in view.segments or offset >= view.segments[number].end:
                view = self._refresh()
            at = bisect_left(view.numbers, number)
            if at == len(view.numbers):
                break
            if view.numbers[at] != number:
                cursor = pack_place(view.numbers[at], FILE_HEADER_SIZE)
                continue
            if not view.segments[number].sealed and not fresh and (stop is None or stop >> 32 > number):
                # Sealed since we looked? What a failed write left behind its end was written again in the next one.
                view = self._refresh()
                if number not in view.segments:
                    continue
            try:
                after, full = self._read_segment(view, number, offset, stop, limit, max_bytes, events)
            except FileNotFoundError:
                view = self._refresh()  # the segment's time ran out
                continue
            if full:
                return events, after
            segment = view.segments[number]
            if segment.sealed and split_place(after)[1] >= segment.end and at + 1 < len(view.numbers):
                after = pack_place(view.numbers[at + 1], FILE_HEADER_SIZE)
            if after == cursor:
                if fresh:
                    break
                view = self._refresh()  # has a new segment been begun since?
            fresh = after == cursor
            cursor = after
        return events, cursor

    def _read_segment(
        self,
        view: _View,
        number: int,
        offset: int,
        stop: int | None,
        limit: int,
        max_bytes: int,
        events: list[HoseEvent],
    ) -> tuple[int, bool]:
        """Append what the segment has. Returns the cursor behind it, and whether the caller has enough."""
        segment = view.segments[number]
        end = segment.end
        if not segment.sealed and stop is not None:
            end = split_place(stop)[1] if stop >> 32 == number else end
        room = max_bytes - sum(len(event.payload) for event in events)
        scanner = self._scanner(view, number, offset, end)
        # A follower that is up to date mostly finds a few events: don't read a megabyte to learn so.
        window = min(WINDOW, max(max_bytes, 1 << 16)) if limit > 64 else 1 << 16
        for some in scanner.windows(window, stop=not segment.sealed):
            for row in some.rows:
                data = payload(some, row)
                if not data:
                    continue  # bookkeeping; or damaged, which `journal check` tells
                if events and len(data) > room:
                    return pack_place(number, row.offset), True
                room -= len(data)
                following = pack_place(number, row.offset + row.size)
                cursor = pack_place(number, row.offset)
                events.append(HoseEvent(cursor, following, row.message_id, row.kind, row.flags, row.time_ms, data))
                if len(events) >= limit:
                    return following, True
        return pack_place(number, max(segment.end if segment.sealed else scanner.end, offset)), False

    def _scanner(self, view: _View, number: int, start: int, end: int | None = None) -> EventScanner:
        segment = view.segments[number]
        file = self._disk.open(self._directory / segment.name)
        if end is None:
            end = segment.end if segment.sealed else file.size()
        return EventScanner(file, number, view.salt, end, start)

    def _refresh(self) -> _View:
        """Learn which segments there are now."""
        with self._lock:
            stream = read_stream(self._disk, self._directory, EVENT, self._headers)
            segments = {segment.number: segment for segment in stream.segments}
            self._view = _View(list(segments), segments, stream.salt or 0)
            return self._view
