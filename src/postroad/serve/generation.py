"""Generation: messages are made for the recipients of large transmissions, a slice at a time, beside everything else.

A slice is JOB_SLICE recipients of one job: made, handed over, and waited for until each is kept or has failed; then it
is the next job's turn. So however long the jobs are, delivery and new mail are never more than a slice behind, and
after a crash no more than a slice is in doubt (queue/jobs.py tells how that is settled). While the queue holds more
than it should, or the disk takes nothing, the jobs wait.

The messages stay in the engine that has the job, whoever owns their domains: handed over, a message may be doubled when
an engine dies in between. Limits are lent to engines, so they hold all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import structlog

from postroad.inject.http import Failure, Mailing, Setting, Unmade, unpack_request
from postroad.journal import JOB_SLICE, Journal, JournalError
from postroad.message import (
    Accepted,
    Acceptor,
    IdSource,
    Outcome,
    Recipient,
    Refused,
    Reply,
    Stage,
    Transaction,
    Verdict,
)
from postroad.net import Clock
from postroad.queue import Queue
from postroad.queue.jobs import Job, Phase
from postroad.queue.tidy import Tidy

log = structlog.get_logger()

KEPT = 86_400.0  # seconds for which what became of a transmission, and the answer to its key, are known after its end
MAX_KEPT = 10_000  # of those that are over; the oldest are forgotten first
# Of those with a key: forgotten before its time, a key would make a second mailing. One takes some 0.8 KB of memory.
MAX_KEYED = 100_000
_OPEN = 4  # jobs whose requests are in memory
_AGAIN = 1.0  # seconds until a job goes on that something held up
_SOON = 0.05  # seconds until one goes on that waits for room in the queue, or for its record
_LONGEST = 30.0  # seconds between two looks at the clock: it may be set
_ADMIN = 25  # bounce class: an operator or a list decided
_CANCELED = Reply(554, "5.7.1 [internal] Campaign cancelled")

Done = Callable[[Accepted | Refused], None]


class Generation:
    """acceptor: where the messages go; it ends in the queue of this engine. room(): may more be put into the queue?
    Construct it inside the running event loop."""

    def __init__(
        self,
        queue: Queue,
        journal: Journal,
        acceptor: Acceptor,
        *,
        setting: Setting,
        teller: Any,
        kinds: Any,
        ids: IdSource,
        clock: Clock,
        room: Callable[[], bool],
    ) -> None:
        self.jobs = queue.jobs
        self._tidy = Tidy(queue.jobs, journal)
        self._journal = journal
        self._acceptor = acceptor
        self._setting = setting
        self._teller = teller
        self._kinds = kinds
        self._ids = ids
        self._clock = clock
        self._room = room
        self._open: dict[int, Mailing] = {}
        self._work = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._held: dict[int, float] = {}  # jobs that something held up, and until when (loop time)

    def start(self) -> None:
        """Once the journal is recovered: before, it is not known which jobs there are, and how far they are."""
        if self._stopping.is_set():
            return
        self.jobs.woken = self._work.set
        self._task = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """The slice under way is finished; the rest is for the next start."""
        self._stopping.set()
        self._work.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._work.clear()
            self._forget()
            await self._tidy.run()
            worked = False
            for job in self._due():
                if self._stopping.is_set():
                    return
                worked = await self._turn(job) or worked
                await asyncio.sleep(0)
            if not worked:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._work.wait(), self._pause())

    async def _turn(self, job: Job) -> bool:
        """False: it could do nothing."""
        if not self._room() or self._journal.is_moving(job.number):
            self._held[job.number] = self._loop.time() + _SOON
            return False
        job.working = True  # its record stays where it is
        try:
            return await self._slice(job)
        except Exception as error:
            # One job must not keep the others from their turns.
            self._held[job.number] = self._loop.time() + _LONGEST
            log.error("alarm", alarm="transmission_stuck", transmission=str(job.number), text=repr(error))
            return False
        finally:
            job.working = False

    def _due(self) -> list[Job]:
        now, time = self._clock.wall(), self._loop.time()
        found = []
        for job in self.jobs.active():
            if job.phase is Phase.ACTIVE and job.about.start > now:
                continue
            if self._held.get(job.number, 0.0) <= time:
                self._held.pop(job.number, None)
                found.append(job)
        # Those that are in memory first, then the shortest: nobody waits behind a long one.
        found.sort(key=lambda job: (job.number not in self._open, job.about.total - job.progress.base))
        return found[:_OPEN]

    def _pause(self) -> float:
        """Seconds until something may be due."""
        wait = _LONGEST
        now = self._clock.wall()
        for job in self.jobs.active():
            if job.phase is Phase.ACTIVE and job.about.start > now:
                wait = min(wait, job.about.start - now)
        for until in self._held.values():
            wait = min(wait, until - self._loop.time())
        return max(wait, 0.001)

    def _forget(self) -> None:
        now = self._clock.wall()
        old: list[Job] = []
        for over, most in ((self.jobs.over(keyed=False), MAX_KEPT), (self.jobs.over(keyed=True), MAX_KEYED)):
            spare = len(over) - most
            for at, job in enumerate(over):
                if now - job.about.ended < KEPT and at >= spare:
                    break
                old.append(job)
        for job in old:
            if not self._journal.is_moving(job.number):
                self.jobs.end(job)

    # One slice.

    async def _slice(self, job: Job) -> bool:
        base = job.progress.base
        if base >= job.about.total:
            self._finish(job)
            return True
        mailing = await self._mailing(job)
        if mailing is None:
            return False
        stop = min(base + JOB_SLICE, job.about.total)
        handed: list[Transaction] = []
        unmade: list[Unmade] = []
        for start, end in _runs(base, stop, job.progress.covers):
            made, failed = mailing.portion(start, end, job.number)
            handed += made
            unmade += failed
        if job.phase is Phase.CANCELING:
            waiting = [
                self._bounced(job, transaction, recipient, _CANCELED)
                for transaction in handed
                for recipient in transaction.recipients
            ]
            waiting += [self._failed(job, each, _CANCELED) for each in unmade]
            await asyncio.gather(*waiting)
        else:
            waiting = [self._not_made(job, each, _reply(each.text)) for each in unmade]
            results = await asyncio.gather(*(self._hand_over(transaction) for transaction in handed))
            again = await self._refused(job, handed, results)
            await asyncio.gather(*waiting)
            if again:
                self._held[job.number] = self._loop.time() + _AGAIN
                return False
        if not job.about.began:
            job.about.began = self._clock.wall()
        self.jobs.passed(job, base + JOB_SLICE)
        if job.progress.base >= job.about.total:
            self._finish(job)
        return True

    def _finish(self, job: Job) -> None:
        self._open.pop(job.number, None)
        self.jobs.enter_phase(job, Phase.CANCELED if job.phase is Phase.CANCELING else Phase.SUCCESS)

    async def _mailing(self, job: Job) -> Mailing | None:
        mailing = self._open.get(job.number)
        if mailing is not None:
            return mailing
        try:
            stored = await self._loop.run_in_executor(None, self._journal.read_mail, job.place)
            kept = await self._loop.run_in_executor(None, unpack_request, stored.content)
            setting = self._setting._replace(stock=kept.over(self._setting.stock))
            wall = max(self._clock.wall(), job.about.start)
            mailing = Mailing(kept.decoded, setting, wall, job.about.connection, job.number, job.about.subaccount)
        except (JournalError, msgspec.DecodeError) as error:
            log.error("alarm", alarm="transmission_stuck", transmission=str(job.number), text=str(error))
            self._held[job.number] = self._loop.time() + _LONGEST
            return None
        except Failure as failure:
            # What was good when it came is no longer: another version of the program checks more.
            log.error("alarm", alarm="transmission_stuck", transmission=str(job.number), text=str(failure))
            self._held[job.number] = self._loop.time() + _LONGEST
            return None
        while len(self._open) >= _OPEN:
            self._open.pop(next(iter(self._open)))
        self._open[job.number] = mailing
        return mailing

    def _hand_over(self, transaction: Transaction) -> asyncio.Future[Accepted | Refused]:
        future: asyncio.Future[Accepted | Refused] = self._loop.create_future()
        self._acceptor.accept(transaction, partial(_set, future))
        return future

    async def _refused(self, job: Job, handed: list[Transaction], results: list[Accepted | Refused]) -> bool:
        """Recipients that are refused for good have failed. True: some were refused for now; they are to come again."""
        again = False
        waiting = []
        for transaction, result in zip(handed, results, strict=True):
            if isinstance(result, Accepted):
                continue
            for recipient in transaction.recipients:
                assert recipient.job is not None
                if job.progress.covers(recipient.job[1]):
                    continue  # a hook made several of one, and this one was kept
                if result.reply.code < 500:
                    again = True
                else:
                    unmade = Unmade(recipient.job[1], _only(transaction, recipient), str(result.reply))
                    waiting.append(self._failed(job, unmade, result.reply))
        await asyncio.gather(*waiting)
        return again

    def _failed(self, job: Job, unmade: Unmade, reply: Reply) -> asyncio.Future[None]:
        recipient = unmade.transaction.recipients[0]
        number = self._ids.next()
        payload = self._teller.generation_failure(unmade.transaction, recipient, reply, number, self._clock.wall())
        return self._told(job, unmade.place, self._kinds.GENERATION_FAILURE, payload)

    def _not_made(self, job: Job, unmade: Unmade, reply: Reply) -> asyncio.Future[None]:
        if unmade.suppressed:
            return self._bounced(job, unmade.transaction, unmade.transaction.recipients[0], reply, internal=False)
        return self._failed(job, unmade, reply)

    def _bounced(
        self, job: Job, transaction: Transaction, recipient: Recipient, reply: Reply, *, internal: bool = True
    ) -> asyncio.Future[None]:
        """internal: the reason is to say so. Programs look for the reason of suppression as it stands (api.md 2.7)."""
        assert recipient.job is not None
        number, wall = self._ids.next(), self._clock.wall()
        common = self._teller.common(self._teller.shared(transaction, wall), number, recipient)
        outcome = Outcome(Verdict.FAILED, reply, Stage.NOT_CONNECTED, internal=internal)
        payload = self._teller.bounce(common, number, wall, outcome, 0, 0, bounce_class=_ADMIN)
        return self._told(job, recipient.job[1], self._kinds.BOUNCE, payload)

    def _told(self, job: Job, at: int, kind: int, payload: bytes) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self.jobs.failed(job, at, kind, payload, lambda error: _settle(future, error))
        return future


def _only(transaction: Transaction, recipient: Recipient) -> Transaction:
    return Transaction(
        transaction.sender,
        [recipient],
        transaction.body,
        context=transaction.context,
        method=transaction.method,
        event=transaction.event,
    )


def _runs(start: int, stop: int, covered: Callable[[int], bool]) -> list[tuple[int, int]]:
    """What is not done of these places, as ranges."""
    runs: list[tuple[int, int]] = []
    for at in range(start, stop):
        if covered(at):
            continue
        if runs and runs[-1][1] == at:
            runs[-1] = (runs[-1][0], at + 1)
        else:
            runs.append((at, at + 1))
    return runs


def _reply(text: str) -> Reply:
    return Reply(554, text)


def _set(future: asyncio.Future[Accepted | Refused], result: Accepted | Refused) -> None:
    if not future.done():
        future.set_result(result)


def _settle(future: asyncio.Future[None], error: JournalError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
