"""The end of a stream, where records are added: the segment being filled and a spare one ready behind it.

Only one thread at a time works with a tail (the committer's). After a failed write or sync nothing is tried again on
the same file, because a second fsync may report success for pages that the first one lost. The segment ends where it
was good, the next one's header says so, and the records go there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from postroad.journal.catalog import segment_name
from postroad.journal.disk import Disk, File
from postroad.journal.format import (
    EVENT,
    FILE_HEADER_SIZE,
    MAIL,
    FileHeader,
    MovedMail,
    event_size,
    mail_size,
    pack_event,
    pack_mail,
)
from postroad.journal.records import ACCEPTED, HOMED, TERMINAL, Event, Mail, pack_place

R = TypeVar("R")


class Setting(NamedTuple):
    """What both tails need to know. sync: kept records survive a power cut. wall: Unix seconds."""

    disk: Disk
    directory: Path
    segment_size: int
    sync: bool
    engine: int
    salt: int
    wall: Callable[[], float]


class Sealed(NamedTuple):
    segment: int
    end: int
    created_ms: int


class Tail(Generic[R]):
    """segment: number of the current one (0: none begun yet). end: where its next record goes."""

    stream: int

    def __init__(self, setting: Setting, *, highest: int, previous: int, previous_end: int) -> None:
        """highest: largest segment number in use. previous, previous_end: the last segment so far, and its end."""
        self._set = setting
        self._highest = highest
        self._previous = previous
        self._previous_end = previous_end
        self._file: File | None = None
        self._size = 0
        self._spare: tuple[int, File] | None = None
        self._junk: list[int] = []
        self._untrimmed: list[tuple[int, int, File]] = []
        self.segment = 0
        self.end = 0
        self.created_ms = 0
        self.sealed: list[Sealed] = []  # since the owner last took them

    @property
    def cursor(self) -> int:
        """Segment and offset behind the last record kept."""
        if not self.segment:
            return pack_place(self._previous, self._previous_end)
        return pack_place(self.segment, self.end)

    # What differs between the streams.

    def _record_size(self, record: R) -> int:
        raise NotImplementedError

    def _pack(self, record: R, place: int) -> list[bytes]:
        raise NotImplementedError

    def _kept(self, records: Sequence[R]) -> None:
        """These were written, and synced where that is wanted."""

    def _header(self, segment: int, created_ms: int) -> FileHeader:
        return FileHeader(
            self.stream, self._set.engine, segment, self._previous, self._previous_end, created_ms, self._set.salt
        )

    # Adding records.

    def write(self, records: Sequence[R]) -> tuple[list[int], OSError | None]:
        """Add the records in order. Returns the places of those kept (from the front), and why the rest was not."""
        places: list[int] = []
        again = True  # one more try, in a new segment
        while len(places) < len(records):
            try:
                spots = self._write_some(records, len(places))
            except OSError as error:
                self.abandon()
                if not again:
                    return places, error
                again = False
                continue
            places += spots
            again = True
        return places, None

    def _write_some(self, records: Sequence[R], start: int) -> list[int]:
        """Write as many records as the segment takes, at least one."""
        first = self._record_size(records[start])
        if self._file is None or self.end + first > self._size:
            self._switch(first)
        assert self._file is not None
        buffers: list[bytes] = []
        places: list[int] = []
        base = pack_place(self.segment, 0)
        at = self.end
        stop = start
        for record in records[start:] if start else records:
            size = self._record_size(record)
            if at + size > self._size:
                break
            buffers += self._pack(record, base | at)
            places.append(base | at)
            at += size
            stop += 1
        self._file.write(buffers, self.end, sync=self._set.sync)
        self.end = at
        self._kept(records[start:stop])
        return places

    def plan(self, records: Sequence[R]) -> list[int]:
        """The places that write() will give these records, if nothing fails."""
        places: list[int] = []
        segment, at, size = self.segment, self.end, self._size
        following = self._spare[0] if self._spare is not None else self._highest + 1
        for record in records:
            length = self._record_size(record)
            if segment == 0 or (self._file is None and segment == self.segment) or at + length > size:
                segment, following = following, max(following, self._highest) + 1
                at, size = FILE_HEADER_SIZE, max(self._set.segment_size, FILE_HEADER_SIZE + length)
            places.append(pack_place(segment, at))
            at += length
        return places

    # Changing segments.

    def prepare(self) -> None:
        """Have a spare segment, so that changing to it needs no room on the disk. Raises OSError."""
        self._remove_junk()
        if self._spare is not None:
            return
        number = self._highest + 1
        path = self._set.directory / segment_name(self.stream, number)
        file = self._set.disk.create(path, self._set.segment_size)
        try:
            if self._set.sync:
                self._set.disk.sync_dir(self._set.directory)
        except OSError:
            self._remove(number)
            raise
        finally:
            self._highest = number
        self._spare = number, file

    def _switch(self, first: int) -> None:
        """Begin the next segment; its first record has this size. Raises OSError."""
        self._seal()
        self.prepare()
        assert self._spare is not None
        number, file = self._spare
        self._spare = None
        created_ms = int(self._set.wall() * 1000)
        size = max(self._set.segment_size, FILE_HEADER_SIZE + first)
        try:
            if size > self._set.segment_size:
                file.preallocate(size)
            file.write([self._header(number, created_ms).pack()], 0, sync=self._set.sync)
        except OSError:
            self._remove(number)
            raise
        self._file, self._size = file, size
        self.segment, self.end, self.created_ms = number, FILE_HEADER_SIZE, created_ms

    def seal(self) -> None:
        """The next record begins a segment."""
        self._seal()

    def _seal(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        self._previous, self._previous_end = self.segment, self.end
        self.sealed.append(Sealed(self.segment, self.end, self.created_ms))
        # Give back the room that was preallocated and not used.
        with contextlib.suppress(OSError):
            file.truncate(self.end)

    def abandon(self) -> None:
        """Never write to the current segment again: it may hold pieces of records that were not acknowledged."""
        if self._file is not None:
            file = self._file
            self._seal()
            self.cut(self.segment, self.end, file)

    def resume(self, header: FileHeader, file: File) -> None:
        """Fill a segment that holds nothing but its header. Raises OSError."""
        file.truncate(FILE_HEADER_SIZE)  # whatever a crash left there
        file.write([header.pack()], 0, sync=False)  # in our version of the format
        file.preallocate(self._set.segment_size)
        file.sync()
        self._previous, self._previous_end = header.previous, header.previous_end
        self._file, self._size = file, self._set.segment_size
        self.segment, self.end, self.created_ms = header.segment, FILE_HEADER_SIZE, header.created_ms

    def cut(self, segment: int, end: int, file: File) -> None:
        """The segment's records end here, whatever the file holds behind. See trim()."""
        self._untrimmed.append((segment, end, file))
        self.trim()

    def trim(self) -> bool:
        """Cut what stands behind the good end of abandoned segments. False: it can't be done yet. As long as this is
        so, only the next segment's header tells where they end, and that segment must stay."""
        while self._untrimmed:
            _, end, file = self._untrimmed[0]
            try:
                file.truncate(end)
                file.sync()
            except OSError:
                return False
            self._untrimmed.pop(0)
        return True

    def probe(self) -> None:
        """See whether the disk works (again): begin a segment if there is none, have a spare. Raises OSError."""
        if self._file is None:
            self._switch(0)
        self.prepare()

    def _remove(self, number: int) -> None:
        """Remove a file that came to nothing; what can't be removed now is tried again with the next spare."""
        self._junk.append(number)
        self._remove_junk()

    def _remove_junk(self) -> None:
        with contextlib.suppress(OSError):
            while self._junk:
                with contextlib.suppress(FileNotFoundError):
                    self._set.disk.unlink(self._set.directory / segment_name(self.stream, self._junk[0]))
                self._junk.pop(0)

    def close(self) -> None:
        """Sync what was written, in every mode, and give back unused room. Raises OSError when the sync fails."""
        if self._spare is not None:
            self._remove(self._spare[0])
            self._spare = None
        file = self._file
        self._seal()
        if file is not None:
            file.sync()


