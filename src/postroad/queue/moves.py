"""Queued messages on other paths: another binding, another routing domain.

Both stand in the message's mail record, so the record is written again. Meanwhile the message stands in no queue, so
that nobody gets it; whichever of the two records a crash leaves, the message is in exactly one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from postroad.journal import LiveRecipient, Rewrite
from postroad.message import Message
from postroad.queue.books import Books
from postroad.queue.entry import State, Why
from postroad.queue.inspect import Standing, standing
from postroad.queue.operate import Done
from postroad.queue.stored import rerouted

_AT_ONCE = 50  # messages that stand in no queue at one time


class Mover:
    """delayed(): the delayed queues have changed. came_back(id): a message stands in a queue again."""

    def __init__(self, books: Books, delayed: Callable[[], None], came_back: Callable[[int], None]) -> None:
        self._books = books
        self._delayed = delayed
        self._came_back = came_back

    async def move(self, numbers: Iterable[int], *, binding: str = "", domain: str = "") -> dict[int, Done]:
        """binding, domain: "" keeps the message's own. What is in flight is left alone."""
        result: dict[int, Done] = {}
        left = list(numbers)
        while left:
            some = left[:_AT_ONCE]
            del left[:_AT_ONCE]
            claimed = []
            for number in some:
                found = standing(self._books, number)
                if found is None:
                    result[number] = Done.GONE
                elif found.state is State.IN_FLIGHT:
                    result[number] = Done.IN_FLIGHT
                elif (binding or found.binding, domain or found.domain) == (found.binding, found.domain):
                    result[number] = Done.NOTHING_TO_DO
                else:
                    path = self._books.paths.open(found.binding, found.domain)
                    claimed.append((found, self._books.live.claim(number, path)))
            result |= await self._move(claimed, binding, domain)
        return result

    async def _move(self, claimed: list[tuple[Standing, Message]], binding: str, domain: str) -> dict[int, Done]:
        by_place: dict[int, list[Standing]] = {}
        for found, _ in claimed:
            by_place.setdefault(found.place, []).append(found)
        changes = [
            Rewrite(
                place,
                [LiveRecipient(one.id, one.slot, one.attempts, int(one.next_attempt * 1000)) for one in some],
                partial(rerouted, slots=[one.slot for one in some], binding=binding, domain=domain),
            )
            for place, some in by_place.items()
        ]
        moved: set[int] = set()
        try:
            for change, error in zip(changes, await self._books.journal.rewrite(changes), strict=True):
                if error is None:
                    moved.update(one.message_id for one in change.live)
        finally:
            # Also when the one who asked is gone: what stands in no queue would never go out.
            for found, message in claimed:
                self._line_up(found, message, *((binding, domain) if found.id in moved else ("", "")))
        return {found.id: Done.DONE if found.id in moved else Done.UNREADABLE for found, _ in claimed}

    def _line_up(self, found: Standing, message: Message, binding: str, domain: str) -> None:
        books = self._books
        before = books.path(message)
        message.binding, message.domain = binding or found.binding, domain or found.domain
        path = books.path(message)
        due = found.next_attempt if found.next_attempt > books.now() else 0.0
        books.live.rest(message, path, Why.OPERATOR, due, found.code)
        if path is not before:
            books.paths.enter(path)
            books.paths.leave(before)
        if due:
            books.paths.delay(path, found.id, due)
            self._delayed()
        else:
            path.join(found.id, message.flow, retry=bool(found.attempts))
            path.expiry = min(path.expiry, found.expires)
            books.wake(path.binding, path.domain)
        self._came_back(found.id)
