"""The commit cycle, on the event loop's side: what waits, what is under way, and who hears when it is kept.

One batch at a time is under way; what comes meanwhile is the next one. A batch begins a commit_delay after its first
record came, so that records that come together share a sync.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable

from postroad.journal.commit import Batch, Committer, EventDone, PendingEvent, PendingMail, Writer
from postroad.journal.errors import JournalError, JournalFull
from postroad.journal.format import MovedMail
from postroad.journal.live import LiveTable
from postroad.journal.records import TERMINAL, Event, LiveRecipient, Mail
from postroad.journal.retention import EventSegment, Retention

_MAX_LOOSE = 10_000  # events about no message that may wait for a failing disk

Alarm = Callable[[str, str], None]  # name, text
Moved = Callable[[int, int, int], None]  # message id, old place, new place


class Cycle:
    """refusal: why new mail must be refused now. held: how many events (and acknowledged mails) a failing disk keeps
    waiting. end: cursor behind the last committed event. unwritten: by place, mail that was acknowledged before its
    write (durability memory).
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        committer: Committer,
        writer: Writer,
        live: LiveTable,
        retention: Retention,
        *,
        wall: Callable[[], float],
        delay: float,
        early: bool,
        alarm: Alarm,
        moved: Moved,
        forget: Callable[[int], None],
    ) -> None:
        """delay: seconds a batch waits for company. early: acknowledge mail before its write. forget: a mail segment is
        removed."""
        self._loop = loop
        self._committer = committer
        self._writer = writer
        self._live = live
        self._retention = retention
        self._wall = wall
        self._delay = delay
        self._early = early
        self._alarm = alarm
        self._moved = moved
        self._forget = forget

        self.refusal: JournalError | None = None
        self.held = 0
        self.end = writer.end_cursor()
        self.unwritten: dict[int, Mail] = {}
        self.listeners: dict[object, Callable[[], None]] = {}
        self.commits = self.committed_mail = self.committed_events = 0
        self.commit_seconds = 0.0  # that all commits took
        self._began = 0.0

        self._waiting_mail: list[PendingMail] = []
        self._waiting_events: list[PendingEvent] = []
        self._loose = 0  # waiting events about no message
        self._moving: dict[int, list[PendingEvent]] = {}  # messages that compaction copies: their events wait here
        self._batch: Batch | None = None
        self._begin_handle: TimerHandle | None = None
        self._probe = False
        self._new_segment = False
        self._outdated: list[int] = []
        self._idle: list[asyncio.Future[None]] = []
        self._set_health(writer.refusal, len(writer.kept_back))

    @property
    def waiting_mail(self) -> int:
        return len(self._waiting_mail) + (len(self._batch.mail) if self._batch is not None else 0)

    @property
    def waiting_events(self) -> int:
        return len(self._waiting_events) + (len(self._batch.events) if self._batch is not None else 0)

    # What comes in.

    def append_mail(self, pending: PendingMail) -> None:
        self._waiting_mail.append(pending)
        if self._batch is None and self._begin_handle is None:
            self._begin_soon()

    def append_event(self, event: Event, done: EventDone) -> None:
        if not event.place:
            if self.held and self._loose >= _MAX_LOOSE:
                if done is not None:
                    self._loop.call_soon(done, JournalFull("too many events wait for the journal's disk"))
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

    def begin_segment(self) -> None:
        """Mail of the next batch goes into a segment of its own."""
        self._new_segment = True

    def is_moving(self, message_id: int) -> bool:
        return message_id in self._moving

    def move(self, place: int, moved: MovedMail) -> asyncio.Future[None]:
        """Copy these messages of the record at place to the stream's end. Their events wait meanwhile, and then name
        the new place."""
        moving: asyncio.Future[None] = self._loop.create_future()
        # Its error counts as seen even when compaction was cancelled and nobody waits any more.
        moving.add_done_callback(lambda future: future.cancelled() or future.exception())
        for entry in moved.live:
            self._moving[entry.message_id] = []

        def done(result: int | JournalError) -> None:
            if isinstance(result, int):
                self._arrived(place, moved.live, result)
            else:
                self._arrived(place, moved.live, place)
            if moving.done():
                return
            if isinstance(result, int):
                moving.set_result(None)
            else:
                moving.set_exception(result)

        self.append_mail(PendingMail(moved, (), done))
        return moving

    def _arrived(self, old: int, live: list[LiveRecipient], new: int) -> None:
        """The copy is kept at new (or it failed, and new is old)."""
        held = [pending for entry in live for pending in self._moving.pop(entry.message_id)]
        if new != old:
            for entry in live:
                self._live.moved(old >> 32, entry.message_id, new >> 32)
                self._call(self._moved, entry.message_id, old, new)
        for event, event_done in held:
            event.place = new
            self.append_event(event, event_done)

    def chore(self, outdated: list[int], *, probe: bool) -> None:
        """Something to do with the next batch: remove these event segments; look at the disk's health."""
        self._outdated = outdated
        self._probe = probe
        if (probe or outdated or self._live.doomed) and self._batch is None and self._begin_handle is None:
            self._begin()

    # One batch.

    def _begin_soon(self) -> None:
        self._begin_handle = self._loop.call_later(self._delay, self._begin)

    def _begin(self) -> None:
        self._begin_handle = None
        self._began = self._loop.time()
        batch = self._batch = Batch(self._waiting_mail, self._waiting_events)
        self._waiting_mail, self._waiting_events = [], []
        self._loose = 0
        batch.doomed = list(self._live.doomed)
        batch.outdated, self._outdated = self._outdated, []
        batch.probe, self._probe = self._probe, False
        batch.new_segment, self._new_segment = self._new_segment, False
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
            self.unwritten[place] = pending.record
            self._live.add(place >> 32, len(pending.record.ids))
            self._call(pending.done, place)

    def _mail_kept(self, batch: Batch) -> None:
        kept = len(batch.places)
        self.committed_mail += kept
        for pending, place in zip(batch.mail, batch.places, strict=False):
            record = pending.record
            if pending.acknowledged:
                self._written_late(pending, place)
                continue
            self._live.add(place >> 32, len(record.live if isinstance(record, MovedMail) else record.ids))
            self._call(pending.done, place)
        if kept < len(batch.mail):
            error = batch.error if batch.error is not None else JournalError("not written")
            self._set_health(error, self.held)
            for pending in batch.mail[kept:]:
                if not pending.acknowledged:
                    self._call(pending.done, error)

    def _written_late(self, pending: PendingMail, place: int) -> None:
        """Mail that was acknowledged before its write is written, at its place or, after a failure, at another."""
        mail = self.unwritten.pop(pending.place)
        if place == pending.place:
            return
        self._live.add(place >> 32, len(mail.ids))
        for event, _ in self._waiting_events:
            if event.place == pending.place:
                event.place = place
        for message_id in mail.ids:
            self._live.ended(pending.place >> 32, message_id)
            self._moved(message_id, pending.place, place)
        if pending.place >> 32 != self._writer.mail.segment:
            self._live.seal(pending.place >> 32)  # it may never have come to be

    def _events_kept(self, batch: Batch) -> None:
        self._batch = None
        self.commits += 1
        self.commit_seconds += self._loop.time() - self._began
        owed = [pending for pending in batch.mail[len(batch.places) :] if pending.acknowledged]
        self._waiting_mail[:0] = owed
        for sealed in batch.sealed_mail:
            self._live.seal(sealed.segment)
        now_ms = int(self._wall() * 1000)
        for sealed in batch.sealed_events:
            low, high = batch.ranges[sealed.segment]
            self._retention.segments.append(EventSegment(sealed.segment, sealed.end, now_ms, low, high))
        for number in batch.removed_mail:
            self._live.removed(number)
            self._forget(number)
        for number in batch.removed_events:
            for name in self._retention.removed(number):
                self._alarm("events_dropped", f"consumer {name} lost events: it lags behind event_retention_size")
        self._set_health(batch.refusal, batch.holding + len(owed))
        if batch.told:
            self.end = batch.end
            self.committed_events += len(batch.told)
            for _, done in batch.told:
                if done is not None:
                    self._call(done, None)
            for listener in list(self.listeners.values()):
                self._call(listener)
        if (self._waiting_mail and not owed) or (self._waiting_events and not self.held):
            if self._begin_handle is None:
                self._begin_soon()
        elif self._idle:
            for future in self._idle:
                if not future.done():
                    future.set_result(None)
            self._idle.clear()

    async def idle(self) -> None:
        """Until nothing waits that the disk takes."""
        while self._batch is not None or self._begin_handle is not None:
            idle: asyncio.Future[None] = self._loop.create_future()
            self._idle.append(idle)
            await idle

    def give_up(self, error: JournalError) -> None:
        """The journal is closed: what the disk did not take by now is not kept."""
        for _, done in (*self._writer.kept_back, *self._waiting_events):
            if done is not None:
                self._call(done, error)

    def abandon(self) -> None:
        if self._begin_handle is not None:
            self._begin_handle.cancel()

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        """A callback that raises must not keep the others from hearing."""
        try:
            callback(*args)
        except Exception as error:
            self._loop.call_exception_handler({"message": "a journal callback failed", "exception": error})

    def _set_health(self, refusal: JournalError | None, held: int) -> None:
        before, self.refusal, self.held = self.refusal, refusal, held
        if refusal is not None and before is None:
            self._alarm("disk_full" if isinstance(refusal, JournalFull) else "disk_failed", str(refusal))
        elif refusal is None and before is not None:
            self._alarm("disk_recovered", f"no longer: {before}")
