"""One dead, one slow and one greylisting destination don't slow the others: the whole engine in a simulated world, so
that time is exact and the same on every machine."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from postroad.config.schema import (
    Config,
    DeliveryOptions,
    Duration,
    HttpOptions,
    JournalOptions,
    QueueOptions,
    ServerOptions,
    Size,
)
from postroad.journal import InlineCommitter
from postroad.lab.sim import Act, Weather
from postroad.lab.sim.disk import WatchedDisk
from postroad.lab.sim.failing import FailingDisk
from postroad.lab.sim.process import Process
from postroad.lab.sim.receiver import SmtpReceiver
from postroad.lab.sim.world import World, until
from postroad.message import Accepted, Body, Recipient, Refused, Transaction
from postroad.queue import Suspension
from postroad.serve import Engine

HEALTHY = ("one.test", "two.test", "three.test")
BAD = ("dead.test", "slow.test", "grey.test")
EACH = 300  # messages to each destination
CONTENT = b"Subject: x\r\n\r\n" + b"Some words in a line of text, and the end of it.\r\n" * 20


class Greylist:
    """Refuses each recipient for now, until it comes a second time."""

    def __init__(self) -> None:
        self.tries: Counter[str] = Counter()

    def __call__(self, step: str, argument: str) -> Act | None:
        if step != "rcpt":
            return None
        self.tries[argument] += 1
        return Act("reply", "451 4.7.1 greylisted, try again later") if self.tries[argument] == 1 else None


def slow(step: str, argument: str) -> Act | None:
    return Act("reply", "", 20.0)


def engine(world: World, process: Process) -> Engine:
    disk = world.disk
    assert isinstance(disk, FailingDisk)
    config = Config(
        server=ServerOptions(hostname="mta.test", memory_goal=Size(100_000)),
        http=HttpOptions(address=""),
        queue=QueueOptions(retry_interval=Duration(30), max_retry_interval=Duration(60)),
        delivery=DeliveryOptions(prohibited_hosts=[], max_connections=4, connect_timeout=Duration(10)),
        journal=JournalOptions(segment_size=Size(1 << 20), min_free=Size(0)),
    )
    return Engine(
        config,
        Path("/simulated/data"),
        clock=world.clock,
        resolver=world.resolver,
        rng=world.rng("engine"),
        disk=WatchedDisk(disk, world.trace, process),
        committer=InlineCommitter(world.loop, lambda: 0.001),
    )


class Run:
    """All mail waits when delivery begins. seconds: simulated, until all of it to healthy destinations had arrived.
    after: what had arrived by then."""

    def __init__(self, domains: tuple[str, ...]) -> None:
        self._domains = domains
        self.receivers: dict[str, SmtpReceiver] = {}
        self.grey = Greylist()
        with World(1, FailingDisk(Random(1)), self._engine) as world:
            self.world = world
            world.net.weather = Weather(latency=(0.01, 0.01), jitter=0.001)
            self.seconds = world.run(self._play())
        world.check([])

    def _engine(self, world: World, process: Process) -> Engine:
        self._process = process
        return engine(world, process)

    async def _play(self) -> float:
        world = self.world
        for number, domain in enumerate((*HEALTHY, *BAD)):
            self.receivers[domain] = await world.receiver(domain, f"198.51.100.{number + 1}")
        self.receivers["slow.test"].decide = slow
        self.receivers["grey.test"].decide = self.grey
        world.net.down("198.51.100.4")  # dead.test: nothing answers
        await world.start_engine()
        running = world.engine
        assert isinstance(running, Engine)
        self._process.call(lambda: running.queue.suspensions.add(Suspension("", "")))
        for number in range(EACH):
            for domain in self._domains:
                await self._process.run(accept(running, f"u{number}@{domain}", domain))
        began = world.loop.time()
        self._process.call(lambda: running.queue.suspensions.remove("", ""))
        assert await until(lambda: all(self.arrived(domain) == EACH for domain in HEALTHY), 3600, step=0.05)
        seconds = world.loop.time() - began
        self.after = {domain: self.arrived(domain) for domain in self._domains}
        if "grey.test" in self._domains:
            assert await until(lambda: self.arrived("grey.test") == EACH, 3600)  # they come in their own time
        await world.stop_engine()
        return seconds

    def arrived(self, domain: str) -> int:
        return len(self.receivers[domain].arrivals)


async def accept(running: Engine, address: str, domain: str) -> None:
    answer: asyncio.Future[Accepted | Refused] = asyncio.get_running_loop().create_future()
    transaction = Transaction("a@sender.test", [Recipient(address, domain)], Body(CONTENT))
    running.queue.accept(transaction, answer.set_result)
    assert isinstance(await answer, Accepted)


@pytest.fixture(scope="module")
def alone() -> Run:
    return Run(HEALTHY)


@pytest.mark.parametrize("bad", [*([one] for one in BAD), list(BAD)], ids=[*BAD, "all three"])
def test_bad_destinations_do_not_slow_healthy_ones(alone: Run, bad: list[str]) -> None:
    beside = Run((*HEALTHY, *bad))
    assert beside.seconds <= alone.seconds * 1.05
    assert beside.after.get("dead.test", 0) == 0 and beside.after.get("slow.test", 0) < EACH
    if "grey.test" in bad:
        assert set(beside.grey.tries.values()) == {2}
