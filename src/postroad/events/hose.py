"""The hose: the journal's events for those who read on, each at its own pace.

A consumer reads batches and acknowledges them; what it has not acknowledged it gets again after a restart, with the
same event ids (at least once). Reading never holds up mail: it only reads what is committed, and a consumer that lags
beyond `journal.event_retention_size` loses events and is told so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Collection
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeVar

from postroad.events.cursors import ConsumerError, CursorFiles
from postroad.journal import HoseEvent, split_place

T = TypeVar("T")

BATCH_EVENTS = 1000
BATCH_OCTETS = 1 << 20


class At(NamedTuple):
    """A start by time: the first event at or after `wall` (Unix seconds)."""

    wall: float


Start = Literal["begin", "end"] | int | At  # an int is a cursor


class Source(Protocol):
    """What the hose needs of a journal."""

    def begin_cursor(self) -> int: ...

    def end_cursor(self) -> int: ...

    def cursor_at(self, wall: float) -> int: ...

    def read_events(self, cursor: int, limit: int = ..., max_bytes: int = ...) -> tuple[list[HoseEvent], int]: ...

    def on_commit(self, callback: Callable[[], None]) -> Callable[[], None]: ...

    def pin(self, name: str, cursor: int) -> None: ...

    def unpin(self, name: str) -> None: ...


class Batch(NamedTuple):
    """events: in the order they were committed. cursor: acknowledge this when they are dealt with. lost: events before
    these are gone (dropped by retention, or with the journal they were in) and may not have been read."""

    events: list[HoseEvent]
    cursor: int
    lost: bool = False


class Hose:
    """directory: where the cursors are kept. Make it when the journal is open, before it takes new mail: a cursor that
    the journal never gave can be told as long as the journal is as it was. problems: what is wrong with the cursors."""

    def __init__(self, source: Source, directory: Path) -> None:
        self._source = source
        self._files = CursorFiles(directory)
        self._open: set[str] = set()
        self._strays: set[str] = set()
        self.problems: list[str] = []
        for name in self._files.names():
            # Also for consumers that nobody opens now: their events must not be dropped meanwhile.
            source.pin(name, self._standing(name))

    def _standing(self, name: str) -> int:
        """The cursor of an existing consumer; where everything is kept for it when there is none that makes sense."""
        begin, end = self._source.begin_cursor(), self._source.end_cursor()
        try:
            cursor = self._files.get(name)
            if cursor is None:
                return begin
            if split_place(cursor)[0] > split_place(end)[0]:
                # Of another journal, then: this one's events are all new to the consumer.
                self._files.put(name, begin)
                self._strays.add(name)
                self.problems.append(f"consumer {name}: its cursor {cursor} is not of this journal; it begins anew")
                return begin
        except (ConsumerError, OSError) as error:
            self.problems.append(str(error))
            return begin
        return cursor

    def names(self) -> list[str]:
        """All consumers that have a cursor."""
        return self._files.names()

    def standing(self) -> dict[str, int]:
        """The acknowledged cursor of each consumer, as far as it can be read. Blocks."""
        found = {}
        for name in self.names():
            with contextlib.suppress(ConsumerError, OSError):
                cursor = self._files.get(name)
                if cursor is not None:
                    found[name] = cursor
        return found

    async def consumer(self, name: str, start: Start = "end", kinds: Collection[int] | None = None) -> Consumer:
        """Open a consumer. start: where a new one begins; one that has a cursor goes on there. kinds: the types it
        wants, None for all. Raises ConsumerError when the name is bad or taken, or its cursor file is damaged, and
        OSError when a new cursor can't be written."""
        if name in self._open:
            raise ConsumerError(f"consumer {name} is open already")
        self._open.add(name)
        try:
            cursor = await _off_loop(self._files.get, name)
            if cursor is None:
                cursor = await self._resolve(start)
                await _off_loop(self._files.put, name, cursor)
                self._source.pin(name, cursor)
        except BaseException:
            self._open.discard(name)
            raise
        consumer = Consumer(self, name, cursor, kinds, astray=name in self._strays)
        self._strays.discard(name)
        return consumer

    async def tail(self, start: Start = "end", kinds: Collection[int] | None = None) -> AsyncGenerator[HoseEvent, None]:
        """Events as they are committed, without an end and without a durable cursor."""
        feed = _Feed(self._source, await self._resolve(start), kinds)
        try:
            while True:
                for event in (await feed.next(BATCH_EVENTS, BATCH_OCTETS, None)).events:
                    yield event
        finally:
            feed.close()

    async def forget(self, name: str) -> None:
        """Remove a consumer's cursor; its events are no longer kept for it. Raises ConsumerError while it is open."""
        if name in self._open:
            raise ConsumerError(f"consumer {name} is open")
        await _off_loop(self._files.drop, name)
        self._source.unpin(name)

    async def _resolve(self, start: Start) -> int:
        match start:
            case "begin":
                return await _off_loop(self._source.begin_cursor)
            case "end":
                return self._source.end_cursor()
            case At(wall):
                return await _off_loop(self._source.cursor_at, wall)
            case int():
                if start > (end := self._source.end_cursor()):
                    raise ConsumerError(f"there is no cursor {start}; the last one is {end}")
                return start


