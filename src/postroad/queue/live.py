"""The live messages: each one whole in memory, or packed to what its queue needs while the journal holds the rest."""

from __future__ import annotations

from array import array

from postroad.message import Message
from postroad.queue.entry import Entry, State, Why, expiry_of, flow_of, made_active, stands_in, unpack
from postroad.queue.paths import Path, Paths

_OBJECT = 1500  # octets a whole Message costs besides its body: envelope, contexts, event members


class Live:
    """Messages by id. Bodies stay in memory up to `goal` octets; what comes after that is packed at once, since what
    came first is also delivered first.

    taken: ids of whole messages that stand in no queue: deliver has them, or their end is being written.
    """

    def __init__(self, paths: Paths, goal: int) -> None:
        self._paths = paths
        self._goal = goal
        self._by_id: dict[int, Message | bytes] = {}
        self.resident = 0  # octets charged
        self.taken: set[int] = set()

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, number: int) -> bool:
        return number in self._by_id

    def get(self, number: int) -> Message | bytes | None:
        return self._by_id.get(number)

    def enter(self, path: Path, message: Message, sharers: int) -> None:
        """A new message. sharers: how many recipients share its body."""
        body = message.body
        assert body is not None
        weight = len(body) // sharers + _OBJECT
        if self.resident + weight <= self._goal:
            message.weight = weight
            self.resident += weight
            self._by_id[message.id] = message
        else:
            self._by_id[message.id] = _packed(message, path, State.ACTIVE, Why.RECEIVED, 0.0, 0)
        self._paths.enter(path)

    def enter_packed(self, path: Path, number: int, entry: Entry) -> None:
        """A message that recovery found."""
        self._by_id[number] = entry.pack()
        self._paths.enter(path)

    def take(self, number: int, path: Path) -> Message | None:
        """The whole message, its body None if it has to be loaded; None if it is not in this path's active queue."""
        kept = self._by_id.get(number)
        if isinstance(kept, bytes):
            at, _, state = stands_in(kept)
            if at != path.number or state != State.ACTIVE:
                return None
            kept = self._by_id[number] = _unpacked(number, unpack(kept), path)
        elif kept is None or number in self.taken or kept.domain != path.domain or kept.binding != path.binding:
            return None
        self.taken.add(number)
        return kept

    def active_path(self, number: int) -> Path | None:
        """The path in whose active queue a message stands; None: it stands in none."""
        kept = self._by_id.get(number)
        if isinstance(kept, bytes):
            at, _, state = stands_in(kept)
            return self._paths.numbered(at) if state == State.ACTIVE else None
        if kept is None or number in self.taken:
            return None
        return self._paths.get(kept.binding, kept.domain)

    def claim(self, number: int, path: Path) -> Message:
        """Take a message out of whichever queue of the path it stands in. Its body is None if only the journal has
        it; so is its envelope then."""
        kept = self._by_id[number]
        if isinstance(kept, bytes):
            entry = unpack(kept)
            if entry.state is State.DELAYED:
                path.left_delayed()
            else:
                path.left_active()
            kept = self._by_id[number] = _unpacked(number, entry, path)
        else:
            path.left_active()
        self.taken.add(number)
        return kept

    def put_back(self, number: int) -> None:
        """A whole message stands in the active queue again."""
        self.taken.discard(number)

    def fall_due(self, number: int, path: Path, at: int) -> bool:
        """Move a message of the path's delayed queue to its active one. at: Unix seconds it was put there for.
        False: it does not stand there any more."""
        kept = self._by_id.get(number)
        if not isinstance(kept, bytes):
            return False
        where, next_attempt, state = stands_in(kept)
        # A second's grace: the two roundings of one float may differ, and a message must not be lost by it.
        if where != path.number or state != State.DELAYED or next_attempt > at + 1:
            return False
        active = self._by_id[number] = made_active(kept, Why.DUE)
        path.join(number, flow_of(active), retry=True)
        path.expiry = min(path.expiry, expiry_of(active))
        return True

    def rest(self, message: Message, path: Path, why: Why, due: float, code: int) -> None:
        """Pack a message that will wait."""
        self._discharge(message)
        self.taken.discard(message.id)
        state = State.DELAYED if due else State.ACTIVE
        self._by_id[message.id] = _packed(message, path, state, why, due, code)

    def leave(self, message: Message, path: Path) -> None:
        """The message is done."""
        self._discharge(message)
        self.taken.discard(message.id)
        del self._by_id[message.id]
        self._paths.leave(path)

    def moved(self, number: int, place: int) -> None:
        """Compaction keeps the message elsewhere now."""
        kept = self._by_id.get(number)
        if isinstance(kept, bytes):
            self._by_id[number] = unpack(kept)._replace(place=place).pack()
        elif kept is not None:
            kept.place = place

    def numbers(self) -> array[int]:
        """A snapshot of all ids."""
        return array("Q", self._by_id)

    def replace(self, number: int, packed: bytes) -> None:
        """The message's new entry; the caller sees to the queues."""
        self._by_id[number] = packed

    def expires(self, number: int, path: Path) -> float | None:
        """When a message of the path's active queue expires; None: it does not stand there."""
        kept = self._by_id.get(number)
        if isinstance(kept, bytes):
            at, _, state = stands_in(kept)
            return expiry_of(kept) if at == path.number and state == State.ACTIVE else None
        if kept is None or number in self.taken or kept.domain != path.domain or kept.binding != path.binding:
            return None
        return kept.expires

    def state(self, number: int) -> tuple[int, int] | None:
        """(attempts, Unix milliseconds of the next one) of a message that was tried, for the journal's copy of it."""
        kept = self._by_id.get(number)
        if isinstance(kept, bytes):
            entry = unpack(kept)
            return (entry.attempts, entry.next_attempt * 1000) if entry.attempts or entry.next_attempt else None
        # Whole, so being tried now or never tried: after a crash it is due at once.
        return (kept.attempts, 0) if kept is not None and kept.attempts else None

    def _discharge(self, message: Message) -> None:
        self.resident -= message.weight
        message.weight = 0


def _packed(message: Message, path: Path, state: State, why: Why, due: float, code: int) -> bytes:
    return Entry(
        message.place,
        message.index,
        message.attempts,
        path.number,
        int(message.received),
        int(message.expires),
        int(due),
        state,
        why,
        code,
        message.flow,
    ).pack()


def _unpacked(number: int, entry: Entry, path: Path) -> Message:
    message = Message()
    message.id = number
    message.place = entry.place
    message.index = entry.slot
    message.attempts = entry.attempts
    message.received = float(entry.received)
    message.expires = float(entry.expires)
    message.binding = path.binding
    message.domain = path.domain
    message.body = None
    message.weight = 0
    message.flow = entry.flow
    return message
