"""Jobs: transmissions to many recipients, as the journal keeps them and as far as they are.

A job is one record of the mail stream: the request, and the message id that is its number. It stands beside the mail
and is kept, copied, moved and ended as a message is; its state is its phase and its progress. Each message that it
makes tells the progress in an event of its own, written right before its injection event: so whatever a crash takes,
it is known which recipients are done. Nothing here makes a message; that is done by serve/generation.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from enum import IntEnum
from zlib import crc32

import msgspec

from postroad.journal import (
    ACCEPTED,
    JOB,
    JOB_MARK,
    STATE,
    TERMINAL,
    Event,
    JobCount,
    Journal,
    JournalError,
    LiveMail,
    Mail,
    Progress,
)
from postroad.message import Context

BOOKKEEPING = 0  # kind of events that nobody sees


class Phase(IntEnum):
    """Of a job; it stands where a message's attempts do. They only rise."""

    ACTIVE = 0  # it waits for its time, or is being generated
    CANCELING = 1  # what is left is being bounced
    SUCCESS = 2
    CANCELED = 3


class About(msgspec.Struct, array_like=True):
    """What is known of a job without reading its request. total: entries of its list; rejected: of those, how many were
    refused as it came. start: Unix seconds, not before. shown: JSON of what GET tells of
    the request. key: Idempotency-Key of its client, digest: of the request it came with, reply: the answer.
    connection: context of the client's
    connection, as mail has it. began, ended: Unix seconds, 0: not yet, or not known; they are in records that were
    written anew since (queue/tidy.py)."""

    total: int
    rejected: int = 0
    start: float = 0.0
    subaccount: int = 0
    campaign: str = ""
    shown: bytes = b"{}"
    key: str = ""
    digest: bytes = b""
    reply: bytes = b""
    connection: Context = {}
    began: float = 0.0
    ended: float = 0.0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(About).decode


def encode_job(about: About) -> bytes:
    """The `meta` of a job's record."""
    return JOB_MARK + _encode(about)


def is_job(meta: bytes) -> bool:
    return meta[:1] == JOB_MARK


def decode_job(meta: bytes) -> About:
    """Raises msgspec.DecodeError when the bytes are not ours."""
    return _decode(meta[1:])


def owner_of_key(key: bytes, engines: int) -> int:
    """The engine that knows what became of an Idempotency-Key, one of so many."""
    return crc32(key.strip()) % engines


def unbalanced(count: JobCount) -> str | None:
    """What is wrong with a job by its journal's audit: its recipients = accepted + failed + to come. None: nothing, or
    too old to say. Raises ValueError when its record can't be read."""
    about = decode_job(count.meta)
    wanted, done = about.total - about.rejected, count.made + count.failed
    settled = count.progress.base + count.progress.mask.bit_count()
    if not count.whole:
        return None
    if count.phase >= Phase.SUCCESS and done != wanted:
        return f"{wanted} recipients, but {count.made} were accepted and {count.failed} failed"
    if done > wanted or done > settled:
        return f"{count.made} were accepted and {count.failed} failed, of {min(wanted, settled)} that were begun"
    return None


class Job:
    """One of them. place: of its record; size: octets of the request there. progress: what is known to be kept.
    submitted: recipients whose messages are on their way to the journal. working: a slice is being made."""

    __slots__ = ("about", "number", "phase", "place", "progress", "received", "size", "submitted", "working")

    def __init__(self, number: int, about: About, place: int, received: float, size: int) -> None:
        self.number = number
        self.size = size
        self.about = about
        self.place = place
        self.received = received
        self.phase = Phase.ACTIVE
        self.progress = Progress()
        self.submitted = 0
        self.working = False

    @property
    def over(self) -> bool:
        return self.phase >= Phase.SUCCESS

    @property
    def settled(self) -> int:
        """Entries of its list that are done, those that were refused at first among them."""
        return min(self.about.total, self.progress.base + self.progress.mask.bit_count())


