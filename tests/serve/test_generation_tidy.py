"""Records of jobs that go on: events that were kept for them go, requests of jobs that are over go, and through kills
and power cuts at any moment of it each recipient is accepted once, and what is told of a job stays true."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random

import pytest

from postroad.journal import JournalError
from postroad.lab.sim.loop import SimLoop
from postroad.queue.jobs import About, Job, Phase
from tests.journal.kit import MortalDisk, PowerCut, options
from tests.serve.test_generation_crash import Life, dead, request

RECIPIENTS = 300
KEY = "order-4711"
# A segment takes some 20 events, and none stays longer than it must.
SMALL = options(segment_size=4096, retention=0.001)
PACE = 8.0  # so slow that the journal has many looks at what it holds


class Seen:
    """What came of it over all lives. places: at which an unfinished job stood."""

    def __init__(self) -> None:
        self.delivered: list[str] = []
        self.places: set[int] = set()
        self.began = self.ended = 0.0
        self.lives = 0


def everyone() -> set[str]:
    return {f"r{number}@d{number % 3}.test" for number in range(RECIPIENTS)}


def new_life(disk: MortalDisk, loop: SimLoop, rng: Random, seen: Seen) -> Life:
    seen.lives += 1
    start = 1_700_000_000.0 + 1000 * seen.lives
    return Life(disk, loop, rng, start=start, pace=PACE, journal=SMALL, delivered=seen.delivered)


async def create(life: Life, disk: MortalDisk) -> bool:
    kept: asyncio.Future[Job | JournalError] = asyncio.get_running_loop().create_future()
    about = About(RECIPIENTS, key=KEY, digest=b"digest", reply=b"{}", shown=b'{"description":"all of it"}')
    life.queue.jobs.create(life.ids.next(), about, request(RECIPIENTS), kept.set_result)
    while not kept.done():
        if disk.dark:
            return False
        await asyncio.sleep(0.01)
    return isinstance(kept.result(), Job)


def settled(life: Life) -> bool:
    """All is delivered, the requests of the jobs that are over are gone, and so are events that were kept for them."""
    jobs = list(life.queue.jobs)
    return (
        all(job.phase is Phase.SUCCESS for job in jobs)
        and not len(life.queue)
        and all(life.journal.read_mail(job.place).content == b"" for job in jobs)
        and life.journal.stats().event_segments <= 3
    )


async def live(disk: MortalDisk, loop: SimLoop, rng: Random, writes: int, seen: Seen) -> bool:
    """True: the transmission is over and its record is the small one."""
    life = new_life(disk, loop, rng, seen)
    disk.life = writes
    await life.queue.recover()
    if not len(life.queue.jobs) and not await create(life, disk):
        return False
    life.generation.start()
    for _ in range(5000):
        await asyncio.sleep(0.05)
        if disk.dark:
            return False
        seen.places.update(job.place for job in life.queue.jobs if not job.over)
        if settled(life):
            break
    else:
        raise AssertionError(f"it does not come to rest: {life.journal.stats()}")
    await life.generation.stop()
    await asyncio.sleep(1)
    if dead(disk):
        return False
    disk.life = 1 << 60
    jobs = list(life.queue.jobs)
    # A crash within the first commit may have kept a job that nobody was told of; then there are two.
    assert len(jobs) in (1, 2)
    assert life.journal.stats().accepted == len(jobs) * (RECIPIENTS + 1)
    seen.began, seen.ended = jobs[0].about.began, jobs[0].about.ended
    life.journal.abandon()
    return True


async def look_back(disk: MortalDisk, loop: SimLoop, rng: Random, seen: Seen) -> None:
    """What GET, a key and the audit need is known in the next life."""
    life = new_life(disk, loop, rng, seen)
    await life.queue.recover()
    job = life.queue.jobs.by_key(0, KEY)
    assert job is not None
    assert (job.phase, job.progress.failed, job.settled) == (Phase.SUCCESS, 0, RECIPIENTS)
    assert (job.about.digest, job.about.reply, job.about.shown) == (
        b"digest",
        b"{}",
        b'{"description":"all of it"}',
    )
    assert seen.ended in {each.about.ended for each in life.queue.jobs}
    assert (job.size, job.progress.base >= RECIPIENTS) == (0, True)
    life.journal.abandon()


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_records_go_on_whatever_dies(seed: int, power: bool) -> None:
    rng = Random(seed * 2 + power)
    disk = MortalDisk(Random(seed), None)
    seen = Seen()
    finished = False
    while not finished:
        assert seen.lives < 200
        writes = rng.randrange(3, 500) if seen.lives < 15 else 1 << 60
        finished = in_a_loop(disk, rng, power, lambda loop: live(disk, loop, rng, writes, seen))  # noqa: B023
    in_a_loop(disk, rng, power, lambda loop: look_back(disk, loop, rng, seen))
    assert set(seen.delivered) == everyone()
    assert len(seen.places) > 1  # it did move on
    assert seen.lives > 2


def in_a_loop(disk: MortalDisk, rng: Random, power: bool, work: object) -> bool:
    """False: the disk died meanwhile."""
    errors: list[str] = []

    def note(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        if not isinstance(context.get("exception"), PowerCut):
            errors.append(str(context))

    loop = SimLoop(Random(rng.random()))
    loop.set_exception_handler(note)
    try:
        return bool(loop.run_until_complete(work(loop)))  # type: ignore[operator]
    except PowerCut:
        return False
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, PowerCut, JournalError):
                loop.run_until_complete(task)
        disk.revive(power=power and disk.dark)
        loop.close()
        assert errors == []
