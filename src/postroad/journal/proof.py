"""The proof that no message is lost or ended twice: accepted = terminal + still queued, from the files alone.

It holds while the engine runs and after old event segments were dropped, because each event segment's header carries
the balance of all before it, and no segment is dropped that tells of mail still there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from postroad.journal.catalog import read_catalog
from postroad.journal.disk import Disk, OsDisk
from postroad.journal.folders import journal_folders
from postroad.journal.format import FILE_HEADER_SIZE
from postroad.journal.records import ACCEPTED, HOMED, JOB, JOB_MARK, STATE, TERMINAL, Progress, pack_place
from postroad.journal.scan import EventRow, EventScanner, MailScanner, payload, row_is_whole
from postroad.journal.survey import header_balance

_ATTEMPTS = 3


@dataclass
class JobCount:
    """What the files say of a job that is still known. meta: of its record (queue/jobs.py). whole: its first event is
    still kept, and so all that it brought. made: messages accepted that it made; failed: recipients whose message could
    not be made, or was cancelled. phase, progress: the furthest told."""

    meta: bytes
    whole: bool = False
    made: int = 0
    failed: int = 0
    phase: int = 0
    progress: Progress = field(default_factory=Progress)

    def told(self, phase: int, packed: int) -> None:
        self.phase = max(self.phase, phase)
        self.progress = self.progress.joined(Progress.unpack(packed))


@dataclass
class Audit:
    """accepted, terminal: since the journal began. homed_in, homed_out: messages that came from the journals of other
    engines, and went there. queued: those that are here and have not ended. unannounced: of those, how many wait
    for an injection event that a crash took (the next start writes it; they count as accepted). A damaged event counts
    all the same once a later segment's header counted it.

    lost: ids accepted, not ended and nowhere in the mail. twice: ids with more than one terminal event.
    reaccepted: ids with more than one injection event. kinds: events by kind, in the segments still kept.
    jobs: by number. In all other counts a job is one message.
    """

    accepted: int = 0
    terminal: int = 0
    queued: int = 0
    unannounced: int = 0
    homed_in: int = 0
    homed_out: int = 0
    lost: list[int] = field(default_factory=list)
    twice: list[int] = field(default_factory=list)
    reaccepted: list[int] = field(default_factory=list)
    kinds: dict[int, int] = field(default_factory=dict)
    jobs: dict[int, JobCount] = field(default_factory=dict)

    @property
    def difference(self) -> int:
        """accepted + homed_in - terminal - homed_out - queued: 0 when all is well."""
        return self.accepted + self.homed_in - self.terminal - self.homed_out - self.queued

    @property
    def clean(self) -> bool:
        return not (self.difference or self.lost or self.twice or self.reaccepted)


def audit(directory: Path, disk: Disk | None = None) -> Audit:
    """Reads only, without the lock. Blocks. Raises JournalError for files of another format, OSError."""
    disk = disk if disk is not None else OsDisk()
    for attempt in range(_ATTEMPTS):
        try:
            result = _audit(directory, disk)
        except FileNotFoundError:
            if attempt == _ATTEMPTS - 1:
                raise
            continue  # the engine removed a segment while we looked
        if result.clean:
            break
        # Compaction may have carried a message past us. What is truly wrong is wrong again the next time.
    return result


def audit_all(data_dir: Path, disk: Disk | None = None) -> tuple[Audit, dict[int, Audit]]:
    """(the sum of all journals of a data folder, each by its engine). Otherwise as audit(). In the sum homed_in is
    homed_out, or more by what a move that was cut short has put down twice; the next start takes one of the two away.
    """
    each = {engine: audit(folder, disk) for engine, folder in journal_folders(data_dir).items()}
    total = Audit()
    kinds: Counter[int] = Counter()
    for one in each.values():
        for name in ("accepted", "terminal", "queued", "unannounced", "homed_in", "homed_out"):
            setattr(total, name, getattr(total, name) + getattr(one, name))
        total.lost += one.lost
        total.twice += one.twice
        total.reaccepted += one.reaccepted
        kinds.update(one.kinds)
        total.jobs |= one.jobs
    total.kinds = dict(sorted(kinds.items()))
    return total, each


class _Mail:
    """Ids in the mail segments. plain: those in original records (not moved ones), which must have been announced, and
    where in the order of acceptance. homed: where those stand that came from another journal. end: place behind the
    last record: what was accepted meanwhile stands there."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self.ids: set[int] = set()
        self.plain: dict[int, int] = {}
        self.homed: dict[int, int] = {}
        self.torn: set[int] = set()
        self.jobs: dict[int, JobCount] = {}
        self.end = 0
        catalog = read_catalog(disk, directory)
        for segment in catalog.mail:
            file = disk.open(directory / segment.name)
            scanner = MailScanner(file, segment.number, catalog.salt or 0, segment.end)
            for row in scanner.rows():
                if row.entries is None:
                    continue
                ids = [entry.message_id for entry in row.entries]
                torn = not segment.sealed and (not row_is_whole(file, row))
                if row.moved:
                    if torn:
                        continue  # a copy cut short: the original is still there
                else:
                    place = pack_place(segment.number, row.offset)
                    self.plain.update((entry.message_id, _order(place, entry.index)) for entry in row.entries)
                    if torn:
                        self.torn.update(ids)
                    elif row.homed:
                        self.homed.update((one, place) for one in ids)
                self.ids.update(ids)
                if row.meta is not None and row.meta[:1] == JOB_MARK:
                    job = self.jobs.setdefault(ids[0], JobCount(row.meta))
                    if row.moved or row.homed:
                        job.told(row.entries[0].attempts, row.entries[0].next_attempt_ms)
            self.end = pack_place(segment.number, scanner.end)