class Jobs:
    """Those of one engine. wall: Unix seconds. woken(): there is something to do."""

    def __init__(self, journal: Journal, wall: Callable[[], float]) -> None:
        self.woken: Callable[[], None] = lambda: None
        self._journal = journal
        self._wall = wall
        self._jobs: dict[int, Job] = {}
        self._active: dict[int, Job] = {}
        # Without a key and with one, in the order in which they ended.
        self._over: tuple[dict[int, Job], dict[int, Job]] = {}, {}
        self._spent: dict[int, dict[int, Job]] = {}  # of those, by segment, the ones that have their requests still
        self._keys: dict[tuple[int, str], int] = {}
        self._loop = asyncio.get_running_loop()
        self._early: dict[int, Progress] = {}  # what recovered messages say of jobs that are not recovered yet
        self.known = False  # are all there that the journal held at the start?
        journal.busy = self._busy

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    def active(self) -> list[Job]:
        """Those that are not over."""
        return list(self._active.values())

    def over(self, *, keyed: bool) -> Collection[Job]:
        """The others, the first to end first. keyed: those with an Idempotency-Key, or those without."""
        return self._over[keyed].values()

    def spent(self, segment: int) -> list[Job]:
        """Those that are over with their requests still in the journal, in segments before this one."""
        return [job for number, jobs in self._spent.items() if number < segment for job in jobs.values()]

    def get(self, number: int) -> Job | None:
        return self._jobs.get(number)

    def by_key(self, subaccount: int, key: str) -> Job | None:
        number = self._keys.get((subaccount, key))
        return None if number is None else self._jobs.get(number)

    def _busy(self, number: int) -> bool:
        job = self._jobs.get(number)
        return job is not None and (job.submitted > 0 or job.working)

    # Their records.

    def create(self, number: int, about: About, request: bytes, done: Callable[[Job | JournalError], None]) -> None:
        """Keep a job. done gets it when it is durable."""
        wall = self._wall()
        job = Job(number, about, 0, wall, len(request))

        def kept(place: int | JournalError) -> None:
            if isinstance(place, JournalError):
                done(place)
                return
            job.place = place
            self._enter(job)
            done(job)
            self.woken()

        event = Event(number, BOOKKEEPING, b"", flags=ACCEPTED | JOB, next_attempt_ms=number)
        self._journal.append_mail(Mail([number], int(wall * 1000), encode_job(about), b"", request), [event], kept)

    def _enter(self, job: Job) -> None:
        self._jobs[job.number] = job
        if job.over:
            self._ended(job)
        else:
            self._active[job.number] = job
        if job.about.key:
            self._keys[job.about.subaccount, job.about.key] = job.number

    def _ended(self, job: Job) -> None:
        self._active.pop(job.number, None)
        self._over[bool(job.about.key)][job.number] = job
        if job.size:
            self._spent.setdefault(job.place >> 32, {})[job.number] = job

    def emptied(self, job: Job) -> None:
        """Its record has no request any more."""
        job.size = 0
        self._no_longer_spent(job)

    def _no_longer_spent(self, job: Job) -> None:
        # Compaction may have moved it: the segment is the one in which it ended.
        for segment, jobs in list(self._spent.items()):
            if jobs.pop(job.number, None) is not None and not jobs:
                del self._spent[segment]

    def state(self, number: int) -> tuple[int, int] | None:
        """For compaction, as Live.state."""
        job = self._jobs.get(number)
        return None if job is None else (job.phase, job.progress.pack())

    def moved(self, number: int, place: int) -> bool:
        """Its record was copied. False: it is no job."""
        job = self._jobs.get(number)
        if job is not None:
            job.place = place
        return job is not None

    # How far they are.

    def mark(self, tags: list[tuple[int, int]]) -> list[Event]:
        """The events that are to be written right before the injection events of a transaction with these recipients
        of jobs: (job, place in its list)."""
        marks: dict[int, Progress] = {}
        for number, at in tags:
            done = Progress.of(at)
            before = marks.get(number)
            marks[number] = done if before is None else before.joined(done)
        return [self._event(number, self._jobs[number].place, done) for number, done in marks.items()]

    def submitted(self, tags: list[tuple[int, int]]) -> None:
        """They are on their way to the journal."""
        for number, _ in tags:
            self._jobs[number].submitted += 1

    def committed(self, tags: list[tuple[int, int]], *, kept: bool) -> None:
        """They are kept, or were refused."""
        for number, at in tags:
            job = self._jobs[number]
            job.submitted -= 1
            if kept:
                job.progress = job.progress.joined(Progress.of(at))

    def failed(self, job: Job, at: int, kind: int, payload: bytes, done: Callable[[JournalError | None], None]) -> None:
        """This recipient's message can't be made. Event and progress are one record."""
        mark = Progress.of(at)._replace(failed=job.progress.failed + 1)
        job.progress = job.progress.joined(mark)
        job.submitted += 1

        def kept(error: JournalError | None) -> None:
            job.submitted -= 1
            done(error)

        self._journal.append_event(self._event(job.number, job.place, mark, kind, payload, job.phase), kept)

    def passed(self, job: Job, base: int) -> None:
        """All before this one are done: those whose progress was kept, and those that were refused at first, of which
        nothing is written."""
        job.progress = Progress(base, 0, job.progress.failed) if base > job.progress.base else job.progress

    def enter_phase(self, job: Job, phase: Phase, done: Callable[[JournalError | None], None] | None = None) -> None:
        job.phase = phase
        if job.over and not job.about.ended:
            job.about.ended = self._wall()
            self._ended(job)
        self._journal.append_event(self._event(job.number, job.place, job.progress, phase=phase), done)
        self.woken()

    def end(self, job: Job) -> None:
        """It is over and may be forgotten."""
        del self._jobs[job.number]
        self._active.pop(job.number, None)
        self._over[bool(job.about.key)].pop(job.number, None)
        self._no_longer_spent(job)
        if self._keys.get((job.about.subaccount, job.about.key)) == job.number:
            del self._keys[job.about.subaccount, job.about.key]
        self._journal.append_event(Event(job.number, BOOKKEEPING, b"", flags=TERMINAL | JOB, place=job.place))

    def _event(
        self,
        number: int,
        place: int,
        progress: Progress,
        kind: int = BOOKKEEPING,
        payload: bytes = b"",
        phase: int = 0,
    ) -> Event:
        packed = progress.pack()
        return Event(number, kind, payload, flags=STATE | JOB, attempts=phase, next_attempt_ms=packed, place=place)

    # After a start.

    def recovered(self, mail: LiveMail) -> None:
        """The journal holds this job. Raises ValueError when its record can't be read."""
        live = mail.live[0]
        job = Job(live.message_id, decode_job(mail.meta), mail.place, mail.received_ms / 1000, mail.size)
        job.phase = Phase(min(live.attempts, Phase.CANCELED))
        job.progress = Progress.unpack(live.next_attempt_ms)
        if job.over and not job.about.ended:
            # When its end was told. Events that are gone say that it was long ago, but a wait too long does no harm.
            job.about.ended = self._journal.recovered_since(job.number) / 1000 or self._wall()
        early = self._early.pop(job.number, None)
        if early is not None:
            job.progress = job.progress.joined(early)
        self._enter(job)

    def recovered_message(self, number: int, at: int, place: int) -> None:
        """The journal holds a message that a job made. If its progress event was taken by the crash, it is written now:
        before anything can be written about the message's end."""
        known = self._journal.recovered_progress(number)
        if known is None or known.covers(at):
            return
        mark = Progress.of(at)
        job = self._jobs.get(number)
        if job is not None:
            if job.progress.covers(at):
                return
            job.progress = job.progress.joined(mark)
        else:
            before = self._early.get(number)
            self._early[number] = mark if before is None else before.joined(mark)
        self._journal.append_event(self._event(number, place, mark))

    def recovery_done(self) -> None:
        """All records were seen. What was found out about jobs is written at their own place: the messages that told
        it may end and go."""
        for job in self._jobs.values():
            if not job.over:
                self._journal.append_event(self._event(job.number, job.place, job.progress, phase=job.phase))
        self._early.clear()
        for over in self._over:
            found = sorted(over.values(), key=lambda job: job.about.ended)
            over.clear()
            over.update((job.number, job) for job in found)
        self.known = True
        self.woken()
