"""DNS from a table, with its troubles: slow, failing, silent, gone."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Literal, NamedTuple

from postroad.lab.sim.loop import SimLoop
from postroad.net import DnsFailure, MxHost, NoSuchDomain, NullMx

Trouble = Literal["failure", "silence", "absent"]

_SILENCE = 20.0  # seconds until a resolver gives up servers that don't answer


class _Fault(NamedTuple):
    trouble: Trouble
    until: float


class SimResolver:
    """A net.Resolver. mx_table: domain to its hosts; address_table: host to its addresses; null_mx: domains that take
    no mail. failure_chance: of each question. gone: no server answers any question."""

    def __init__(self, loop: SimLoop, rng: Random, latency: tuple[float, float] = (0.0002, 0.05)) -> None:
        self.mx_table: dict[str, list[MxHost]] = {}
        self.address_table: dict[str, list[str]] = {}
        self.null_mx: set[str] = set()
        self.failure_chance = 0.0
        self.gone = False
        self._faults: dict[str, _Fault] = {}
        self._loop = loop
        self._rng = rng
        self._latency = latency

    def add(self, domain: str, *addresses: str, host: str = "", preference: int = 10) -> None:
        """The domain's mail goes to this host (default: mx.DOMAIN), which has these addresses."""
        host = host or f"mx.{domain}"
        self.mx_table.setdefault(domain, []).append(MxHost(preference, host))
        self.mx_table[domain].sort()
        self.address_table[host] = list(addresses)

    def fail(self, name: str, trouble: Trouble, seconds: float = float("inf")) -> None:
        """For a while, answer questions about this name with trouble: failure (SERVFAIL), silence, absent."""
        self._faults[name] = _Fault(trouble, self._loop.time() + seconds)

    def recover(self) -> None:
        """All troubles end."""
        self._faults.clear()
        self.gone = False
        self.failure_chance = 0.0

    async def mx(self, domain: str) -> list[MxHost]:
        await self._ask("MX", domain)
        if domain in self.null_mx:
            raise NullMx(domain)
        hosts = self.mx_table.get(domain)
        if hosts is not None:
            return list(hosts)
        if domain in self.address_table:
            return [MxHost(0, domain)]
        raise NoSuchDomain(f"{domain}: no such domain")

    async def addresses(self, host: str) -> list[str]:
        await self._ask("A", host)
        found = self.address_table.get(host)
        if not found:
            raise NoSuchDomain(f"{host}: no address")
        return sorted(found, key=lambda address: ":" not in address)

    async def _ask(self, kind: str, name: str) -> None:
        fault = self._faults.get(name)
        trouble: str = fault.trouble if fault is not None and self._loop.time() < fault.until else ""
        if self.gone:
            trouble = "silence"
        elif not trouble and self.failure_chance and self._rng.random() < self.failure_chance:
            trouble = "failure"
        self._loop.trace.note("dns", kind, name, trouble)
        if trouble == "silence":
            await asyncio.sleep(_SILENCE)
            raise DnsFailure(f"{name}: no answer")
        await asyncio.sleep(self._rng.uniform(*self._latency))
        if trouble == "failure":
            raise DnsFailure(f"{name}: SERVFAIL")
        if trouble == "absent":
            raise NoSuchDomain(f"{name}: no such domain")
