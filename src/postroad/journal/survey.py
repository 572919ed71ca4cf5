"""What a journal finds when it is opened: where each stream ends, the balance, and what the last crash left half done.

Only the ends of the streams are read here, so that new mail is welcome at once; recovery.py reads the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from postroad.journal.catalog import Catalog, Segment
from postroad.journal.disk import Disk, File
from postroad.journal.format import FILE_HEADER_SIZE, HEADER_SIZE, STREAM_NAMES, FileHeader, pack_void
from postroad.journal.records import ACCEPTED, HOMED, TERMINAL, Damage, LiveMail, LiveRecipient, pack_place, split_place
from postroad.journal.scan import WINDOW, EventRow, EventScanner, Gap, MailScanner, payload, row_is_whole
from postroad.journal.tail import Balance

QUARANTINE = "quarantine"
_MAX_QUARANTINED = 64 << 20  # bytes of one damaged stretch that are put aside


def quarantine(disk: Disk, directory: Path, file: File, damage: Damage) -> None:
    """Put the damaged bytes aside for a person to look at, once. A disk that can't take them is no reason to stop."""
    folder = directory / QUARANTINE
    path = folder / f"{damage.stream}-{damage.segment:08d}-{damage.offset:010d}.bin"
    with contextlib.suppress(OSError):  # FileExistsError among them
        disk.make_dir(folder)
        data = file.read(damage.offset, min(damage.length, _MAX_QUARANTINED))
        if data:
            disk.create(path, len(data)).write([data], 0, sync=False)


def gap_damage(segment: Segment, gap: Gap) -> Damage:
    reason = "zeros where records should be" if gap.zeros else "no valid record header"
    return Damage(STREAM_NAMES[segment.stream], segment.number, gap.offset, gap.length, reason)