class Consumer:
    """One reader of the hose with a durable cursor. Use it from one task. Made by Hose.consumer."""

    def __init__(
        self, hose: Hose, name: str, cursor: int, kinds: Collection[int] | None, *, astray: bool = False
    ) -> None:
        self.name = name
        self.cursor = cursor
        self._hose = hose
        self._feed = _Feed(hose._source, cursor, kinds, lost=astray)

    async def next(self, limit: int = BATCH_EVENTS, max_bytes: int = BATCH_OCTETS, wait: float | None = None) -> Batch:
        """The events behind those handed out last. wait: seconds to wait for the first one, None for ever; when none
        came, the batch is empty. An empty batch may still have a cursor worth acknowledging (others' events passed).
        Raises JournalError and OSError when the journal can't be read."""
        return await self._feed.next(limit, max_bytes, wait)

    async def ack(self, cursor: int) -> None:
        """Everything before this cursor is dealt with. Returns when that survives a power cut. Raises OSError (the old
        cursor stands), and ConsumerError for a cursor that was not handed out."""
        if cursor > self._feed.cursor:
            raise ConsumerError(f"consumer {self.name}: {cursor} lies beyond what was read ({self._feed.cursor})")
        if cursor > self.cursor:
            await self._move(cursor)

    async def replay(self, start: Start) -> None:
        """Go back (or forth) to a place, durably. Events that are no longer kept are not there to be read again. Raises
        OSError (nothing changes), and ConsumerError for a cursor behind the last event."""
        cursor = await self._hose._resolve(start)
        await self._move(cursor)
        self._feed.cursor = cursor

    async def _move(self, cursor: int) -> None:
        await _off_loop(self._hose._files.put, self.name, cursor)
        self.cursor = cursor
        self._hose._source.pin(self.name, cursor)

    def close(self) -> None:
        """Stop reading. The cursor stays, and the journal keeps the events behind it."""
        self._feed.close()
        self._hose._open.discard(self.name)


class _Feed:
    """A place in the stream, and the wait for more."""

    def __init__(self, source: Source, cursor: int, kinds: Collection[int] | None, *, lost: bool = False) -> None:
        self.cursor = cursor
        self._source = source
        self._kinds = None if kinds is None else frozenset(kinds)
        self._lost = lost
        self._news = asyncio.Event()
        self._unsubscribe = source.on_commit(self._news.set)

    def close(self) -> None:
        self._unsubscribe()

    async def next(self, limit: int, max_bytes: int, wait: float | None) -> Batch:
        events: list[HoseEvent] = []
        timer = asyncio.timeout(wait or None)
        try:
            async with timer:
                events = await self._read(limit, max_bytes, patient=wait is None or wait > 0)
        except TimeoutError:
            if not timer.expired():  # a disk may time out as well
                raise
        lost, self._lost = self._lost, False
        return Batch(events, self.cursor, lost)

    async def _read(self, limit: int, max_bytes: int, *, patient: bool) -> list[HoseEvent]:
        while True:
            # Cleared before the read: a commit after it sets the event again.
            self._news.clear()
            events, following, begin = await _off_loop(self._look, limit, max_bytes)
            self._lost |= _passed_over(self.cursor, begin)
            moved = following != self.cursor
            self.cursor = following
            wanted = events if self._kinds is None else [event for event in events if event.kind in self._kinds]
            if wanted or (not moved and not patient):
                return wanted
            if not moved:
                await self._news.wait()

    def _look(self, limit: int, max_bytes: int) -> tuple[list[HoseEvent], int, int]:
        """Blocking. What the journal has from the cursor on, where that ends, and where the journal begins; this is
        asked for last, for to miss a loss would be worse than to tell of one that was just avoided."""
        events, following = self._source.read_events(self.cursor, limit, max_bytes)
        return events, following, self._source.begin_cursor()


def _passed_over(cursor: int, begin: int) -> bool:
    """Were events from the cursor on dropped? Segments count from 1; before them lies the start of an empty journal."""
    segment, _ = split_place(cursor)
    return cursor < begin and not (segment == 0 and split_place(begin)[0] <= 1)


async def _off_loop(call: Callable[..., T], *args: object) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, call, *args)
