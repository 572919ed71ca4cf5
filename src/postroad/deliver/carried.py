"""Messages in flight that wait for another connection of their path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from postroad.deliver.connection import Connection
from postroad.deliver.steps import Again, Result
from postroad.message import Message

# Hosts that one message is offered to in one attempt; more would only annoy the receiver (Postfix tries two as well).
_MAX_HOSTS = 2
# Connections that may die under a message before it begins, until that counts as an attempt.
_MAX_HAND_OVERS = 2


@dataclass(slots=True, eq=False)
class Carried:
    """result, host, peer, source: of the last connection. tried: addresses that refused the message for now."""

    message: Message
    result: Result
    host: str
    peer: str
    source: str
    tried: list[str] = field(default_factory=list)
    hand_overs: int = 0


class CarriedMessages:
    """In the order they came."""

    def __init__(self) -> None:
        self._waiting: dict[Carried, None] = {}
        self._on: dict[Connection, Carried] = {}  # given to a connection, and not settled

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Carried]:
        return iter(list(self._waiting))

    def offer(self, connection: Connection, message: Message, result: Result) -> Carried | None:
        """The message did not get through on this connection: what to keep, or None when it was carried enough."""
        target = connection.target
        carried = self._on.pop(connection, None)
        if carried is None:
            carried = Carried(message, result, target.host, target.address, connection.source)
        else:
            carried.result = result
            carried.host, carried.peer, carried.source = target.host, target.address, connection.source
        if result.again is Again.HAND_OVER:
            carried.hand_overs += 1
            return carried if carried.hand_overs <= _MAX_HAND_OVERS else None
        carried.tried.append(target.address)
        return carried if len(carried.tried) < _MAX_HOSTS else None

    def keep(self, carried: Carried) -> None:
        self._waiting[carried] = None

    def give(self, connection: Connection) -> Message | None:
        """The first message that this connection's host has not refused."""
        address = connection.target.address
        for carried in self._waiting:
            if address not in carried.tried:
                del self._waiting[carried]
                self._on[connection] = carried
                return carried.message
        return None

    def settled(self, connection: Connection) -> None:
        """What the connection carried is settled, or gone."""
        if self._on:
            self._on.pop(connection, None)

    def remove(self, carried: Carried) -> None:
        del self._waiting[carried]

    def clear(self) -> list[Carried]:
        """All that wait, taken out."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken
