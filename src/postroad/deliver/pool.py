"""All deliveries of one engine: the paths that have work, and the connections they share the machine's limits for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from postroad.config.schema import DeliveryOptions
from postroad.deliver.connection import Connection, StepTimes
from postroad.deliver.health import Health
from postroad.deliver.means import Counts, Means
from postroad.deliver.path import Path
from postroad.deliver.plan import Screen
from postroad.message import Supply, Verdict
from postroad.net import Resolver
from postroad.shaping import Binding, FixedLimits, Limits


class DeliveryStats(NamedTuple):
    """A snapshot. connections: established ones, `idle` of them without a message; connecting: not established yet.

    opened, delivered, deferred, failed count since the start. An attempt handed back at the stop is not counted.
    """

    paths: int
    connections: int
    connecting: int
    idle: int
    opened: int
    delivered: int
    deferred: int
    failed: int

    @property
    def busy(self) -> int:
        return self.connections - self.idle


class Deliverer:
    """Takes messages from `supply` and tells it how each attempt ended. Construct it inside the running event loop.

    hostname: our name in EHLO unless the binding has one, and the name by which we know ourselves in an MX list.
    rng: spreads connections over equal hosts. bindings: those that messages may name; any other name stands for the
    source addresses and EHLO name of `options`. limits: None for FixedLimits(options).
    """

    def __init__(
        self,
        supply: Supply,
        resolver: Resolver,
        options: DeliveryOptions,
        *,
        hostname: str,
        rng: Random,
        bindings: Iterable[Binding] = (),
        limits: Limits | None = None,
    ) -> None:
        self._means = Means(
            supply,
            resolver,
            options,
            limits if limits is not None else FixedLimits(options),
            Health(float(options.host_failure_retry)),
            Screen(options.prohibited_hosts, use_ipv6=options.use_ipv6),
            Screen((), use_ipv6=options.use_ipv6),
            rng,
            hostname,
            StepTimes(options),
            Counts(),
        )
        self._bindings = {binding.name: binding for binding in bindings}
        self._paths: dict[tuple[str, str], Path] = {}
        self._idle: dict[Connection, None] = {}  # the longest idle first
        self._starved: dict[Path, None] = {}  # waiting for a connection of the server's limit, first come first
        self._stopping = False
        self._stopped: asyncio.Future[None] | None = None

    def wake(self, binding: str, domain: str) -> None:
        """This path has waiting messages. Cheap, may be called at any time, also from within Supply's methods."""
        path = self._paths.get((binding, domain))
        if path is None:
            if self._stopping:
                return
            path = self._paths[binding, domain] = Path(self, self._means, self._binding(binding), domain)
        path.wake()

    def _binding(self, name: str) -> Binding:
        found = self._bindings.get(name)
        if found is not None:
            return found
        options = self._means.options
        return Binding(name, options.source_address, options.source_address6, options.ehlo_hostname)

    async def stop(self, timeout: float) -> None:
        """Take nothing more. Messages on the wire get `timeout` seconds to end, then their connections are dropped.

        When this returns every taken message is settled; those that nothing was done for, with counts=False.
        """
        self._stopping = True
        loop = asyncio.get_running_loop()
        self._stopped = loop.create_future()
        self._starved.clear()
        for path in list(self._paths.values()):
            path.stop()
        if self._paths:
            abort = loop.call_later(timeout, self._abort)
            try:
                await self._stopped
            finally:
                abort.cancel()

    def _abort(self) -> None:
        for path in list(self._paths.values()):
            path.abort()

    def stats(self) -> DeliveryStats:
        paths = self._paths.values()
        verdicts = self._means.counts.verdicts
        return DeliveryStats(
            paths=len(paths),
            connections=sum(len(path.connections) for path in paths),
            connecting=sum(len(path.dialing) for path in paths),
            idle=len(self._idle),
            opened=self._means.counts.opened,
            delivered=verdicts[Verdict.DELIVERED],
            deferred=verdicts[Verdict.DEFERRED],
            failed=verdicts[Verdict.FAILED],
        )

    # --- what paths tell ----------------------------------------------------------------------------------------------

    def quiet(self, path: Path) -> None:
        """This path may have nothing left to do; then it is forgotten, as senders meet millions of domains."""
        if not path.finished() or path in self._starved:
            return
        key = (path.binding.name, path.domain)
        if self._paths.get(key) is path:
            del self._paths[key]
        if self._stopped is not None and not self._paths and not self._stopped.done():
            self._stopped.set_result(None)

    def idle(self, connection: Connection) -> None:
        """This connection has nothing to send."""
        self._idle[connection] = None
        if self._starved:
            self._evict()

    def busy(self, connection: Connection) -> None:
        """This connection is idle no more."""
        self._idle.pop(connection, None)

    def starve(self, path: Path) -> None:
        """This path was refused a connection because there are too many in all."""
        self._starved[path] = None
        self._evict()

    def _evict(self) -> None:
        """Close the connection that has been idle longest, so that a path with mail can have one."""
        if self._idle:
            connection = next(iter(self._idle))
            del self._idle[connection]
            # Not within the call of the connection itself, which may be the one that just became idle.
            asyncio.get_running_loop().call_soon(connection.quit)

    def freed(self) -> None:
        """A connection has closed."""
        if self._starved:
            path = next(iter(self._starved))
            del self._starved[path]
            path.offer()
