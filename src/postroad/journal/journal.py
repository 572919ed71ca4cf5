"""The journal of one engine, as the rest of the house sees it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from postroad.config.schema import Durability, JournalOptions
from postroad.journal.catalog import Catalog, read_catalog, segment_name
from postroad.journal.commit import (
    Batch,
    Committer,
    EventDone,
    Injection,
    MailDone,
    PendingEvent,
    PendingMail,
    ThreadCommitter,
)
from postroad.journal.compaction import compact_segment
from postroad.journal.disk import Disk, File, Lock, OsDisk
from postroad.journal.errors import JournalError, JournalFull
from postroad.journal.format import FILE_HEADER_SIZE, MAIL, MAX_RECORD, MovedMail, mail_size
from postroad.journal.live import LiveSegment, LiveTable
from postroad.journal.opening import begin_writing, kept_events, remove_spares
from postroad.journal.reader import EventReader, MailReader
from postroad.journal.records import TERMINAL, Event, HoseEvent, LiveMail, Mail, StoredMail, pack_place
from postroad.journal.recovery import Recovery
from postroad.journal.retention import EventSegment, Retention
from postroad.journal.survey import Survey
from postroad.journal.tail import Setting
from postroad.net import Clock

LOCK_NAME = "lock"
_TICK = 1.0  # seconds between looks at retention and a failing disk
_FREE_TICKS = 10  # ticks between looks at the free room
_MAX_LOOSE = 10_000  # events about no message that may wait for a failing disk


@dataclass(frozen=True)
class JournalStats:
    """messages: accepted and not done. waiting_*: not committed yet. held_events: kept waiting by a failing disk."""

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
        self.state_of: Callable[[int], tuple[int, int] | None] | None = None
        self._directory = directory
        self._options = options
        self._early = durability == "memory"
        self._clock = clock
        self._loop = loop
        self._disk = disk
        self._lock = lock
        self._closed = False

        self._waiting_mail: list[PendingMail] = []
        self._waiting_events: list[PendingEvent] = []
        self._loose = 0  # waiting events about no message
        self._unwritten: dict[int, Mail] = {}  # durability memory: acknowledged, not written yet
        self._moving: dict[int, list[PendingEvent]] = {}  # messages that compaction copies; their events wait here
        self._batch: Batch | None = None
        self._begin_handle: TimerHandle | None = None
        self._listeners: dict[object, Callable[[], None]] = {}
        self._idle: list[asyncio.Future[None]] = []
        self._probe = False
        self._outdated: list[int] = []
        self._ticks = 0
        self._held = 0
        self._refusal: str | None = None
        self._lagging: set[str] = set()
        self._compaction: asyncio.Task[int] | None = None
        self._commits = self._committed_mail = self._committed_events = 0

        catalog = read_catalog(disk, directory)
        self._salt = catalog.salt if catalog.salt is not None else rng.getrandbits(64)
        survey = Survey(disk, directory, catalog, self._salt, sync=durability == "power")
        self.damage = survey.damage
        self.last_id = survey.balance.last_id
        self._live = LiveTable()
        setting = Setting(disk, directory, options.segment_size, durability == "power", engine, self._salt, clock.wall)
        remove_spares(setting, catalog)
        self._writer = begin_writing(setting, catalog, survey, options.min_free, injection)
        # What was taken up again holds nothing to recover.
        catalog = catalog._replace(
            mail=[segment for segment in catalog.mail if segment.number != self._writer.mail.segment],
            events=[segment for segment in catalog.events if segment.number != self._writer.events.segment],
        )
        self._catalog: Catalog | None = catalog  # until recovery is through
        for segment in catalog.mail:
            self._live.segments[segment.number] = LiveSegment(sealed=True, counted=False)
        self._retention = Retention(int(options.event_retention * 1000), options.event_retention_size)
        self._retention.segments = kept_events(catalog, survey, int(clock.wall() * 1000))
        self._end = self._writer.end_cursor()
        self._mail_reader = MailReader(disk, directory, self._salt)
        self._event_reader = EventReader(directory, disk, self.end_cursor)
        self._committer: Committer = committer if committer is not None else ThreadCommitter(loop)
        self._set_health(self._writer.refusal, len(self._writer.kept_back))
        self._tick_handle = loop.call_later(_TICK, self._tick)

    # Mail in.

    def refusal(self) -> str | None:
        """Why new mail must be refused now, or None."""
        return self._refusal

    def holding(self) -> bool:
        """A failing disk keeps events from being written: begin no attempts whose outcome could then be lost."""
        return self._held > 0

    def append_mail(self, mail: Mail, events: Sequence[Event], done: MailDone) -> None:
        """Keep a transaction. events: the injection event (ACCEPTED) of each recipient, in the order of its ids.

        done(place) is called on the loop when it is kept at the journal's durability, done(error) when it is not.
        """
        if self._closed or self._refusal is not None:
            self._loop.call_soon(done, JournalError(self._refusal or "the journal is closed"))
        elif mail_size(mail) > MAX_RECORD:
            self._loop.call_soon(done, JournalError(f"the message is larger than {MAX_RECORD} bytes"))
        else:
            self._append(PendingMail(mail, events, done))

    def _append(self, pending: PendingMail) -> None:
        self._waiting_mail.append(pending)
        if self._batch is None and self._begin_handle is None:
            self._begin_soon()

    # Events in.

    def append_event(self, event: Event, done: EventDone = None) -> None:
        """Keep an event. done(None) is called on the loop after its commit.

        As long as the journal is open, an event about a message is never lost: a failing disk makes it wait. One
        about no message (place 0) gets done(JournalFull) when too many wait.
        """
        if self._closed:
            self._fail_event(done, JournalError("the journal is closed"))
            return
        if not event.place:
            if self._held and self._loose >= _MAX_LOOSE:
                self._fail_event(done, JournalFull("too many events wait for the journal's disk"))
                return
            self._loose += 1
        elif self._moving and event.message_id in self._moving:
            self._moving[event.message_id].append((event, done))
            return
        if event.flags & TERMINAL:
            self._live.ended(event.place >> 32, event.message_id)
        self._waiting_events.append((event, done))
        if self._batch is None and self._begin_handle is None:
            self._begin_soon()

    def _fail_event(self, done: EventDone, error: JournalError) -> None:
        if done is not None:
            self._loop.call_soon(done, error)

    # The commit cycle, on the loop's side. One batch at a time is under way; what comes meanwhile is the next one.

    def _begin_soon(self) -> None:
        self._begin_handle = self._loop.call_later(self._options.commit_delay, self._begin)

    def _begin(self) -> None:
        self._begin_handle = None
        batch = self._batch = Batch(self._waiting_mail, self._waiting_events)
        self._waiting_mail, self._waiting_events = [], []
        self._loose = 0
        batch.doomed = list(self._live.doomed)
        batch.outdated, self._outdated = self._outdated, []
        batch.probe, self._probe = self._probe, False
        if batch.mail:
            if self._early:
                self._acknowledge_early(batch)
            self._committer.submit(lambda: self._run_mail(batch))
        self._committer.submit(lambda: self._run_events(batch))

    def _run_mail(self, batch: Batch) -> None:
        try:
            self._writer.keep_mail(batch)
        except Exception as error:
            batch.places, batch.error = [], JournalError(f"internal error: {error!r}")
        self._committer.report(self._mail_kept, batch)

    def _run_events(self, batch: Batch) -> None:
        try:
            self._writer.keep_events(batch)
        except Exception as error:
            batch.refusal = self._writer.refusal = JournalError(f"internal error: {error!r}")
            batch.holding = len(self._writer.kept_back)
        self._committer.report(self._events_kept, batch)

    def _acknowledge_early(self, batch: Batch) -> None:
        """Durability memory: say "kept" before the write."""
        places = self._writer.mail.plan([pending.record for pending in batch.mail])
        for pending, place in zip(batch.mail, places, strict=True):
            if pending.acknowledged or isinstance(pending.record, MovedMail):
                continue
            pending.acknowledged, pending.place = True, place
            self._unwritten[place] = pending.record
            self._live.add(place >> 32, len(pending.record.ids))
            self._call(pending.done, place)

    def _mail_kept(self, batch: Batch) -> None:
        kept = len(batch.places)
        self._committed_mail += kept
        for pending, place in zip(batch.mail, batch.places, strict=False):
            record = pending.record
            if pending.acknowledged:
                self._written_late(pending, place)
                continue
            self._live.add(place >> 32, len(record.live if isinstance(record, MovedMail) else record.ids))
            self._call(pending.done, place)
        if kept < len(batch.mail):
            error = batch.error if batch.error is not None else JournalError("not written")
            self._set_health(error, self._held)
            for pending in batch.mail[kept:]:
                if not pending.acknowledged:
                    self._call(pending.done, error)

    def _written_late(self, pending: PendingMail, place: int) -> None:
        """Mail that was acknowledged before its write is written, at its place or, after a failure, at another."""
        mail = self._unwritten.pop(pending.place)
        if place == pending.place:
            return
        self._live.add(place >> 32, len(mail.ids))
        for event, _ in self._waiting_events:
            if event.place == pending.place:
                event.place = place
        for message_id in mail.ids:
            self._live.ended(pending.place >> 32, message_id)
            self.on_moved(message_id, pending.place, place)
        if pending.place >> 32 != self._writer.mail.segment:
            self._live.seal(pending.place >> 32)  # it may never have come to be

    def _events_kept(self, batch: Batch) -> None:
        self._batch = None
        self._commits += 1
        owed = [pending for pending in batch.mail[len(batch.places) :] if pending.acknowledged]
        self._waiting_mail[:0] = owed
        for sealed in batch.sealed_mail:
            self._live.seal(sealed.segment)
        now_ms = int(self._clock.wall() * 1000)
        for sealed in batch.sealed_events:
            low, high = batch.ranges[sealed.segment]
            self._retention.segments.append(EventSegment(sealed.segment, sealed.end, now_ms, low, high))
        for number in batch.removed_mail:
            self._live.removed(number)
            self._mail_reader.forget(number)
        for number in batch.removed_events:
            for name in self._retention.removed(number):
                self.on_alarm("events_dropped", f"consumer {name} lost events: it lags behind event_retention_size")
        self._set_health(batch.refusal, batch.holding + len(owed))
        if batch.told:
            self._end = batch.end
            self._committed_events += len(batch.told)
            for _, done in batch.told:
                if done is not None:
                    self._call(done, None)
            for listener in list(self._listeners.values()):
                self._call(listener)
        if (self._waiting_mail and not owed) or (self._waiting_events and not self._held):
            if self._begin_handle is None:
                self._begin_soon()
        elif self._idle:
            for future in self._idle:
                if not future.done():
                    future.set_result(None)
            self._idle.clear()

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        """A callback that raises must not keep the others from hearing."""
        try:
            callback(*args)
        except Exception as error:
            self._loop.call_exception_handler({"message": "a journal callback failed", "exception": error})

    def _set_health(self, refusal: JournalError | None, held: int) -> None:
        before, self._refusal = self._refusal, None if refusal is None else str(refusal)
        self._held = held
        if self._refusal is not None and before is None:
            self.on_alarm("disk_full" if isinstance(refusal, JournalFull) else "disk_failed", self._refusal)
        elif self._refusal is None and before is not None:
            self.on_alarm("disk_recovered", f"no longer: {before}")

    def _tick(self) -> None:
        """Once a second: retention, compaction, a look at a failing disk."""
        self._tick_handle = self._loop.call_later(_TICK, self._tick)
        self._ticks += 1
        if self._catalog is None and not self._held:
            self._outdated = self._retention.outdated(int(self._clock.wall() * 1000), self._live.segments.keys())
            lagging = set(self._retention.lagging())
            for name in lagging - self._lagging:
                self.on_alarm("consumer_lag", f"consumer {name} will soon lose events to event_retention_size")
            self._lagging = lagging
            if self._compaction is None and self._refusal is None and self._compactable(self._options.compact_below):
                self._compaction = self._loop.create_task(self.compact())
                self._compaction.add_done_callback(self._compacted)
        self._probe = self._refusal is not None or self._held > 0 or self._ticks % _FREE_TICKS == 0
        if (self._probe or self._outdated or self._live.doomed) and self._batch is None and self._begin_handle is None:
            self._begin()

    # Reading mail, and what an earlier process left.

    def recover(self, batch: int = 1000) -> Iterator[list[LiveMail]]:
        """Yields, newest segment first, the mail that the previous process left undone, up to `batch` records at a time
        and sometimes none. Blocks for some milliseconds between two of them: give the loop a turn each time.

        To be run to its end once, by the process that opened the journal; until then no segment is removed.
        """
        catalog = self._catalog
        if catalog is None:
            return
        recovery = Recovery(self._disk, self._directory, catalog, self._salt, self._live.segments)
        known = 0
        for mails in recovery.run(batch):
            yield mails
            self.damage += recovery.damage[known:]
            for damage in recovery.damage[known:]:
                self.on_alarm("damage", str(damage))
            known = len(recovery.damage)
        for segment in catalog.mail:
            self._live.review(segment.number)
        self._catalog = None

    def read_mail(self, place: int) -> StoredMail:
        """Blocks; any thread. Raises JournalDamaged, and JournalError when the disk can't be read."""
        mail = self._unwritten.get(place)
        if mail is not None:
            return StoredMail(
                mail.ids, list(range(len(mail.ids))), mail.received_ms, mail.meta, mail.trace, mail.content
            )
        return self._mail_reader.read(place)

    # Reading events.

    def begin_cursor(self) -> int:
        """Cursor of the first event that is still kept."""
        segments = self._retention.segments
        number = segments[0].number if segments else self._end >> 32
        return pack_place(number, FILE_HEADER_SIZE)

    def end_cursor(self) -> int:
        """Cursor behind the last committed event."""
        return self._end

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
        self._listeners[key] = callback
        return lambda: self._listeners.pop(key, None) and None

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
        for number in self._compactable(below):
            if self._closed or self._refusal is not None:
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
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": "compaction failed", "exception": error})

    def open_mail(self, number: int) -> File:
        """For compaction."""
        return self._disk.open(self._directory / segment_name(MAIL, number))

    def message_state(self, message_id: int) -> tuple[int, int]:
        """For compaction: (attempts, next_attempt_ms)."""
        return (self.state_of(message_id) if self.state_of is not None else None) or (0, 0)

    def move(self, place: int, moved: MovedMail) -> asyncio.Future[None]:
        """For compaction: copy these messages of the record at place to the stream's end."""
        moving: asyncio.Future[None] = self._loop.create_future()
        moving.add_done_callback(
            lambda future: future.cancelled() or future.exception()
        )  # perhaps nobody waits any more
        for entry in moved.live:
            self._moving[entry.message_id] = []

        def done(result: int | JournalError) -> None:
            held = [pending for entry in moved.live for pending in self._moving.pop(entry.message_id)]
            if isinstance(result, int):
                for entry in moved.live:
                    self._live.moved(place >> 32, entry.message_id, result >> 32)
                    self.on_moved(entry.message_id, place, result)
                for event, _ in held:
                    event.place = result
            for event, event_done in held:
                self.append_event(event, event_done)
            if not moving.done():
                if isinstance(result, int):
                    moving.set_result(None)
                else:
                    moving.set_exception(result)

        self._append(PendingMail(moved, (), done))
        return moving

    # The end.

    def stats(self) -> JournalStats:
        balance = self._writer.events.balance
        return JournalStats(
            mail_segments=len(self._live.segments),
            event_segments=len(self._retention.segments) + 1,
            messages=self._live.messages,
            accepted=balance.accepted,
            terminal=balance.terminal,
            commits=self._commits,
            committed_mail=self._committed_mail,
            committed_events=self._committed_events,
            waiting_mail=len(self._waiting_mail) + (len(self._batch.mail) if self._batch is not None else 0),
            waiting_events=len(self._waiting_events) + (len(self._batch.events) if self._batch is not None else 0),
            held_events=self._held,
            recovered=self._catalog is None,
            refusal=self._refusal,
        )

    async def close(self) -> None:
        """Commit what waits, sync it (in every durability) and release the lock. What a failing disk does not take by
        then gets done(JournalError)."""
        if self._closed:
            return
        if self._compaction is not None:
            self._compaction.cancel()
        while self._batch is not None or self._begin_handle is not None:
            idle: asyncio.Future[None] = self._loop.create_future()
            self._idle.append(idle)
            await idle
        closed: asyncio.Future[None] = self._loop.create_future()
        self._closed = True
        self._committer.submit(lambda: self._run_close(closed))
        await closed
        error = JournalError(self._refusal or "the journal is closed")
        for _, done in (*self._writer.kept_back, *self._waiting_events):
            if done is not None:
                self._call(done, error)
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
        if self._begin_handle is not None:
            self._begin_handle.cancel()
        self._stop()

    def _stop(self) -> None:
        self._tick_handle.cancel()
        self._committer.close()
        self._lock.release()
