"""Telling senders that a message is late (momentum.md 3.6): first when it has waited `delay_dsn_interval`, then each
time that twice as long has passed, up to `delay_dsn_max_interval`."""

from __future__ import annotations

from collections.abc import Callable

from postroad.message import Accepted, Message, Outcome, Refused, Transaction
from postroad.queue import dsn
from postroad.queue.books import Books

Keep = Callable[[Transaction, Callable[[Accepted | Refused], None]], None]


def notices_due(age: float, interval: float, longest: float) -> int:
    """How many notices a message of this age (seconds) has given cause for."""
    due = 0
    wait = at = interval
    while at <= age:
        due += 1
        if wait >= longest:
            return due + int((age - at) // wait)
        wait = min(wait * 2, longest)
        at += wait
    return due


class DelayNotices:
    """Considered when an attempt did not succeed: then there is something to tell, and the message is in memory.

    What was told is remembered in memory only. Of a message that an earlier process took, all that was due by the start
    counts as told: after a restart one notice may be missing, none comes twice.
    """

    def __init__(self, books: Books, keep: Keep) -> None:
        self._books = books
        self._keep = keep
        self._started = books.now()

    def consider(self, message: Message, outcome: Outcome) -> None:
        """The message's sender is told if it is time, and if it wants to hear of delays."""
        if not dsn.wanted(message, dsn.Action.DELAYED):
            return
        books = self._books
        before = books.told_delayed.get(message.id)
        if before is None:
            before = self._due(self._started - message.received)
        if self._due(books.now() - message.received) <= before:
            return
        books.told_delayed[message.id] = self._due(books.now() - message.received)

        def kept(result: Accepted | Refused) -> None:
            if isinstance(result, Refused) and message.id in books.told_delayed:
                books.told_delayed[message.id] = before  # the next attempt tells it

        self._keep(notification(books, message, outcome, dsn.Action.DELAYED), kept)

    def _due(self, age: float) -> int:
        options = self._books.options
        return notices_due(age, options.delay_dsn_interval, options.delay_dsn_max_interval)


def notification(books: Books, message: Message, outcome: Outcome, action: dsn.Action) -> Transaction:
    """A notification to the message's sender, as the options want it."""
    return dsn.build(
        message,
        outcome,
        action,
        hostname=books.hostname,
        identifier=f"{message.id:016x}.{books.rng.getrandbits(64):016x}",
        wall=books.wall(),
        default_ret=books.options.bounce_return,
    )
