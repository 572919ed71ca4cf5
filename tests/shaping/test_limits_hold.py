"""Limits as the far end counts them: the whole engine, in simulated time, where every way takes equally long, so that
what leaves in a second also arrives in one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest

from postroad.config import parse
from postroad.config.schema import Config
from postroad.journal import InlineCommitter
from postroad.lab.disks import MemoryDisk
from postroad.lab.sim import World
from postroad.lab.sim.net import Weather
from postroad.lab.sim.process import Process
from postroad.lab.sim.receiver import Act, SmtpReceiver, Step
from postroad.lab.sim.world import until
from postroad.message import Body, Recipient, Transaction
from postroad.policy import GROUP
from postroad.serve import Engine

BASE = """
[server]
hostname = "mta.test"
[http]
address = ""
[queue]
retry_interval = "5s"
[journal]
min_free = 0
[[binding]]
name = "one"
source_address = "192.0.2.1"
[[binding]]
name = "two"
source_address = "192.0.2.2"
[[group]]
name = "both"
members = [{ binding = "one" }, { binding = "two" }]
"""
DOMAINS = ("a.test", "b.test", "c.test")


class Disk(MemoryDisk):
    def killed(self) -> None:
        """Nothing is, here."""


class Field:
    """An engine, and three domains: two with a provider's hosts, one with a host of its own."""

    def __init__(self, text: str) -> None:
        self.config = config(text)
        self.world = World(1, Disk(), self._engine, engine_addresses=("192.0.2.1", "192.0.2.2"))
        self.world.net.weather = Weather(latency=(0.01, 0.01), jitter=0.0, window=(200_000, 200_000))
        self.receivers: dict[str, SmtpReceiver] = {}
        self.most: dict[str, int] = {}

    def _engine(self, world: World, process: Process) -> Engine:
        self.process = process
        return Engine(
            self.config,
            Path("/data"),
            clock=world.clock,
            resolver=world.resolver,
            rng=Random(2),
            disk=MemoryDisk(),
            committer=InlineCommitter(world.loop),
        )

    @property
    def engine(self) -> Engine:
        assert isinstance(self.world.engine, Engine)
        return self.world.engine

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        with self.world as world:
            world.run(scenario)
        world.check([])

    async def open(self) -> None:
        for number, (domain, host) in enumerate(
            zip(DOMAINS, ("mx1.big.test", "mx2.big.test", "mx.c.test"), strict=True)
        ):
            receiver = await self.world.receiver(domain, f"198.51.100.{number + 1}")
            self.world.resolver.mx_table.pop(domain)
            self.world.resolver.add(domain, f"198.51.100.{number + 1}", host=host)
            receiver.decide = self._decide
            self.receivers[domain] = receiver
        await self.world.start_engine()

    def _decide(self, step: Step, argument: str) -> Act | None:
        """Count what is open. The banner takes a moment: without jitter it would arrive before its connection."""
        for domain, receiver in self.receivers.items():
            self.most[domain] = max(self.most.get(domain, 0), receiver.open_sessions)
        self.most["all"] = max(self.most.get("all", 0), sum(each.open_sessions for each in self.receivers.values()))
        both = self.receivers["a.test"].open_sessions + self.receivers["b.test"].open_sessions
        self.most["provider"] = max(self.most.get("provider", 0), both)
        return Act("reply", "", 0.001) if step == "banner" else None

    def put(self, count: int, *domains: str, group: str = "both") -> None:
        """So many messages to each domain."""
        for number in range(count):
            recipients = [Recipient(f"u{number}@{domain}", domain) for domain in domains]
            body = Body(b"Subject: x\r\n\r\nx\r\n")
            transaction = Transaction("s@s.test", recipients, body, context={GROUP: group})
            self.process.call(self.engine.queue.accept, transaction, lambda result: None)

    def reconfigure(self, wanted: Config) -> None:
        self.process.call(self.engine.reconfigure, wanted)

    async def empty(self, limit: float) -> None:
        await asyncio.sleep(0.1)  # what was put is kept by then
        assert await until(lambda: len(self.engine.queue) == 0, limit, 0.5), f"{len(self.engine.queue)} are left"

    def arrivals(self, *domains: str) -> list[float]:
        return sorted(each.at for domain in domains for each in self.receivers[domain].arrivals)


