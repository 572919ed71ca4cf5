"""Looking at the queue without touching it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from postroad.journal import JournalError
from postroad.message import Body, Message
from postroad.queue.books import Books
from postroad.queue.entry import State, Why, unpack
from postroad.queue.paths import Path
from postroad.queue.stored import fill

_LOOKS = 200_000  # positions that one listing passes, ghosts included: some tenths of a second


class Standing(NamedTuple):
    """Where a live message is. received, expires, next_attempt: Unix seconds (next_attempt 0: not delayed). code: the
    last SMTP reply code, 0 when none was had. resident: its body is in memory."""

    id: int
    state: State
    why: Why
    binding: str
    domain: str
    attempts: int
    received: float
    expires: float
    next_attempt: float
    code: int
    place: int
    slot: int
    resident: bool


class Where(NamedTuple):
    """Part of the queue; "" and None stand for all of it."""

    domain: str = ""
    binding: str = ""
    state: State | None = None

    def has(self, path: Path) -> bool:
        return self.domain in ("", path.domain) and self.binding in ("", path.binding)


def standing(books: Books, number: int) -> Standing | None:
    kept = books.live.get(number)
    if kept is None:
        return None
    if isinstance(kept, bytes):
        entry = unpack(kept)
        path = books.paths.numbered(entry.path)
        return Standing(
            number,
            entry.state,
            entry.why,
            path.binding,
            path.domain,
            entry.attempts,
            entry.received,
            entry.expires,
            entry.next_attempt,
            entry.code,
            entry.place,
            entry.slot,
            False,
        )
    return Standing(
        number,
        State.IN_FLIGHT if number in books.live.taken else State.ACTIVE,
        Why.DUE if kept.attempts else Why.RECEIVED,
        kept.binding,
        kept.domain,
        kept.attempts,
        kept.received,
        kept.expires,
        0.0,
        0,
        kept.place,
        kept.index,
        kept.body is not None,
    )


def paths_of(books: Books, where: Where) -> list[Path]:
    if where.domain and where.binding:
        path = books.paths.get(where.binding, where.domain)
        return [] if path is None else [path]
    return [path for path in books.paths if where.has(path)]


def in_flight(books: Books, where: Where) -> Iterator[int]:
    for number in list(books.live.taken):
        found = standing(books, number)
        if found is not None and where.domain in ("", found.domain) and where.binding in ("", found.binding):
            yield number


def listing(books: Books, where: Where, limit: int) -> list[Standing]:
    """The first `limit` messages: those in flight, then path by path in the order they will be given out."""
    found: dict[int, Standing] = {}
    looks = 0
    now = books.now()
    flying = ((number, State.IN_FLIGHT) for number in in_flight(books, where))
    queued = (
        (number, State.DELAYED if delayed else State.ACTIVE)
        for path in paths_of(books, where)
        for number, delayed in path.positions(limit, now)
        if delayed or path.rollup is None or books.live.active_path(number) is path
    )
    for number, state in chain(flying, queued):
        looks += 1
        if len(found) >= limit or looks > _LOOKS:
            break
        one = standing(books, number)
        if one is None or one.state is not state or where.state not in (None, state):
            continue
        if where.domain in ("", one.domain) and where.binding in ("", one.binding):
            found[number] = one
    return list(found.values())


def position(path: Path, number: int, now: float) -> int | None:
    """How many messages the path gives out before this one as things stand, ghosts counted. None: it does not stand in
    the active queue. now: Unix seconds."""
    return path.order.ahead(number, now)


async def envelope(books: Books, number: int) -> Message | None:
    """To be looked at only: it may be the very message that deliver has."""
    loop = asyncio.get_running_loop()
    while True:
        found = standing(books, number)
        kept = books.live.get(number)
        if found is None or kept is None:
            return None
        if isinstance(kept, Message) and kept.body is not None:
            return kept
        try:
            stored = await loop.run_in_executor(None, books.journal.read_mail, found.place)
        except JournalError:
            now = standing(books, number)
            if now is None or now.place == found.place:
                return None
            continue  # compaction moved it while we read
        message = Message()
        message.id, message.attempts = number, found.attempts
        message.received = found.received
        message.place, message.index, message.weight, message.flow = found.place, found.slot, 0, 0
        fill(message, stored.meta, found.slot, Body(stored.content, stored.trace))
        return message
