"""Priority and campaign in the queue: the order of giving out, what is told of it, and what a restart leaves."""

from __future__ import annotations

import asyncio
from random import Random

import msgspec
import pytest

from postroad.config.schema import QueueOptions
from postroad.message import PRIORITY, Accepted, Body, Recipient, Refused, Transaction
from postroad.queue import State, Where, position
from postroad.queue.stored import decode_dues, encode, envelope_of, rerouted
from tests.queue.test_queue import BUSY, CONTENT, DELIVERED, Bench, Lab, lab, settled

__all__ = ["lab"]


async def put(bench: Bench, name: str, count: int, *, campaign: str = "", priority: str = "", sub: str = "") -> None:
    """`count` messages to name-0@b.example, name-1@b.example ..."""
    event: dict[str, object] = {"campaign_id": campaign} if campaign else {}
    if sub:
        event["subaccount_id"] = sub
    recipients = [Recipient(f"{name}-{number}@b.example", "b.example") for number in range(count)]
    answer: asyncio.Future[Accepted | Refused] = asyncio.get_running_loop().create_future()
    context = {PRIORITY: priority} if priority else None
    bench.queue.accept(
        Transaction("a@a.example", recipients, Body(CONTENT), event=event, context=context), answer.set_result
    )
    assert isinstance(await answer, Accepted)


async def rest(bench: Bench) -> list[str]:
    """The names of all that is due, in the order in which it is given out."""
    found = []
    while bench.queue.waiting("default", "b.example"):
        message = await bench.take()
        found.append(message.recipient.partition("@")[0])
        bench.queue.settle(message, DELIVERED)
    return found


async def fill(bench: Bench) -> None:
    await put(bench, "spring", 3, campaign="spring")
    await put(bench, "autumn", 2, campaign="autumn")
    await put(bench, "other", 2, campaign="spring", sub="7")
    await put(bench, "plain", 1)
    await put(bench, "urgent", 2, priority="1")


FAIR = [
    "urgent-0",
    "urgent-1",
    "spring-0",
    "autumn-0",
    "other-0",
    "plain-0",
    "spring-1",
    "autumn-1",
    "other-1",
    "spring-2",
]
MEMORY = pytest.mark.parametrize("memory_goal", [1 << 20, 0], ids=["in memory", "read back"])


@MEMORY
def test_flows_take_turns_and_urgent_mail_goes_ahead(lab: Lab, memory_goal: int) -> None:
    async def scenario() -> None:
        bench = lab.bench(memory_goal=memory_goal)
        await bench.queue.recover()
        await fill(bench)
        assert await rest(bench) == FAIR

    lab.run(scenario)


@MEMORY
def test_listing_and_position_show_that_order(lab: Lab, memory_goal: int) -> None:
    async def scenario() -> None:
        bench = lab.bench(memory_goal=memory_goal)
        await bench.queue.recover()
        await fill(bench)
        path = bench.queue.path("default", "b.example")
        assert path is not None
        listed = bench.queue.listing(Where("b.example"), 100)
        assert [position(path, one.id, 0.0) for one in listed] == list(range(len(FAIR)))
        assert [one.id for one in bench.queue.listing(Where("b.example"), 4)] == [one.id for one in listed[:4]]
        for one in listed:
            message = await bench.take()
            assert message.id == one.id
            bench.queue.settle(message, DELIVERED)

    lab.run(scenario)


def test_the_order_survives_a_crash(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        await fill(bench)
        first = await bench.take()
        bench.queue.settle(first, BUSY)  # urgent-0 is a retry from now on
        await settled()
        bench.queue.stop()
        bench.journal.abandon()
        lab.disk.crash(Random(2))
        again = lab.bench()
        await again.queue.recover()
        assert await rest(again) == FAIR[1:]
        await put(again, "late", 3, campaign="late")
        await asyncio.sleep(1201)
        await put(again, "new", 1, priority="1")
        assert await rest(again) == ["new-0", "urgent-0", "late-0", "late-1", "late-2"]  # urgent as ever

    lab.run(scenario)


@MEMORY
def test_a_retry_stays_in_its_flow(lab: Lab, memory_goal: int) -> None:
    async def scenario() -> None:
        bench = lab.bench(memory_goal=memory_goal)
        await bench.queue.recover()
        await put(bench, "spring", 3, campaign="spring")
        await put(bench, "urgent", 1, priority="1")
        await put(bench, "autumn", 1, campaign="autumn")
        for _ in range(5):
            bench.queue.settle(await bench.take(), BUSY)
        await asyncio.sleep(1201)
        assert await rest(bench) == ["urgent-0", "spring-0", "autumn-0", "spring-1", "spring-2"]

    lab.run(scenario)


def test_moved_and_hastened_messages_keep_their_priority(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench(memory_goal=0)
        await bench.queue.recover()
        await put(bench, "plain", 2)
        await put(bench, "urgent", 2, priority="1")
        ids = [one.id for one in bench.queue.listing(Where(), 10)]
        bench.queue.operator.delay(ids[1], 600)
        await bench.queue.mover.move(ids, domain="c.example")
        assert bench.queue.operator.retry(ids[1]).value == "done"
        assert [one.state for one in bench.queue.listing(Where("c.example"), 10)] == [State.ACTIVE] * 4
        names = [(await bench.take("c.example")).recipient.partition("@")[0] for _ in range(4)]
        assert names == ["urgent-0", "urgent-1", "plain-0", "plain-1"]

    lab.run(scenario)


def test_mail_records_without_these_fields_are_read_on() -> None:
    """As they were written before there was a fair order."""
    recipient = ["b.example", "default", 9.0, "x@b.example", 0, "", None, b""]
    meta = msgspec.msgpack.encode([[recipient], "a@a.example", 0, "", False, "esmtp", {}, {}])
    (due,) = decode_dues(meta)
    assert (due.domain, due.expires, due.priority, due.subaccount, due.campaign) == ("b.example", 9.0, "", "", "")
    moved = rerouted(meta, [0], "other", "c.example")
    assert decode_dues(moved)[0].binding == "other" and envelope_of(moved).recipients[0].address == "x@b.example"


def test_what_recovery_needs_is_in_the_record(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        await put(bench, "x", 1, campaign="spring", sub="7", priority="1")
        message = await bench.take()
        transaction = Transaction(
            "",
            [Recipient("x@b.example", "b.example")],
            Body(CONTENT),
            event={"campaign_id": "spring", "subaccount_id": 7},
        )
        (due,) = decode_dues(encode(transaction, [message]))
        assert (due.priority, due.subaccount, due.campaign) == ("1", "7", "spring")

    lab.run(scenario)


def test_expiry_is_found_in_any_place_of_a_long_queue(lab: Lab) -> None:
    """In slices: more messages than one slice has; those that may wait longer stay, in their order."""

    async def scenario() -> None:
        bench = lab.bench(memory_goal=0)
        await bench.queue.recover()
        for part in range(15):
            await put(bench, f"old{part}", 100, campaign=str(part % 3))
        week = QueueOptions().message_expiration
        await asyncio.sleep(week / 2)
        await put(bench, "young", 5, campaign="1")
        await asyncio.sleep(week / 2 + 120)
        await settled()
        assert len(bench.queue) == 5 + 1500  # each that expired has left a notification
        assert await rest(bench) == [f"young-{number}" for number in range(5)]

    lab.run(scenario)
