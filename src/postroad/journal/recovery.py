"""Finding the messages that are not done: a fold of the event stream over what the mail segments hold.

Everything here reads only, a window at a time, and gives control back after each: the engine serves new mail meanwhile.
Mail segments are read from the newest to the oldest, so that of a message that compaction copied just before a crash
the copy is met before the original.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from postroad.journal.catalog import Catalog, Segment
from postroad.journal.disk import Disk, File
from postroad.journal.live import LiveSegment
from postroad.journal.nameless import Records, Search
from postroad.journal.records import (
    HOMED,
    JOB,
    STATE,
    TERMINAL,
    Damage,
    LiveMail,
    LiveRecipient,
    Progress,
    pack_place,
    split_place,
)
from postroad.journal.scan import EventScanner, MailRow, MailScanner, row_is_whole
from postroad.journal.survey import gap_damage, quarantine

_WINDOW = 1 << 18  # bytes read between two turns of the loop: some milliseconds of work
_NEXT_BITS = 48
_NEXT_MASK = (1 << _NEXT_BITS) - 1


class Fold:
    """What the events say of messages in these mail segments.

    done: ids that ended. away: those that went to another journal, with the place of the record that they left: should
    one come back, it comes in a record behind that. jobs: their phase, how far they are, and when the phase was first
    told of (Unix milliseconds, 0: unknown). The last state of a message is packed into one integer: a million tuples
    would cost 200 MB.
    """

    def __init__(self, existing: set[int]) -> None:
        self.existing = existing
        self.done: set[int] = set()
        self.away: dict[int, int] = {}
        self.jobs: dict[int, tuple[int, Progress, int]] = {}
        self._state: dict[int, int] = {}

    def relevant(self, segment: Segment) -> bool:
        if segment.low is None or segment.high is None:
            return True
        return any(segment.low <= number <= segment.high for number in self.existing)

    def read(self, scanner: EventScanner) -> Iterator[None]:
        existing, done, state = self.existing, self.done, self._state
        for window in scanner.windows(_WINDOW):
            for row in window.rows:
                flags = row.flags
                if flags & JOB and flags & STATE:
                    self._job(row.message_id, row.attempts, row.next_attempt_ms, row.time_ms)
                    if not flags & TERMINAL:
                        continue
                if not flags & (TERMINAL | STATE) or row.place >> 32 not in existing:
                    continue
                if flags & TERMINAL:
                    if flags & HOMED:
                        self.away[row.message_id] = row.place
                    else:
                        done.add(row.message_id)
                    state.pop(row.message_id, None)
                else:
                    next_attempt_ms = min(row.next_attempt_ms, _NEXT_MASK)
                    state[row.message_id] = (row.place << 16 | row.attempts) << _NEXT_BITS | next_attempt_ms
            yield

    def _job(self, number: int, phase: int, packed: int, time_ms: int = 0) -> None:
        before, progress, since = self.jobs.get(number, (0, Progress(), 0))
        if phase > before:
            since = time_ms
        self.jobs[number] = max(before, phase), progress.joined(Progress.unpack(packed)), since

    def latest(self, entry: LiveRecipient, place: int) -> LiveRecipient:
        """The entry of the record at this place with its last state. What events said of a record that was moved since
        is older than what the moved record itself says."""
        if entry.message_id in self.jobs:
            self._job(entry.message_id, entry.attempts, entry.next_attempt_ms)
            phase, progress, _ = self.jobs[entry.message_id]
            return LiveRecipient(entry.message_id, entry.index, phase, progress.pack())
        packed = self._state.get(entry.message_id)
        if packed is None or packed >> _NEXT_BITS + 16 != place:
            return entry
        return LiveRecipient(entry.message_id, entry.index, packed >> _NEXT_BITS & 0xFFFF, packed & _NEXT_MASK)


class Recovery:
    """One run over the segments that an earlier process left."""

    def __init__(
        self, disk: Disk, directory: Path, catalog: Catalog, salt: int, live: dict[int, LiveSegment], owed: int
    ) -> None:
        """live: an entry for each mail segment of the catalog, to be filled. owed: how many messages the event stream
        says are live."""
        self._disk = disk
        self._directory = directory
        self._catalog = catalog
        self._salt = salt
        self._live = live
        self._fold = Fold({segment.number for segment in catalog.mail})
        self._superseded: dict[int, set[int]] = {}  # by segment: messages that a newer copy was found of
        self._missed = owed
        self._records = Records()
        self._nameless: list[Damage] = []  # of mail, without the ids: reported when they are known
        self._damage: list[Damage] = []

    def run(self, batch: int) -> Iterator[list[LiveMail]]:
        """Yields lists of up to `batch` mails, also empty ones. A segment's entry is complete when the next one's first
        mail is yielded, or at the end."""
        for segment in self._catalog.events:
            if self._fold.relevant(segment):
                yield from self._read_events(segment)
        for segment in reversed(self._catalog.mail):
            yield from self._read_mail(segment, batch)
        if self._missed > 0 or self._nameless:
            yield from self._find_nameless()

    def progress(self, job: int) -> Progress | None:
        """How far the events say that a job is; None: it is over. For what is made of a list that run() yielded."""
        if job in self._fold.done:
            return None
        _, progress, _ = self._fold.jobs.get(job, (0, Progress(), 0))
        return progress

    def since(self, job: int) -> int:
        """When its phase was first told of, Unix milliseconds. 0: unknown."""
        return self._fold.jobs.get(job, (0, Progress(), 0))[2]

    def take_damage(self) -> list[Damage]:
        """What was found since the last call."""
        found, self._damage = self._damage, []
        return found

    def _read_events(self, segment: Segment) -> Iterator[list[LiveMail]]:
        file = self._disk.open(self._directory / segment.name)
        scanner = EventScanner(file, segment.number, self._salt, segment.end)
        for _ in self._fold.read(scanner):
            yield []
        self._report_gaps(segment, scanner)

    def _report_gaps(self, segment: Segment, scanner: EventScanner | MailScanner) -> None:
        for gap in scanner.gaps:
            # Behind the last record of a segment: room that was not used, or the torn tail that is cut there.
            if gap.offset < scanner.end or not (gap.zeros or not segment.sealed):
                self._report(scanner.file, gap_damage(segment, gap))

    def _read_mail(self, segment: Segment, batch: int) -> Iterator[list[LiveMail]]:
        file = self._disk.open(self._directory / segment.name)
        scanner = MailScanner(file, segment.number, self._salt, segment.end)
        entry = self._live[segment.number]
        found: list[LiveMail] = []
        self._records.begin(segment.number)
        for row in scanner.rows(_WINDOW):
            self._records.saw(segment.number, row)
            live = self._live_entries(segment, scanner, row, entry)
            if not live:
                continue
            entry.live += len(live)
            self._missed -= len(live)
            place = pack_place(segment.number, row.offset)
            if row.meta is None:
                self._damaged(segment, scanner, row, "the message's envelope is damaged", live)
                continue
            found.append(LiveMail(place, row.head.received_ms, row.body_length, row.meta, live, row.moved))
            if len(found) >= batch:
                yield found
                found = []
        self._records.end(segment.number)
        self._report_gaps(segment, scanner)
        entry.counted = True
        yield found

    def _live_entries(
        self, segment: Segment, scanner: MailScanner, row: MailRow, entry: LiveSegment
    ) -> list[LiveRecipient]:
        if row.entries is None:
            self._damaged(segment, scanner, row, "the message ids are damaged", [])
            return []
        origin = row.head.origin
        if row.moved and origin in self._fold.existing:
            if not row_is_whole(scanner.file, row):
                return []  # a copy that was cut short; the original is still there
            entry.origins.add(origin)
            self._superseded.setdefault(origin, set()).update(moved.message_id for moved in row.entries)
        if row.moved:
            self._records.moved.extend(moved.message_id for moved in row.entries)
        away = self._fold.away
        done, superseded = self._fold.done, self._superseded.get(segment.number, ())
        place = pack_place(segment.number, row.offset)
        entry.total += len(row.entries)
        live: list[LiveRecipient] = []
        for one in row.entries:
            if one.message_id in done or one.message_id in superseded or place <= away.get(one.message_id, 0):
                entry.done.append(one.message_id)
            else:
                live.append(self._fold.latest(one, place))
        return live

    def _damaged(
        self, segment: Segment, scanner: MailScanner, row: MailRow, reason: str, live: list[LiveRecipient]
    ) -> None:
        damage = Damage(
            "mail",
            segment.number,
            row.offset,
            row.size,
            reason,
            pack_place(segment.number, row.offset),
            tuple(one.message_id for one in live),
            tuple(one.index for one in live),
        )
        self._report(scanner.file, damage)

    def _report(self, file: File, damage: Damage) -> None:
        (self._nameless if damage.stream == "mail" and not damage.ids else self._damage).append(damage)
        quarantine(self._disk, self._directory, file, damage)

    def _find_nameless(self) -> Iterator[list[LiveMail]]:
        search = Search(self._disk, self._directory, self._salt, self._records)
        for _ in search.run(self._catalog.events, self._fold.done, _WINDOW, self._missed):
            yield []
        for place, _, _ in search.found:
            # Until their ends are written, they hold their segment as others do.
            entry = self._live.get(split_place(place)[0])
            if entry is not None:
                entry.total += 1
                entry.live += 1
        self._damage += search.damage(self._nameless)
