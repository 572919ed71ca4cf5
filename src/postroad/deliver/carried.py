"""Messages in flight that wait for another connection of their path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from postroad.deliver.connection import Connection
from postroad.deliver.outcomes import UNTOUCHED
from postroad.deliver.steps import Again, Result
from postroad.message import Message

# Hosts that one message is offered to in one attempt; more would only annoy the receiver (Postfix tries two as well).
_MAX_HOSTS = 2
# Connections that may die under a message before it begins, until that counts as an attempt.
_MAX_HAND_OVERS = 2


@dataclass(slots=True, eq=False)
class Carried:
    """result, host, peer, source: of the last connection; UNTOUCHED and nothing if none began with it, its body may
    then be missing. tried: addresses that refused the message for now."""

    message: Message
    result: Result
    host: str = ""
    peer: str = ""
    source: str = ""
    tried: list[str] = field(default_factory=list)
    hand_overs: int = 0


class CarriedMessages:
    """waiting: in the order they came. on: given to a connection, and not settled. Plain dictionaries, as both are
    looked at for every message and are nearly always empty; they stay the same objects."""

    def __init__(self) -> None:
        self.waiting: dict[Carried, None] = {}
        self.on: dict[Message, Carried] = {}

    def __len__(self) -> int:
        return len(self.waiting)

    def __iter__(self) -> Iterator[Carried]:
        return iter(list(self.waiting))

    def offer(self, connection: Connection, message: Message, result: Result) -> Carried | None:
        """The message did not get through on this connection: what to keep, or None when it was carried enough."""
        target = connection.target
        carried = self.on.pop(message, None)
        if carried is None:
            carried = Carried(message, result, target.host, target.address, connection.source)
        else:
            carried.result = result
            carried.host, carried.peer, carried.source = target.host, target.address, connection.source
        if result.again is Again.NEXT_TRANSACTION:
            return carried  # the first of a transaction never gets this, and what is carried is first in the next one
        if result.again is Again.HAND_OVER:
            carried.hand_overs += 1
            return carried if carried.hand_overs <= _MAX_HAND_OVERS else None
        carried.tried.append(target.address)
        return carried if len(carried.tried) < _MAX_HOSTS else None

    def keep(self, carried: Carried) -> None:
        self.waiting[carried] = None

    def back(self, message: Message) -> None:
        """It was given to a connection that did not begin with it."""
        carried = self.on.pop(message, None)
        self.keep(Carried(message, UNTOUCHED) if carried is None else carried)

    def next(self, connection: Connection) -> Carried | None:
        """The first that this connection's host has not refused; it stays."""
        address = connection.target.address
        for carried in self.waiting:
            if address not in carried.tried:
                return carried
        return None

    def give(self, connection: Connection) -> Message | None:
        """The message of `next`, taken out."""
        carried = self.next(connection)
        if carried is None:
            return None
        del self.waiting[carried]
        self.on[carried.message] = carried
        return carried.message

    def settled(self, message: Message) -> None:
        """It is settled, or gone, whether or not it was carried."""
        self.on.pop(message, None)

    def remove(self, carried: Carried) -> None:
        del self.waiting[carried]

    def clear(self) -> list[Carried]:
        """All that wait, taken out."""
        taken = list(self.waiting)
        self.waiting.clear()
        return taken
