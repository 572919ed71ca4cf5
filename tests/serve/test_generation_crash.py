"""Generation on a simulated loop and a disk that dies in the middle of a write: whatever is killed or loses power,
each recipient of a transmission is accepted exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from postroad.config.schema import JournalOptions, QueueOptions
from postroad.events import EventEncoder, Kind
from postroad.inject.http import Nothing, Setting, Stock
from postroad.journal import JOB, Event, InlineCommitter, Journal, JournalError, LiveMail
from postroad.lab.sim.loop import SimLoop
from postroad.message import Accepted, IdSource, Outcome, Refused, Rejection, Reply, Stage, Transaction, Verdict
from postroad.queue import Queue
from postroad.queue.jobs import About, Job, Phase, is_job
from postroad.queue.stored import common_event, mark_job
from postroad.serve.generation import Generation
from tests.journal.kit import MortalDisk, PowerCut, Wall, options

RECIPIENTS = 70
FOLDER = Path("/jobs")


class Straight:
    """Into the queue, but some are held up and come later than others, as signatures hold them up."""

    def __init__(self, queue: Queue, rng: Random) -> None:
        self._queue = queue
        self._rng = rng

    def refusal(self) -> Reply | None:
        return self._queue.refusal()

    def rejected(self, rejection: Rejection) -> None:
        self._queue.rejected(rejection)

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        if self._rng.random() < 0.3:
            asyncio.get_running_loop().call_later(self._rng.random() * 0.004, self._queue.accept, transaction, done)
        else:
            self._queue.accept(transaction, done)


class Life:
    """One life of the engine's inside. stock: what its transmissions may name. start: wall time of the loop's 0.
    pace: seconds that a delivery takes at the most. delivered: to whom."""

    def __init__(
        self,
        disk: MortalDisk,
        loop: SimLoop,
        rng: Random,
        stock: Stock | None = None,
        start: float = 1_700_000_000.0,
        *,
        pace: float = 0.003,
        journal: JournalOptions | None = None,
        delivered: list[str] | None = None,
    ) -> None:
        self._pace = pace
        self.delivered = [] if delivered is None else delivered
        clock = Wall(loop, start)
        encoder = EventEncoder()

        def injection(message_id: int, index: int, mail: LiveMail) -> Event:
            if is_job(mail.meta):
                return Event(message_id, 0, b"", flags=JOB, next_attempt_ms=message_id)
            common, binding, connection = common_event(mail.meta, index)
            payload = encoder.injection(common, message_id, mail.received_ms / 1000, binding, connection)
            return mark_job(Event(message_id, Kind.INJECTION, payload), mail.meta, index)

        self.journal = Journal.open(
            FOLDER,
            journal or options(),
            clock=clock,
            injection=injection,
            loop=loop,
            disk=disk,
            committer=InlineCommitter(loop, lambda: rng.random() * 0.002),
            rng=Random(1),
        )
        ids = IdSource(clock.wall, last=self.journal.last_id)
        self.queue = Queue(
            self.journal,
            encoder,
            Kind,
            options=QueueOptions(),
            clock=clock,
            ids=ids,
            rng=Random(2),
            hostname="mx.test",
            memory_goal=1 << 20,
        )
        self.ids = ids
        self.clock = clock
        self.setting = Setting("mx.test", ids, lambda: "=_b", 1 << 20, 1000, max_ahead=86_400, stock=stock or Nothing())
        self._rng = rng
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self.queue.on_work(self._wake)
        self.generation = Generation(
            self.queue,
            self.journal,
            Straight(self.queue, rng),
            setting=self.setting,
            teller=encoder,
            kinds=Kind,
            ids=ids,
            clock=clock,
            room=lambda: len(self.queue) < 40,
        )

    def _wake(self, binding: str, domain: str) -> None:
        task = self._loop.create_task(self._deliver(binding, domain))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, binding: str, domain: str) -> None:
        while (message := self.queue.take(binding, domain)) is not None:
            if message.body is None and not await self.queue.load(message):
                continue
            await asyncio.sleep(self._rng.random() * self._pace)
            self.delivered.append(message.recipient)
            self.queue.settle(message, Outcome(Verdict.DELIVERED, Reply(250, "2.0.0 ok"), Stage.CONFIRMATION))


def request(recipients: int = RECIPIENTS) -> bytes:
    people = [f"r{number}@d{number % 3}.test" for number in range(recipients)]
    content = {"from": "a@sender.test", "subject": "s", "text": "hello"}
    return json.dumps({"recipients": people, "content": content}).encode()


def accepted(journal: Journal) -> Counter[str]:
    cursor, found = journal.begin_cursor(), Counter[str]()
    while True:
        events, cursor = journal.read_events(cursor)
        if not events:
            return found
        told = [json.loads(event.payload) for event in events if event.kind == Kind.INJECTION]
        found.update(event["rcpt_to"] for event in told)


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_each_recipient_is_accepted_once_whatever_dies(seed: int, power: bool) -> None:
    rng = Random(seed * 2 + power)
    disk = MortalDisk(Random(seed), None)
    errors: list[str] = []

    def note(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        if not isinstance(context.get("exception"), PowerCut):
            errors.append(str(context))

    lives = 0
    finished = False
    while not finished:
        lives += 1
        assert lives < 200
        loop = SimLoop(Random(rng.random()))
        loop.set_exception_handler(note)
        try:
            # In the end the disk stays alive.
            finished = loop.run_until_complete(run(disk, loop, rng, rng.randrange(3, 120) if lives < 12 else 1 << 60))
        except PowerCut:
            pass
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, PowerCut, JournalError):
                    loop.run_until_complete(task)
            disk.revive(power=power and disk.dark)
            loop.close()
    assert lives > 1
    assert errors == []


def dead(disk: MortalDisk) -> bool:
    return disk.dark


async def run(disk: MortalDisk, loop: SimLoop, rng: Random, writes: int) -> bool:
    """True: the transmission is over, and what was accepted is as it should be. writes: after so many of them the disk
    dies."""
    life = Life(disk, loop, rng)
    disk.life = writes
    await life.queue.recover()
    if not len(life.queue.jobs):
        kept: asyncio.Future[Job | JournalError] = asyncio.get_running_loop().create_future()
        life.queue.jobs.create(life.ids.next(), About(RECIPIENTS), request(), kept.set_result)
        while not kept.done():
            if disk.dark:
                return False
            await asyncio.sleep(0.01)
        assert isinstance(kept.result(), Job)
    life.generation.start()
    while True:
        await asyncio.sleep(0.02)
        if disk.dark:
            return False
        if rng.random() < 0.1:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(life.journal.compact(1.0), 1)
        jobs = list(life.queue.jobs)
        if all(job.phase is Phase.SUCCESS for job in jobs) and not len(life.queue):
            break
    await life.generation.stop()
    await asyncio.sleep(1)
    if dead(disk):
        return False
    disk.life = 1 << 60
    # A crash within the first commit may have kept a job that nobody was told of; then there are two.
    assert len(jobs) in (1, 2)
    assert accepted(life.journal) == Counter(
        {f"r{number}@d{number % 3}.test": len(jobs) for number in range(RECIPIENTS)}
    )
    life.journal.abandon()
    return True
