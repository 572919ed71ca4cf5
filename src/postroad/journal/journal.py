"""The journal of one engine, as the rest of the house sees it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from postroad.config.schema import Durability, JournalOptions
from postroad.journal.catalog import Catalog, read_catalog, segment_name
from postroad.journal.commit import (
    Committer,
    EventDone,
    Injection,
    MailDone,
    PendingMail,
    ThreadCommitter,
)
from postroad.journal.compaction import compact_segment
from postroad.journal.cycle import Cycle
from postroad.journal.disk import Disk, File, Lock, OsDisk
from postroad.journal.errors import JournalError, JournalFull
from postroad.journal.format import FILE_HEADER_SIZE, HOMED_MAIL, MAIL, MAX_RECORD, MovedMail, mail_size
from postroad.journal.live import LiveSegment, LiveTable
from postroad.journal.opening import begin_writing, kept_events, remove_spares
from postroad.journal.reader import EventReader, MailReader
from postroad.journal.records import (
    ACCEPTED,
    HOMED,
    TERMINAL,
    Damage,
    Event,
    HoseEvent,
    LiveMail,
    LiveRecipient,
    Mail,
    Progress,
    Rewrite,
    StoredMail,
    pack_place,
)
from postroad.journal.recovery import Recovery
from postroad.journal.retention import Retention
from postroad.journal.survey import Survey
from postroad.journal.tail import Setting
from postroad.net import Clock

LOCK_NAME = "lock"
_TICK = 1.0  # seconds between looks at retention and a failing disk
_FREE_TICKS = 10  # ticks between looks at the free room
_FULL_SHARE = 4  # a record that is written anew on a full disk may take this part of min_free


@dataclass(frozen=True)
class JournalStats:
    """messages: accepted and not done. waiting_*: not committed yet. held_events: kept waiting by a failing disk.
    commit_seconds: that all commits took."""

    mail_segments: int
    event_segments: int
    messages: int
    accepted: int
    terminal: int
    commits: int
    committed_mail: int
    committed_events: int
    waiting_mail: int
    waiting_events: int
    held_events: int
    recovered: bool
    refusal: str | None
    commit_seconds: float


class Journal:
    """Made by `open`. Unless a method says otherwise, it is called on the event loop and does not block."""

    @classmethod
    def open(
        cls,
        directory: Path,
        options: JournalOptions,
        *,
        durability: Durability = "power",
        clock: Clock,
        injection: Injection | None = None,
        loop: AbstractEventLoop | None = None,
        disk: Disk | None = None,
        committer: Committer | None = None,
        engine: int = 0,
        rng: random.Random | None = None,
    ) -> Journal:
        """Take the lock, find the streams' ends, finish what a crash left half done, and be ready for new mail.

        Blocks while it reads the last segments: well under a second. injection(message_id, index, mail) makes the
        injection event of a message whose own was lost in a crash between the two stages of a commit; it must have
        the same event id as the first. Without it, a bookkeeping event is written.
        loop: default the running one. rng: where the salt of a new journal comes from; default the system.
        Raises JournalLocked; JournalError for files of another format; OSError when the disk can't be read.
        """
        disk = disk if disk is not None else OsDisk()
        disk.make_dir(directory)
        lock = disk.lock(directory / LOCK_NAME)
        try:
            return cls(
                directory,
                options,
                durability,
                clock,
                injection,
                loop if loop is not None else asyncio.get_running_loop(),
                disk,
                committer,
                engine,
                rng if rng is not None else random.SystemRandom(),
                lock,
            )
        except BaseException:
            lock.release()
            raise

    def __init__(
        self,
        directory: Path,
        options: JournalOptions,
        durability: Durability,
        clock: Clock,
        injection: Injection | None,
        loop: AbstractEventLoop,
        disk: Disk,
        committer: Committer | None,
        engine: int,
        rng: random.Random,
        lock: Lock,
    ) -> None:
        self.on_moved: Callable[[int, int, int], None] = lambda message_id, old, new: None
        self.on_alarm: Callable[[str, str], None] = lambda name, text: None
        # A message whose state is being changed by what is on its way to the disk: compaction leaves it alone.
        self.busy: Callable[[int], bool] = lambda message_id: False
        self.state_of: Callable[[int], tuple[int, int] | None] | None = None
        # Events are kept beyond their time because of mail in these segments: lowest, highest.
        self.on_held_back: Callable[[int, int], None] = lambda low, high: None
        self._directory = directory
        self._options = options
        self._clock = clock
        self._loop = loop
        self._disk = disk
        self._lock = lock
        self._closed = False

        self._ticks = 0
        self._lagging: set[str] = set()
        self._compaction: asyncio.Task[int] | None = None
        self._one_compaction = asyncio.Lock()

        catalog = read_catalog(disk, directory)
        self._salt = catalog.salt if catalog.salt is not None else rng.getrandbits(64)
        survey = Survey(disk, directory, catalog, self._salt, sync=durability == "power")
        self.damage = survey.damage
        self.last_id = survey.balance.last_id
        self._owed = survey.balance.accepted + len(survey.missing) - survey.balance.terminal
        self._live = LiveTable()
        setting = Setting(disk, directory, options.segment_size, durability == "power", engine, self._salt, clock.wall)
        remove_spares(setting, catalog)
        self._writer = begin_writing(setting, catalog, survey, options.min_free, injection)
        # What was taken up again holds nothing to recover.
        catalog = catalog._replace(
            mail=[segment for segment in catalog.mail if segment.number != self._writer.mail.segment],
            events=[segment for segment in catalog.events if segment.number != self._writer.events.segment],
        )
        self._recovery: Recovery | None = None
        self._catalog: Catalog | None = catalog  # until recovery is through
        for segment in catalog.mail:
            self._live.segments[segment.number] = LiveSegment(sealed=True, counted=False)
        self._retention = Retention(int(options.event_retention * 1000), options.event_retention_size)
        self._retention.segments = kept_events(catalog, survey, int(clock.wall() * 1000))
        self._mail_reader = MailReader(disk, directory, self._salt)
        self._event_reader = EventReader(directory, disk, self.end_cursor)
        self._committer: Committer = committer if committer is not None else ThreadCommitter(loop)
        self._cycle = Cycle(
            loop,
            self._committer,
            self._writer,
            self._live,
            self._retention,
            wall=clock.wall,
            delay=options.commit_delay,
            early=durability == "memory",
            alarm=lambda name, text: self.on_alarm(name, text),
            moved=lambda message_id, old, new: self.on_moved(message_id, old, new),
            forget=self._mail_reader.forget,
        )
        self._tick_handle = loop.call_later(_TICK, self._tick)

    # Mail and events in.

    def refusal(self) -> str | None:
        """Why new mail must be refused now, or None."""
        return str(self._cycle.refusal) if self._cycle.refusal is not None else None

    def holding(self) -> bool:
        """A failing disk keeps events from being written: begin no attempts whose outcome could then be lost."""
        return self._cycle.held > 0

    def append_mail(self, mail: Mail, events: Sequence[Event], done: MailDone, before: Sequence[Event] = ()) -> None:
        """Keep a transaction. events: the injection event (ACCEPTED) of each recipient, in the order of its ids.
        before: events about other records, written if the mail is kept, right before its own.

        done(place) is called on the loop when it is kept at the journal's durability, done(error) when it is not.
        """
        if self._closed or self._cycle.refusal is not None:
            self._loop.call_soon(done, self._cycle.refusal or JournalError("the journal is closed"))
        elif mail_size(mail) > MAX_RECORD:
            self._loop.call_soon(done, JournalError(f"the message is larger than {MAX_RECORD} bytes"))
        else:
            self._cycle.append_mail(PendingMail(mail, events, done, before))

    def append_event(self, event: Event, done: EventDone = None) -> None:
        """Keep an event. done(None) is called on the loop after its commit.

        As long as the journal is open, an event about a message is never lost: a failing disk makes it wait. One about
        no message (place 0) gets done(JournalFull) when too many wait.
        """
        if not self._closed:
            self._cycle.append_event(event, done)
        elif done is not None:
            self._loop.call_soon(done, JournalError("the journal is closed"))

    # Mail of other journals. No engine runs then: see serve/rehome.py.

    def append_homed(self, mail: Mail, live: list[LiveRecipient], done: MailDone) -> None:
        """Keep messages that another journal holds, with their state. done as for append_mail. When it is kept,
        `append_gone` may be called on the other one."""
        record = MovedMail(mail, live, 0, HOMED_MAIL)
        if self._closed or self._cycle.refusal is not None:
            self._loop.call_soon(done, self._cycle.refusal or JournalError("the journal is closed"))
        else:
            events = [Event(one.message_id, 0, b"", flags=ACCEPTED | HOMED, index=one.index) for one in live]
            self._cycle.append_mail(PendingMail(record, events, done))

    def append_gone(self, place: int, one: LiveRecipient, done: EventDone) -> None:
        """This message of the record at place is in another journal now: here it is over."""
        event = Event(
            one.message_id, 0, b"", flags=TERMINAL | HOMED, attempts=one.attempts, place=place, index=one.index
        )
        self.append_event(event, done)

    def _tick(self) -> None:
        """Once a second: retention, compaction, a look at a failing disk."""
        self._tick_handle = self._loop.call_later(_TICK, self._tick)
        self._ticks += 1
        outdated: list[int] = []
        failing = self._cycle.refusal is not None or self._cycle.held > 0
        full = isinstance(self._cycle.refusal, JournalFull) and not self._cycle.held
        if self._catalog is None and (full or not failing):
            # On a full disk more than ever: nothing else may make room.
            outdated = self._retention.outdated(int(self._clock.wall() * 1000), self._live.segments.keys())
            if self._retention.held_back[1]:
                self.on_held_back(*self._retention.held_back)
            lagging = set(self._retention.lagging())
            for name in lagging - self._lagging:
                self.on_alarm("consumer_lag", f"consumer {name} will soon lose events to event_retention_size")
            self._lagging = lagging
            if not full and self._compaction is None and self._compactable(self._options.compact_below):
                self._compaction = self._loop.create_task(self.compact())
                self._compaction.add_done_callback(self._compacted)
        self._cycle.chore(outdated, probe=failing or self._ticks % _FREE_TICKS == 0)

    # Reading mail, and what an earlier process left.

    def recover(self, batch: int = 1000) -> Iterator[list[LiveMail]]:
        """Yields, newest segment first, the mail that the previous process left undone, up to `batch` records at a time
        and sometimes none. Blocks for some milliseconds between two of them: give the loop a turn each time.

        To be run to its end once, by the process that opened the journal; until then no segment is removed.
        """
        catalog = self._catalog
        if catalog is None:
            return
        recovery = Recovery(self._disk, self._directory, catalog, self._salt, self._live.segments, self._owed)
        self._recovery = recovery
        for mails in recovery.run(batch):
            yield mails
            self._note(recovery.take_damage())
        self._note(recovery.take_damage())
        self._recovery = None
        for segment in catalog.mail:
            self._live.review(segment.number)
        self._catalog = None

    def recovered_progress(self, job: int) -> Progress | None:
        """While recover() runs: how far its events say that a job is, None when it is forgotten."""
        return self._recovery.progress(job) if self._recovery is not None else None

    def recovered_since(self, job: int) -> int:
        """While recover() runs: since when its events say that a job is in its phase. Unix milliseconds, 0: unknown."""
        return self._recovery.since(job) if self._recovery is not None else 0

    def preview(self, batch: int = 1000) -> Iterator[list[LiveMail]]:
        """What recover() will yield; for a look before it."""
        if self._catalog is not None:
            live = {segment.number: LiveSegment() for segment in self._catalog.mail}
            yield from Recovery(self._disk, self._directory, self._catalog, self._salt, live, self._owed).run(batch)

    def _note(self, found: list[Damage]) -> None:
        self.damage += found
        for damage in found:
            self.on_alarm("damage", str(damage))

    def read_mail(self, place: int) -> StoredMail:
        """Blocks; any thread. Raises JournalDamaged, and JournalError when the disk can't be read."""
        mail = self._cycle.unwritten.get(place)
        if mail is not None:
            return StoredMail(
                mail.ids, list(range(len(mail.ids))), mail.received_ms, mail.meta, mail.trace, mail.content
            )
        return self._mail_reader.read(place)

    # Reading events.

    def begin_cursor(self) -> int:
        """Cursor of the first event that is still kept."""
        segments = self._retention.segments
        number = segments[0].number if segments else self._cycle.end >> 32
        return pack_place(number, FILE_HEADER_SIZE)

    def end_cursor(self) -> int:
        """Cursor behind the last committed event."""
        return self._cycle.end

    def cursor_at(self, wall: float) -> int:
        """Cursor of the first event at or after this moment (Unix seconds). Blocks; any thread."""
        return self._event_reader.at(wall)

    def read_events(self, cursor: int, limit: int = 1000, max_bytes: int = 1 << 20) -> tuple[list[HoseEvent], int]:
        """Committed events from cursor on, and the cursor for the next call; see EventReader.read. Blocks; any thread.
        A cursor before begin_cursor() reads from there: compare the two to notice what was missed."""
        return self._event_reader.read(cursor, limit, max_bytes)

    def on_commit(self, callback: Callable[[], None]) -> Callable[[], None]:
        """callback is called on the loop after each commit of events. Returns what ends that."""
        key = object()
        self._cycle.listeners[key] = callback
        return lambda: self._cycle.listeners.pop(key, None) and None

    def pin(self, name: str, cursor: int) -> None:
        """Consumer `name` reads from this cursor next: keep those events, up to event_retention_size."""
        self._retention.pins[name] = cursor

    def unpin(self, name: str) -> None:
        self._retention.pins.pop(name, None)

    # Compaction.

    async def compact(self, below: float | None = None) -> int:
        """Rewrite the mail segments whose live share is below this (default: compact_below). Returns how many were.

        Needs `state_of`: (attempts, next_attempt_ms) of a live message, or None for one that was never tried.
        """
        below = self._options.compact_below if below is None else below
        rewritten = 0
        async with self._one_compaction:
            for number in self._compactable(below):
                if self._closed or self._cycle.refusal is not None:
                    break
                segment = self._live.segments.get(number)
                if segment is not None and await compact_segment(self, number, segment, self._salt, below):
                    rewritten += 1
        return rewritten

    def _compactable(self, below: float) -> list[int]:
        if self.state_of is None or self._catalog is not None:
            return []
        return [
            number
            for number, entry in sorted(self._live.segments.items())
            if entry.sealed and 0 < entry.live < below * entry.total and entry.live != entry.tried
        ]

    def _compacted(self, task: asyncio.Task[int]) -> None:
        self._compaction = None
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, (OSError, JournalError)):
            # The segment stays as it is, and its turn comes again.
            self.on_alarm("compaction_failed", f"a mail segment could not be rewritten: {error}")
        else:
            self._loop.call_exception_handler({"message": "compaction failed", "exception": error})

    def open_mail(self, number: int) -> File:
        """For compaction."""
        return self._disk.open(self._directory / segment_name(MAIL, number))

    def message_state(self, message_id: int) -> tuple[int, int]:
        """For compaction: (attempts, next_attempt_ms)."""
        return (self.state_of(message_id) if self.state_of is not None else None) or (0, 0)

    @property
    def filling(self) -> int:
        """Number of the mail segment that is being filled: what stands in an earlier one may keep a whole file."""
        return self._writer.mail.segment

    def is_moving(self, message_id: int) -> bool:
        """For compaction: is a copy of the message under way?"""
        return self._cycle.is_moving(message_id) or self.busy(message_id)

    def move(self, place: int, moved: MovedMail) -> asyncio.Future[None]:
        """For compaction: copy these messages of the record at place to the stream's end."""
        return self._cycle.move(place, moved)

    # Changing what was written.

    async def rewrite(self, changes: Sequence[Rewrite]) -> list[JournalError | None]:
        """Copy messages to the stream's end with another meta: from then on it is the one that counts. Returns for each
        change what kept it from being made, or None. Who asks sees to it that the messages do not end meanwhile."""
        loop = asyncio.get_running_loop()
        results: list[JournalError | None] = []
        async with self._one_compaction:
            moves: list[asyncio.Future[None] | JournalError] = []
            for place, live, change in changes:
                try:
                    stored = await loop.run_in_executor(None, self.read_mail, place)
                    moves.append(self._rewritten(place, live, stored, change))
                except JournalError as error:
                    moves.append(error)
            for move in moves:
                try:
                    if isinstance(move, JournalError):
                        raise move
                    await move
                except JournalError as error:
                    results.append(error)
                else:
                    results.append(None)
        return results

    def _rewritten(
        self, place: int, live: list[LiveRecipient], stored: StoredMail, change: Callable[[bytes], bytes]
    ) -> asyncio.Future[None]:
        ids = [one.message_id for one in live]
        try:
            meta = change(stored.meta)
        except ValueError as error:
            raise JournalError(f"the envelope can't be read: {error}") from error
        if self._cycle.refusal is not None:
            raise self._cycle.refusal
        return self.replace(place, live, Mail(ids, stored.received_ms, meta, stored.trace, stored.content))

    def replace(self, place: int, live: list[LiveRecipient], mail: Mail) -> asyncio.Future[None]:
        """Write mail for these messages of the record at place, with the state given: when it is kept (the future says
        so), it is the one that counts, and on_moved was called. On a full disk it may use of min_free: it may be what
        makes room. Raises JournalError when it can't be done now; the future may, too: then nothing has changed."""
        if place in self._cycle.unwritten or any(self.is_moving(one.message_id) for one in live):
            raise JournalError("the message is just being written")
        refusal = self._cycle.refusal
        if self._closed or self._cycle.held:
            raise refusal or JournalError("the journal is closed")
        if refusal is not None:
            small = mail_size(MovedMail(mail, live, 0)) <= self._options.min_free // _FULL_SHARE
            if not (small and isinstance(refusal, JournalFull)):
                raise refusal
        origin = place >> 32
        if origin == self._writer.mail.segment:
            # A copy never stands in the segment of its original: recovery tells them apart by their segments.
            self._cycle.begin_segment()
        return self._cycle.move(place, MovedMail(mail, live, origin))

    # The end.

    def stats(self) -> JournalStats:
        balance, cycle = self._writer.events.balance, self._cycle
        return JournalStats(
            mail_segments=len(self._live.segments),
            event_segments=len(self._retention.segments) + 1,
            messages=self._live.messages,
            accepted=balance.accepted,
            terminal=balance.terminal,
            commits=cycle.commits,
            committed_mail=cycle.committed_mail,
            committed_events=cycle.committed_events,
            waiting_mail=cycle.waiting_mail,
            waiting_events=cycle.waiting_events,
            held_events=cycle.held,
            recovered=self._catalog is None,
            refusal=self.refusal(),
            commit_seconds=cycle.commit_seconds,
        )

    async def close(self) -> None:
        """Commit what waits, sync it (in every durability) and release the lock. What a failing disk does not take by
        then gets done(JournalError)."""
        if self._closed:
            return
        self._closed = True
        self._tick_handle.cancel()  # else it might begin a batch behind the tails' end
        if self._compaction is not None:
            self._compaction.cancel()
        await self._cycle.idle()
        if self.holding():
            # The disk may work again since the last look at it: no other follows.
            self._cycle.chore([], probe=True)
            await self._cycle.idle()
        closed: asyncio.Future[None] = self._loop.create_future()
        self._committer.submit(lambda: self._run_close(closed))
        await closed
        self._cycle.give_up(self._cycle.refusal or JournalError("the journal is closed"))
        self._stop()

    def _run_close(self, closed: asyncio.Future[None]) -> None:
        for tail in (self._writer.mail, self._writer.events):
            with contextlib.suppress(OSError):
                tail.close()
        self._committer.report(closed.set_result, None)

    def abandon(self) -> None:
        """Stop at once, as a crash would: nothing more is written. For simulations."""
        self._closed = True
        if self._compaction is not None:
            self._compaction.cancel()
        self._cycle.abandon()
        self._stop()

    def _stop(self) -> None:
        self._tick_handle.cancel()
        self._committer.close()
        self._lock.release()
