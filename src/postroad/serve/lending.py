"""What is lent to engines, over their links: the warden in the supervisor, and each engine's borrower.

The warden outlives all engines, and hears of the end of one only when the process and its sockets are gone: then what
it held is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from math import inf
from types import MappingProxyType

from postroad.serve.frames import CONTROL, ENGINE, Count, Counted, Name
from postroad.serve.link import Frame, Link
from postroad.serve.windows import Windows
from postroad.shaping import Borrower, Lender, Throttle
from postroad.shaping.leases import Asking, Lending


class Asks(Frame, frozen=True):
    """Engine -> warden: what it asks and tells, in order."""

    items: list[Asking]


class Loans(Frame, frozen=True):
    """Warden -> engine."""

    items: list[Lending]


class Warden:
    """A guest of the supervisor. windows: where rates are kept over restarts. Construct it inside the running loop."""

    def __init__(self, windows: Windows) -> None:
        self._loop = asyncio.get_running_loop()
        self._windows = windows
        self._links: dict[int, Link] = {}
        self._loans: dict[int, list[Lending]] = {}
        self.lender = Lender(self._loop.time, self._lend, windows.throttle)
        windows.throttles = self.lender.throttles
        self._alarm: asyncio.TimerHandle | None = None

    def joined(self, name: Name, link: Link) -> None:
        if name.kind == CONTROL:
            link.on(Count, lambda frame: link.send(counted(self.lender.open(), self.lender.throttles())))
        if name.kind != ENGINE:
            return
        self._links[name.number] = link
        link.on(Asks, lambda frame: self._take(name.number, frame.items))
        self.lender.joined(name.number)

    def left(self, name: Name) -> None:
        if name.kind == ENGINE and self._links.pop(name.number, None) is not None:
            self.lender.left(name.number)
            self._flush()

    async def stop(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._windows.close()

    def _take(self, engine: int, items: list[Asking]) -> None:
        self._windows.cover()
        self.lender.take(engine, items)
        self._flush()

    def _tick(self) -> None:
        self._alarm = None
        self._windows.cover()
        self.lender.tick()
        self._flush()

    def _lend(self, engine: int, item: Lending) -> None:
        self._loans.setdefault(engine, []).append(item)

    def _flush(self) -> None:
        """Send what has come up, and set the alarm."""
        loans, self._loans = self._loans, {}
        for engine, items in loans.items():
            link = self._links.get(engine)
            if link is not None:
                link.send(Loans(items))
        due = self.lender.due()
        if self._alarm is not None:
            if self._alarm.when() <= due:
                return
            self._alarm.cancel()
            self._alarm = None
        if due < inf:
            self._alarm = self._loop.call_at(due, self._tick)


def counted(
    places: Mapping[str, tuple[int, float]], throttles: Mapping[str, Throttle] = MappingProxyType({})
) -> Counted:
    return Counted(
        {name: (number, 0 if most == inf else int(most)) for name, (number, most) in places.items()},
        {key: throttle.lent for key, throttle in throttles.items()},
    )


def borrower(link: Link) -> Borrower:
    """An engine's end. What it tells in one turn of the loop goes out together."""
    loop = asyncio.get_running_loop()
    asks: list[Asking] = []

    def send(item: Asking) -> None:
        if not asks:
            loop.call_soon(flush)
        asks.append(item)

    def flush() -> None:
        link.send(Asks(asks.copy()))
        asks.clear()

    def after(seconds: float, what: Callable[[], None]) -> None:
        if seconds:
            loop.call_later(seconds, what)
        else:
            loop.call_soon(what)

    found = Borrower(send, after)

    def take(frame: Loans) -> None:
        for item in frame.items:
            found.take(item)

    link.on(Loans, take)
    return found
