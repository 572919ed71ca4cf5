"""All deliveries of one engine: the paths that have work, and the connections they share the machine's limits for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from math import inf
from random import Random
from typing import NamedTuple

from postroad.config.schema import Config
from postroad.deliver.attempt import Attempt
from postroad.deliver.connection import Connection
from postroad.deliver.health import Health
from postroad.deliver.line import Line
from postroad.deliver.means import Counts, Means
from postroad.deliver.ourselves import Doors
from postroad.deliver.path import Path
from postroad.deliver.policies import TlsPolicies
from postroad.deliver.replies import ReplyRules
from postroad.deliver.rollup import Rollup, SharedQueues
from postroad.deliver.steps import Result
from postroad.deliver.tlsrpt import TlsCounts
from postroad.message import Supply, Verdict
from postroad.net import Clock, Resolver, SystemClock, Tap
from postroad.shaping import Gate, Limits

_FORGIVEN = 60.0  # seconds for which hosts that are not known yet are forgiven
_MOST_FORGIVEN = 10_000  # paths


def _address(connection: object) -> str:
    assert isinstance(connection, Connection)
    return connection.target.address


def _loss(held: Connection | Attempt) -> int:
    """Where places must be given back, the least goes first: those that leave already count."""
    if held.leaving:
        return 0
    if isinstance(held, Attempt):
        return 1
    return 2 if held.idle else 3


class DeliveryStats(NamedTuple):
    """A snapshot. connections: established ones, `idle` of them without a message; connecting: not established yet.

    avoided: hosts that failed a short time ago, once for each source address.
    opened, reused (taken over from another path instead), delivered, deferred, failed count since the start;
    blackholed ones are among the failed. An attempt handed back at the stop is not counted.
    """

    paths: int
    connections: int
    connecting: int
    idle: int
    opened: int
    delivered: int
    deferred: int
    failed: int
    blackholed: int = 0
    avoided: int = 0
    reused: int = 0

    @property
    def busy(self) -> int:
        return self.connections - self.idle


class Deliverer:
    """Takes messages from `supply` and tells it how each attempt ended. Construct it inside the running event loop.

    hostname: our name in EHLO unless the binding has one, and the name by which we know ourselves in an MX list.
    rng: spreads connections over equal hosts. clock: for curfews; None: that of the system. limits: the options of each
    path, and how fast it may go. queues: gives out the mail of several domains as that of one, where their look-ups
    lead to the same place; None: each domain is delivered by itself. policies: what domains ask for by DANE and
    MTA-STS; None: they are not asked. tls_counts: where sessions are counted, if anywhere.
    """

    def __init__(
        self,
        supply: Supply,
        resolver: Resolver,
        limits: Limits,
        *,
        hostname: str,
        rng: Random,
        clock: Clock | None = None,
        queues: SharedQueues | None = None,
        policies: TlsPolicies | None = None,
        tls_counts: TlsCounts | None = None,
    ) -> None:
        retry = float(limits.scopes.config.delivery.host_failure_retry)
        self._means = Means(
            *(supply, resolver, limits, Health(retry), rng, hostname, Counts()),
            insecure=Health(retry),
            replies=ReplyRules(limits),
            wall=(clock or SystemClock()).wall,
            policies=policies,
            tls_counts=tls_counts,
        )
        self._paths: dict[tuple[str, str], Path] = {}
        self._rollup = None if queues is None else Rollup(self._means, queues, self._make_line, self._on_left)
        limits.told = self._on_told
        limits.end, limits.at, limits.shed = self.end_idle, _address, self._shed
        self._forgiven: dict[tuple[str, str], float] = {}
        self._now = asyncio.get_running_loop().time
        self._stopping = False
        self._stopped: asyncio.Future[None] | None = None

    def wake(self, binding: str, domain: str) -> None:
        """This path has waiting messages. Cheap, may be called at any time, also from within Supply's methods."""
        path = self._paths.get((binding, domain))
        if path is None:
            if self._stopping:
                return
            path = self._paths[binding, domain] = Path(self, self._means, binding, domain)
            path.forgiving = self._now() < self._forgiven.pop((binding, domain), -inf) + _FORGIVEN
        (path if path.line is None else path.line).wake()

    def forgive(self, binding: str, domain: str) -> int:
        """Forget that hosts of this path failed a moment ago; how many are known to have. When the path has nothing to
        do now, this counts for its next hosts, if they are wanted soon."""
        self._forgiven[binding, domain] = self._now()
        if len(self._forgiven) > _MOST_FORGIVEN:
            del self._forgiven[next(iter(self._forgiven))]
        path = self.path(binding, domain)
        return 0 if path is None else path.forgive_all()

    def _on_told(self, binding: str, domain: str) -> None:
        """There is a place for this path, or its options have changed."""
        path = self._paths.get((binding, domain))
        if path is not None:
            path.wake()

    def reconfigure(self, config: Config) -> None:
        """Other options count from now on. Messages on the wire end as they began. Paths that had no work, or were
        suspended, are to be woken by the caller."""
        limits = self._means.limits
        self._means.reconfigured()
        limits.reconfigure(config)
        self._means.replies.reconfigure(config)
        if self._rollup is not None:
            self._rollup.reconfigured()
        paths = list(self._paths.values())
        for path in paths:
            path.reconfigured()
        held = [(path.allowance, each) for path in paths for each in path.crew.held()]
        held.sort(key=lambda pair: _loss(pair[1]))
        for each in limits.excess(held):
            each.end()

    async def stop(self, timeout: float) -> None:
        """Take nothing more. Messages on the wire get `timeout` seconds to end, then their connections are dropped.

        When this returns every taken message is settled; those that nothing was done for, with counts=False.
        """
        self._stopping = True
        loop = asyncio.get_running_loop()
        self._stopped = loop.create_future()
        if self._rollup is not None:
            self._rollup.stop()
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

    def listen_in(self, tap: Tap | None) -> None:
        """Let this hear what passes on all connections; None: nobody does any more."""
        self._means.tap = tap
        for path in self._paths.values():
            for connection in path.connections:
                connection.tap = tap

    def doors(self, places: Iterable[tuple[str, int]]) -> None:
        """Addresses and ports on which we take mail ourselves: none is sent there."""
        self._means.doors = Doors(places)

    def path(self, binding: str, domain: str) -> Path | None:
        """For looking only: the one that the domain's mail goes by; None when there is nothing to do for it now."""
        path = self._paths.get((binding, domain))
        return path if path is None or path.line is None else path.line

    def stats(self) -> DeliveryStats:
        paths = self._paths.values()
        verdicts = self._means.counts.verdicts
        return DeliveryStats(
            paths=sum(path.line is None for path in paths),
            connections=sum(len(path.connections) for path in paths),
            connecting=sum(len(path.dialing) for path in paths),
            idle=sum(len(path.idle) for path in paths),
            opened=self._means.counts.opened,
            delivered=verdicts[Verdict.DELIVERED],
            deferred=verdicts[Verdict.DEFERRED],
            failed=verdicts[Verdict.FAILED],
            blackholed=self._means.counts.blackholed,
            avoided=self._means.health.avoided(self._now()),
            reused=self._means.counts.reused,
        )

    def rule_counts(self) -> dict[str, int]:
        """How often each [[reply]] rule acted, since the start."""
        return dict(self._means.replies.counts)

    def _shed(self, gate: Gate, number: int) -> None:
        """So many connections must end, where all engines together have too many."""
        held = [each for path in self._paths.values() if gate in path.allowance.gates for each in path.crew.held()]
        for each in sorted(held, key=_loss)[:number]:
            each.end()

    # --- what paths tell ----------------------------------------------------------------------------------------------

    def quiet(self, path: Path) -> None:
        """This path may have nothing left to do; then it is forgotten, as senders meet millions of domains."""
        if not path.finished():
            return
        if self._paths.get(path.key) is path:
            del self._paths[path.key]
            path.allowance.release()
            if self._rollup is not None:
                self._rollup.forgotten(path)
        if self._stopped is not None and not self._paths and not self._stopped.done():
            self._stopped.set_result(None)

    def located(self, path: Path, no_way: Result | None) -> bool:
        """A look-up has ended. False: what it found is of no use to the path, and it goes on as before."""
        return self._rollup is None or self._stopping or self._rollup.located(path, no_way)

    def _make_line(self, name: str, first: Path) -> Line:
        line = self._paths[first.key[0], name] = Line(self, self._means, name, first)
        return line

    def _on_left(self, path: Path) -> None:
        """It is by itself again, and may have mail."""
        path.wake()

    def end_idle(self, connection: object) -> None:
        """Close this idle connection, of whichever path, so that another can have its place. None: nothing to do."""
        if isinstance(connection, Connection):
            # Not within the call of the connection itself, which may be the one that just became idle.
            asyncio.get_running_loop().call_soon(self._make_room, connection)

    def _make_room(self, connection: Connection) -> None:
        """Who is first in line may be a sibling, and can use the connection as it is."""
        owner = connection.owner
        if isinstance(owner, Path) and connection.idle and not connection.leaving:
            key = owner.allowance.heir()
            heir = self._paths.get(key) if key is not None else None
            if heir is not None:
                heir.look()
                if connection.owner is not owner:
                    return
        connection.quit()
