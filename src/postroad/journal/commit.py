"""The commit cycle: what one batch writes, in which order, and the thread it runs in.

A batch has two stages, run strictly in order by the committer:
1. mail: write the waiting mail and sync it. Now it is kept; its clients hear so.
2. events: write the outcomes (they tell of mail kept earlier) and the injection events of this batch's mail, and sync
   them. Then segments whose messages are all done can go.
Every injection event follows its mail and they come in the mail's order, so whatever a crash takes of them, recovery
can tell which are missing and make them again.
"""

from __future__ import annotations

import contextlib
import errno
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

from postroad.journal.catalog import segment_name
from postroad.journal.disk import Disk
from postroad.journal.errors import JournalError, JournalFull
from postroad.journal.format import EVENT, MAIL, MovedMail
from postroad.journal.records import Event, LiveMail, Mail
from postroad.journal.tail import EventTail, MailTail, Sealed, Setting

Injection = Callable[[int, int, LiveMail], Event]  # message id, index of the recipient, its mail
MailDone = Callable[[int | JournalError], None]
EventDone = Callable[[JournalError | None], None] | None
PendingEvent = tuple[Event, EventDone]


class Committer(Protocol):
    """Where blocking writes run."""

    def submit(self, work: Callable[[], None]) -> None:
        """Run work off the event loop, strictly in the order of the calls. Called on the loop."""

    def report(self, callback: Callable[..., None], *args: object) -> None:
        """Run callback on the event loop. Called from within work."""

    def close(self) -> None:
        """Finish what was submitted and stop. Called on the loop."""


