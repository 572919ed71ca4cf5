"""The queues: for each (binding, routing domain) an active and a delayed one (momentum.md 3.1). Pure: time is given.

Only message ids stand in line. An id whose message is gone, or stands elsewhere now, is a ghost: it is skipped when its
turn comes, so that taking a message out of the middle costs nothing. Ghosts are counted, so the counts stay exact.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from postroad.queue.order import Order

if TYPE_CHECKING:
    from postroad.queue.rollup import Rollup

# A delayed message is one integer, due milliseconds above the id: a heap of plain integers sorts by time, then age, and
# holds a third of the memory that (due, id) pairs would.
_ID_BITS = 64
_ID_MASK = (1 << _ID_BITS) - 1


class Path:
    """One active queue, in an order of its own (order.py), and one delayed queue.

    active, live: messages in the active queue, and in any state. expiry: no active message here expires before this
    Unix time (a bound, not exact). settled: attempts that ended, since the path came to be. delayed_ghosts: positions
    in `delayed` beyond the messages that stand there. rollup: other domains that this one is delivered with; `order` is
    then theirs as well, unless the path is held back alone.
    """

    __slots__ = (
        "active",
        "binding",
        "delayed",
        "delayed_ghosts",
        "domain",
        "expiry",
        "live",
        "number",
        "order",
        "rollup",
        "settled",
        "wake",
    )

    def __init__(self, number: int, binding: str, domain: str) -> None:
        self.number = number
        self.binding = binding
        self.domain = domain
        self.order = Order()
        self.rollup: Rollup | None = None
        self.delayed: list[int] = []
        self.active = 0
        self.live = 0
        self.settled = 0
        self.delayed_ghosts = 0
        self.wake = float("inf")
        self.expiry = float("inf")

    def __repr__(self) -> str:
        return f"<Path {self.binding}/{self.domain} active={self.active} delayed={self.waiting} live={self.live}>"

    @property
    def waiting(self) -> int:
        """Messages in the delayed queue."""
        return len(self.delayed) - self.delayed_ghosts

    def positions(self, first: int, now: float) -> Iterator[tuple[int, bool]]:
        """(id, is it delayed?) in the order in which they will go out, ghosts, repeats and messages of domains that it
        shares its order with among them: active ones, then `first` delayed ones by their time."""
        for number in self.order.in_order(now):
            yield number, False
        for item in heapq.nsmallest(first + self.delayed_ghosts, self.delayed):
            yield item & _ID_MASK, True

    def numbers(self) -> Iterator[int]:
        """A snapshot of all ids, in no order, with all that `positions` has among them."""
        yield from self.order
        yield from [item & _ID_MASK for item in self.delayed]

    def left_active(self) -> None:
        """A message left the active queue from wherever it stood."""
        self.active -= 1
        order = self.order
        order.ghosts += 1
        if order.ghosts >= order.count:
            order.clear()

    def left_delayed(self) -> None:
        """The same of the delayed queue. The heap's last ghosts go when they fall due, or with the last message."""
        self.delayed_ghosts += 1
        if not self.waiting:
            self.delayed.clear()
            self.delayed_ghosts = 0
            self.wake = float("inf")

    def join(self, number: int, flow: int, *, retry: bool) -> None:
        """A message stands in the active queue now."""
        self.active += 1
        self.order.append(number, flow, retry=retry)

    def put_back(self, number: int, flow: int, *, retry: bool) -> None:
        """It was given out for nothing, and is the next one of its flow again."""
        self.active += 1
        self.order.put_back(number, flow, retry=retry)


class PathCount(NamedTuple):
    """A line of the summary. next_due: Unix time at which the next delayed message becomes active, or None."""

    binding: str
    domain: str
    active: int
    delayed: int
    in_flight: int
    next_due: float | None


class Paths:
    """All paths, and which of them have a delayed message due next. opened(path): called for each that is made."""

    def __init__(self) -> None:
        self.opened: Callable[[Path], None] | None = None
        self._by_key: dict[tuple[str, str], Path] = {}
        self._by_number: dict[int, Path] = {}
        self._next_number = 0
        self._wakes: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Path]:
        return iter(self._by_key.values())

    def open(self, binding: str, domain: str) -> Path:
        """The path of this name, made if it does not exist."""
        key = (binding, domain)
        path = self._by_key.get(key)
        if path is None:
            path = self._by_key[key] = self._by_number[self._next_number] = Path(self._next_number, binding, domain)
            self._next_number += 1
            if self.opened is not None:
                self.opened(path)
        return path

    def get(self, binding: str, domain: str) -> Path | None:
        return self._by_key.get((binding, domain))

    def numbered(self, number: int) -> Path:
        return self._by_number[number]

    def enter(self, path: Path) -> None:
        path.live += 1

    def leave(self, path: Path) -> None:
        """A message of this path is done. A path without messages is forgotten: senders meet millions of domains."""
        path.live -= 1
        if not path.live:
            if path.rollup is not None:
                path.rollup.members.pop(path, None)
            del self._by_key[path.binding, path.domain]
            del self._by_number[path.number]

    def delay(self, path: Path, number: int, due: float) -> None:
        """Put message `number` into the delayed queue until Unix time `due`."""
        heapq.heappush(path.delayed, int(due * 1000) << _ID_BITS | number)
        self._note(path)

    def _note(self, path: Path) -> None:
        head = (path.delayed[0] >> _ID_BITS) / 1000
        if head < path.wake:
            path.wake = head
            heapq.heappush(self._wakes, (head, path.number))

    def next_due(self) -> float | None:
        """Unix time at which `release` has something to do; None when nothing is delayed."""
        while self._wakes and self._stale(*self._wakes[0]):
            heapq.heappop(self._wakes)
        return self._wakes[0][0] if self._wakes else None

    def _stale(self, at: float, number: int) -> bool:
        """The path is forgotten, or was woken earlier by a message that was due sooner."""
        path = self._by_number.get(number)
        return path is None or at != path.wake

    def release(self, now: float, limit: int, fall_due: Callable[[int, Path, int], bool]) -> list[Path]:
        """Move at most `limit` due messages to the active queues; the paths that got some.

        fall_due(id, path, due in Unix seconds): move it; False: it does not stand here any more.
        """
        woken: list[Path] = []
        while limit > 0 and (due := self.next_due()) is not None and due <= now:
            path = self._by_number[heapq.heappop(self._wakes)[1]]
            path.wake = float("inf")
            end = (int(now * 1000) + 1) << _ID_BITS
            before = path.active
            while path.delayed and path.delayed[0] < end and limit > 0:
                head = heapq.heappop(path.delayed)
                message = head & _ID_MASK
                limit -= 1
                if not fall_due(message, path, (head >> _ID_BITS) // 1000):
                    path.delayed_ghosts -= 1
            if path.delayed:
                self._note(path)
            if path.active > before:
                woken.append(path)
        return woken

    def summary(self) -> list[PathCount]:
        """A snapshot, the fullest first."""
        counts = [
            PathCount(
                p.binding,
                p.domain,
                p.active,
                p.waiting,
                p.live - p.active - p.waiting,
                None if p.wake == float("inf") else p.wake,
            )
            for p in self
        ]
        return sorted(counts, key=lambda c: (-(c.active + c.delayed + c.in_flight), c.domain, c.binding))