def config(text: str) -> Config:
    return parse(text + BASE).config


def crowded(times: list[float], most: int, seconds: float) -> list[tuple[float, float]]:
    """Where more than `most` came within `seconds` (less the microseconds that the loop's turns take)."""
    pairs = zip(times, times[most:], strict=False)
    return [(first, last) for first, last in pairs if last < first + seconds - 0.001]


BIG = '[[provider]]\nname = "big"\nmx_suffixes = ["big.test"]\n'


def test_a_rate_of_a_provider_holds_in_every_window_and_is_reached() -> None:
    field = Field(BIG + 'message_rate = "20/s, 300/m"\n[delivery]\nprohibited_hosts = []')

    async def play() -> None:
        await field.open()
        start = field.world.loop.time()
        field.put(400, *DOMAINS)
        for _ in range(20):  # reloads in between change nothing
            await asyncio.sleep(7)
            field.reconfigure(field.config)
        await field.empty(3600)
        times = field.arrivals("a.test", "b.test")
        assert len(times) == 800
        assert crowded(times, 20, 1) == [] and crowded(times, 300, 60) == []
        assert times[-1] - start < 2 * 60 + 200 / 20 + 3  # 300 in each of two minutes, the rest at 20/s
        own = field.arrivals("c.test")
        assert len(own) == 400 and own[-1] - start < 10  # not the provider's
        await field.world.stop_engine()

    field.run(play())


def test_a_rate_that_a_reload_lowers_and_raises() -> None:
    field = Field('[delivery]\nprohibited_hosts = []\npath_message_rate = "10/s"')

    async def play() -> None:
        await field.open()
        field.put(300, "a.test", group="default")
        await asyncio.sleep(10)
        start = field.world.loop.time()
        field.reconfigure(config('[delivery]\nprohibited_hosts = []\npath_message_rate = "2/s"'))
        await asyncio.sleep(20)
        lowered = [at for at in field.arrivals("a.test") if at > start + 1]
        assert crowded(lowered, 2, 1) == [] and 36 <= len(lowered) <= 40
        field.reconfigure(config('[delivery]\nprohibited_hosts = []\npath_message_rate = "50/s"'))
        await field.empty(10)
        assert crowded(field.arrivals("a.test"), 50, 1) == []
        await field.world.stop_engine()

    field.run(play())


def test_domains_of_a_provider_take_turns_at_its_rate() -> None:
    field = Field(BIG + 'message_rate = "20/s"\n[delivery]\nprohibited_hosts = []')

    async def play() -> None:
        await field.open()
        field.put(1000, "a.test", group="default")
        await asyncio.sleep(2)
        field.put(100, "b.test", group="default")
        await asyncio.sleep(8)
        assert 72 <= len(field.arrivals("b.test")) <= 88
        await field.empty(60)
        await field.world.stop_engine()

    field.run(play())


