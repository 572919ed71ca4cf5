"""A lab world: the cast's providers, each on loopback addresses of its own, and the name server that leads to them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any

from postroad.lab.cast import STANDARD, Domain
from postroad.lab.dnsserver import LabDns, Zone
from postroad.lab.ledger import Arrival, Ledger
from postroad.lab.provider import Provider

_TRIES = 20
_NETWORK = "127.77"


class World:
    """All of it runs on the event loop that ran `start`. Addresses are taken from 127.77.0.0/16, all on one port.

    seed: of the rules' chance. keep, on_arrival: see Ledger.
    """

    def __init__(
        self,
        domains: Sequence[Domain] = STANDARD,
        *,
        seed: int = 1,
        keep: int = 0,
        on_arrival: Callable[[Arrival], None] | None = None,
    ) -> None:
        """Raises RuleError, ZoneError."""
        self.domains = tuple(domains)
        self.ledger = Ledger(keep=keep, on_arrival=on_arrival)
        self.providers: dict[str, list[Provider]] = {}
        self.port = 0
        self.dns_port = 0
        rng = random.Random(seed)
        names: dict[str, dict[str, Any]] = {}
        for number, domain in enumerate(self.domains, 1):
            exchanges = []
            for place in range(1, domain.dead_hosts + domain.hosts + 1):
                host, address = f"mx{place}.{domain.name}", f"{_NETWORK}.{number}.{place}"
                exchanges.append(f"{place * 10} {host}")
                names[host] = {"A": [address]}
                if place > domain.dead_hosts:
                    self.providers.setdefault(domain.name, []).append(
                        Provider(
                            domain.name, [domain.name], address=address, rules=domain.rules, rng=rng, ledger=self.ledger
                        )
                    )
            if domain.dns or exchanges:
                names[domain.name] = domain.dns or {"MX": exchanges}
        self.zone = Zone.from_dict(names)
        self.dns = LabDns(self.zone)

    async def start(self, port: int = 0, dns_port: int = 0) -> None:
        """Open all of it; port 0 takes one that is free on every address. Raises OSError."""
        everyone = [provider for providers in self.providers.values() for provider in providers]
        for attempt in range(_TRIES):
            self.port = port
            try:
                for provider in everyone:
                    self.port = await provider.start(self.port)
                break
            except OSError:
                # The port that was free on the first address is taken on a later one.
                await asyncio.gather(*(provider.stop() for provider in everyone))
                if port or attempt == _TRIES - 1:
                    raise
        try:
            self.dns_port = await self.dns.start(port=dns_port)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close everything; open sessions are dropped."""
        await asyncio.gather(
            self.dns.stop(), *(provider.stop() for providers in self.providers.values() for provider in providers)
        )

    async def __aenter__(self) -> World:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            await self.stop()

    @property
    def recipients(self) -> dict[str, float]:
        """The domains and their weights, for a load plan."""
        return {domain.name: domain.weight for domain in self.domains if domain.weight}

    def hits(self) -> dict[str, dict[str, int]]:
        """By domain, how often each rule decided; the hosts of a domain together."""
        found: dict[str, dict[str, int]] = {}
        for name, providers in self.providers.items():
            totals = found.setdefault(name, {})
            for provider in providers:
                for rule, count in provider.hits.items():
                    totals[rule] = totals.get(rule, 0) + count
        return found

    def config_toml(self) -> str:
        """The sections that make Postroad deliver into this world, retrying within seconds."""
        return f"""\
[dns]
servers = ["127.0.0.1:{self.dns_port}"]
negative_ttl = "5s"
failure_ttl = "2s"

[delivery]
port = {self.port}
# The lab's hosts live on loopback, where no MX may lead otherwise.
prohibited_hosts = []
use_ipv6 = false
connect_timeout = "5s"
host_failure_retry = "5s"

[queue]
retry_interval = "1s"
max_retry_interval = "4s"
message_expiration = "5m"
"""
