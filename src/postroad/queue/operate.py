"""What operators do to queued messages: try them now, later, or never.

Each act works on one message, at once, between two callbacks of the loop, and is written to the journal as the
message's new state. A message in flight is deliver's: what is wanted of it is noted, and done if it comes back
undelivered (that note is lost with the process; the message is not).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial

from postroad.journal import STATE, Event, JournalDamaged, JournalError
from postroad.message import Body, Message
from postroad.queue.books import Books
from postroad.queue.endings import Endings
from postroad.queue.entry import State, Why, flow_of, made_active, unpack
from postroad.queue.inspect import Standing, standing
from postroad.queue.stored import fill

_BOOKKEEPING = 0  # the kind of no event
_READS = 50  # mails read from the journal at once


class Done(Enum):
    """What became of an order about one message. The values are what operators read."""

    DONE = "done"
    ON_RETURN = "when_it_comes_back"  # it is in flight
    NOTHING_TO_DO = "nothing_to_do"
    GONE = "gone"  # it was delivered or ended otherwise meanwhile
    IN_FLIGHT = "in_flight"  # left alone
    UNREADABLE = "unreadable"  # the journal can't be read just now


class Operator:
    """delayed(): the delayed queues have changed."""

    def __init__(self, books: Books, endings: Endings, delayed: Callable[[], None]) -> None:
        self._books = books
        self._endings = endings
        self._delayed = delayed
        self._loop = asyncio.get_running_loop()
        self._failing: set[asyncio.Task[object]] = set()

    def retry(self, number: int) -> Done:
        """Make a delayed message due now."""
        books = self._books
        found = standing(books, number)
        if found is None:
            return Done.GONE
        if found.state is not State.DELAYED:
            return Done.NOTHING_TO_DO
        path = books.paths.open(found.binding, found.domain)
        packed = books.live.get(number)
        assert isinstance(packed, bytes)
        path.left_delayed()
        books.live.replace(number, made_active(packed, Why.OPERATOR))
        path.join(number, flow_of(packed), retry=bool(found.attempts))
        path.expiry = min(path.expiry, found.expires)
        self._write(found, 0)
        books.wake(path.binding, path.domain)
        return Done.DONE

    def delay(self, number: int, seconds: float) -> Done:
        """Try it again in so many seconds, but not after its expiry."""
        books = self._books
        found = standing(books, number)
        if found is None:
            return Done.GONE
        if found.state is State.IN_FLIGHT:
            books.orders[number] = partial(self.delay, number, seconds)
            return Done.ON_RETURN
        due = min(books.now() + seconds, found.expires)
        path = books.paths.open(found.binding, found.domain)
        if found.state is State.DELAYED:
            path.left_delayed()
        else:
            path.left_active()
        kept = books.live.get(number)
        if isinstance(kept, Message):
            books.live.rest(kept, path, Why.OPERATOR, due, 0)
        else:
            assert kept is not None
            entry = unpack(kept)._replace(next_attempt=int(due), state=State.DELAYED, why=Why.OPERATOR)
            books.live.replace(number, entry.pack())
        books.paths.delay(path, number, due)
        self._write(found, int(due * 1000))
        self._delayed()
        return Done.DONE

    async def fail(self, numbers: Iterable[int], *, notify: bool = False) -> dict[int, Done]:
        """End messages with a bounce event of class 25. notify: send their senders the notification they want.

        What only the journal has is read first, so a message may be given to deliver meanwhile: then it is in flight.
        """
        left = list(numbers)
        result: dict[int, Done] = {}
        while left:
            some = left[:_READS]
            del left[:_READS]
            places: dict[int, None] = {}
            for number in some:
                found = standing(self._books, number)
                if found is not None and not found.resident:
                    places[found.place] = None
            read = await self._loop.run_in_executor(None, self._read, list(places), notify) if places else {}
            for number in some:
                result[number] = self._fail(number, read, notify)
            left += [number for number in some if result[number] is Done.UNREADABLE and self._moved(number, read)]
        return result

    def _read(self, places: list[int], bodies: bool) -> dict[int, tuple[bytes, Body | None] | JournalError]:
        """Blocking, in a thread. Bodies only where they are wanted: fifty of them may be large."""
        read: dict[int, tuple[bytes, Body | None] | JournalError] = {}
        for place in places:
            try:
                stored = self._books.journal.read_mail(place)
                read[place] = stored.meta, Body(stored.content, stored.trace) if bodies else None
            except JournalError as error:
                read[place] = error
        return read

    def _moved(self, number: int, read: dict[int, tuple[bytes, Body | None] | JournalError]) -> bool:
        """Compaction moved it while we read."""
        found = standing(self._books, number)
        return found is not None and not found.resident and found.place not in read

    def _fail(self, number: int, read: dict[int, tuple[bytes, Body | None] | JournalError], notify: bool) -> Done:
        books = self._books
        found = standing(books, number)
        if found is None:
            return Done.GONE
        if found.state is State.IN_FLIGHT:
            books.orders[number] = partial(self._fail_soon, number, notify)
            return Done.ON_RETURN
        record = None if found.resident else read.get(found.place)
        if not found.resident and (
            record is None or (isinstance(record, JournalError) and not isinstance(record, JournalDamaged))
        ):
            return Done.UNREADABLE
        path = books.paths.open(found.binding, found.domain)
        message = books.live.claim(number, path)
        if isinstance(record, JournalError):
            self._endings.unreadable(message)
            return Done.DONE
        if record is not None:
            meta, body = record
            fill(message, meta, found.slot, body)
            message.binding, message.domain = path.binding, path.domain
        self._endings.removed(message, notify=notify)
        return Done.DONE

    def _fail_soon(self, number: int, notify: bool) -> None:
        task: asyncio.Task[object] = self._loop.create_task(self.fail([number], notify=notify))
        self._failing.add(task)
        task.add_done_callback(self._failing.discard)

    def came_back(self, number: int) -> None:
        """Deliver settled this message. If it is still queued, do what was wanted."""
        found = standing(self._books, number)
        if found is not None and found.state is not State.IN_FLIGHT and (order := self._books.orders.pop(number, None)):
            order()

    def _write(self, found: Standing, next_attempt_ms: int) -> None:
        """Bookkeeping that no consumer sees."""
        self._books.journal.append_event(
            Event(
                found.id,
                _BOOKKEEPING,
                b"",
                flags=STATE,
                attempts=found.attempts,
                next_attempt_ms=next_attempt_ms,
                place=found.place,
                index=found.slot,
            )
        )
