"""A small queue over the journal that remembers what it was promised, and a disk that dies in the middle of things."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable
from pathlib import Path
from random import Random

from postroad.config.schema import Durability, Duration, JournalOptions, Size
from postroad.journal import (
    ACCEPTED,
    STATE,
    TERMINAL,
    Disk,
    Event,
    HoseEvent,
    InlineCommitter,
    Journal,
    JournalDamaged,
    JournalError,
    LiveMail,
    Mail,
    audit,
)
from postroad.lab.disks import WRITING, FaultyDisk
from postroad.lab.sim import SimLoop
from postroad.net import Clock

DIRECTORY = Path("/journal")
INJECTION, DELIVERY, DELAY = 1, 2, 3


class Wall:
    """Wall time that follows a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: float = 1_700_000_000.0) -> None:
        self._loop = loop
        self.start = start

    def wall(self) -> float:
        return self.start + self._loop.time()


def options(
    segment_size: int = 8192, retention: float = 86400, retention_size: int = 1 << 30, min_free: int = 0
) -> JournalOptions:
    return JournalOptions(
        segment_size=Size(segment_size),
        event_retention=Duration(retention),
        event_retention_size=Size(retention_size),
        min_free=Size(min_free),
    )


def injection_payload(message_id: int) -> bytes:
    return b'{"type":"injection","id":"%d"}' % message_id


def injection(message_id: int, index: int, mail: LiveMail) -> Event:
    return Event(message_id, INJECTION, injection_payload(message_id), flags=ACCEPTED)


def open_journal(
    disk: Disk,
    loop: asyncio.AbstractEventLoop,
    *,
    durability: Durability = "power",
    opts: JournalOptions | None = None,
    latency: Callable[[], float] = lambda: 0.0,
    directory: Path = DIRECTORY,
    clock: Clock | None = None,
) -> Journal:
    return Journal.open(
        directory,
        opts if opts is not None else options(),
        durability=durability,
        clock=clock if clock is not None else Wall(loop),
        injection=injection,
        loop=loop,
        disk=disk,
        committer=InlineCommitter(loop, latency),
        rng=Random(7),
    )


async def put(
    journal: Journal, ids: list[int], content: bytes = b"Subject: hi\r\n\r\nhello\r\n", meta: bytes = b"meta"
) -> int:
    """Append mail and wait for its place. Raises JournalError when refused."""
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def done(result: int | JournalError) -> None:
        if isinstance(result, int):
            future.set_result(result)
        else:
            future.set_exception(result)

    events = [
        Event(one, INJECTION, injection_payload(one), flags=ACCEPTED, index=index) for index, one in enumerate(ids)
    ]
    journal.append_mail(Mail(ids, 1_700_000_000_000, meta, b"Received: us\r\n", content), events, done)
    return await future


