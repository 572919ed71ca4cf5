"""A cache of look-ups: bounded, least recently used out first, and one look-up at a time for each key."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

V = TypeVar("V")


class Kept(NamedTuple, Generic[V]):
    """A value and how many seconds it may be kept."""

    value: V
    ttl: float


class LookupCache(Generic[V]):
    """Failures are values too, so that they can be remembered: the look-up function returns, it does not raise."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()
        self._running: dict[Hashable, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: Hashable, look_up: Callable[[], Awaitable[Kept[V]]]) -> V:
        """The value kept under `key`, or what `look_up` finds. A waiter that is cancelled does not stop the look-up:
        others may wait for it too, and its answer is worth keeping."""
        loop = asyncio.get_running_loop()
        found = self._kept.get(key)
        if found is not None:
            if found[0] > loop.time():
                self._kept.move_to_end(key)
                return found[1]
            del self._kept[key]
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = loop.create_task(self._run(key, look_up))
        return await asyncio.shield(task)

    async def _run(self, key: Hashable, look_up: Callable[[], Awaitable[Kept[V]]]) -> V:
        try:
            value, ttl = await look_up()
        finally:
            del self._running[key]
        if ttl > 0:
            self._kept[key] = (asyncio.get_running_loop().time() + ttl, value)
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return value

    async def close(self) -> None:
        """Cancel the look-ups under way; whoever waits for one gets CancelledError."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
