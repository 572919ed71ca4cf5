"""The whole engine in a simulated world: letters through a storm, then calm weather, then the account.

Scenario(seed).run()      raises Broken, with the seed, the findings and the end of the trace
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from random import Random

from postroad.config.schema import (
    ApiKey,
    Config,
    DeliveryOptions,
    Duration,
    HttpOptions,
    JournalOptions,
    ListenerOptions,
    ProviderOptions,
    QueueOptions,
    ServerOptions,
    Size,
)
from postroad.journal import InlineCommitter, JournalError
from postroad.lab.sim.account import Account, Consumer
from postroad.lab.sim.disk import WatchedDisk
from postroad.lab.sim.failing import FailingDisk
from postroad.lab.sim.judge import Verdict, judge
from postroad.lab.sim.letters import Writer
from postroad.lab.sim.process import Process
from postroad.lab.sim.sender import SmtpSender
from postroad.lab.sim.storm import Storm
from postroad.lab.sim.web import HttpSender
from postroad.lab.sim.world import World, until
from postroad.serve import Engine

DATA = Path("/simulated/data")
DOMAINS = ("one.test", "two.test", "three.test")
HOME = "home.test"
ADDRESS = "192.0.2.1"

# Seconds from the moment a final reply is read to the commit of what it means, at the most.
_WINDOW = 0.1
_TROUBLED_WINDOW = 400.0  # with a disk that fails for a while

_KEY = "k" * 40
_KEY_HASH = hashlib.sha256(_KEY.encode()).hexdigest()


class Scenario:
    """letters: sent in all, by two or three clients. seconds: how long the storm blows; None: drawn from the seed.
    web: one client speaks HTTP; None: in some seeds (an engine with HTTP takes several milliseconds to start).

    After `run`: verdict, digest (of the trace), and world for a closer look.
    """

    def __init__(self, seed: int, *, letters: int = 12, seconds: float | None = None, web: bool | None = None) -> None:
        self._letters = letters
        self._starts = 0
        self._consumer = Consumer()
        self.disk = FailingDisk(Random(f"{seed}/disk faults"))
        self.world = World(seed, self.disk, self._engine, engine_addresses=(ADDRESS, "2001:db8::1"))
        rng = self.world.rng("set-up")
        self._seconds = rng.choice((10.0, 100.0, 600.0)) if seconds is None else seconds
        self._web = rng.random() < 0.15 if web is None else web
        self._disk_fails = rng.random() < 0.4
        # Of a source of its own: what seeds found before there were batches, they still find.
        batch = Random(f"{seed}/batches").choice((1, 2, 100))
        self._hosts = Random(f"{seed}/roll-up")
        self._rolled = self._hosts.random() < 0.5
        self.config = _config(rng, web=self._web, batch=batch, rollup=self._rolled)
        if self.config.server.durability == "process":
            self.world.power = 0.0
        self.verdict = Verdict()

    @property
    def digest(self) -> str:
        return self.world.trace.digest()

    def run(self) -> Verdict:
        """Raises Broken."""
        with self.world as world:
            quiet = world.run(self._play())
        account = Account(DATA / "journal", self.disk, self._consumer)
        self.verdict = judge(
            [submission for sender in world.senders for submission in sender.submissions],
            [arrival for receiver in world.receivers for arrival in receiver.arrivals],
            account.ends,
            world.crashes,
            window=_TROUBLED_WINDOW if self.disk.troubled else _WINDOW,
        )
        findings = [] if quiet else ["the queue did not become empty, though everything had been well for long enough"]
        world.check(findings + account.findings + self.verdict.findings)
        return self.verdict

    def _engine(self, world: World, process: Process) -> Engine:
        self._starts += 1
        latency = world.rng(f"commits {self._starts}")
        engine = Engine(
            self.config,
            DATA,
            clock=world.clock,
            resolver=world.resolver,
            rng=world.rng(f"engine {self._starts}"),
            disk=WatchedDisk(self.disk, world.trace, process),
            committer=InlineCommitter(world.loop, lambda: latency.choice((0.0005, 0.01)) * latency.random()),
        )
        self._consumer.attach(engine.journal)
        return engine

    async def _play(self) -> bool:
        """False when the queue isn't empty in the end."""
        world = self.world
        rng = world.rng("scenario")
        await self._populate(rng)
        storm = Storm(
            world,
            seconds=self._seconds,
            pause=self._seconds / 12,
            others=(
                *((self._disk_trouble,) if self._disk_fails else ()),
                *((self._other_hosts,) if self._rolled else ()),
            ),
            start_errors=(JournalError, OSError),
        )
        storm.rise()
        await world.start_engine()
        sending = self._send(rng)
        await storm.blow()
        storm.calm()
        self.disk.mend()
        await storm.ensure_running()
        limit = self.config.queue.message_expiration + 20_000
        await until(lambda: all(task.done() for task in sending), limit)
        quiet = await until(self._is_empty, limit, step=20.0)
        await world.stop_engine()
        return quiet

    async def _populate(self, rng: Random) -> None:
        world = self.world
        for number, domain in enumerate((*DOMAINS, HOME)):
            addresses = (f"198.51.100.{number + 1}", f"2001:db8:1::{number + 1}")
            await world.receiver(domain, *(addresses if rng.random() < 0.3 else addresses[:1]))
        world.resolver.add(DOMAINS[0], "198.51.100.99", host="backup.test", preference=20)
        world.resolver.null_mx.add("null.test")
        self._own = {domain: list(world.resolver.mx_table[domain]) for domain in DOMAINS}
        if self._rolled:
            for domain in DOMAINS[1:]:
                world.resolver.mx_table[domain] = self._own[DOMAINS[0]]

    def _send(self, rng: Random) -> list[asyncio.Task[None]]:
        world = self.world
        senders: list[SmtpSender | HttpSender] = [
            world.sender(f"client{n}", f"203.0.113.{n}", ADDRESS, 25) for n in (1, 2)
        ]
        if self._web:
            senders.append(world.web_sender("web client", "203.0.113.3", ADDRESS, 80, _KEY))
        domains = [*DOMAINS * 3, HOME, "gone.test", "null.test"]
        letters = Writer(rng, domains, HOME, largest=rng.choice((3_000, 10_000, 30_000, 200_000)))
        sending = []
        for sender in senders:
            sender.give_up = rng.choice((0.0, 0.02, 0.1))
            sender.pace = rng.choice((0.0, self._seconds / 5))
            if isinstance(sender, SmtpSender):
                sender.dawdle = rng.choice((0.0, 0.0, 0.02))
                sender.pipelining = rng.random() < 0.5
                sender.letters_per_session = rng.randint(1, 5)
            by_smtp = 0.1 if isinstance(sender, SmtpSender) else 0.0
            share = [letters.letter(null_sender=by_smtp) for _ in range(self._letters // len(senders))]
            sending.append(sender.send(share))
        return sending

    async def _disk_trouble(self) -> None:
        await self.disk.trouble(lambda text: self.world.trace.note("accident", text))

    async def _other_hosts(self) -> None:
        """A domain that is delivered with others leads to hosts of its own now, or to the common ones again."""
        domain = self._hosts.choice(DOMAINS[1:])
        table, common = self.world.resolver.mx_table, self._own[DOMAINS[0]]
        table[domain] = common if table[domain] != common else self._own[domain]
        self.world.trace.note("accident", f"the hosts of {domain} are others")

    def _is_empty(self) -> bool:
        engine = self.world.engine
        return isinstance(engine, Engine) and len(engine.queue) == 0


def _config(rng: Random, *, web: bool, batch: int, rollup: bool) -> Config:
    return Config(
        server=ServerOptions(
            hostname="mta.test",
            durability=rng.choice(("power", "power", "power", "process")),
            memory_goal=Size(rng.choice((0, 20_000, 1 << 28))),
            drain_time=Duration(rng.choice((1.0, 30.0))),
        ),
        listener=[ListenerOptions(address=f"{ADDRESS}:25", relay=True)],
        http=HttpOptions(address=f"{ADDRESS}:80" if web else "", keys=[ApiKey(label="sim", sha256=_KEY_HASH)]),
        queue=QueueOptions(
            retry_interval=Duration(rng.choice((5.0, 60.0))),
            max_retry_interval=Duration(600),
            max_queued=rng.choice((0, 0, 0, 8)),
            message_expiration=Duration(rng.choice((3600.0, 20_000.0))),
        ),
        provider=[ProviderOptions(name="all", domains=["*.test"], rollup=True)] if rollup else [],
        delivery=DeliveryOptions(
            prohibited_hosts=[],
            max_connections=rng.choice((1, 2, 32)),
            max_deliveries_per_connection=rng.choice((0, 1, 3)),
            idle_timeout=Duration(rng.choice((1.0, 5.0, 60.0))),
            max_recipients_per_batch=batch,
        ),
        journal=JournalOptions(
            segment_size=Size(rng.choice((1 << 16, 1 << 18))),
            event_retention=Duration(100 * 86400),
            compact_below=rng.choice((0.25, 0.9)),
            min_free=Size(0),
        ),
    )