async def tell(journal: Journal, event: Event) -> None:
    """Append an event and wait for its commit. Raises JournalError."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: JournalError | None) -> None:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    journal.append_event(event, done)
    await future


def ended(message_id: int, place: int, index: int = 0) -> Event:
    payload = b'{"type":"delivery","id":"%d"}' % message_id
    return Event(message_id, DELIVERY, payload, flags=TERMINAL, attempts=1, place=place, index=index)


def delayed(message_id: int, place: int, attempts: int, next_attempt_ms: int, index: int = 0) -> Event:
    payload = b'{"type":"delay","id":"%d","num_retries":"%d"}' % (message_id, attempts)
    return Event(
        message_id,
        DELAY,
        payload,
        flags=STATE,
        attempts=attempts,
        next_attempt_ms=next_attempt_ms,
        place=place,
        index=index,
    )


def recovered(journal: Journal) -> list[LiveMail]:
    return [mail for mails in journal.recover() for mail in mails]


def all_events(journal: Journal, limit: int = 50) -> list[HoseEvent]:
    events: list[HoseEvent] = []
    cursor = journal.begin_cursor()
    while True:
        some, following = journal.read_events(cursor, limit)
        if not some:
            return events
        events += some
        cursor = following


def no_fault(operation: str, path: Path) -> int:
    return 0


class PowerCut(BaseException):
    """The machine is off: nothing reaches the disk any more."""


class MortalDisk(FaultyDisk):
    """Goes dark in the middle of an operation, after `life` of those that write."""

    def __init__(self, rng: Random, capacity: int | None = None) -> None:
        super().__init__(rng, capacity)
        self.life = 1 << 60
        self.dark = False
        self._rng = rng

    def check(self, operation: str, path: Path, partly: Callable[[float], None] = lambda share: None) -> None:
        if self.dark:
            raise PowerCut
        if operation not in ("read", "list", "open"):
            self.life -= 1
            if self.life < 0:
                self.dark = True
                if operation == "write":
                    partly(self._rng.random())
                raise PowerCut
        super().check(operation, path, partly)

    def revive(self, *, power: bool) -> None:
        if power:
            self.crash(self._rng)
        self.locks.clear()
        self.dark = False
        self.life = 1 << 60


class Kept:
    """What the model knows of one message."""

    def __init__(self, index: int, content: bytes) -> None:
        self.index = index
        self.content = content
        self.place = 0
        self.acknowledged = False
        self.refused = False
        self.states: list[tuple[int, int]] = [(0, 0)]  # all that were submitted; the last committed one is at `sure`
        self.sure = 0
        self.ending = False  # its terminal event was submitted
        self.ended = False  # and committed


class Model:
    """A queue that injects, delays and delivers at random, crashes, and afterwards holds the journal to its word.

    lossy: the journal may lose what it acknowledged (durability below the crash's severity). faults: the disk fails now
    and then. power: a crash is a power cut; else the process is killed and what was written stays.
    """

    def __init__(
        self,
        seed: int,
        *,
        durability: Durability = "power",
        opts: JournalOptions | None = None,
        lossy: bool = False,
        faults: bool = False,
        power: bool = True,
        capacity: int | None = None,
    ) -> None:
        self.faults = faults
        self.power = power
        self.rng = Random(seed)
        self.disk = MortalDisk(Random(seed + 1), capacity)
        self.durability = durability
        self.opts = opts if opts is not None else options()
        self.lossy = lossy
        self.messages: dict[int, Kept] = {}
        self.committed: dict[bytes, int] = {}  # payloads of events whose commit was confirmed
        self.errors: list[str] = []
        self.alarms: list[str] = []
        self.compacted = 0
        self._next_id = 1

    # One life of the engine.

    def live(self, steps: int, life: int | None = None) -> None:
        """Open, recover, compare with what is owed, then work for some steps or until the power fails."""
        rng = self.rng
        loop = SimLoop(Random(rng.random()))
        loop.set_exception_handler(self._note_error)
        try:
            journal = open_journal(
                self.disk,
                loop,
                durability=self.durability,
                opts=self.opts,
                latency=lambda: rng.random() * 0.002,
            )
            journal.on_alarm = lambda name, text: (
                self.alarms.append(name) if name != "damage" else self.alarms.append(text)
            )
            journal.on_moved = self._moved
            journal.state_of = lambda message_id: self.messages[message_id].states[-1]
            self._compare(journal)
            self.disk.life = life if life is not None else 1 << 60
            loop.run_until_complete(self._work(journal, steps))
            if not self.disk.dark and rng.random() < 0.5:
                loop.run_until_complete(self._close(journal))
            else:
                journal.abandon()
                self._revive()
        except PowerCut:
            self._revive()
        finally:
            self.disk.fault = no_fault
            self.disk.read_only = False
            for task in asyncio.all_tasks(loop):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, PowerCut):
                    loop.run_until_complete(task)
            self.disk.life = 1 << 60
            loop.close()

    async def _close(self, journal: Journal) -> None:
        try:
            await asyncio.wait_for(journal.close(), 60)
        except TimeoutError:
            assert self.disk.dark, "close does not come to an end"
            journal.abandon()
            self._revive()

    def _revive(self) -> None:
        self.disk.revive(power=self.power)

    def _note_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        if not isinstance(context.get("exception"), PowerCut):
            self.errors.append(str(context))

    def _moved(self, message_id: int, old: int, new: int) -> None:
        message = self.messages[message_id]
        if message.place != old:
            self.errors.append(f"message {message_id} was moved from {old} but is at {message.place}")
        message.place = new

    async def _work(self, journal: Journal, steps: int) -> None:
        for _ in range(steps):
            if self.disk.dark:
                return
            roll = self.rng.random()
            if roll < 0.4:
                self._inject(journal)
            elif roll < 0.75:
                self._end(journal)
            elif roll < 0.9:
                self._delay(journal)
            elif roll < 0.93:
                try:
                    self.compacted += await asyncio.wait_for(journal.compact(self.rng.random()), 5)
                except TimeoutError:
                    return  # the power failed midway
            elif roll < 0.95:
                await asyncio.sleep(1.5)  # let the journal's own tick come
            elif roll < 0.98 and self.faults:
                self._change_fault()
            if self.rng.random() < 0.4:
                await asyncio.sleep(self.rng.random() * 0.003)
        await asyncio.sleep(self.rng.random() * 0.01)

    def _change_fault(self) -> None:
        rng = self.rng
        self.disk.read_only = rng.random() < 0.1
        share = rng.choice((0.0, 0.0, 0.05, 0.5, 1.0))
        code = rng.choice((errno.EIO, errno.ENOSPC))
        failing = rng.choice((WRITING, {"sync"}, {"write"}, {"create", "preallocate"}, {"unlink", "sync_dir"}))

        def fault(operation: str, path: Path) -> int:
            return code if operation in failing and rng.random() < share else 0

        self.disk.fault = fault

    def _inject(self, journal: Journal) -> None:
        rng = self.rng
        ids = list(range(self._next_id, self._next_id + rng.choice((1, 1, 1, 2, 5))))
        self._next_id += len(ids)
        content = rng.randbytes(rng.choice((10, 300, 2000, 2000, 20_000)))
        kept = [Kept(index, content) for index in range(len(ids))]
        self.messages.update(zip(ids, kept, strict=True))

        def done(result: int | JournalError) -> None:
            for one in kept:
                if isinstance(result, int):
                    one.place, one.acknowledged = result, True
                else:
                    one.refused = True

        events = [
            Event(one, INJECTION, injection_payload(one), flags=ACCEPTED, index=index) for index, one in enumerate(ids)
        ]
        meta = b",".join(b"%d" % one for one in ids)
        journal.append_mail(Mail(ids, 1_700_000_000_000, meta, b"Received: us\r\n", content), events, done)

    def _pick(self) -> tuple[int, Kept] | None:
        waiting = [(one, m) for one, m in self.messages.items() if m.acknowledged and not m.ending]
        return self.rng.choice(waiting) if waiting else None

    def _end(self, journal: Journal) -> None:
        picked = self._pick()
        if picked is None:
            return
        message_id, message = picked
        message.ending = True
        event = ended(message_id, message.place, message.index)

        def done(error: JournalError | None) -> None:
            if error is None:
                message.ended = True
                self.committed[event.payload] = self.committed.get(event.payload, 0) + 1

        journal.append_event(event, done)

    def _delay(self, journal: Journal) -> None:
        picked = self._pick()
        if picked is None:
            return
        message_id, message = picked
        number = len(message.states)
        message.states.append((number, 1_700_000_000_000 + number))
        event = delayed(message_id, message.place, *message.states[-1], message.index)

        def done(error: JournalError | None) -> None:
            if error is None:
                message.sure = number
                self.committed[event.payload] = self.committed.get(event.payload, 0) + 1

        journal.append_event(event, done)

    # Holding it to its word.

    def _compare(self, journal: Journal) -> None:
        live = {entry.message_id: (mail, entry) for mail in recovered(journal) for entry in mail.live}
        for damage in journal.damage:
            if damage.ids and not self.lossy:
                raise AssertionError(f"accepted mail is damaged: {damage}")
        for message_id, (mail, entry) in live.items():
            message = self.messages[message_id]
            assert not message.refused or self.faults or self.lossy, f"{message_id} was refused and came back"
            assert not message.ended or self.lossy, f"{message_id} had ended and came back"
            assert entry.index == message.index
            assert str(message_id).encode() in mail.meta.split(b",")
            try:
                stored = journal.read_mail(mail.place)
                assert stored.content == message.content
                assert message_id in stored.ids
            except JournalDamaged:
                assert self.lossy, f"{message_id} is damaged"
            allowed = message.states[0 if self.lossy else message.sure :]
            assert (entry.attempts, entry.next_attempt_ms) in allowed, f"{message_id}: state"
            # What a crash left is what holds from now on.
            message.states = [*message.states[: entry.attempts + 1]]
            message.sure = entry.attempts
            message.place, message.acknowledged, message.ending = mail.place, True, False
        for message_id, message in list(self.messages.items()):
            if message_id in live:
                continue
            if not self.lossy:
                assert message.ending or not message.acknowledged, f"{message_id} was acknowledged and is lost"
            if message.acknowledged:
                message.ending = message.ended = True
            else:
                message.refused = True  # in flight at the crash, and not kept
        self._compare_events(journal, live.keys())
        report = audit(DIRECTORY, self.disk)
        if not self.lossy:
            assert report.clean, report
            assert report.queued == len(live), (report, len(live))

    def _compare_events(self, journal: Journal, live: object) -> None:
        seen: dict[bytes, int] = {}
        for event in all_events(journal):
            seen[event.payload] = seen.get(event.payload, 0) + 1
        if self.lossy or journal.begin_cursor() >> 32 > 1:
            return  # what was dropped by retention can't be compared
        for payload, times in self.committed.items():
            assert seen.get(payload, 0) >= times, f"{payload!r} was committed and is gone"
        for message_id, message in self.messages.items():
            if message.acknowledged:
                times = seen.get(injection_payload(message_id), 0)
                assert times == 1, f"{message_id} has {times} injection events"
