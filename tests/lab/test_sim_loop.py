# ruff: noqa: ASYNC110 (the loops under test are endless on purpose)
"""The simulated loop keeps asyncio's promises, and processes die cleanly on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random

import pytest

from postroad.lab.sim import Deadlock, Process, ProcessDied, ProcessKilled, RunAway, SimLoop, SimNet


@pytest.fixture
def loop() -> Iterator[SimLoop]:
    loop = SimLoop(Random(1))
    SimNet(loop, Random(2))
    yield loop
    loop.close()


def test_waiting_costs_no_time_and_happens_in_order(loop: SimLoop) -> None:
    order: list[str] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(name)

    async def main() -> float:
        start = loop.time()
        await asyncio.gather(wait("day", 86400), wait("second", 1), wait("hour", 3600))
        return loop.time() - start

    assert loop.run_until_complete(main()) == pytest.approx(86400)
    assert order == ["second", "hour", "day"]


def test_timeouts_and_cancellation_work(loop: SimLoop) -> None:
    async def main() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(6)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 5)
        return f"{loop.time():.0f}"

    assert loop.run_until_complete(main()) == "1010"


def test_a_deadlock_is_reported_with_the_tasks_that_wait(loop: SimLoop) -> None:
    async def stuck() -> None:
        await loop.create_future()

    async def main() -> None:
        task = asyncio.create_task(stuck(), name="the stuck one")
        await task

    with pytest.raises(Deadlock, match="the stuck one"):
        loop.run_until_complete(main())
    _finish(loop)


def test_a_busy_loop_is_stopped() -> None:
    loop = SimLoop(Random(1), max_turns=1000)

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(RunAway, match="spinning"):
        loop.run_until_complete(spin())
    loop._turns_left = 1000
    _finish(loop)
    loop.close()


def test_an_endless_wait_is_stopped() -> None:
    loop = SimLoop(Random(1), max_time=3600)

    async def poll() -> None:
        while True:
            await asyncio.sleep(10)

    with pytest.raises(RunAway, match="isn't over"):
        loop.run_until_complete(poll())
    _finish(loop)
    loop.close()


def test_executor_calls_finish_later_and_may_overtake_each_other() -> None:
    def run(seed: int) -> list[int]:
        loop = SimLoop(Random(seed))
        done: list[int] = []

        async def call(number: int) -> None:
            done.append(await loop.run_in_executor(None, int, str(number)))

        async def main() -> None:
            before = loop.time()
            await asyncio.gather(*(call(number) for number in range(5)))
            assert loop.time() > before
            with pytest.raises(ValueError, match="invalid literal"):
                await asyncio.to_thread(int, "x")

        loop.run_until_complete(main())
        loop.close()
        return done

    orders = {tuple(run(seed)) for seed in range(20)}
    assert len(orders) > 5
    assert run(3) == run(3)


def test_after_a_freeze_timers_are_late(loop: SimLoop) -> None:
    async def main() -> float:
        before = loop.time()
        loop.call_soon(loop.freeze, 100.0)
        await asyncio.sleep(1)
        return loop.time() - before

    assert loop.run_until_complete(main()) == pytest.approx(100)


def test_nothing_of_a_killed_process_runs_again(loop: SimLoop) -> None:
    process = Process(loop, "p", ["10.0.0.1"])
    heard: list[str] = []

    async def child(event: asyncio.Event) -> None:
        try:
            await event.wait()
            heard.append("child went on")
        finally:
            asyncio.get_running_loop().call_later(1, heard.append, "a timer from its last words")
            asyncio.create_task(never(), name="a task from its last words")  # noqa: RUF006

    async def never() -> None:
        heard.append("a task ran")

    async def body(event: asyncio.Event) -> None:
        loop.call_later(5, heard.append, "timer")
        loop.call_soon(heard.append, "ran while alive")
        task = asyncio.create_task(child(event))
        result = loop.run_in_executor(None, heard.append, "executor")
        await asyncio.sleep(0)
        await result
        await task

    async def main() -> None:
        event = asyncio.Event()
        running = asyncio.create_task(process.run(body(event)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        process.kill()
        event.set()
        await asyncio.sleep(100)
        with pytest.raises(ProcessDied):
            await running

    loop.run_until_complete(main())
    assert heard == ["ran while alive"]
    assert process.leftovers() == []


def test_a_process_can_die_in_the_middle_of_its_own_call(loop: SimLoop) -> None:
    process = Process(loop, "p", [])
    heard: list[str] = []
    errors: list[object] = []
    loop.set_exception_handler(lambda _, context: errors.append(context.get("exception")))

    def disk_write() -> None:
        process.kill()
        raise ProcessKilled

    async def body() -> None:
        try:
            disk_write()
        except Exception:
            heard.append("took the crash for an error")
        heard.append("went on")

    async def main() -> None:
        with pytest.raises((ProcessDied, ProcessKilled)):
            await process.run(body())
        await asyncio.sleep(1)

    loop.run_until_complete(main())
    assert heard == []
    assert errors == []


def test_what_a_process_leaves_open_is_listed(loop: SimLoop) -> None:
    process = Process(loop, "p", ["10.0.0.1"])

    async def body() -> None:
        loop.call_later(5, print)
        asyncio.create_task(asyncio.sleep(50), name="sleeper")  # noqa: RUF006
        await loop.create_server(asyncio.Protocol, "10.0.0.1", 25)

    loop.run_until_complete(process.run(body()))
    text = "\n".join(process.leftovers())
    assert "sleeper" in text and "listener" in text and "timer in 5.000 s" in text
    process.kill()
    assert process.leftovers() == []


def test_a_task_that_fails_unnoticed_is_found(loop: SimLoop) -> None:
    process = Process(loop, "p", [])
    kept: list[asyncio.Task[None]] = []

    async def fails() -> None:
        raise ValueError("nobody asked")

    async def body() -> None:
        kept.append(asyncio.create_task(fails()))
        await asyncio.sleep(1)

    loop.run_until_complete(process.run(body()))
    assert "nobody asked" in process.unnoticed()[0]
    process.kill()


def _finish(loop: SimLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