class MailTail(Tail[Mail | MovedMail]):
    stream = MAIL

    def _record_size(self, record: Mail | MovedMail) -> int:
        return mail_size(record)

    def _pack(self, record: Mail | MovedMail, place: int) -> list[bytes]:
        return pack_mail(record, place, self._set.salt)


class Balance(NamedTuple):
    """What the event stream says up to some point; see FileHeader."""

    accepted: int = 0
    terminal: int = 0
    accepted_place: int = 0
    accepted_index: int = 0
    last_id: int = 0
    homed_in: int = 0
    homed_out: int = 0


class EventTail(Tail[Event]):
    """balance: of all events kept. low, high: mail segments that events of the current segment refer to."""

    stream = EVENT

    def __init__(
        self,
        setting: Setting,
        *,
        highest: int,
        previous: int,
        previous_end: int,
        previous_low: int,
        previous_high: int,
        balance: Balance,
    ) -> None:
        super().__init__(setting, highest=highest, previous=previous, previous_end=previous_end)
        self.balance = balance
        self.low = self.high = 0
        self._previous_low, self._previous_high = previous_low, previous_high
        self.ranges: dict[int, tuple[int, int]] = {}  # of sealed segments, since the owner last took them

    def _record_size(self, record: Event) -> int:
        return event_size(record)

    def _pack(self, record: Event, place: int) -> list[bytes]:
        return pack_event(record, place, self._set.salt)

    def _kept(self, records: Sequence[Event]) -> None:
        accepted, terminal, accepted_place, accepted_index, last_id, homed_in, homed_out = self.balance
        low, high = self.low, self.high
        for event in records:
            flags = event.flags
            if flags & TERMINAL:
                terminal += 1
            if flags & ACCEPTED:
                accepted += 1
                # It may be made again, after a crash, behind those that followed it.
                accepted_place, accepted_index = max((accepted_place, accepted_index), (event.place, event.index))
            if flags & HOMED:
                homed_in += flags & ACCEPTED
                homed_out += (flags & TERMINAL) >> 1
            if event.message_id > last_id:
                last_id = event.message_id
            segment = event.place >> 32
            if segment > high:
                high = segment
            if segment and (segment < low or not low):
                low = segment
        self.low, self.high = low, high
        self.balance = Balance(accepted, terminal, accepted_place, accepted_index, last_id, homed_in, homed_out)

    def _header(self, segment: int, created_ms: int) -> FileHeader:
        return (
            super()
            ._header(segment, created_ms)
            ._replace(low=self._previous_low, high=self._previous_high, **self.balance._asdict())
        )

    def _seal(self) -> None:
        if self._file is not None:
            self._previous_low, self._previous_high = self.low, self.high
            self.ranges[self.segment] = self.low, self.high
            self.low = self.high = 0
        super()._seal()