def test_suspended_mail_waits_and_goes_when_it_is_resumed() -> None:
    text = '[[domain]]\nmatch = "a.test"\nsuspend_delivery = true\n[delivery]\nprohibited_hosts = []'
    field = Field(text)

    async def play() -> None:
        await field.open()
        field.put(20, "a.test", "b.test")
        await asyncio.sleep(100)
        assert (len(field.arrivals("a.test")), len(field.arrivals("b.test"))) == (0, 20)
        field.reconfigure(config(text.replace("true", "false")))
        await field.empty(1)
        field.reconfigure(config(text))
        field.put(20, "a.test")
        await asyncio.sleep(100)
        assert len(field.engine.queue) == 20
        await field.world.stop_engine()

    field.run(play())


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("max_connections = 3", {"a.test": 6, "b.test": 6, "c.test": 6, "all": 18}),
        ("domain_max_connections = 4", {"a.test": 4, "b.test": 4, "c.test": 4, "all": 12}),
        ("host_max_connections = 5", {"a.test": 5, "b.test": 5, "c.test": 5, "all": 15}),
        ("binding_max_connections = 4", {"all": 8}),
        ("server_max_connections = 7", {"all": 7}),
        (BIG + "provider_max_connections = 5", {"provider": 5}),
        (BIG + "provider_max_connections = 5\nrollup = true\nmax_connections = 2", {"provider": 4}),
    ],
)
def test_connections_as_the_far_ends_count_them(text: str, most: dict[str, int]) -> None:
    """Never one too many, through reloads; and what is allowed is used."""
    text = text if text.startswith("[[") else f"{BIG}[delivery]\n{text}"
    text = text.replace("[delivery]", "[delivery]\nprohibited_hosts = []")
    if "[delivery]" not in text:
        text += "\n[delivery]\nprohibited_hosts = []"
    field = Field(text)

    async def play() -> None:
        await field.open()
        field.put(1500, *DOMAINS)
        for _ in range(20):
            await asyncio.sleep(0.3)
            field.reconfigure(field.config)
        await field.empty(600)
        await field.world.stop_engine()

    field.run(play())
    assert {name: field.most[name] for name in most} == most


def test_a_lowered_limit_ends_what_is_too_much() -> None:
    field = Field("[delivery]\nprohibited_hosts = []\nmax_connections = 8")

    async def play() -> None:
        await field.open()
        field.put(3000, "a.test", group="default")
        await asyncio.sleep(2)
        assert field.receivers["a.test"].open_sessions == 8
        field.reconfigure(config("[delivery]\nprohibited_hosts = []\nmax_connections = 3"))
        await asyncio.sleep(0.5)
        assert field.receivers["a.test"].open_sessions == 3
        await field.empty(600)
        assert len(field.arrivals("a.test")) == 3000
        await field.world.stop_engine()

    field.run(play())


def test_messages_of_one_connection() -> None:
    field = Field("[delivery]\nprohibited_hosts = []\nmax_deliveries_per_connection = 5\nmax_connections = 1")

    async def play() -> None:
        await field.open()
        field.put(23, "a.test", group="default")
        await field.empty(60)
        assert field.receivers["a.test"].sessions == 5
        await field.world.stop_engine()

    field.run(play())


def test_a_crowd_of_domains_shares_few_connections_fairly() -> None:
    """A domain with much mail and many with little, through two connections in all: nobody waits for the big one."""
    field = Field("[delivery]\nprohibited_hosts = []\nserver_max_connections = 2\nmax_deliveries_per_connection = 10")

    async def play() -> None:
        await field.open()
        field.put(500, "a.test", group="default")
        await asyncio.sleep(1)
        field.put(5, "b.test", "c.test", group="default")
        await until(lambda: len(field.arrivals("b.test", "c.test")) == 10, 60, 0.1)
        assert len(field.arrivals("a.test")) < 150
        await field.empty(600)
        await field.world.stop_engine()

    field.run(play())


def test_a_connection_that_hangs_holds_up_no_other_message() -> None:
    """One message waiting asks for one connection; when that one hangs with another message, it gets a second."""
    field = Field("[delivery]\nprohibited_hosts = []")

    async def play() -> None:
        await field.open()
        receiver = field.receivers["c.test"]
        hanging: list[str] = []

        def decide(step: Step, argument: str) -> Act | None:
            if step == "final" and not hanging:
                hanging.append(argument)
                return Act("reply", "250 2.0.0 at last", 500.0)
            return Act("reply", "", 0.001) if step == "banner" else None

        receiver.decide = decide
        field.put(1, "c.test", group="default")
        assert await until(lambda: bool(hanging), 60, 0.5)
        field.put(1, "c.test", group="default")
        assert await until(lambda: len(receiver.arrivals) == 2, 15, 0.5), "it waits behind the one that hangs"
        assert receiver.open_sessions == 2
        await field.empty(600)
        await field.world.stop_engine()

    field.run(play())