class ThreadCommitter:
    """One thread of its own, fed by a queue."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], None]) -> None:
        self._work.put(work)

    def report(self, callback: Callable[..., None], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *args)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def close(self) -> None:
        self._work.put(None)
        self._thread.join()


class InlineCommitter:
    """For simulation: work runs on the loop itself, each piece some simulated time after it could have begun."""

    def __init__(self, loop: AbstractEventLoop, latency: Callable[[], float] = lambda: 0.0) -> None:
        self._loop = loop
        self._latency = latency
        self._work: deque[Callable[[], None]] = deque()
        self._closed = False

    def submit(self, work: Callable[[], None]) -> None:
        self._work.append(work)
        if len(self._work) == 1:
            self._loop.call_later(self._latency(), self._run)

    def report(self, callback: Callable[..., None], *args: object) -> None:
        self._loop.call_soon(callback, *args)

    def _run(self) -> None:
        if self._closed:
            return
        self._work[0]()
        self._work.popleft()
        if self._work:
            self._loop.call_later(self._latency(), self._run)

    def close(self) -> None:
        self._closed = True


class PendingMail:
    """Mail on its way to the disk. events: its injection events. before: other events that are written if the mail is,
    right before those. place: where it is, or (in memory durability, before the write) will be.
    acknowledged: done was called already, so the mail must not be dropped."""

    __slots__ = ("acknowledged", "before", "done", "events", "place", "record")

    def __init__(
        self, record: Mail | MovedMail, events: Sequence[Event], done: MailDone, before: Sequence[Event] = ()
    ) -> None:
        self.before = before
        self.record = record
        self.events = events
        self.done = done
        self.place = 0
        self.acknowledged = False


class Batch:
    """What one cycle does (in), and what came of it (out)."""

    def __init__(self, mail: list[PendingMail], events: list[PendingEvent]) -> None:
        self.mail = mail
        self.events = events
        self.doomed: list[int] = []  # mail segments to remove, in this order
        self.outdated: list[int] = []  # event segments to remove, in this order
        self.probe = False  # look at the disk's health
        self.new_segment = False  # begin a mail segment with this batch

        self.places: list[int] = []  # of the mail kept, from the front
        self.error: JournalError | None = None  # why the rest of it was not
        self.told: list[PendingEvent] = []  # events kept
        self.holding = 0  # events that could not be kept; they stay with the writer
        self.removed_mail: list[int] = []
        self.removed_events: list[int] = []
        self.sealed_mail: list[Sealed] = []
        self.sealed_events: list[Sealed] = []
        self.ranges: dict[int, tuple[int, int]] = {}
        self.refusal: JournalError | None = None
        self.end = 0  # cursor behind the last event kept


def disk_error(error: OSError) -> JournalError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JournalFull(f"the journal's disk is full ({error})")
    if error.errno == errno.EROFS:
        return JournalError(f"the journal's disk is read-only ({error})")
    return JournalError(f"the journal's disk fails ({error})")


class Writer:
    """The committer's side of the journal. Runs batches; between them the loop may look at the tails."""

    def __init__(self, setting: Setting, mail: MailTail, events: EventTail, min_free: int) -> None:
        self.mail = mail
        self.events = events
        self.kept_back: list[PendingEvent] = []  # events a failing disk did not take, in order
        self.refusal: JournalError | None = None
        self._set = setting
        self._disk: Disk = setting.disk
        self._min_free = min_free

    def first_events(self, events: list[PendingEvent]) -> None:
        """Write what recovery made before anything else."""
        self._write_events(events)

    def end_cursor(self) -> int:
        """Behind the last event kept."""
        return self.events.cursor

    def keep_mail(self, batch: Batch) -> None:
        """Stage 1."""
        if batch.new_segment:
            self.mail.seal()
        places, error = self.mail.write([pending.record for pending in batch.mail])
        batch.places = places
        relocated: dict[int, int] = {}
        for pending, place in zip(batch.mail, places, strict=False):
            for event in pending.events:
                event.place = place
            if pending.acknowledged and pending.place != place:
                relocated[pending.place] = place
        if relocated:
            for event, _ in (*self.kept_back, *batch.events):
                event.place = relocated.get(event.place, event.place)
        if error is not None:
            self.refusal = batch.error = disk_error(error)

    def keep_events(self, batch: Batch) -> None:
        """Stage 2."""
        waiting = [*self.kept_back, *batch.events]
        for pending in batch.mail[: len(batch.places)]:
            if pending.before:
                waiting += [(event, None) for event in pending.before]
            waiting += [(event, None) for event in pending.events]
        if self._owes_mail(batch):
            self.kept_back = waiting
        else:
            batch.told = self._write_events(waiting)
        if not self.kept_back:
            self._remove(batch)
        if batch.probe or self.mail.sealed or self.events.sealed:
            self.check_health(retry=batch.probe)
        batch.sealed_mail, self.mail.sealed = self.mail.sealed, []
        batch.sealed_events, self.events.sealed = self.events.sealed, []
        batch.ranges, self.events.ranges = self.events.ranges, {}
        batch.holding = len(self.kept_back)
        batch.refusal = self.refusal
        batch.end = self.end_cursor()

    def _write_events(self, waiting: list[PendingEvent]) -> list[PendingEvent]:
        """Returns those kept; the rest waits in kept_back."""
        self.kept_back = waiting  # whatever happens below, none is lost
        if not waiting:
            return []
        events = [event for event, _ in waiting]
        self._stamp(events)
        places, error = self.events.write(events)
        self.kept_back = waiting[len(places) :]
        if error is not None:
            self.refusal = disk_error(error)
        return waiting[: len(places)]

    def _owes_mail(self, batch: Batch) -> bool:
        """Acknowledged mail (durability memory) is not written yet: nothing may be told about it before."""
        return any(pending.acknowledged for pending in batch.mail[len(batch.places) :])

    def _stamp(self, events: list[Event]) -> None:
        now = int(self._set.wall() * 1000)
        for event in events:
            if not event.time_ms:
                event.time_ms = now

    def check_health(self, *, retry: bool = True) -> None:
        """Have segments begun and spares ready, and say in `refusal` whether new mail is welcome. Events come first:
        with a spare event segment, messages can still end when nothing else fits on the disk."""
        if self.refusal is not None and not retry:
            return
        try:
            self.events.probe()
            free = self._disk.free(self._set.directory)
            if free < self._min_free:
                self.refusal = JournalFull(f"the journal's disk has {free} bytes free; min_free is {self._min_free}")
                return
            self.mail.probe()
        except OSError as error:
            self.refusal = disk_error(error)
        else:
            self.refusal = None

    def _remove(self, batch: Batch) -> None:
        """Remove files, so that no crash can bring back a message that ended: mail before the events that tell of its
        end, moved mail's old place before the new one, each sure before the next."""
        if not batch.doomed and not batch.outdated:
            return
        try:
            if self.mail.trim():
                for number in batch.doomed:
                    self._unlink(MAIL, number)
                    batch.removed_mail.append(number)
            if self.events.trim() and len(batch.removed_mail) == len(batch.doomed):
                for number in batch.outdated:
                    self._unlink(EVENT, number)
                    batch.removed_events.append(number)
        except OSError:
            return  # the batch says how far we came; the rest is tried again

    def _unlink(self, stream: int, number: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._disk.unlink(self._set.directory / segment_name(stream, number))
        if self._set.sync:
            self._disk.sync_dir(self._set.directory)
