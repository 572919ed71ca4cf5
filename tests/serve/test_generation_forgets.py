"""When transmissions that are over are forgotten: the oldest first, those with a key last."""

from __future__ import annotations

import asyncio
import json
from random import Random

import pytest

from postroad.journal import JournalError
from postroad.lab.sim.loop import SimLoop
from postroad.queue.jobs import About, Job
from postroad.serve import generation
from tests.journal.kit import MortalDisk
from tests.serve.test_generation_crash import Life

ONE = json.dumps({"recipients": ["a@d1.test"], "content": {"from": "a@b.test", "subject": "s", "text": "t"}}).encode()


async def mail(life: Life, key: str) -> int:
    """One mailing, over when it returns."""
    kept: asyncio.Future[Job | JournalError] = asyncio.get_running_loop().create_future()
    life.queue.jobs.create(life.ids.next(), About(1, key=key), ONE, kept.set_result)
    job = await kept
    assert isinstance(job, Job)
    while True:
        await asyncio.sleep(0.01)  # of simulated time
        if job.over:
            return job.number


def numbers(life: Life) -> set[int]:
    return {job.number for job in life.queue.jobs}


def test_the_oldest_are_forgotten_and_those_without_a_key_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "MAX_KEPT", 2)
    monkeypatch.setattr(generation, "MAX_KEYED", 3)
    monkeypatch.setattr(generation, "KEPT", 600.0)
    disk = MortalDisk(Random(1), None)

    async def scene() -> None:
        life = Life(disk, asyncio.get_running_loop(), Random(2))  # type: ignore[arg-type]
        await life.queue.recover()
        life.generation.start()
        keyed = [await mail(life, f"key-{number}") for number in range(3)]
        plain = [await mail(life, "") for _ in range(5)]
        await asyncio.sleep(60)
        assert numbers(life) == {*keyed, *plain[-2:]}
        another = await mail(life, "key-3")
        await asyncio.sleep(60)
        assert numbers(life) == {*keyed[1:], another, *plain[-2:]}
        assert life.queue.jobs.by_key(0, "key-0") is None
        assert life.queue.jobs.by_key(0, "key-1") is not None
        await asyncio.sleep(600)
        assert numbers(life) == set()
        await life.generation.stop()
        assert life.journal.stats().accepted == life.journal.stats().terminal == 2 * 9
        await life.journal.close()

    loop = SimLoop(Random(3))
    try:
        loop.run_until_complete(scene())
    finally:
        loop.close()
