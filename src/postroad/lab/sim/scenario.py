"""The whole engine in a simulated world: letters through a storm, then calm weather, then the account.

    Scenario(seed).run()      raises Broken, with the seed, the findings and the end of the trace
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random

from postroad.config.schema import (
    Config,
    DeliveryOptions,
    Duration,
    HttpOptions,
    JournalOptions,
    ListenerOptions,
    QueueOptions,
    ServerOptions,
    Size,
)
from postroad.events import check
from postroad.journal import EventReader, InlineCommitter, audit
from postroad.lab.disks import MemoryDisk
from postroad.lab.sim.disk import WatchedDisk
from postroad.lab.sim.judge import End, Verdict, judge, worst
from postroad.lab.sim.letters import Writer
from postroad.lab.sim.process import Process
from postroad.lab.sim.storm import Storm
from postroad.lab.sim.world import World, until
from postroad.serve import Engine

DATA = Path("/simulated/data")
DOMAINS = ("one.test", "two.test", "three.test")
HOME = "home.test"
ADDRESS = "192.0.2.1"

_ENDS = {"injection": End.QUEUED, "delay": End.QUEUED, "delivery": End.DELIVERED, "bounce": End.FAILED}


class Scenario:
    """letters: sent in all, by two clients. seconds: how long the storm blows.

    After `run`: verdict, digest (of the trace), and world for a closer look.
    """

    def __init__(self, seed: int, *, letters: int = 10, seconds: float = 600.0) -> None:
        self.seed = seed
        self._letters = letters
        self._seconds = seconds
        self._starts = 0
        self.disk = MemoryDisk()
        self.world = World(seed, self.disk, self._engine, engine_addresses=(ADDRESS, "2001:db8::1"))
        self.config = _config(self.world.rng("config"))
        self.verdict = Verdict()

    @property
    def digest(self) -> str:
        return self.world.trace.digest()

    def run(self) -> Verdict:
        with self.world as world:
            quiet = world.run(self._play())
        findings = [] if quiet else ["the queue did not become empty, though everything had been well for long enough"]
        findings += self._account()
        world.check(findings)
        return self.verdict

    def _engine(self, world: World, process: Process) -> Engine:
        self._starts += 1
        rng = world.rng(f"engine {self._starts}")
        latency = world.rng(f"commits {self._starts}")
        disk = WatchedDisk(self.disk, world.trace, process)
        return Engine(
            self.config,
            DATA,
            clock=world.clock,
            resolver=world.resolver,
            rng=rng,
            disk=disk,
            committer=InlineCommitter(world.loop, lambda: latency.choice((0.0005, 0.01)) * latency.random()),
        )

    async def _play(self) -> bool:
        """False when the queue isn't empty in the end."""
        world = self.world
        rng = world.rng("scenario")
        for number, domain in enumerate((*DOMAINS, HOME)):
            addresses = (f"198.51.100.{number + 1}", f"2001:db8:1::{number + 1}")
            await world.receiver(domain, *(addresses if rng.random() < 0.3 else addresses[:1]))
        world.resolver.add(DOMAINS[0], "198.51.100.99", host="backup.test", preference=20)
        world.resolver.null_mx.add("null.test")
        storm = Storm(world, seconds=self._seconds)
        storm.rise()
        await world.start_engine()
        letters = Writer(rng, [*DOMAINS * 3, HOME, "gone.test", "null.test"], HOME)
        senders = [world.sender(f"client{n}", f"203.0.113.{n}", ADDRESS, 25) for n in (1, 2)]
        sending = []
        for number, sender in enumerate(senders):
            sender.give_up = rng.choice((0.0, 0.02, 0.1))
            sender.pipelining = rng.random() < 0.5
            share = self._letters // 2 if number else self._letters - self._letters // 2
            sending.append(sender.send([letters.letter() for _ in range(share)]))
        await storm.blow()
        storm.calm()
        limit = self.config.queue.message_expiration + 20_000
        await until(lambda: all(task.done() for task in sending), limit)
        quiet = await until(lambda: isinstance(world.engine, Engine) and len(world.engine.queue) == 0, limit, step=20.0)
        await world.stop_engine()
        return quiet

    # --- the account --------------------------------------------------------------------------------------------------

    def _account(self) -> list[str]:
        """Compare what the clients were told, what the receivers got, and what the journal says."""
        journal = DATA / "journal"
        findings: list[str] = []
        ends: dict[str, tuple[str, End]] = {}
        seen: Counter[str] = Counter()
        terminal: Counter[str] = Counter()
        reader = EventReader(journal, self.disk)
        cursor = reader.begin()
        while True:
            events, cursor = reader.read(cursor)
            if not events:
                break
            for event in events:
                if event.payload:
                    self._hear(json.loads(event.payload), ends, seen, terminal, findings)
        findings += [f"event {number} is told {count} times" for number, count in seen.items() if count > 1]
        findings += [f"message {number} ended {count} times" for number, count in terminal.items() if count > 1]
        report = audit(journal, disk=self.disk)
        if not report.clean:
            findings.append(f"the audit is not clean: {report}")
        world = self.world
        self.verdict = judge(
            [submission for sender in world.senders for submission in sender.submissions],
            [arrival for receiver in world.receivers for arrival in receiver.arrivals],
            worst(ends.values()),
            world.crashes,
        )
        return findings + self.verdict.findings

    def _hear(
        self,
        event: dict[str, object],
        ends: dict[str, tuple[str, End]],
        seen: Counter[str],
        terminal: Counter[str],
        findings: list[str],
    ) -> None:
        findings += [f"event {event.get('event_id')}: {problem}" for problem in check(event)]
        kind, message = str(event["type"]), str(event.get("message_id"))
        seen[str(event["event_id"])] += 1
        if kind not in _ENDS:
            return
        if kind in ("delivery", "bounce"):
            terminal[message] += 1
        known = ends.get(message)
        if known is None or known[1] is End.QUEUED:
            ends[message] = (str(event["rcpt_to"]), _ENDS[kind])


def _config(rng: Random) -> Config:
    return Config(
        server=ServerOptions(hostname="mta.test", drain_time=Duration(rng.choice((1.0, 30.0)))),
        listener=[ListenerOptions(address=f"{ADDRESS}:25", relay=True)],
        http=HttpOptions(address=""),
        queue=QueueOptions(
            retry_interval=Duration(rng.choice((5.0, 60.0))),
            max_retry_interval=Duration(600),
            message_expiration=Duration(rng.choice((3600.0, 20_000.0))),
        ),
        delivery=DeliveryOptions(
            prohibited_hosts=[],
            max_connections=rng.choice((1, 2, 32)),
            max_deliveries_per_connection=rng.choice((0, 1, 3)),
            idle_timeout=Duration(rng.choice((1.0, 5.0, 60.0))),
        ),
        journal=JournalOptions(
            segment_size=Size(rng.choice((1 << 16, 1 << 18))),
            event_retention=Duration(100 * 86400),
            min_free=Size(0),
        ),
    )
