"""What time does to the queue: delayed messages become due, and nothing waits past its expiry."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable

from postroad.message import Message
from postroad.queue.books import Books
from postroad.queue.endings import Endings
from postroad.queue.order import Order
from postroad.queue.paths import Path

_SWEEP = 30.0  # seconds between looks for expired messages in active queues
_GRACE = 30.0  # seconds an expired message has for its last try, which falls due at the very moment of its expiry
_SLICE = 1000  # messages handled before the event loop gets its turn


class Deadlines:
    """read_back(message): load what only the journal has; False if that can't be, and the message is seen to."""

    def __init__(self, books: Books, endings: Endings, read_back: Callable[[Message], Awaitable[bool]]) -> None:
        self._books = books
        self._endings = endings
        self._read_back = read_back
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep)
        self._late: dict[Path, None] = {}  # paths that may hold expired messages
        self._expiring: asyncio.Task[None] | None = None
        self._stopped = False

    def delayed(self) -> None:
        """Something was delayed: see to it that we wake when the next message is due."""
        due = self._books.paths.next_due()
        if due is None or due >= self._timer_at or self._stopped:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_later(max(0.0, due - self._books.now()), self._release)

    def stop(self) -> None:
        self._stopped = True
        self._sweeper.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._expiring is not None:
            self._expiring.cancel()

    def _release(self) -> None:
        self._timer = None
        self._timer_at = float("inf")
        for path in self._books.paths.release(self._books.now(), _SLICE, self._books.live.fall_due):
            self._books.wake(path.binding, path.domain)
        self.delayed()

    def _sweep(self) -> None:
        """Expire what waits in active queues past its time, and wake paths that have work: nothing rests on a wake-up
        that got lost."""
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep)
        self.wake_all()

    def wake_all(self) -> None:
        """Look at every path that has something to do."""
        self._sweep_paths([path for path in self._books.paths if path.active])

    def _sweep_paths(self, paths: list[Path]) -> None:
        budget = _SLICE
        while paths and budget > 0 and not self._stopped:
            path = paths.pop()
            budget -= 1
            if path.expiry + _GRACE <= self._books.now():
                self._late[path] = None
            if path.active:
                self._books.wake(path.binding, path.domain)
        if paths and not self._stopped:
            self._loop.call_soon(self._sweep_paths, paths)
        if self._late and self._expiring is None and not self._stopped:
            self._expiring = self._loop.create_task(self._expire())

    async def _expire(self) -> None:
        """Path by path, a slice of its messages at a time: one path may have a million."""
        try:
            while self._late:
                path = self._late.popitem()[0]
                order = path.order
                numbers = array("Q", order)
                alone = path if path.rollup is None or path.rollup.order is not order else None
                for each in self._sharing(path):
                    self._late.pop(each, None)
                    each.expiry = float("inf")  # what comes in meanwhile makes it less
                for start in range(0, len(numbers), _SLICE):
                    for message in self._overdue(alone, order, numbers[start : start + _SLICE]):
                        if message.body is not None or await self._read_back(message):
                            self._endings.expired(message)
                    await asyncio.sleep(0)
        finally:
            self._expiring = None

    @staticmethod
    def _sharing(path: Path) -> list[Path]:
        """The paths that have the same active queue: one pass is for all of them."""
        if path.rollup is None or path.order is not path.rollup.order:
            return [path]
        return [each for each in path.rollup.members if each.order is path.order]

    def _overdue(self, alone: Path | None, order: Order, numbers: array[int]) -> list[Message]:
        """Those of an active queue's messages that are past their time; they stand in no queue any more. alone: the one
        path that it is the queue of."""
        live = self._books.live
        late = self._books.now() - _GRACE
        found = []
        for number in numbers:
            path = alone or live.active_path(number)
            if path is None or (alone is None and path.order is not order):
                continue
            expires = live.expires(number, path)
            if expires is None:
                continue
            if expires > late:
                path.expiry = min(path.expiry, expires)
            else:
                found.append(live.claim(number, path))
        return found
