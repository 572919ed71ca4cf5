"""The queue over a real journal, in simulated time: what goes in, what comes out, and what a crash leaves."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest

from postroad.config.schema import Duration, JournalOptions, QueueOptions, Size
from postroad.events import EventEncoder, Kind, check
from postroad.journal import InlineCommitter, Journal
from postroad.lab.disks import MemoryDisk
from postroad.lab.sim import SimClock, SimLoop
from postroad.message import (
    EXPIRES_IN,
    Accepted,
    Body,
    IdSource,
    Message,
    Notify,
    Outcome,
    Recipient,
    Refused,
    Reply,
    Stage,
    Transaction,
    Verdict,
)
from postroad.queue import Queue
from postroad.queue.endings import MAX_UNCOMMITTED

FOLDER = Path("/journal")
CONTENT = b"Subject: hello\r\nFrom: a@a.example\r\n\r\nbody\r\n"

DELIVERED = Outcome(Verdict.DELIVERED, Reply(250, "2.0.0 ok"), Stage.CONFIRMATION, host="mx.b.example")
BUSY = Outcome(Verdict.DEFERRED, Reply(451, "4.2.1 busy"), Stage.RCPT, host="mx.b.example")
UNKNOWN = Outcome(Verdict.FAILED, Reply(550, "5.1.1 unknown"), Stage.RCPT, host="mx.b.example")
UNTOUCHED = Outcome(Verdict.DEFERRED, Reply(421, "4.3.2 stopping"), Stage.NOT_CONNECTED, counts=False)


class Bench:
    """A queue on its journal, and a log of the paths it woke."""

    def __init__(
        self, loop: SimLoop, disk: MemoryDisk, options: QueueOptions, memory_goal: int, latency: Callable[[], float]
    ) -> None:
        clock = SimClock(loop)
        self.journal = Journal.open(
            FOLDER,
            JournalOptions(segment_size=Size(1 << 16), min_free=Size(0)),
            durability="power",
            clock=clock,
            disk=disk,
            committer=InlineCommitter(loop, latency),
            rng=Random(5),
        )
        ids = IdSource(clock.wall, last=self.journal.last_id)
        self.queue = Queue(
            self.journal,
            EventEncoder(),
            Kind,
            options=options,
            clock=clock,
            ids=ids,
            rng=Random(3),
            hostname="mx.example",
            memory_goal=memory_goal,
        )
        self.woken: list[str] = []
        self.queue.on_work(lambda binding, domain: self.woken.append(domain))

    async def put(self, *addresses: str, sender: str = "a@a.example", notify: Notify = Notify.UNSET) -> list[int]:
        recipients = [Recipient(a, a.rpartition("@")[2], notify=notify) for a in addresses]
        answer: asyncio.Future[Accepted | Refused] = asyncio.get_running_loop().create_future()
        self.queue.accept(Transaction(sender, recipients, Body(CONTENT)), answer.set_result)
        result = await answer
        assert isinstance(result, Accepted), result
        return result.ids

    async def take(self, domain: str = "b.example") -> Message:
        message = self.queue.take("default", domain)
        assert message is not None
        if message.body is None:
            assert await self.queue.load(message)
        return message

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = self.journal.begin_cursor()
        while True:
            batch, cursor = self.journal.read_events(cursor)
            if not batch:
                return found
            found += [json.loads(event.payload) for event in batch]

    def types(self) -> Counter[str]:
        return Counter(event["type"] for event in self.events())


class Lab:
    def __init__(self) -> None:
        self.loop = SimLoop(Random(1))
        self.disk = MemoryDisk()
        self.stall = 0.0  # seconds the disk takes for each write

    def bench(self, options: QueueOptions | None = None, memory_goal: int = 1 << 20) -> Bench:
        return Bench(self.loop, self.disk, options or QueueOptions(retry_jitter=0.0), memory_goal, lambda: self.stall)

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.loop.run_until_complete(scenario())


@pytest.fixture
def lab() -> Any:
    made = Lab()
    yield made
    made.loop.close()


async def settled() -> None:
    """Let the journal commit."""
    await asyncio.sleep(0.1)


@pytest.mark.parametrize("memory_goal", [1 << 20, 0], ids=["in memory", "read back"])
def test_a_message_goes_in_and_out(lab: Lab, memory_goal: int) -> None:
    async def scenario() -> None:
        bench = lab.bench(memory_goal=memory_goal)
        await bench.queue.recover()
        (number,) = await bench.put("bob@b.example")
        assert bench.woken == ["b.example"] and bench.queue.waiting("default", "b.example") == 1
        message = await bench.take()
        assert (message.id, message.sender, message.recipient) == (number, "a@a.example", "bob@b.example")
        assert message.body is not None and bytes(message.body) == CONTENT
        assert bench.queue.take("default", "b.example") is None
        bench.queue.settle(message, DELIVERED)
        await settled()
        assert bench.types() == {"injection": 1, "delivery": 1} and len(bench.queue) == 0
        assert [problem for event in bench.events() for problem in check(event)] == []
        assert bench.journal.stats().accepted == bench.journal.stats().terminal == 1

    lab.run(scenario)


def test_many_recipients_are_as_many_messages_over_one_body(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        ids = await bench.put("x@b.example", "y@c.example", "z@b.example")
        assert len(set(ids)) == 3 and bench.woken == ["b.example", "c.example"]
        first, second = await bench.take(), await bench.take()
        other = await bench.take("c.example")
        assert [m.recipient for m in (first, second, other)] == ["x@b.example", "z@b.example", "y@c.example"]
        assert first.body is second.body is other.body
        for message in (first, second, other):
            bench.queue.settle(message, DELIVERED)
        await settled()
        assert bench.types() == {"injection": 3, "delivery": 3}

    lab.run(scenario)


def test_a_message_expires_as_its_context_says_where_that_is_sooner(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        now = lab.loop.time()
        for wanted, life in (("60.5", 60.5), ("1e9", 86400.0), ("soon", 86400.0), ("nan", 86400.0), ("-1", 86400.0)):
            recipient = Recipient("bob@b.example", "b.example", context={EXPIRES_IN: wanted})
            answer: asyncio.Future[Accepted | Refused] = asyncio.get_running_loop().create_future()
            bench.queue.accept(Transaction("a@a.example", [recipient], Body(CONTENT)), answer.set_result)
            await answer
            message = await bench.take()
            assert (wanted, round(message.expires - message.received, 3)) == (wanted, life)
        assert lab.loop.time() - now < 1

    lab.run(scenario)


def test_the_retry_schedule_until_the_message_expires(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        await bench.put("bob@b.example")
        begin = asyncio.get_running_loop().time()
        tried: list[float] = []
        while bench.queue.waiting("default", "b.example") or len(bench.queue):
            if bench.queue.waiting("default", "b.example"):
                tried.append((asyncio.get_running_loop().time() - begin) / 60)
                bench.queue.settle(await bench.take(), BUSY)
            await asyncio.sleep(1)
            if bench.queue.waiting("default", "a.example"):
                break
        assert [round(t) for t in tried] == [0, 20, 60, 140, 300, 620, 1260, 1440]
        await settled()
        # The notification stands in line for the sender; the message itself is over.
        assert bench.types() == {"injection": 2, "delay": 7, "bounce": 1}
        (bounce,) = [event for event in bench.events() if event["type"] == "bounce"]
        assert "5.4.7" in bounce["reason"] and "4.2.1 busy" in bounce["reason"] and bounce["num_retries"] == "7"
        notice = await bench.take("a.example")
        assert notice.sender == "" and notice.body is not None and b"Status: 5.4.7" in notice.body.content

    lab.run(scenario)


def test_nothing_waits_past_its_expiry_even_where_nobody_takes(lab: Lab) -> None:
    async def scenario() -> None:
        options = QueueOptions(message_expiration=Duration(600), generate_bounces=False)
        bench = lab.bench(options, memory_goal=0)
        await bench.queue.recover()
        await bench.put("x@b.example", "y@c.example")
        await asyncio.sleep(500)
        await bench.put("z@b.example")
        await asyncio.sleep(200)
        assert bench.types() == {"injection": 3, "bounce": 2} and len(bench.queue) == 1
        assert (await bench.take()).recipient == "z@b.example"
        assert bench.queue.take("default", "c.example") is None

    lab.run(scenario)


@pytest.mark.parametrize(
    ("sender", "notify", "outcome", "notices"),
    [
        ("a@a.example", Notify.UNSET, UNKNOWN, 1),
        ("", Notify.UNSET, UNKNOWN, 0),
        ("a@a.example", Notify.NEVER, UNKNOWN, 0),
        ("a@a.example", Notify.FAILURE, UNKNOWN, 1),
        ("a@a.example", Notify.SUCCESS, UNKNOWN, 0),
        ("a@a.example", Notify.SUCCESS, DELIVERED, 1),
        ("a@a.example", Notify.SUCCESS, DELIVERED._replace(dsn=True), 0),
        ("a@a.example", Notify.UNSET, DELIVERED, 0),
    ],
)
def test_who_is_notified(lab: Lab, sender: str, notify: Notify, outcome: Outcome, notices: int) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        await bench.put("bob@b.example", sender=sender, notify=notify)
        bench.queue.settle(await bench.take(), outcome)
        await settled()
        assert bench.queue.waiting("default", "a.example") == notices
        assert bench.journal.stats().terminal == 1 and len(bench.queue) == notices

    lab.run(scenario)


def test_a_message_handed_back_is_next_and_lost_no_try(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench(memory_goal=0)
        await bench.queue.recover()
        ids = await bench.put("x@b.example", "y@b.example")
        bench.queue.settle(await bench.take(), UNTOUCHED)
        again = await bench.take()
        assert again.id == ids[0] and again.attempts == 0
        await settled()
        assert bench.types() == {"injection": 2}

    lab.run(scenario)


def test_recovery_puts_everything_back_where_it_stood(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        ids = await bench.put("done@b.example", "busy@b.example", "new@b.example", "flying@c.example")
        bench.queue.settle(await bench.take(), DELIVERED)
        bench.queue.settle(await bench.take(), BUSY)
        await bench.take("c.example")
        await settled()
        before = bench.events()
        bench.queue.stop()
        bench.journal.abandon()
        lab.disk.crash(Random(2))

        again = lab.bench()
        assert await again.queue.recover() == 3
        assert again.events() == before
        assert {(p.domain, p.active, p.delayed) for p in again.queue.summary()} == {
            ("b.example", 1, 1),
            ("c.example", 1, 0),
        }
        assert (await again.take()).id == ids[2] and (await again.take("c.example")).id == ids[3]
        assert again.queue.take("default", "b.example") is None
        await asyncio.sleep(1250)
        retried = await again.take()
        assert retried.id == ids[1] and retried.attempts == 1
        again.queue.settle(retried, DELIVERED)
        assert (await again.put("later@b.example"))[0] > max(ids)

    lab.run(scenario)


def test_new_mail_is_refused_when_the_queue_is_full_or_stopping(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench(QueueOptions(max_queued=2))
        await bench.queue.recover()
        await bench.put("x@b.example", "y@b.example")
        refusal = bench.queue.refusal()
        assert refusal is not None and refusal.code == 452
        answers: list[Accepted | Refused] = []
        bench.queue.accept(Transaction("", [Recipient("z@b.example", "b.example")], Body(CONTENT)), answers.append)
        assert answers == [Refused(refusal)]
        bench.queue.settle(await bench.take(), DELIVERED)
        assert bench.queue.refusal() is None
        bench.queue.stop()
        refusal = bench.queue.refusal()
        assert refusal is not None and refusal.code == 421
        await settled()
        assert bench.types() == {"injection": 2, "delivery": 1}

    lab.run(scenario)


def test_the_memory_goal_bounds_what_stays_whole(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench(memory_goal=10_000)
        await bench.queue.recover()
        for n in range(50):
            await bench.put(f"u{n}@b.example")
        whole = 0
        while (message := bench.queue.take("default", "b.example")) is not None:
            whole += message.body is not None
            if message.body is None:
                assert await bench.queue.load(message)
            bench.queue.settle(message, DELIVERED)
        assert 0 < whole < 10
        await settled()
        assert bench.types() == {"injection": 50, "delivery": 50} and len(bench.queue) == 0

    lab.run(scenario)


def test_senders_are_told_of_delays_ever_more_seldom(lab: Lab) -> None:
    """The option is off by default (see the schedule's test); on, notices come an hour, then two, then four apart."""

    async def scenario() -> None:
        options = QueueOptions(retry_jitter=0.0, delay_dsn=True, max_retry_interval=Duration(1200))
        bench = lab.bench(options)
        await bench.queue.recover()
        await bench.put("bob@b.example")
        await bench.put("eve@b.example", notify=Notify.FAILURE)
        began = asyncio.get_running_loop().time()
        hours: list[float] = []
        while len(hours) < 3:
            while bench.queue.waiting("default", "b.example"):
                bench.queue.settle(await bench.take(), BUSY)
            await settled()
            while bench.queue.waiting("default", "a.example"):
                notice = await bench.take("a.example")
                assert notice.sender == "" and notice.recipient == "a@a.example" and notice.body is not None
                assert b"Action: delayed" in notice.body.content and b"Status: 4.2.1" in notice.body.content
                assert b"Final-Recipient: rfc822; bob@b.example" in notice.body.content
                assert b"Will-Retry-Until: " in notice.body.content
                hours.append(round((asyncio.get_running_loop().time() - began) / 3600, 1))
                bench.queue.settle(notice, DELIVERED)
            await asyncio.sleep(60)
        assert hours == [1.0, 3.0, 7.0]
        bench.queue.settle(await bench.take(), DELIVERED) if bench.queue.waiting("default", "b.example") else None

    lab.run(scenario)


def test_no_notice_of_delay_comes_again_after_a_restart(lab: Lab) -> None:
    async def scenario() -> None:
        options = QueueOptions(retry_jitter=0.0, delay_dsn=True)
        bench = lab.bench(options)
        await bench.queue.recover()
        await bench.put("bob@b.example")
        for wait in (0, 1201, 2401):
            await asyncio.sleep(wait)
            bench.queue.settle(await bench.take(), BUSY)
        await settled()
        assert bench.queue.waiting("default", "a.example") == 1  # at the age of an hour
        bench.queue.settle(await bench.take("a.example"), DELIVERED)
        await settled()
        bench.queue.stop()
        bench.journal.abandon()
        lab.disk.crash(Random(2))
        again = lab.bench(options)
        await again.queue.recover()
        await asyncio.sleep(4801)
        again.queue.settle(await again.take(), BUSY)
        await settled()
        assert again.queue.waiting("default", "a.example") == 0  # two hours and twenty minutes old
        await asyncio.sleep(9601)
        again.queue.settle(await again.take(), BUSY)
        await settled()
        assert again.queue.waiting("default", "a.example") == 1

    lab.run(scenario)


def test_a_stalling_disk_bounds_what_a_crash_would_send_again(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench(memory_goal=100 << 20)
        await bench.queue.recover()
        await bench.put(*(f"u{n}@b.example" for n in range(3 * MAX_UNCOMMITTED)))
        lab.stall = 5.0
        ended = 0
        while (message := bench.queue.take("default", "b.example")) is not None:
            bench.queue.settle(message, DELIVERED)
            ended += 1
        assert ended == MAX_UNCOMMITTED
        bench.woken.clear()
        await asyncio.sleep(20)
        assert bench.woken == ["b.example"]
        assert bench.queue.take("default", "b.example") is not None

    lab.run(scenario)


def test_the_number_a_client_was_told_is_the_number_of_its_message(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        (before,) = await bench.put("x@b.example")
        told = before + 10
        answers: list[Accepted | Refused] = []
        recipients = [Recipient(f"u{n}@b.example", "b.example") for n in range(2)]
        bench.queue.accept(Transaction("", recipients, Body(CONTENT), id=told), answers.append)
        await settled()
        (answer,) = answers
        assert isinstance(answer, Accepted) and answer.ids[0] == told and answer.ids[1] != told

    lab.run(scenario)
