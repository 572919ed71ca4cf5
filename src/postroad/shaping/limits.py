"""All that limits the paths of an engine: the options of each, the gates and throttles they share, and what a new
configuration does to them. What one path may do is its `Allowance`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from sys import intern
from typing import TypeVar, cast

from postroad.config.schema import Config, DeliveryOptions, QueueOptions
from postroad.shaping.allowance import Allowance
from postroad.shaping.borrower import Borrower, Borrowing
from postroad.shaping.gate import Gate
from postroad.shaping.leases import RateTerms, Wanted
from postroad.shaping.scopes import Bucket, PathOptions, Scopes
from postroad.shaping.throttle import Throttle
from postroad.shaping.turns import Turns

_PROVIDERS = 100_000  # domains whose provider is remembered
_THROTTLES = 10_000  # throttles after which those are looked for that nothing remembers


_Held = TypeVar("_Held")


def _nothing() -> None:
    """Nobody keeps rates over a restart."""


class Limits:
    """now: seconds that never go back (the event loop's). told(binding, domain): see Allowance.open. borrower: with
    several engines, what lends to this one; end(connection): called for an idle one whose place others need; at: the
    address of one; throttle: makes one, which may remember an earlier life; cover(): called before a rate grants
    something; found(domain, provider): a look-up has shown where a domain belongs;
    shed(gate, count): so many of its connections must end."""

    def __init__(self, config: Config, now: Callable[[], float], borrower: Borrower | None = None) -> None:
        self.scopes = Scopes(config)
        self.now = now
        self.told: Callable[[str, str], None] = lambda binding, domain: None
        self.end: Callable[[object], None] = lambda connection: None
        self.at: Callable[[object], str] = lambda connection: ""
        self.shed: Callable[[Gate, int], None] = lambda gate, number: None
        self.throttle: Callable[[RateTerms], Throttle] = lambda terms: Throttle(terms.rate)
        self.cover: Callable[[], None] = _nothing
        self.found: Callable[[str, str], None] | None = None
        self.generation = 0  # of the configuration; for the lender
        self.borrower = borrower
        self._elsewhere: dict[str, tuple[int, Borrowing | None]] = {}  # gates that paths of any engine wait for
        if borrower is not None:
            borrower.wanted = self._wanted
            borrower.shed = self._shed
        self._server = Gate("server")
        self._gates: dict[tuple[str, str], Gate] = {}
        self._throttles: dict[str, Turns] = {}
        self._sweep_at = _THROTTLES
        self._allowances: dict[tuple[str, str], Allowance] = {}
        self._providers: dict[str, str] = {}
        self._mx: dict[str, tuple[str, ...]] = {}  # of domains that belong to a provider
        self._hosts: dict[str, int] = {}
        self._host_lines: dict[str, dict[Allowance, None]] = {}
        self._set_server(config.delivery)

    # --- what counts for a path ---------------------------------------------------------------------------------------

    def allowance(self, binding: str, domain: str, like: str = "") -> Allowance:
        """What this path may do. To be released when the path is forgotten. like: the domain whose options count, where
        `domain` is the name of a path that carries the mail of several."""
        key = (binding, domain)
        found = self._allowances.get(key)
        if found is None:
            found = self._allowances[key] = Allowance(self, binding, domain, like)
        return found

    def queue_options(self, binding: str, domain: str) -> QueueOptions:
        """When messages of this path are tried again, and when they expire."""
        return self.scopes.options(binding, domain, self.provider(domain)).queue

    def suspended(self, binding: str, domain: str) -> bool:
        return self.scopes.options(binding, domain, self.provider(domain)).delivery.suspend_delivery

    def provider(self, domain: str) -> str:
        """The provider as far as it is known: of a domain that was never looked up, only one that names it."""
        found = self._providers.get(domain)
        if found is None:
            if len(self._providers) >= _PROVIDERS:
                self._providers.clear()
            found = self._providers[domain] = self.scopes.provider_of(domain, self._mx.get(domain, ()))
        return found

    def located(self, domain: str, hosts: Sequence[str]) -> str:
        """The same, now that the domain's MX hosts are known."""
        self._mx[domain] = tuple(map(intern, hosts))
        self._providers.pop(domain, None)
        found = self.provider(domain)
        if not found or len(self._mx) > _PROVIDERS:
            del self._mx[domain if not found else next(iter(self._mx))]
        if self.found is not None:
            self.found(domain, found)
        return found

    # --- a new configuration ------------------------------------------------------------------------------------------

    def reconfigure(self, config: Config) -> None:
        """Swap the configuration. What is open and what was granted counts on. Everybody who waits is told to ask."""
        self.scopes = Scopes(config)
        self._providers.clear()
        self._set_server(config.delivery)
        for allowance in list(self._allowances.values()):
            allowance.refresh()
        for key in list(self._allowances):
            self.told(*key)

    def _set_server(self, options: DeliveryOptions) -> None:
        most = options.server_max_connections
        self._server.most = most
        self._server.reserve = min(options.server_reserved_connections, most // 10)

    def excess(self, connections: Iterable[tuple[Allowance, _Held]]) -> list[_Held]:
        """Which of these connections, open or being opened, must end, so that no limit is exceeded: none, until one was
        lowered. Those that come first, where there is a choice."""
        if self.borrower is not None:
            return []  # the lender knows what is open in all, and will say
        over: dict[Gate, float] = {}
        ending = []
        for allowance, connection in connections:
            gates = [gate for gate in allowance.gates if over.setdefault(gate, gate.open - gate.most) > 0]
            if gates:
                ending.append(connection)
                for gate in allowance.gates:
                    over[gate] -= 1
        return ending

    def open(self) -> dict[str, tuple[int, float]]:
        """Connections in each gate and at each host, also those that are being opened, and the limit; inf for a host,
        where each path has its own."""
        gates = {gate.name: (gate.open, gate.most) for gate in (self._server, *self._gates.values())}
        return gates | {f"host {address}": (number, inf) for address, number in self._hosts.items()}

    # --- with several engines -----------------------------------------------------------------------------------------

    def _find(self, name: str) -> Gate | None:
        kind, _, rest = name.partition(" ")
        return self._server if name == self._server.name else self._gates.get((kind, rest))

    def _wanted(self, item: Wanted, sole: Borrowing | None) -> None:
        """Paths of any engine wait for a place in this gate: give idle ones."""
        if item.waiting:
            self._elsewhere[item.gate] = (item.waiting, sole)
        else:
            self._elsewhere.pop(item.gate, None)
        gate = self._find(item.gate)
        if gate is not None:
            gate.elsewhere, gate.sole = item.waiting, sole
        elif item.gate.startswith("host ") and item.waiting:
            gate = self._server  # all idle ones are there
        else:
            return
        idle = [(connection, owner) for connection, owner in gate.idle.items() if cast(object, owner) is not sole]
        if item.gate.startswith("host "):
            idle = [(connection, owner) for connection, owner in idle if f"host {self.at(connection)}" == item.gate]
        for connection, owner in idle[: item.waiting]:
            owner.busy(connection)
            self.end(connection)

    def host_wanted(self, connection: object, member: object) -> bool:
        """Do other paths, of any engine, wait for a place at the host of this one?"""
        if self._host_lines:
            return any(other is not member for other in self._host_lines.get(self.at(connection), ()))
        if not self._elsewhere:
            return False
        waiting, sole = self._elsewhere.get(f"host {self.at(connection)}", (0, None))
        return waiting > 1 or (waiting == 1 and sole is not member)

    def _shed(self, name: str, number: int) -> None:
        gate = self._find(name)
        if gate is None:
            return
        for allowance in list(self._allowances.values()):
            if number and gate in allowance.gates and allowance.lease is not None and allowance.lease.decline():
                number -= 1  # a place that was granted, and of which no use was made yet
        if number:
            self.shed(gate, number)

    # --- for allowances -----------------------------------------------------------------------------------------------

    def gates(self, options: PathOptions, domain: str, provider: str) -> tuple[Gate, ...]:
        delivery = options.delivery
        name = options.binding.name
        rolled = provider if provider and self.scopes.rolled_up(provider) else ""
        path = f"provider:{rolled}" if rolled else domain
        gates = [
            self._gate("path", f"{name} {path}", self._path_options(options, provider).max_connections),
            self._gate("domain", domain, delivery.domain_max_connections),
            self._gate("binding", name, delivery.binding_max_connections),
        ]
        if provider:
            gates.append(self._gate("provider", provider, delivery.provider_max_connections))
        self._server.users += 1
        return (*gates, self._server)

    def _path_options(self, options: PathOptions, provider: str) -> DeliveryOptions:
        """Where the path is all of a provider, one domain's wishes don't count for it."""
        if provider and self.scopes.rolled_up(provider):
            return self.scopes.options(options.binding.name, "", provider).delivery
        return options.delivery

    def _gate(self, kind: str, name: str, most: int) -> Gate:
        gate = self._gates.get((kind, name))
        if gate is None:
            gate = self._gates[kind, name] = Gate(f"{kind} {name}")
            gate.elsewhere, gate.sole = self._elsewhere.get(gate.name, (0, None))
        gate.most = most or inf
        gate.users += 1
        return gate

    def throttles(self, options: PathOptions, path: str, provider: str) -> tuple[tuple[Turns, ...], ...]:
        """For messages, and for connections; the path's own first. path: name of the gate of its connections."""
        delivery = self._path_options(options, provider)
        own = (
            (options.message, Bucket(f"{path}/path_message_rate", delivery.path_message_rate)),
            (options.connection, Bucket(f"{path}/path_connection_rate", delivery.path_connection_rate)),
        )
        return tuple(tuple(self._throttle(bucket) for bucket in (mine, *shared) if bucket.rate) for shared, mine in own)

    def _throttle(self, bucket: Bucket) -> Turns:
        found = self._throttles.get(bucket.key)
        if found is None:
            if len(self._throttles) >= self._sweep_at:
                self._sweep()
            throttle = self.throttle(RateTerms(bucket.key, bucket.rate))
            found = self._throttles[bucket.key] = Turns(throttle, bucket.key)
        elif found.throttle.rate != bucket.rate:
            found.throttle.set_rate(bucket.rate)
        return found

    def rates(self) -> dict[str, Throttle]:
        """All throttles, by what they are for."""
        return {key: turns.throttle for key, turns in self._throttles.items()}

    def _sweep(self) -> None:
        """Forget throttles that a new one would not differ from, unless a path has them in hand."""
        held = {id(turns) for each in self._allowances.values() for turns in each.turns()}
        now = self.now()
        self._throttles = {
            key: turns
            for key, turns in self._throttles.items()
            if id(turns) in held or not turns.throttle.forgotten(now)
        }
        self._sweep_at = max(_THROTTLES, 2 * len(self._throttles))

    def released(self, allowance: Allowance) -> None:
        if self._allowances.get(allowance.key) is allowance:
            del self._allowances[allowance.key]

    def live(self, allowance: Allowance) -> bool:
        return self._allowances.get(allowance.key) is allowance

    def leave(self, gate: Gate) -> None:
        """A path is not limited by this gate any more."""
        gate.users -= 1
        if not gate.users and gate is not self._server:
            kind, _, name = gate.name.partition(" ")
            del self._gates[kind, name]

    def host_room(self, address: str, most: int) -> bool:
        return not most or self._hosts.get(address, 0) < most

    def host_inherit(self, address: str, most: int, allowance: Allowance) -> bool:
        """May this path have one of the connections that are there?"""
        if any(other is not allowance for other in self._host_lines.get(address, ())):
            return False
        return not most or self._hosts[address] <= most

    def host_wait(self, address: str, allowance: Allowance) -> None:
        self._host_lines.setdefault(address, {})[allowance] = None

    def host_opened(self, address: str) -> None:
        self._hosts[address] = self._hosts.get(address, 0) + 1

    def host_closed(self, address: str) -> None:
        count = self._hosts[address] - 1
        if count:
            self._hosts[address] = count
        else:
            del self._hosts[address]
        self.host_offer(address)

    def host_offer(self, address: str) -> None:
        """Tell the first in line for this address, if there is a place for it."""
        line = self._host_lines.get(address)
        while line:
            first = next(iter(line))
            if self.live(first):
                if not first.host_room(address):
                    break  # another was faster
                del line[first]
                first.host_told(address)
                break
            del line[first]
        if line is not None and not line:
            del self._host_lines[address]
