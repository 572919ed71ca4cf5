"""What operators do to queued messages: each act, its trace in the journal, and that nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from postroad.config.schema import QueueOptions
from postroad.message import Message, Notify
from postroad.queue import Done, Selector, SelectorError, State, Suspension, Where, Why, position
from tests.queue.test_queue import BUSY, DELIVERED, UNTOUCHED, Bench, Lab, lab, settled

__all__ = ["lab"]

NO_DSN = QueueOptions(retry_jitter=0.0, generate_bounces=False)


async def chosen(bench: Bench, **criteria: object) -> list[int]:
    return [number async for some in bench.queue.select(Selector(**criteria)) for number in some]  # type: ignore[arg-type]


async def restarted(lab: Lab, bench: Bench, options: QueueOptions | None = None) -> Bench:
    await settled()
    bench.queue.stop()
    bench.journal.abandon()
    lab.disk.crash(Random(2))
    again = lab.bench(options)
    await again.queue.recover()
    return again


def standing(bench: Bench, number: int) -> tuple[State, Why, int]:
    found = bench.queue.standing(number)
    assert found is not None
    return found.state, found.why, found.attempts


@pytest.mark.parametrize("memory_goal", [1 << 20, 0], ids=["in memory", "read back"])
def test_retry_makes_a_delayed_message_due_now_also_after_a_crash(lab: Lab, memory_goal: int) -> None:
    async def scenario() -> None:
        bench = lab.bench(memory_goal=memory_goal)
        await bench.queue.recover()
        first, second = await bench.put("x@b.example", "y@b.example")
        bench.queue.settle(await bench.take(), BUSY)
        bench.queue.settle(await bench.take(), BUSY)
        assert bench.queue.waiting("default", "b.example") == 0
        assert standing(bench, first) == (State.DELAYED, Why.DEFERRED, 1)
        assert bench.queue.operator.retry(first) is Done.DONE
        assert standing(bench, first) == (State.ACTIVE, Why.OPERATOR, 1)
        assert bench.queue.operator.retry(first) is Done.NOTHING_TO_DO
        assert bench.queue.operator.retry(12345) is Done.GONE
        (count,) = bench.queue.summary()
        assert (count.active, count.delayed, count.in_flight) == (1, 1, 0)

        again = await restarted(lab, bench)
        (count,) = again.queue.summary()
        assert (count.active, count.delayed) == (1, 1)
        message = await again.take()
        assert message.id == first and message.attempts == 1
        assert standing(again, second)[0] is State.DELAYED
        assert again.types() == {"injection": 2, "delay": 2}  # no consumer sees the bookkeeping

    lab.run(scenario)


@pytest.mark.parametrize("memory_goal", [1 << 20, 0], ids=["in memory", "read back"])
def test_a_message_that_was_never_tried_can_be_delayed_also_over_a_crash(lab: Lab, memory_goal: int) -> None:
    async def scenario() -> None:
        bench = lab.bench(memory_goal=memory_goal)
        await bench.queue.recover()
        held, other = await bench.put("x@b.example", "y@b.example")
        assert bench.queue.operator.delay(held, 3600) is Done.DONE
        assert bench.queue.waiting("default", "b.example") == 1
        again = await restarted(lab, bench)
        assert standing(again, held) == (State.DELAYED, Why.RECOVERED, 0)
        assert (await again.take()).id == other
        assert again.queue.take("default", "b.example") is None
        await asyncio.sleep(3600)
        assert (await again.take()).id == held

    lab.run(scenario)


def test_a_message_delayed_again_does_not_come_out_at_its_old_time(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        ids = await bench.put("x@b.example", "y@b.example")
        for number in ids:
            bench.queue.operator.delay(number, 100)
        bench.queue.operator.delay(ids[0], 1000)
        await asyncio.sleep(500)
        assert (await bench.take()).id == ids[1] and bench.queue.take("default", "b.example") is None
        (count,) = bench.queue.summary()
        assert (count.active, count.delayed, count.in_flight) == (0, 1, 1)
        await asyncio.sleep(501)
        assert (await bench.take()).id == ids[0]

    lab.run(scenario)


@pytest.mark.parametrize("memory_goal", [1 << 20, 0], ids=["in memory", "read back"])
@pytest.mark.parametrize(("notify", "notices"), [(False, 0), (True, 1)])
def test_fail_ends_messages_with_a_bounce_of_class_25(lab: Lab, memory_goal: int, notify: bool, notices: int) -> None:
    async def scenario() -> None:
        bench = lab.bench(memory_goal=memory_goal)
        await bench.queue.recover()
        ids = await bench.put("x@b.example", "y@b.example")
        bench.queue.settle(await bench.take(), BUSY)
        assert await bench.queue.operator.fail([*ids, 7], notify=notify) == {
            ids[0]: Done.DONE,
            ids[1]: Done.DONE,
            7: Done.GONE,
        }
        await settled()
        bounces = [event for event in bench.events() if event["type"] == "bounce"]
        assert [(b["bounce_class"], b["rcpt_to"], b["num_retries"]) for b in bounces] == [
            ("25", "x@b.example", "0"),
            ("25", "y@b.example", "0"),
        ]
        assert all("by an operator" in bounce["reason"] for bounce in bounces)
        assert bench.queue.waiting("default", "a.example") == 2 * notices == len(bench.queue)
        assert bench.queue.take("default", "b.example") is None
        assert len((await restarted(lab, bench)).queue) == 2 * notices

    lab.run(scenario)


def test_a_sender_that_wants_no_notification_gets_none(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        ids = await bench.put("x@b.example", notify=Notify.NEVER)
        await bench.queue.operator.fail(ids, notify=True)
        await settled()
        assert len(bench.queue) == 0

    lab.run(scenario)


def test_what_is_in_flight_is_failed_when_it_comes_back_undelivered(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench(NO_DSN)
        await bench.queue.recover()
        await bench.put("x@b.example", "y@b.example", "z@b.example")
        messages = [await bench.take() for _ in range(3)]
        result = await bench.queue.operator.fail([message.id for message in messages])
        assert set(result.values()) == {Done.ON_RETURN}
        for message, outcome in zip(messages, (DELIVERED, BUSY, UNTOUCHED), strict=True):
            bench.queue.settle(message, outcome)
        await settled()
        assert bench.types() == {"injection": 3, "delivery": 1, "delay": 1, "bounce": 2}
        assert len(bench.queue) == 0 and bench.journal.stats().terminal == 3

    lab.run(scenario)


def test_what_is_in_flight_is_delayed_when_it_comes_back(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        await bench.put("x@b.example")
        message = await bench.take()
        assert bench.queue.operator.delay(message.id, 5000) is Done.ON_RETURN
        bench.queue.settle(message, BUSY)
        found = bench.queue.standing(message.id)
        assert found is not None and found.why is Why.OPERATOR
        await asyncio.sleep(4990)
        assert bench.queue.waiting("default", "b.example") == 0
        await asyncio.sleep(11)
        assert bench.queue.waiting("default", "b.example") == 1

    lab.run(scenario)


def test_suspended_paths_give_nothing_out_and_wake_when_let_go(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        suspensions = bench.queue.suspensions
        for rule in (("default", "b.example"), ("default", ""), ("", "b.example"), ("", "")):
            suspensions.add(Suspension(*rule))
            await bench.put("x@b.example")
            assert bench.queue.waiting("default", "b.example") == 0
            assert bench.queue.take("default", "b.example") is None
            bench.woken.clear()
            assert suspensions.remove(*rule) == Suspension(*rule) and bench.woken == ["b.example"]
            bench.queue.settle(await bench.take(), DELIVERED)
        suspensions.add(Suspension("other", "b.example"))
        await bench.put("x@b.example")
        assert bench.queue.waiting("default", "b.example") == 1

    lab.run(scenario)


def test_a_suspension_with_an_end_ends(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        now = asyncio.get_running_loop().time()
        wall = bench.queue._books.now()
        bench.queue.suspensions.add(Suspension("", "b.example", wall + 600))
        bench.queue.suspensions.add(Suspension("", "c.example", wall + 60))
        await bench.put("x@b.example", "y@c.example")
        await asyncio.sleep(61)
        assert bench.queue.waiting("default", "c.example") == 1 and bench.queue.waiting("default", "b.example") == 0
        bench.woken.clear()
        await asyncio.sleep(540)
        assert asyncio.get_running_loop().time() > now + 600
        assert "b.example" in bench.woken and bench.queue.suspensions.rules == {}
        assert (await bench.take()).recipient == "x@b.example"
        bench.queue.suspensions.stop()

    lab.run(scenario)


def test_the_listing_shows_messages_in_the_order_of_their_queues(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench(memory_goal=3000)
        await bench.queue.recover()
        ids = await bench.put(*(f"u{n}@b.example" for n in range(4)), "v@c.example")
        first = await bench.take()
        bench.queue.operator.delay(ids[2], 60)
        found = bench.queue.listing(Where("b.example"), 10)
        assert [(one.id, one.state) for one in found] == [
            (first.id, State.IN_FLIGHT),
            (ids[1], State.ACTIVE),
            (ids[3], State.ACTIVE),
            (ids[2], State.DELAYED),
        ]
        assert [one.id for one in bench.queue.listing(Where("b.example", "default", State.DELAYED), 10)] == [ids[2]]
        assert len(bench.queue.listing(Where(), 10)) == 5 and len(bench.queue.listing(Where(), 2)) == 2
        path = bench.queue.path("default", "b.example")
        assert path is not None
        assert [position(path, number, 0.0) for number in ids[:4]] == [
            None,
            0,
            1,
            2,
        ]  # the ghost of ids[2] still counts

    lab.run(scenario)


@pytest.mark.parametrize("memory_goal", [1 << 20, 0], ids=["in memory", "read back"])
@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({"domain": "b.example"}, ["b1", "b2"]),
        ({"binding": "default"}, ["b1", "b2", "c1"]),
        ({"binding": "other"}, []),
        ({"state": "active", "domain": "b.example"}, ["b1", "b2"]),
        ({"state": "delayed"}, []),
        ({"recipient": "b1@b.example"}, ["b1"]),
        ({"recipient": "*@b.example"}, ["b1", "b2"]),
        ({"sender": "one@a.example"}, ["b1", "c1"]),
        ({"sender": "<>"}, ["b2"]),
        ({"campaign": "spring"}, ["b1", "c1"]),
        ({"campaign": "spr*"}, ["b1", "c1"]),
        ({"metadata": "user=7"}, ["c1"]),
        ({"header": "Subject=hällo"}, ["b1", "c1"]),
        ({"header": "subject=other"}, []),
        ({"campaign": "spring", "domain": "b.example"}, ["b1"]),
        ({"all": True}, ["b1", "b2", "c1"]),
    ],
)
def test_selectors(lab: Lab, memory_goal: int, criteria: dict[str, object], expected: list[str]) -> None:
    from postroad.message import Accepted, Body, Recipient, Refused, Transaction

    async def scenario() -> None:
        bench = lab.bench(memory_goal=memory_goal)
        await bench.queue.recover()
        body = Body(b"Subject: =?utf-8?q?h=C3=A4llo?=\r\n\r\ntext\r\n")
        answer: asyncio.Future[Accepted | Refused] = asyncio.get_running_loop().create_future()
        recipients = [
            Recipient("b1@b.example", "b.example"),
            Recipient("c1@c.example", "c.example", event={"rcpt_meta": {"user": 7}}),
        ]
        transaction = Transaction("one@a.example", recipients, body, event={"campaign_id": "spring"})
        bench.queue.accept(transaction, answer.set_result)
        result = await answer
        assert isinstance(result, Accepted)
        names = dict(zip(result.ids, ("b1", "c1"), strict=True))
        names |= dict.fromkeys(await bench.put("b2@b.example", sender=""), "b2")
        assert sorted(names[number] for number in await chosen(bench, **criteria)) == expected
        assert await chosen(bench, ids=[f"{number:016x}" for number in names]) == list(names)

    lab.run(scenario)


@pytest.mark.parametrize(
    "criteria", [{}, {"all": True, "domain": "x"}, {"ids": ["zz"]}, {"header": "Subject"}, {"state": "lost"}]
)
def test_a_selector_that_says_nothing_or_nonsense_is_refused(lab: Lab, criteria: dict[str, object]) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        with pytest.raises(SelectorError):
            await chosen(bench, **criteria)

    lab.run(scenario)


@pytest.mark.parametrize("seed", range(12))
def test_operators_amid_traffic_lose_and_double_nothing(lab: Lab, seed: int) -> None:
    """Random acts on random messages while deliver takes and settles: the counts are exact at each step, nobody gets a
    message twice at once, and in the end each accepted message has one terminal event."""

    async def scenario() -> None:
        rng = Random(seed)
        bench = lab.bench(NO_DSN, memory_goal=rng.choice([0, 5000, 1 << 20]))
        await bench.queue.recover()
        flying: dict[int, Message] = {}
        known: list[int] = []
        for _ in range(400):
            act = rng.choice(
                ["put", "put", "take", "take", "settle", "settle", "retry", "delay", "fail", "move", "wait"]
            )
            number = rng.choice(known) if known else 0
            if act == "put":
                known += await bench.put(*(f"u{rng.random()}@{rng.choice('ab')}.example" for _ in range(3)))
            elif act == "take":
                message = bench.queue.take(rng.choice(["default", "other"]), f"{rng.choice('abc')}.example")
                if message is not None and (message.body is not None or await bench.queue.load(message)):
                    assert message.id not in flying
                    flying[message.id] = message
            elif act == "settle" and flying:
                message = flying.pop(rng.choice(list(flying)))
                bench.queue.settle(message, rng.choice([DELIVERED, BUSY, BUSY, UNTOUCHED]))
            elif act == "retry":
                bench.queue.operator.retry(number)
            elif act == "delay":
                bench.queue.operator.delay(number, rng.choice([0.5, 30, 2000]))
            elif act == "move":
                binding, domain = rng.choice([("other", ""), ("", "c.example"), ("default", "a.example")])
                await bench.queue.mover.move([number], binding=binding, domain=domain)
            elif act == "fail" and rng.random() < 0.5:
                await bench.queue.operator.fail([number])
            else:
                await asyncio.sleep(rng.choice([0, 1, 40, 1500]))
            where = Counter(
                (found.binding, found.domain, found.state)
                for one in known
                if (found := bench.queue.standing(one)) is not None
            )
            for count in bench.queue.summary():
                states = (State.ACTIVE, State.DELAYED, State.IN_FLIGHT)
                assert [where[count.binding, count.domain, state] for state in states] == [
                    count.active,
                    count.delayed,
                    count.in_flight,
                ]
            assert bench.queue.in_flight == len(flying)
            if rng.random() < 0.01:
                bench = await restarted(lab, bench, NO_DSN)
                flying.clear()
        for message in flying.values():
            bench.queue.settle(message, BUSY)
        await bench.queue.operator.fail(await chosen(bench, all=True))
        await settled()
        stats = bench.journal.stats()
        assert len(bench.queue) == 0 and stats.accepted == stats.terminal == len(known)
        ends = Counter(event["message_id"] for event in bench.events() if event["type"] in ("bounce", "delivery"))
        assert set(ends.values()) == {1} and len(ends) == len(known)

    lab.run(scenario)