class Survey:
    """The state of the streams' ends.

    balance: of all events kept. event_end, mail_end: where the records of each stream's last segment end. low, high:
    mail segments that the last event segment tells of.
    missing: committed mail without an injection event, in mail order: those events are to be written first of all. The
    flag says that it came from another journal.
    """

    def __init__(self, disk: Disk, directory: Path, catalog: Catalog, salt: int, *, sync: bool) -> None:
        """sync: what is found here must survive a power cut from now on."""
        self._sync = sync
        self._disk = disk
        self._directory = directory
        self._salt = salt
        self.balance = Balance()
        self.event_end = self.mail_end = FILE_HEADER_SIZE
        self.low = self.high = 0
        self.missing: list[tuple[LiveMail, LiveRecipient, bool]] = []
        self.damage: list[Damage] = []
        # The last injection event before any hole, and the ids of those behind the first hole.
        self._upto = (0, 0)
        self._later: set[int] = set()
        self._later_places: set[int] = set()
        self._injections: list[EventRow] = []
        self._survey_events(catalog.events)
        self._survey_mail(catalog.mail)

    def _survey_events(self, segments: list[Segment]) -> None:
        # Usually the last segment alone; more when headers, which carry the balance, are damaged.
        begin = max((at for at, segment in enumerate(segments) if segment.header is not None), default=0)
        for segment in segments[begin:]:
            if segment.header is not None:
                self.balance = header_balance(segment.header)
            self._upto = self.balance.accepted_place, self.balance.accepted_index
            self._survey_event_segment(segment)
        if segments:
            self._look_back(segments, begin)

    def _look_back(self, segments: list[Segment], last: int) -> None:
        """The start before this one may have made injection events again, for mail before other mail that was announced
        already, and may have been cut short, too. Then the order is that of the segment which lost them: it has a void
        there. Its events and all that follow are looked at one by one."""
        at, injections, upto = last, self._injections, self._upto
        later: list[EventRow] = []
        while at > 0 and _begins_before(segments[at], injections, self.event_end):
            at -= 1
            header = segments[at].header
            if header is None:
                return  # nothing tells the order
            later += injections
            file = self._disk.open(self._directory / segments[at].name)
            scanner = EventScanner(file, segments[at].number, self._salt, segments[at].end)
            injections = [row for row in scanner.rows() if row.flags & ACCEPTED]
            hole = min(scanner.voids, default=scanner.end)
            upto = header.accepted_place, header.accepted_index
            for row in injections:
                if row.offset < hole:
                    upto = row.place, row.index
                else:
                    later.append(row)
        self._upto = upto
        self._later.update(row.message_id for row in later)
        self._later_places.update(row.place for row in later)

    def _survey_event_segment(self, segment: Segment) -> None:
        file = self._disk.open(self._directory / segment.name, write=not segment.sealed)
        scanner = EventScanner(file, segment.number, self._salt, segment.end)
        torn: list[EventRow] = []
        injections: list[EventRow] = []
        self.low = self.high = 0
        for window in scanner.windows():
            good = []
            for row in window.rows:
                if not segment.sealed and payload(window, row) is None:
                    torn.append(row)
                else:
                    good.append(row)
                    if row.flags & ACCEPTED:
                        injections.append(row)
            self.balance, self.low, self.high = count_events(good, self.balance, self.low, self.high)
        self.event_end = scanner.end
        holes = [gap for gap in scanner.gaps if gap.offset < scanner.end]
        first = min([gap.offset for gap in holes] + [row.offset for row in torn], default=scanner.end)
        for row in injections:
            if row.offset < first:
                self._upto = row.place, row.index
            else:
                self._later.add(row.message_id)
                self._later_places.add(row.place)
        self._injections += injections
        if not segment.sealed:
            self._void(file, segment, [*holes, *(Gap(row.offset, row.size, False) for row in torn)])
            self._settle(file, scanner.end)

    def _survey_mail(self, segments: list[Segment]) -> None:
        existing = {segment.number for segment in segments}
        upto_segment, upto_offset = split_place(self._upto[0])
        for segment in segments:
            if segment.number < upto_segment and segment.sealed:
                continue
            start = upto_offset if segment.number == upto_segment else FILE_HEADER_SIZE
            self._survey_mail_segment(segment, start, existing)

    def _survey_mail_segment(self, segment: Segment, start: int, existing: set[int]) -> None:
        file = self._disk.open(self._directory / segment.name, write=not segment.sealed)
        scanner = MailScanner(file, segment.number, self._salt, segment.end, start)
        torn: list[Gap] = []
        for row in scanner.rows():
            place = pack_place(segment.number, row.offset)
            if row.moved:
                if row.head.origin in existing and not row_is_whole(file, row):
                    # A copy cut short. Void it now: it must not count when the original is moved, and gone, some day.
                    torn.append(Gap(row.offset, row.size, False))
                continue
            if row.entries is None:
                if place > self._upto[0] and place not in self._later_places:
                    torn.append(Gap(row.offset, row.size, False))  # never acknowledged; see below
                continue
            new = [
                entry
                for entry in row.entries
                if (place, entry.index) > self._upto and entry.message_id not in self._later
            ]
            if not new:
                continue
            if row.meta is None or not row_is_whole(file, row):
                # Without an injection event it was not acknowledged for sure: the sync was still under way.
                torn.append(Gap(row.offset, row.size, False))
                continue
            mail = LiveMail(place, row.head.received_ms, row.body_length, row.meta, row.entries)
            self.missing += [(mail, entry, row.homed) for entry in new]
            last_id = max(self.balance.last_id, *(entry.message_id for entry in new))
            self.balance = self.balance._replace(last_id=last_id)
        self.mail_end = scanner.end
        holes = [gap for gap in scanner.gaps if gap.offset < scanner.end]
        self._void(file, segment, torn if segment.sealed else holes + torn)
        if not segment.sealed:
            self._settle(file, scanner.end)

    def _settle(self, file: File, end: int) -> None:
        """A killed process leaves bytes that we can read and a power cut could still take; a failed sync even leaves
        such that a second sync would pass over. Write them once more before anything is built on them."""
        if not self._sync:
            return
        with contextlib.suppress(OSError):  # a read-only disk: nothing can be built on it anyway
            for start in range(0, end, WINDOW):
                file.write([file.read(start, min(WINDOW, end - start))], start, sync=False)
            file.sync()

    def _void(self, file: File, segment: Segment, gaps: Iterable[Gap]) -> None:
        """Mark bytes that the crash left half written as no record, once and for all readers to come."""
        for gap in gaps:
            if not gap.zeros:
                damage = gap_damage(segment, gap)._replace(reason="half written or damaged")
                self.damage.append(damage)
                quarantine(self._disk, self._directory, file, damage)
            if gap.length >= HEADER_SIZE:
                place = pack_place(segment.number, gap.offset)
                with contextlib.suppress(OSError):  # then the next reader finds it as we did
                    file = self._disk.open(self._directory / segment.name, write=True)
                    file.write([pack_void(gap.length, place, self._salt)], gap.offset, sync=True)


def _begins_before(segment: Segment, injections: list[EventRow], end: int) -> bool:
    """Do the segment's injection events begin with such as were made again, or may they be still to come? end: of the
    stream's records."""
    if segment.header is None:
        return False
    if not injections:
        return not segment.sealed and end == FILE_HEADER_SIZE
    first = injections[0].place, injections[0].index
    return first <= (segment.header.accepted_place, segment.header.accepted_index)


def header_balance(header: FileHeader) -> Balance:
    return Balance(*(getattr(header, name) for name in Balance._fields))


def count_events(rows: Iterable[EventRow], balance: Balance, low: int, high: int) -> tuple[Balance, int, int]:
    """The balance, and the lowest and highest mail segment told of, after these events."""
    accepted, terminal, accepted_place, accepted_index, last_id, homed_in, homed_out = balance
    for row in rows:
        if row.flags & TERMINAL:
            terminal += 1
        if row.flags & ACCEPTED:
            accepted += 1
            accepted_place, accepted_index = max((accepted_place, accepted_index), (row.place, row.index))
        last_id = max(last_id, row.message_id)
        segment = row.place >> 32
        high = max(high, segment)
        if segment and (segment < low or not low):
            low = segment
        if row.flags & HOMED:
            homed_in += row.flags & ACCEPTED
            homed_out += (row.flags & TERMINAL) >> 1
    return Balance(accepted, terminal, accepted_place, accepted_index, last_id, homed_in, homed_out), low, high
