"""Messages on other paths: where they stand, what a crash leaves of it, and that the journal's books stay right."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from postroad.queue import Done, State
from tests.queue.test_operate import chosen, restarted
from tests.queue.test_queue import BUSY, DELIVERED, Lab, lab, settled

__all__ = ["lab"]


@pytest.mark.parametrize("memory_goal", [1 << 20, 0], ids=["in memory", "read back"])
@pytest.mark.parametrize("crash", [False, True], ids=["same process", "after a crash"])
def test_a_moved_message_is_on_its_new_path_only(lab: Lab, memory_goal: int, crash: bool) -> None:
    async def scenario() -> None:
        bench = lab.bench(memory_goal=memory_goal)
        await bench.queue.recover()
        first, second, third = await bench.put("x@b.example", "y@b.example", "z@b.example")
        bench.queue.settle(await bench.take(), BUSY)
        bench.woken.clear()
        assert await bench.queue.mover.move([first, second, 9], binding="other") == {
            first: Done.DONE,
            second: Done.DONE,
            9: Done.GONE,
        }
        assert await bench.queue.mover.move([second], domain="relay.example") == {second: Done.DONE}
        assert await bench.queue.mover.move([second], domain="relay.example") == {second: Done.NOTHING_TO_DO}
        assert bench.woken == ["b.example", "relay.example"]
        if crash:
            bench = await restarted(lab, bench)
        assert {(p.binding, p.domain, p.active, p.delayed, p.in_flight) for p in bench.queue.summary()} == {
            ("default", "b.example", 1, 0, 0),
            ("other", "b.example", 0, 1, 0),
            ("other", "relay.example", 1, 0, 0),
        }
        assert (await bench.take()).id == third
        message = bench.queue.take("other", "relay.example")
        assert message is not None and message.id == second
        assert message.body is not None or await bench.queue.load(message)
        assert (message.recipient, message.binding, message.domain) == ("y@b.example", "other", "relay.example")
        bench.queue.settle(message, DELIVERED)
        await asyncio.sleep(1300)  # the retry is due when it was before
        retried = bench.queue.take("other", "b.example")
        assert retried is not None and retried.id == first and retried.attempts == 1
        assert await bench.queue.load(retried)
        bench.queue.settle(retried, DELIVERED)
        await settled()
        stats = bench.journal.stats()
        assert (stats.accepted, stats.terminal, len(bench.queue)) == (3, 2, 1)
        assert len((await restarted(lab, bench)).queue) == 1

    lab.run(scenario)


def test_what_is_in_flight_stays_on_its_path(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        await bench.put("x@b.example")
        message = await bench.take()
        assert await bench.queue.mover.move([message.id], binding="other") == {message.id: Done.IN_FLIGHT}
        bench.queue.settle(message, BUSY)
        found = bench.queue.standing(message.id)
        assert found is not None and (found.binding, found.state) == ("default", State.DELAYED)

    lab.run(scenario)


def test_nobody_gets_a_message_while_it_moves(lab: Lab) -> None:
    async def scenario() -> None:
        bench = lab.bench()
        await bench.queue.recover()
        ids = await bench.put("x@b.example", "y@b.example")
        moving = asyncio.ensure_future(bench.queue.mover.move(ids, binding="other"))
        await asyncio.sleep(0)
        assert bench.queue.take("default", "b.example") is None
        failed = await bench.queue.operator.fail(ids[:1])
        assert failed == {ids[0]: Done.ON_RETURN}
        await moving
        await settled()
        assert await chosen(bench, binding="other") == ids[1:]
        assert bench.types()["bounce"] == 1

    lab.run(scenario)


@pytest.mark.parametrize("seed", range(8))
def test_moved_again_and_again_over_crashes(lab: Lab, seed: int) -> None:
    """Each message is recovered exactly once, on the path it was put on last."""

    async def scenario() -> None:
        rng = Random(seed)
        bench = lab.bench(memory_goal=rng.choice([0, 1 << 20]))
        await bench.queue.recover()
        at = dict.fromkeys(await bench.put(*(f"u{n}@b.example" for n in range(10))), "default")
        for turn in range(12):
            some = rng.sample(sorted(at), 4)
            binding = f"b{turn % 3}"
            done = await bench.queue.mover.move(some, binding=binding)
            assert all(what in (Done.DONE, Done.NOTHING_TO_DO) for what in done.values())
            at |= dict.fromkeys(some, binding)
            if rng.random() < 0.3:
                at |= dict.fromkeys(await bench.put(f"t{turn}@b.example"), "default")
            if rng.random() < 0.4:
                bench = await restarted(lab, bench)
            if rng.random() < 0.3:
                await bench.journal.compact(1.0)
        found = {number: bench.queue.standing(number) for number in at}
        assert {number: one.binding for number, one in found.items() if one is not None} == at
        assert len(bench.queue) == len(at) == bench.journal.stats().accepted

    lab.run(scenario)
