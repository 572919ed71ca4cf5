"""The live messages: each one whole in memory, or packed to what its queue needs while the journal holds the rest."""

from __future__ import annotations

from collections.abc import Iterator

from postroad.message import Message
from postroad.queue.entry import Entry, State, Why, unpack
from postroad.queue.paths import Path, Paths

_OBJECT = 1500  # octets a whole Message costs besides its body: envelope, contexts, event members


class Live:
    """Messages by id. Bodies stay in memory up to `goal` octets; what comes after that is packed at once, since what
    came first is also delivered first."""

    def __init__(self, paths: Paths, goal: int) -> None:
        self._paths = paths
        self._goal = goal
        self._by_id: dict[int, Message | bytes] = {}
        self.resident = 0  # octets charged

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
        """The whole message, its body None if it has to be loaded; None if it is gone."""
        kept = self._by_id.get(number)
        if not isinstance(kept, bytes):
            return kept
        message = _unpacked(number, unpack(kept), path)
        self._by_id[number] = message
        return message

    def rest(self, message: Message, path: Path, why: Why, due: float, code: int) -> None:
        """Pack a message that will wait."""
        self._discharge(message)
        state = State.DELAYED if due else State.ACTIVE
        self._by_id[message.id] = _packed(message, path, state, why, due, code)

    def leave(self, message: Message, path: Path) -> None:
        """The message is done."""
        self._discharge(message)
        del self._by_id[message.id]
        self._paths.leave(path)

    def moved(self, number: int, place: int) -> None:
        """Compaction keeps the message elsewhere now."""
        kept = self._by_id.get(number)
        if isinstance(kept, bytes):
            self._by_id[number] = unpack(kept)._replace(place=place).pack()
        elif kept is not None:
            kept.place = place

    def entries(self, numbers: Iterator[int]) -> Iterator[tuple[int, Entry | Message]]:
        for number in numbers:
            kept = self._by_id.get(number)
            if kept is not None:
                yield number, unpack(kept) if isinstance(kept, bytes) else kept

    def expires(self, number: int) -> float | None:
        kept = self._by_id.get(number)
        if kept is None:
            return None
        return unpack(kept).expires if isinstance(kept, bytes) else kept.expires

    def state(self, number: int) -> tuple[int, int] | None:
        """(attempts, Unix milliseconds of the next one) of a message that was tried, for the journal's copy of it."""
        kept = self._by_id.get(number)
        if isinstance(kept, bytes):
            entry = unpack(kept)
            return (entry.attempts, entry.next_attempt * 1000) if entry.attempts else None
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
    return message
