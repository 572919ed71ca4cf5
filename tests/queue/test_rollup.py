"""Domains that are delivered together: one active queue, and each of them still its own to look at and to work on."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from postroad.config.schema import Duration, QueueOptions
from postroad.message import Message, Notify, Outcome, Reply, Stage, Verdict
from postroad.queue import Selector, State, Suspension, Where
from tests.queue.test_queue import DELIVERED, Bench, Lab, lab, settled

__all__ = ["lab"]

NAME = "big (mx.big.test)"
BINDING = "default"
DEFERRED = Outcome(Verdict.DEFERRED, Reply(450, "4.2.0 later"), Stage.RCPT)
UNTOUCHED = Outcome(Verdict.DEFERRED, Reply(451, "4.0.0 untouched"), Stage.NOT_CONNECTED, counts=False)


async def take(bench: Bench, name: str = NAME) -> Message | None:
    """The next message, with its envelope."""
    message = bench.queue.take(BINDING, name)
    if message is not None and message.body is None:
        assert await bench.queue.load(message)
    return message


def waiting(bench: Bench, name: str = NAME) -> int:
    return bench.queue.waiting(BINDING, name)


async def drained(bench: Bench, name: str = NAME) -> list[str]:
    """Recipients in the order in which they are given out; all are delivered."""
    found = []
    while (message := await take(bench, name)) is not None:
        found.append(message.recipient)
        bench.queue.settle(message, DELIVERED)
    return found


async def opened(lab: Lab, memory_goal: int = 1 << 20, options: QueueOptions | None = None) -> Bench:
    bench = lab.bench(options, memory_goal=memory_goal)
    await bench.queue.recover()
    return bench


@pytest.mark.parametrize("memory_goal", [1 << 20, 0], ids=["in memory", "packed"])
def test_the_mail_of_all_is_given_out_in_one_order(lab: Lab, memory_goal: int) -> None:
    async def scenario() -> None:
        bench = await opened(lab, memory_goal)
        await bench.put("1@a.example", "2@b.example")
        for domain in ("a.example", "b.example", "c.example"):
            bench.queue.rollups.join(BINDING, domain, NAME)
        await bench.put("3@b.example", "4@c.example")
        await bench.put("5@a.example")
        assert waiting(bench) == 5
        assert [waiting(bench, f"{domain}.example") for domain in "abc"] == [0, 0, 0]
        assert await take(bench, "a.example") is None
        assert [count.active for count in sorted(bench.queue.summary(), key=lambda c: c.domain)] == [2, 2, 1]
        order = []
        while (message := await take(bench)) is not None:
            order.append(message.domain[0])
            bench.queue.settle(message, DELIVERED)
        assert order == ["a", "b", "b", "c", "a"]
        await settled()
        assert len(bench.queue) == waiting(bench) == 0 and bench.types()["delivery"] == 5

    lab.run(scenario)


@pytest.mark.parametrize("memory_goal", [1 << 20, 0], ids=["in memory", "packed"])
def test_one_that_is_held_keeps_its_mail_and_stops_nobody(lab: Lab, memory_goal: int) -> None:
    async def scenario() -> None:
        bench = await opened(lab, memory_goal)
        for domain in ("a.example", "b.example"):
            bench.queue.rollups.join(BINDING, domain, NAME)
        await bench.put("1@a.example", "2@b.example", "3@a.example")
        bench.queue.suspensions.add(Suspension("", "a.example"))
        assert waiting(bench) == 1
        await bench.put("4@a.example", "5@b.example")
        assert waiting(bench) == 2
        assert Counter(one.domain for one in bench.queue.listing(Where("a.example"), 10)) == {"a.example": 3}
        first = [await take(bench), await take(bench)]
        assert [each.domain for each in first if each is not None] == ["b.example"] * 2 and await take(bench) is None
        bench.woken.clear()
        assert bench.queue.suspensions.remove("", "a.example") is not None
        assert bench.woken == ["a.example"] and waiting(bench) == 3
        assert len(await drained(bench)) == 3

    lab.run(scenario)


def test_one_domain_is_failed_and_another_retried_alone(lab: Lab) -> None:
    async def scenario() -> None:
        bench = await opened(lab)
        for domain in ("a.example", "b.example"):
            bench.queue.rollups.join(BINDING, domain, NAME)
        await bench.put("1@a.example", "2@b.example", "3@a.example")
        late = await take(bench)
        assert late is not None and late.recipient == "1@a.example"
        bench.queue.settle(late, DEFERRED)
        chosen = [number async for some in bench.queue.select(Selector(domain="b.example")) for number in some]
        await bench.queue.operator.fail(chosen)
        await settled()
        assert waiting(bench) == 1 and bench.types()["bounce"] == 1
        (delayed,) = bench.queue.listing(Where("a.example", state=State.DELAYED), 5)
        bench.queue.operator.retry(delayed.id)
        assert waiting(bench) == 2
        assert await drained(bench) == ["3@a.example", "1@a.example"]

    lab.run(scenario)


def test_who_leaves_takes_its_mail_along_in_order(lab: Lab) -> None:
    async def scenario() -> None:
        bench = await opened(lab)
        for domain in ("a.example", "b.example"):
            bench.queue.rollups.join(BINDING, domain, NAME)
        await bench.put("1@a.example", "2@b.example", "3@a.example", "4@b.example")
        bench.queue.rollups.part(BINDING, ["a.example"], NAME)
        assert (waiting(bench), waiting(bench, "a.example")) == (2, 2)
        assert await drained(bench, "a.example") == ["1@a.example", "3@a.example"]
        assert await drained(bench) == ["2@b.example", "4@b.example"]
        bench.queue.rollups.part(BINDING, ["b.example"], NAME)
        bench.queue.rollups.forget(BINDING, NAME)
        await bench.put("5@b.example")
        assert (waiting(bench), waiting(bench, "b.example")) == (0, 1)

    lab.run(scenario)


def test_what_waits_past_its_time_expires_in_a_common_queue(lab: Lab) -> None:
    async def scenario() -> None:
        bench = await opened(lab, options=QueueOptions(message_expiration=Duration(100)))
        for domain in ("a.example", "b.example", "c.example"):
            bench.queue.rollups.join(BINDING, domain, NAME)
        await bench.put("1@a.example", "2@b.example", notify=Notify.NEVER)
        await asyncio.sleep(60)
        await bench.put("3@b.example", notify=Notify.NEVER)
        bench.queue.suspensions.add(Suspension(BINDING, "c.example"))
        await bench.put("4@c.example", notify=Notify.NEVER)
        await asyncio.sleep(110)
        assert waiting(bench) == 1 and [c.domain for c in bench.queue.summary()] in (
            ["b.example", "c.example"],
            ["c.example", "b.example"],
        )
        await asyncio.sleep(100)
        assert len(bench.queue) == 0

    lab.run(scenario)


DOMAINS = [f"{letter}.example" for letter in "abcd"]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_done_every_message_is_given_out_once(lab: Lab, seed: int) -> None:
    """Domains join and leave, are held and let go, while mail comes, goes, is put off, moved and tried again."""

    async def scenario() -> None:
        rng = Random(seed)
        bench = await opened(lab, memory_goal=rng.choice((0, 3000, 1 << 20)))
        queue, rollups = bench.queue, bench.queue.rollups
        member = dict.fromkeys(DOMAINS, "")
        held: set[str] = set()
        flying: list[Message] = []
        put = 0
        names = ("one (mx)", "two (mx)")

        def check() -> None:
            """What is due counts exactly once, under the name that it is given out by."""
            due = {count.domain: count.active for count in queue.summary()}
            for name in names:
                expected = sum(due.get(d, 0) for d in DOMAINS if member[d] == name and d not in held)
                assert waiting(bench, name) == expected
            for domain in DOMAINS:
                alone = not member[domain] and domain not in held
                assert waiting(bench, domain) == (due.get(domain, 0) if alone else 0)

        for _ in range(150):
            act, domain = rng.randrange(9), rng.choice(DOMAINS)
            if act < 2:
                await bench.put(*(f"{put + n}@{rng.choice(DOMAINS)}" for n in range(3)), notify=Notify.NEVER)
                put += 3
            elif act == 2:
                message = await take(bench, member[domain] or domain)
                if message is not None:
                    assert message.domain not in held and member[message.domain] == member[domain]
                    flying.append(message)
            elif act == 3 and flying:
                message = flying.pop(rng.randrange(len(flying)))
                queue.settle(message, rng.choice((DELIVERED, DEFERRED, UNTOUCHED)))
            elif act == 4 and not member[domain]:
                member[domain] = rng.choice(names)
                rollups.join(BINDING, domain, member[domain])
            elif act == 5 and member[domain]:
                rollups.part(BINDING, [domain], member[domain])
                member[domain] = ""
            elif act == 6:
                if domain in held:
                    queue.suspensions.remove("", domain)
                    held.discard(domain)
                else:
                    queue.suspensions.add(Suspension("", domain))
                    held.add(domain)
            elif act == 7:
                chosen = [one.id for one in queue.listing(Where(domain), 3)]
                for number in chosen:
                    rng.choice((queue.operator.retry, lambda one: queue.operator.delay(one, 30.0)))(number)
            elif act == 8:
                await queue.mover.move([one.id for one in queue.listing(Where(domain), 2)], domain=rng.choice(DOMAINS))
            check()
        for domain in held:
            queue.suspensions.remove("", domain)
        held.clear()
        for message in flying:
            queue.settle(message, DELIVERED)
        while len(queue):
            for name in (*names, *DOMAINS):
                await drained(bench, name)
            check()
            await asyncio.sleep(600)
        await settled()
        assert bench.types()["delivery"] == put
        assert bench.journal.stats().accepted == bench.journal.stats().terminal == put

    lab.run(scenario)
