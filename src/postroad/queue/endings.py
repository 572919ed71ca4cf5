"""How an attempt ends: the event that tells it, the notification its sender may want, the next try."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from postroad.journal import STATE, TERMINAL, Event, JournalError
from postroad.message import Accepted, Message, Outcome, Refused, Reply, Stage, Verdict
from postroad.queue import dsn
from postroad.queue.books import Books
from postroad.queue.delays import DelayNotices, Keep, notification
from postroad.queue.entry import Why
from postroad.queue.schedule import next_attempt
from postroad.queue.tell import Kinds, Teller

_EXPIRED = "5.4.7 [internal] the message expired after {attempts} attempts; the last one said: {reply}"
_EXPIRED_UNTRIED = Reply(554, "5.4.7 [internal] the message expired before a delivery could be attempted")
_DAMAGED = Reply(554, "5.3.0 [internal] the message could not be read back from the journal: its record is damaged")
_REMOVED = Reply(554, "5.7.1 [internal] the message was removed from the queue by an operator")

_NOTIFY_AGAIN = 1.0  # seconds until a notification that could not be kept is tried again
_READ_AGAIN = 5.0  # seconds until a message that could not be read is tried again

# Terminal events on their way to the disk before nothing new is begun. A crash now would send their messages again, so
# this bounds the duplicate window however long the disk stalls (docs/explanation/durability.md).
MAX_UNCOMMITTED = 500


class Endings:
    """keep: writes a transaction of our own (a notification) into the journal and puts it in line. delayed: something
    was delayed. freed: what `overdue` held back may go on."""

    def __init__(self, books: Books, keep: Keep, delayed: Callable[[], None], freed: Callable[[], None]) -> None:
        self._books = books
        self._keep = keep
        self._delayed = delayed
        self._freed = freed
        self._uncommitted = 0
        self._holding = False
        self._delays = DelayNotices(books, keep)
        self._loop = asyncio.get_running_loop()

    def overdue(self) -> bool:
        """So many messages have ended unknown to the disk that no new attempt may begin. `freed` follows."""
        if self._uncommitted >= MAX_UNCOMMITTED:
            self._holding = True
        return self._holding

    def _on_committed(self, error: JournalError | None) -> None:
        self._uncommitted -= 1
        if self._holding and self._uncommitted <= MAX_UNCOMMITTED // 2:
            self._holding = False
            self._freed()

    def delivered(self, message: Message, outcome: Outcome) -> None:
        if not outcome.dsn and dsn.wanted(message, dsn.Action.RELAYED):
            self._notify(message, outcome, dsn.Action.RELAYED)
        else:
            self._end(message, outcome)

    def failed(self, message: Message, outcome: Outcome) -> None:
        if self._books.options.generate_bounces and not outcome.silent and dsn.wanted(message, dsn.Action.FAILED):
            self._notify(message, outcome, dsn.Action.FAILED)
        else:
            self._end(message, outcome)

    def deferred(self, message: Message, outcome: Outcome) -> None:
        books = self._books
        now = books.now()
        options = books.path_options(message.binding, message.domain)
        due = next_attempt(
            now, message.attempts, message.expires, outcome.retry_after, options, books.rng, outcome.hint
        )
        if due is None:
            text = _EXPIRED.format(attempts=message.attempts, reply=outcome.reply)
            self.failed(
                message, outcome._replace(verdict=Verdict.FAILED, reply=Reply(554, text), internal=True, ruled=None)
            )
            return
        payload = books.teller.delay(
            message.event,
            message.id,
            books.wall(),
            outcome,
            message.attempts,
            self._waited(message),
            message.binding,
            next_attempt=due,
        )
        books.journal.append_event(
            Event(
                message.id,
                books.kinds.DELAY,
                payload,
                flags=STATE,
                attempts=message.attempts,
                next_attempt_ms=int(due * 1000),
                place=message.place,
                index=message.index,
            )
        )
        if books.options.delay_dsn:
            self._delays.consider(message, outcome)
        path = books.path(message)
        path.settled += 1
        books.live.rest(message, path, Why.DEFERRED, due, outcome.reply.code)
        books.paths.delay(path, message.id, due)
        self._delayed()

    def expired(self, message: Message) -> None:
        """It waited past its time in the active queue."""
        self.failed(message, Outcome(Verdict.FAILED, _EXPIRED_UNTRIED, Stage.NOT_CONNECTED, internal=True))

    def removed(self, message: Message, *, notify: bool) -> None:
        """An operator fails it. notify: tell the sender, if it wants to hear of failures."""
        outcome = Outcome(Verdict.FAILED, _REMOVED, Stage.NOT_CONNECTED, internal=True)
        if notify and dsn.wanted(message, dsn.Action.FAILED):
            self._notify(message, outcome, dsn.Action.FAILED)
        else:
            self._end(message, outcome)

    def unreadable(self, message: Message) -> None:
        """The sender can't be told, since the envelope is lost with the record; the event says it."""
        message.event = _bare(message.id)
        self._end(message, Outcome(Verdict.FAILED, _DAMAGED, Stage.NOT_CONNECTED, internal=True))

    def unread(self, message: Message) -> None:
        """The disk could not be read just now. No attempt was made, so none is counted or told."""
        due = self._books.now() + _READ_AGAIN
        path = self._books.path(message)
        self._books.live.rest(message, path, Why.UNREAD, due, 0)
        self._books.paths.delay(path, message.id, due)
        self._delayed()

    def lost(self, number: int, index: int, place: int) -> None:
        """Recovery knows a message only by its number: its record is damaged."""
        books = self._books
        books.journal.append_event(lost_event(books.teller, books.kinds, number, index, place, books.wall()))

    def _notify(self, message: Message, outcome: Outcome, action: dsn.Action) -> None:
        """Keep the notification first, the terminal event after it: a crash in between notifies twice rather than not
        at all. A notification that can't be kept now holds its message back until it can."""
        books = self._books
        transaction = notification(books, message, outcome, action)

        def kept(result: Accepted | Refused) -> None:
            if isinstance(result, Accepted):
                self._end(message, outcome)
            else:
                self._loop.call_later(_NOTIFY_AGAIN, self._keep, transaction, kept)

        self._keep(transaction, kept)

    def _end(self, message: Message, outcome: Outcome) -> None:
        """Write the terminal event: that is what removes the message."""
        books = self._books
        tell, kind = books.teller.bounce, books.kinds.BOUNCE
        if outcome.verdict is Verdict.DELIVERED:
            tell, kind = books.teller.delivery, books.kinds.DELIVERY
        else:
            books.bounced += 1
        payload = tell(
            message.event,
            message.id,
            books.wall(),
            outcome,
            message.attempts,
            self._waited(message),
            message.binding,
        )
        self._uncommitted += 1
        books.journal.append_event(
            Event(
                message.id,
                kind,
                payload,
                flags=TERMINAL,
                attempts=message.attempts,
                place=message.place,
                index=message.index,
            ),
            self._on_committed,
        )
        path = books.path(message)
        path.settled += 1
        books.live.leave(message, path)
        if books.orders:
            books.orders.pop(message.id, None)
        if books.told_delayed:
            books.told_delayed.pop(message.id, None)

    def _waited(self, message: Message) -> int:
        """Milliseconds since the message was taken."""
        return max(0, int((self._books.now() - message.received) * 1000))


def lost_event(teller: Teller[Any], kinds: Kinds, number: int, index: int, place: int, wall: float) -> Event:
    """The end of a message of which nothing but its number can be read any more."""
    outcome = Outcome(Verdict.FAILED, _DAMAGED, Stage.NOT_CONNECTED, internal=True)
    payload = teller.bounce(_bare(number), number, wall, outcome, 0, 0)
    return Event(number, kinds.BOUNCE, payload, flags=TERMINAL, place=place, index=index)


def _bare(number: int) -> bytes:
    return f'"message_id":"{number:016x}"'.encode()