def _order(place: int, index: int) -> int:
    """Rises as the ACCEPTED events are written. One integer: there may be millions."""
    return place << 16 | index


def _count_job(jobs: dict[int, JobCount], row: EventRow) -> None:
    if row.flags & ACCEPTED:
        job = jobs.get(row.next_attempt_ms)
        if job is None:
            return
        if row.message_id == row.next_attempt_ms:
            job.whole = True
        else:
            job.made += 1
    elif row.flags & STATE and (job := jobs.get(row.message_id)) is not None:
        job.told(row.attempts, row.next_attempt_ms)
        job.failed += bool(row.length)  # an event that consumers see


def _audit(directory: Path, disk: Disk) -> Audit:
    # The mail first: what events then say of mail that we saw is complete, and newer mail is known by its place.
    mail = _Mail(directory, disk)
    result = Audit()
    kinds: Counter[int] = Counter()
    accepted: dict[int, int] = {}
    ended: set[int] = set()
    away: dict[int, int] = {}  # ids that went to another journal, and the place they left
    latest = upto = 0  # the last ACCEPTED event, and the last before any hole: as in Survey
    catalog = read_catalog(disk, directory)
    for segment in catalog.events:
        if segment.header is not None:
            # It counted the events before it when they were whole.
            balance = header_balance(segment.header)
            result.accepted, result.terminal = balance.accepted, balance.terminal
            result.homed_in, result.homed_out = balance.homed_in, balance.homed_out
            latest = _order(balance.accepted_place, balance.accepted_index)
        before, upto = upto, latest
        hole = segment.size
        announced: list[tuple[int, int]] = []  # offset of the event, order
        scanner = EventScanner(disk.open(directory / segment.name), segment.number, catalog.salt or 0, segment.end)
        for window in scanner.windows():
            for row in window.rows:
                if not segment.sealed and payload(window, row) is None:
                    hole = min(hole, row.offset)
                    continue  # half written: the next start makes it void
                if not row.flags & HOMED:
                    kinds[row.kind] += 1
                if row.flags & JOB:
                    _count_job(mail.jobs, row)
                if row.flags & ACCEPTED:
                    result.accepted += 1
                    if row.flags & HOMED:
                        result.homed_in += 1
                        away.pop(row.message_id, None)
                    elif row.message_id in accepted:
                        result.reaccepted.append(row.message_id)
                    accepted[row.message_id] = row.place
                    latest = _order(row.place, row.index)
                    announced.append((row.offset, latest))
                if row.flags & TERMINAL:
                    result.terminal += 1
                    if row.flags & HOMED:
                        result.homed_out += 1
                        away[row.message_id] = row.place
                        continue
                    if row.message_id in ended:
                        result.twice.append(row.message_id)
                    ended.add(row.message_id)
        hole = min([hole, *scanner.voids, *(gap.offset for gap in scanner.gaps if not segment.sealed)])
        upto = next((order for offset, order in reversed(announced) if offset < hole), upto)
        if scanner.end == FILE_HEADER_SIZE:
            upto = before  # events that a crash took are made here first of all
    late = {message_id for message_id, order in mail.plain.items() if order > upto}
    # One that was here before, and came back, may have been announced then.
    unannounced = {one for one in late - mail.torn if accepted.get(one, -1) < mail.homed.get(one, 0)}
    away = {one: place for one, place in away.items() if mail.homed.get(one, 0) <= place}
    never = mail.torn - accepted.keys()  # its sync did not come to an end
    result.unannounced = len(unannounced)
    result.accepted += len(unannounced)
    result.homed_in += sum(one in mail.homed for one in unannounced)
    result.jobs = {number: job for number, job in mail.jobs.items() if number not in ended and number not in away}
    queued = mail.ids - ended - never - away.keys()
    for message_id, place in accepted.items():
        if message_id not in ended and message_id not in mail.ids and message_id not in away:
            if place >= mail.end:
                queued.add(message_id)
            else:
                result.lost.append(message_id)
    result.queued = len(queued)
    # Until here the two counted what came and went as well.
    result.accepted -= result.homed_in
    result.terminal -= result.homed_out
    result.kinds = dict(sorted(kinds.items()))
    return result
