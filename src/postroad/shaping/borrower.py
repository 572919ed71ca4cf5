"""An engine's end of what is lent to it (lender.py). Pure: what is to be sent goes to a callback.

A path asks for one connection at a time, and for as many messages as it can send until more could come. What it gets
and has no use for goes back at once, messages' grants after a moment.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Protocol

from postroad.shaping.leases import (
    Ask,
    Asking,
    Back,
    Closed,
    GateTerms,
    Granted,
    HostLeft,
    Later,
    Lending,
    RateTerms,
    Refused,
    Release,
    Shed,
    Spent,
    Terms,
    Tokens,
    Took,
    Unspent,
    Want,
    Wanted,
)

_AHEAD = 0.01  # seconds of the path's slowest rate that it asks for at once
_MOST_AHEAD = 64
_KEPT = 0.02  # seconds, up to twice of which a grant is kept that is not used


class Borrowing(Protocol):
    """Who hears of what was lent."""

    def lent(self) -> None:
        """Something has come: it should ask now."""


class Lease:
    """What one path has been lent. refused: the gate that was full when it asked last, and its connections in all
    engines."""

    __slots__ = (
        "_ahead",
        "_answered",
        "_asked",
        "_borrower",
        "_counts_connections",
        "_place",
        "_spent",
        "_stock",
        "_terms",
        "_tokens",
        "_version",
        "_wanted",
        "granted",
        "owner",
        "path",
        "refused",
    )

    def __init__(self, borrower: Borrower, path: int, owner: Borrowing) -> None:
        self.path = path
        self._borrower = borrower
        self.owner = owner
        self._version = 0
        self._terms: object = None
        self._ahead = 1
        self._counts_connections = False
        self._asked: tuple[str, ...] | None = None
        self._place: tuple[str, ...] | None = None  # a connection that was granted, and to where
        self.granted: tuple[str, ...] = ()
        self._stock: dict[str, int] = {}  # places at hosts that no connection uses yet
        self._tokens = 0
        self._wanted = 0
        self._answered = True
        self._spent = 0
        self.refused: tuple[str, int] | None = None

    def terms(
        self,
        generation: int,
        gates: tuple[GateTerms, ...],
        host_most: int,
        message: tuple[RateTerms, ...],
        connection: tuple[RateTerms, ...],
    ) -> None:
        terms = (gates, host_most, message, connection)
        if terms == self._terms:
            return
        self._terms = terms
        self.tell_spent()
        if self._wanted or self._tokens:
            self.owner.lent()  # it must ask again
        self.give_back()
        self._wanted = 0
        self._version += 1
        self._borrower.send(Terms(self.path, self._version, generation, gates, host_most, message, connection))
        self._counts_connections = bool(connection)
        slowest = min((most / seconds for rate in message for most, seconds in rate.windows[:1]), default=0.0)
        self._ahead = max(1, min(_MOST_AHEAD, int(slowest * _AHEAD)))

    # --- connections --------------------------------------------------------------------------------------------------

    def open(self, hosts: tuple[str, ...]) -> bool:
        """Ask for a connection to one of these addresses. True: granted; `granted` are those that have a place for it.
        False: the owner is told."""
        place = self._place
        if place is None or (hosts and not set(place) & set(hosts)):
            self.decline()
            if self._asked != hosts:
                self._asked = hosts
                self._borrower.send(Ask(self.path, hosts))
            return False
        self._place = None
        self.granted = place
        for address in place:
            self._stock[address] = self._stock.get(address, 0) + 1
        if self._counts_connections:
            self._borrower.send(Took(self.path, self._version))
        return True

    @property
    def asking(self) -> bool:
        return self._asked is not None

    def decline(self) -> bool:
        """The place that was granted is not wanted. Was there one?"""
        place = self._place
        if place is None:
            return False
        self._place = None
        self._borrower.send(Back(self.path, self._version, place))
        return True

    def closed(self) -> None:
        self._borrower.send(Closed(self.path))

    def host_open(self, address: str) -> bool:
        left = self._stock.get(address, 0)
        if not left:
            return False
        if left == 1:
            del self._stock[address]
        else:
            self._stock[address] = left - 1
        return True

    def host_closed(self, address: str) -> None:
        self._borrower.send(HostLeft(self.path, address))

    # --- messages -----------------------------------------------------------------------------------------------------

    def message(self) -> bool:
        """Ask to send one. True: granted. False: the owner is told."""
        if self._tokens:
            self._tokens -= 1
            self._spent += 1
            if self._spent == 1:
                self._borrower.spends(self)
            if not self._tokens and self._ahead > 1:
                self._want()
            return True
        self._want()
        return False

    def _want(self) -> None:
        if not self._wanted:
            self._wanted = self._ahead
            self._answered = False
            self._borrower.send(Want(self.path, self._ahead))

    @property
    def wanting(self) -> bool:
        return self._wanted > 0

    @property
    def unsure(self) -> bool:
        """It is not known yet whether the messages it wants must wait."""
        return self._wanted > 0 and not self._answered

    def unsent(self) -> None:
        """The last one granted was not sent; there is nothing to send now."""
        self._spent -= 1
        self._tokens += 1
        self.idle()

    def idle(self) -> None:
        """There is nothing to send now."""
        if self._wanted:
            self._wanted = 0
            self._borrower.send(Want(self.path, 0))
        self.give_back()

    @property
    def holds(self) -> bool:
        """Grants for messages that were not used yet."""
        return self._tokens > 0

    def give_back(self) -> None:
        if self._tokens:
            self._borrower.send(Unspent(self.path, self._version, self._tokens))
            self._tokens = 0

    def tell_spent(self) -> None:
        if self._spent:
            self._borrower.send(Spent(self.path, self._version, self._spent))
            self._spent = 0

    # --- what comes ---------------------------------------------------------------------------------------------------

    def take(self, item: Granted | Refused | Tokens | Later) -> None:
        if isinstance(item, Granted):
            self._asked = None
            self.refused = None
            self.decline()
            # Of earlier terms: a place is a place; its grant of the rate counts as used.
            self._place = item.hosts
            self.owner.lent()
        elif isinstance(item, Refused):
            self.refused = (item.gate, item.open)
        elif item.version != self._version:
            if isinstance(item, Tokens):  # it was under way when the terms changed
                self._borrower.send(Unspent(self.path, item.version, item.count))
        elif isinstance(item, Later):
            self._answered = True
            self.owner.lent()
        else:
            self._answered = True
            self._wanted = max(0, self._wanted - item.count)
            self._tokens += item.count
            self._borrower.holds(self)
            self.owner.lent()

    def release(self) -> None:
        self.decline()
        self.tell_spent()
        self.idle()
        self._borrower.release(self)


class Borrower:
    """All leases of an engine. send(item): to the lender, in order. after(seconds, what): call this then, 0 for
    the loop's next turn. wanted, shed: see the items of those names."""

    def __init__(self, send: Callable[[Asking], None], after: Callable[[float, Callable[[], None]], object]) -> None:
        self.send = send
        self._after = after
        self.wanted: Callable[[Wanted, Borrowing | None], None] = lambda item, sole: None
        self.shed: Callable[[str, int], None] = lambda gate, number: None
        self._leases: dict[int, Lease] = {}
        self._numbers = count(1)
        self._spending: dict[Lease, None] = {}
        self._holding: dict[Lease, bool] = {}  # with grants; True: for a while

    def lease(self, owner: Borrowing) -> Lease:
        lease = Lease(self, next(self._numbers), owner)
        self._leases[lease.path] = lease
        return lease

    def release(self, lease: Lease) -> None:
        del self._leases[lease.path]
        self._holding.pop(lease, None)
        self._spending.pop(lease, None)
        self.send(Release(lease.path))

    def spends(self, lease: Lease) -> None:
        if not self._spending:
            self._after(0, self._tell_spent)
        self._spending[lease] = None

    def holds(self, lease: Lease) -> None:
        if not self._holding:
            self._after(_KEPT, self._tidy)
        self._holding[lease] = False

    def _tell_spent(self) -> None:
        spending, self._spending = self._spending, {}
        for lease in spending:
            lease.tell_spent()

    def _tidy(self) -> None:
        """Give back what was lent before the last call and not used since."""
        holding, self._holding = self._holding, {}
        for lease, old in holding.items():
            if old:
                lease.give_back()
            elif lease.holds:
                self._holding[lease] = True
        if self._holding:
            self._after(_KEPT, self._tidy)

    def take(self, item: Lending) -> None:
        """What the lender tells."""
        if isinstance(item, Wanted):
            sole = self._leases.get(item.sole)
            self.wanted(item, sole.owner if sole is not None else None)
        elif isinstance(item, Shed):
            self.shed(item.gate, item.count)
        else:
            lease = self._leases.get(item.path)
            if lease is not None:
                lease.take(item)
