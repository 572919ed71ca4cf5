"""How many connections a path may have, and when it may send: what deliver asks before it opens one or hands it a
message. Every call is made on the event loop; none blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, inf
from typing import TYPE_CHECKING

from postroad.config.curfew import curfew
from postroad.config.schema import DeliveryOptions
from postroad.shaping.binding import Binding
from postroad.shaping.borrower import Lease
from postroad.shaping.gate import Gate
from postroad.shaping.leases import GateTerms, RateTerms
from postroad.shaping.throttle import Throttle
from postroad.shaping.turns import Turns

if TYPE_CHECKING:
    from postroad.shaping.limits import Limits

# Active messages at which a path wants 63 % of its connections; fits the published curves (momentum.md 4.2).
_GROWTH = {"normal": 107.0, "high": 42.0}


class Allowance:
    """What one path may do.

    curfew: times at which the path may not send; None: none. restricted: it has a curfew, or is a
    blackhole. offer: a gate keeps a place for this path, until it has asked or declined. waits: it stands in some
    line, and will be told. suspended: it may do nothing at all. most: connections it can ever have.
    lease: with several engines, what is lent to this path; then its gates and throttles only count, and the lender
    decides. granted: the addresses that the connection just granted may go to; None: any.
    """

    __slots__ = (
        "_connection",
        "_free",
        "_host_offers",
        "_hosts",
        "_like",
        "_limits",
        "_message",
        "_provider",
        "_refused_by",
        "_tau",
        "_unsure",
        "connections",
        "curfew",
        "gates",
        "granted",
        "key",
        "lease",
        "most",
        "offer",
        "options",
        "restricted",
        "suspended",
        "waits",
    )

    def __init__(self, limits: Limits, binding: str, domain: str, like: str = "") -> None:
        self.key = (binding, domain)
        self._like = like or domain
        self.connections = 0
        self.offer: Gate | None = None
        self.waits = False
        self.gates: tuple[Gate, ...] = ()
        self._limits = limits
        self._hosts: tuple[str, ...] = ()
        self._host_offers: list[str] = []  # addresses whose line it was the first in, and was told
        self._refused_by: Gate | None = None
        self._unsure: dict[object, None] = {}  # connections that would be idle if the lender lends nothing
        self.lease = limits.borrower.lease(self) if limits.borrower is not None else None
        self.granted: tuple[str, ...] | None = None
        self._configure(limits.provider(self._like))

    @property
    def provider(self) -> str:
        """The provider that the domain is known to belong to; "": none."""
        return self._provider

    def _configure(self, provider: str) -> None:
        limits = self._limits
        binding, domain = self.key
        self._provider = provider
        self.options = limits.scopes.options(binding, self._like, provider)
        self.gates = limits.gates(self.options, domain, provider)
        self._message, self._connection = limits.throttles(self.options, self.gates[0].name, provider)
        delivery = self.options.delivery
        self.suspended = delivery.suspend_delivery or (binding == "default" and delivery.default_binding == "suspended")
        self.curfew = curfew(tuple(delivery.curfew))
        self.restricted = self.curfew is not None or delivery.blackhole != "no"
        self._free = not self._message and not self.suspended
        self.most = int(min(gate.most for gate in self.gates))
        self._tau = _GROWTH[delivery.connection_growth]
        if self.lease is not None:
            self.lease.terms(
                limits.generation,
                tuple(GateTerms(gate.name, int(gate.most), gate.reserve) for gate in self.gates if gate.most != inf),
                delivery.host_max_connections,
                *(
                    tuple(RateTerms(each.key, each.throttle.rate) for each in found)
                    for found in (self._message, self._connection)
                ),
            )

    @property
    def delivery(self) -> DeliveryOptions:
        return self.options.delivery

    @property
    def binding(self) -> Binding:
        return self.options.binding

    def located(self, hosts: Sequence[str]) -> None:
        """The domain's MX hosts: they tell which provider it belongs to."""
        self._hosts = tuple(hosts)
        if self._limits.located(self.key[1], self._hosts) != self._provider:
            self.refresh()

    def refresh(self) -> None:
        """The configuration or the provider has changed: what is open counts for its new gates."""
        before = self.gates
        if self.lease is None:
            self._withdraw()
        idle = [connection for connection, owner in before[0].idle.items() if owner is self]
        for connection in idle:
            self.busy(connection)
        for gate in before:
            gate.open -= self.connections
        limits = self._limits
        domain = self._like
        self._configure(limits.located(domain, self._hosts) if self._hosts else limits.provider(domain))
        for gate in self.gates:
            gate.open += self.connections
        for connection in idle:
            for gate in self.gates:
                gate.idle[connection] = self
        for gate in before:
            limits.leave(gate)
            if self.lease is None:
                gate.hand_out()

    # --- connections --------------------------------------------------------------------------------------------------

    def goal(self, waiting: int) -> int:
        """How many connections this path should have while `waiting` messages are due. At least 1."""
        wanted = round(self.options.delivery.max_connections * (1.0 - exp(-waiting / self._tau)))
        return max(1, min(wanted, self.most))

    def open(self, hosts: Sequence[str] = ()) -> float:
        """Ask for one connection, to one of these addresses. 0: granted, and `closed` is called for it once. More:
        seconds until it is worth asking again. inf: `told` will say when."""
        wait = self._ask() if self.lease is None else self._borrow(self.lease, tuple(hosts))
        if wait:
            self.decline()
            return wait
        for gate in self.gates:
            gate.open += 1
        self.connections += 1
        if self.offer is not None:
            self.offer.offered -= 1
            self.offer = None
        return 0.0

    def _ask(self) -> float:
        self._refused_by = None
        if self.suspended:
            return inf
        gate = self.full()
        if gate is not None:
            gate.wait(self)
            self.waits = True
            self._refused_by = gate
            return inf
        return self._granted(self._connection)

    def _borrow(self, lease: Lease, hosts: tuple[str, ...]) -> float:
        self._refused_by = None
        if self.suspended:
            return inf
        if not lease.open(hosts):
            self.waits = True
            return inf
        self.waits = False
        self.granted = lease.granted
        self._count(self._connection)
        return 0.0

    def lent(self) -> None:
        """Something has come from the lender."""
        self.told()

    def full(self) -> Gate | None:
        for gate in self.gates:
            if not gate.room(self):
                return gate
        return None

    def decline(self) -> None:
        """A place that is kept for this path is not wanted."""
        if self.lease is not None:
            self.lease.decline()
        gate = self.offer
        if gate is not None:
            self.offer = None
            gate.offered -= 1
            gate.hand_out()
        if self._host_offers:
            offers, self._host_offers = self._host_offers, []
            for address in offers:
                self._limits.host_offer(address)

    def told(self) -> None:
        if self.offer is not None:
            for gate in self.gates:
                gate.leave(self)  # one place at a time is kept for it
        self.waits = False
        self._limits.told(*self.key)

    def closed(self) -> None:
        """A granted connection is gone (or was never made)."""
        self.connections -= 1
        for gate in self.gates:
            gate.open -= 1
        if self.lease is not None:
            self.lease.closed()
            if not self.connections:
                self.lease.idle()  # what it wants would come when there is no connection to send it
            return
        for gate in self.gates:
            gate.hand_out()

    def inherit(self, giver: Allowance, address: str) -> bool:
        """Take over an idle connection of another path, to this address, with the place that it has: from now on
        `closed` and `host_closed` are due here, not there. False: a limit of this path, or others who wait for such a
        place, don't let it; or places are lent, and the lender has to know. Rates count what is opened: not this."""
        if self.suspended or self.lease is not None:
            return False
        both = [gate for gate in self.gates if gate in giver.gates]
        new = [gate for gate in self.gates if gate not in giver.gates]
        if any(gate.others_first(self) for gate in both) or not all(gate.room(self) for gate in new):
            return False
        if not self._limits.host_inherit(address, self.options.delivery.host_max_connections, self):
            return False
        left = [gate for gate in giver.gates if gate not in self.gates]
        for gate in new:
            gate.open += 1
        for gate in left:
            gate.open -= 1
        self.connections += 1
        giver.connections -= 1
        for gate in self.gates:
            gate.leave(self)  # it has what it waited for
        self.decline()  # a place that was kept for this path is not needed
        for gate in left:
            gate.hand_out()
        return True

    def host_room(self, address: str) -> bool:
        if self.lease is not None:
            return True  # it is asked for with the connection
        return self._limits.host_room(address, self.options.delivery.host_max_connections)

    def host_wait(self, address: str) -> None:
        """`told` is called when a connection to this address has closed."""
        self.waits = True
        self._limits.host_wait(address, self)

    def host_told(self, address: str) -> None:
        """It was the first in line for this address: it should ask now, or decline."""
        self._host_offers.append(address)
        self.told()

    def host_open(self, address: str) -> bool:
        """A granted connection is about to go there. True: `host_closed` is called for it once. False: it may not."""
        if self.lease is not None:
            return self.lease.host_open(address)
        if not self.host_room(address):
            return False
        self._limits.host_opened(address)
        return True

    def host_closed(self, address: str) -> None:
        if self.lease is not None:
            self.lease.host_closed(address)
        else:
            self._limits.host_closed(address)

    def hosts_unused(self, addresses: Iterable[str]) -> None:
        """A granted connection might have gone there, and did not."""
        for address in addresses:
            if self.host_open(address):
                self.host_closed(address)

    def idle(self, connection: object) -> object | None:
        """This connection has nothing to send. Returns one that should close, since another path waits for its place;
        that one counts as busy from now on."""
        if self.lease is not None and self.lease.unsure:
            self._unsure[connection] = None
            return None
        for gate in self.gates:
            gate.idle[connection] = self
        for gate in self.gates:
            if gate.others_wait(self):
                return gate.spare()
        if self._limits.host_wanted(connection, self):
            self.busy(connection)
            return connection
        return None

    def heir(self) -> tuple[str, str] | None:
        """The path (binding, domain) that would get the place of a connection of this one, if others wait for it; None
        with several engines: only the lender knows."""
        if self.lease is None:
            for gate in self.gates:
                first = gate.first()
                if isinstance(first, Allowance) and first is not self:
                    return first.key
        return None

    def sure(self) -> list[object]:
        """Connections to call `idle` for again, since it is known now whether they may send: not at once."""
        if not self._unsure or (self.lease is not None and self.lease.unsure):
            return []
        found = list(self._unsure)
        self._unsure.clear()
        return found

    def busy(self, connection: object) -> None:
        self._unsure.pop(connection, None)
        for gate in self.gates:
            gate.idle.pop(connection, None)

    def spare(self) -> object | None:
        """After `open` said inf: the idle connection that should close to make room, or None. It counts as busy."""
        return self._refused_by.spare() if self._refused_by is not None else None

    # --- messages -----------------------------------------------------------------------------------------------------

    def message(self) -> float:
        """Ask to send one message. 0: granted. More: seconds until it is worth asking again; inf while suspended."""
        if self._free:
            return 0.0
        if self.suspended:
            return inf
        if self.lease is None:
            return self._granted(self._message)
        if not self.lease.message():
            return inf
        self._count(self._message)
        return 0.0

    def unsent(self) -> None:
        """The message just granted was not sent."""
        if self.lease is not None and self._message:
            self.lease.unsent()
            if self._unsure:
                self.told()
        for turns in self._message:
            turns.throttle.give_back()

    def _granted(self, throttles: tuple[Turns, ...]) -> float:
        """All must grant; when one refuses, none is used. The path's own comes first: while that refuses, the path does
        not stand in the line for the others."""
        if not throttles:
            return 0.0
        now = self._limits.now()
        for turns in throttles:
            wait = turns.wait(self, now)
            if wait:
                return wait
        self._limits.cover()
        for turns in throttles:
            turns.take(self, now)
        return 0.0

    def _count(self, throttles: tuple[Turns, ...]) -> None:
        """For people who look; whether it may be was the lender's to decide."""
        now = self._limits.now()
        for turns in throttles:
            turns.throttle.take(now)

    def throttles(self) -> tuple[tuple[str, tuple[Throttle, ...]], ...]:
        """By what they count."""
        message = tuple(turns.throttle for turns in self._message)
        return ("messages", message), ("connections", tuple(turns.throttle for turns in self._connection))

    def turns(self) -> tuple[Turns, ...]:
        return (*self._message, *self._connection)

    # --- the end ------------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """The path is forgotten; it has no connections."""
        assert not self.connections
        self._withdraw()
        self._limits.released(self)
        for gate in self.gates:
            self._limits.leave(gate)
        if self.lease is not None:
            self.lease.release()

    def _withdraw(self) -> None:
        self.waits = False
        for turns in self.turns():
            turns.leave(self)
        for gate in self.gates:
            gate.leave(self)
        self.decline()
