"""The queue: keeps what inject hands over, gives deliver what is due, and hears how each attempt ended.

A message is live from the commit of its mail record to the commit of its terminal event. In between it stands in the
active or delayed queue of its path, or deliver has it. Every method runs on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from random import Random
from typing import Any

from postroad.config.schema import QueueOptions
from postroad.journal import ACCEPTED, JOB, Event, Journal, JournalDamaged, JournalError, Mail
from postroad.message import (
    EXPIRES_IN,
    Accepted,
    IdSource,
    Message,
    Outcome,
    Recipient,
    Refused,
    Rejection,
    Reply,
    Transaction,
    Verdict,
)
from postroad.message.model import Body
from postroad.net import Clock
from postroad.queue.books import Books
from postroad.queue.deadlines import Deadlines
from postroad.queue.endings import Endings
from postroad.queue.entry import Why
from postroad.queue.inspect import Standing, Where, envelope, listing, standing
from postroad.queue.jobs import Jobs
from postroad.queue.live import Live
from postroad.queue.moves import Mover
from postroad.queue.operate import Operator
from postroad.queue.order import flow_number
from postroad.queue.paths import Path, PathCount, Paths
from postroad.queue.recovery import recover
from postroad.queue.rollup import Rollup, Rollups
from postroad.queue.select import Selector, select
from postroad.queue.stored import encode, fill
from postroad.queue.suspend import Suspensions
from postroad.queue.tell import Kinds, Teller

# What is wrong with our disk, and where it is, is for the operator (the journal's alarm and its `refusal`), not for
# everybody who sends mail.
NO_ROOM = Reply(452, "4.3.1 The message can't be stored now; try again later")
NO_BINDING = Reply(451, "4.3.5 Nothing gives this mail a sending identity; try again later")
STOPPING = Reply(421, "4.3.2 The server is stopping; try again soon")
_GHOSTS_AT_ONCE = 10_000  # positions without a message that one `take` skips: some milliseconds


class Queue:
    """Implements the Acceptor and Supply seams of message/. Construct it inside the running event loop.

    memory_goal: octets of messages kept whole in memory. binding(message): the name of its sending identity; "": there
    is none, and the transaction is refused. path_options(binding, domain): when messages of that path are tried again
    and expire; None: as `options` say.
    """

    def __init__(
        self,
        journal: Journal,
        teller: Teller[Any],
        kinds: Kinds,
        *,
        options: QueueOptions,
        clock: Clock,
        ids: IdSource,
        rng: Random,
        hostname: str,
        memory_goal: int,
        binding: Callable[[Message], str] = lambda message: "default",
        path_options: Callable[[str, str], QueueOptions] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        origin = clock.wall() - self._loop.time()
        paths = Paths()
        self._books = Books(
            journal,
            teller,
            kinds,
            options,
            ids,
            rng,
            hostname,
            wall=clock.wall,
            now=lambda: origin + self._loop.time(),
            path_options=path_options or (lambda binding, domain: self._books.options),
            paths=paths,
            live=Live(paths, memory_goal),
        )
        self._journal = journal
        self._teller = teller
        self._paths = paths
        self._live = self._books.live
        self._endings = Endings(
            self._books,
            lambda mail, done: self.own_mail(mail, done),
            lambda: self._deadlines.delayed(),
            lambda: self._deadlines.wake_all(),
        )
        self._deadlines = Deadlines(self._books, self._endings, self._read_back)
        self._choose_binding = binding
        # Where notifications go; another engine's router may stand here.
        self.own_mail: Callable[[Transaction, Callable[[Accepted | Refused], None]], None] = self.keep
        self._stopping = False
        self.in_flight = 0
        self.refused = 0  # transactions refused because of our own state
        self.rejections = 0  # refusals at the door that inject told of
        self._suspended = self.suspensions = Suspensions(self._books)
        self.rollups = Rollups(self._books, lambda path: bool(self._suspended.rules) and self._held(path))
        self._suspended.changed = self.rollups.reconsider
        self.operator = Operator(self._books, self._endings, self._deadlines.delayed)
        self.mover = Mover(self._books, self._deadlines.delayed, self.operator.came_back)
        self.jobs = Jobs(journal, clock.wall)
        journal.on_moved = self._moved
        journal.state_of = lambda number: self._live.state(number) or self.jobs.state(number)

    def __len__(self) -> int:
        """Live messages, in whatever state."""
        return len(self._live)

    def on_work(self, wake: Callable[[str, str], None]) -> None:
        """wake(binding, domain) is called whenever a path has something to take."""
        self._books.wake = wake

    # --- Acceptor -----------------------------------------------------------------------------------------------------

    def refusal(self) -> Reply | None:
        if self._stopping:
            return STOPPING
        if self._journal.refusal() is not None:
            return NO_ROOM
        limit = self._books.options.max_queued
        if limit and len(self._live) >= limit:
            return Reply(452, "4.3.1 The queue is full; try again later")
        return None

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        refusal = self.refusal()
        if refusal is not None:
            self.refused += 1
            done(Refused(refusal))
        else:
            self.keep(transaction, done)

    def unfit(self, transaction: Transaction) -> Reply | None:
        """What keeps it from being accepted, whoever is asked to; None: nothing."""
        for index, recipient in enumerate(transaction.recipients):
            if not self._choose_binding(self._message(transaction, recipient, index, 0.0)):
                return NO_BINDING
        return None

    def rejected(self, rejection: Rejection) -> None:
        self.rejections += rejection.times
        number = self._books.ids.next()
        payload = self._teller.policy_rejection(rejection, number, self._books.wall())
        self._journal.append_event(Event(number, self._books.kinds.POLICY_REJECTION, payload))

    def keep(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        """Write it down, full or not; when that is durable, say so and put it in line."""
        wall = self._books.wall()
        shared = self._teller.shared(transaction, wall)
        messages = []
        events = []
        tags = []
        for index, recipient in enumerate(transaction.recipients):
            message = self._message(transaction, recipient, index, wall)
            message.event = self._teller.common(shared, message.id, recipient)
            message.binding = self._choose_binding(message)
            if not message.binding:
                done(Refused(NO_BINDING))
                return
            options = self._books.path_options(message.binding, message.domain)
            life: float = options.message_expiration
            if message.context and (wanted := message.context.get(EXPIRES_IN)):
                life = _sooner(wanted, life)
            message.expires = self._books.now() + life
            payload = self._teller.injection(message.event, message.id, wall, message.binding, transaction.connection)
            event = Event(message.id, self._books.kinds.INJECTION, payload, flags=ACCEPTED, index=index)
            if recipient.job is not None:
                event.flags |= JOB
                event.next_attempt_ms = recipient.job[0]
                tags.append(recipient.job)
            events.append(event)
            messages.append(message)
        ids = [message.id for message in messages]

        def kept(place: int | JournalError) -> None:
            if tags:
                self.jobs.committed(tags, kept=not isinstance(place, JournalError))
            if isinstance(place, JournalError):
                done(Refused(NO_ROOM))
                return
            woken = self._line_up(messages, place)
            done(Accepted(ids))
            for path in woken:
                self._books.wake(path.binding, path.domain)

        body = transaction.body
        mail = Mail(ids, int(wall * 1000), encode(transaction, messages), body.trace, body.content)
        if tags:
            self.jobs.submitted(tags)
        self._journal.append_mail(mail, events, kept, self.jobs.mark(tags) if tags else ())

    def _line_up(self, messages: list[Message], place: int) -> dict[Path, None]:
        paths: dict[Path, None] = {}
        for message in messages:
            message.place = place
            path = self._books.path(message)
            self._live.enter(path, message, len(messages))
            path.join(message.id, message.flow, retry=False)
            if message.expires < path.expiry:
                path.expiry = message.expires
            paths[path] = None
        return paths

    def _moved(self, number: int, old: int, new: int) -> None:
        if not self.jobs.moved(number, new):
            self._live.moved(number, new)

    def _message(self, transaction: Transaction, recipient: Recipient, index: int, wall: float) -> Message:
        message = Message()
        message.id = transaction.id if transaction.id and not index else self._books.ids.next()
        message.sender = transaction.sender
        message.recipient = recipient.address
        message.domain = recipient.domain
        message.binding = ""
        message.body = transaction.body
        message.received = wall
        message.expires = 0.0
        message.attempts = 0
        message.notify = recipient.notify
        message.orcpt = recipient.orcpt
        message.ret = transaction.ret
        message.envid = transaction.envid
        message.smtputf8 = transaction.smtputf8
        message.method = transaction.method
        message.connection = transaction.connection
        message.context = transaction.context | recipient.context if recipient.context else transaction.context
        message.place = 0
        message.index = index
        message.weight = 0
        event = transaction.event
        message.flow = flow_number(message.context, event.get("subaccount_id"), event.get("campaign_id"))
        return message

    # --- Supply -------------------------------------------------------------------------------------------------------

    def waiting(self, binding: str, domain: str) -> int:
        path = self._paths.get(binding, domain)
        if path is None:
            rollup = self.rollups.get(binding, domain)
            return 0 if rollup is None else rollup.order.standing
        if path.rollup is not None or (self._suspended.rules and self._suspended.holds(path)):
            return 0
        return path.active

    def take(self, binding: str, domain: str) -> Message | None:
        # What ends while the journal can't write would be known to memory alone, so nothing new is begun.
        if self._journal.holding() or self._endings.overdue():
            return None
        path = self._paths.get(binding, domain)
        if path is None:
            rollup = self.rollups.get(binding, domain)
            return None if rollup is None else self._take_of(rollup)
        if path.rollup is not None or (self._suspended.rules and self._suspended.holds(path)):
            return None
        order = path.order
        for _ in range(_GHOSTS_AT_ONCE):
            number = order.pop(self._books.now)
            if number is None:
                return None
            message = self._live.take(number, path)
            if message is not None:
                path.active -= 1
                self.in_flight += 1
                return message
            order.ghosts -= 1
        self._loop.call_soon(self._books.wake, binding, domain)  # an operator took out very many: the loop's turn
        return None

    def _take_of(self, rollup: Rollup) -> Message | None:
        """The next message of domains that are delivered together."""
        order = rollup.order
        for _ in range(_GHOSTS_AT_ONCE):
            number = order.pop(self._books.now)
            if number is None:
                return None
            path = self._live.active_path(number)
            if path is not None and path.order is order and (message := self._live.take(number, path)) is not None:
                path.active -= 1
                self.in_flight += 1
                return message
            order.ghosts -= 1
        self._loop.call_soon(self._books.wake, rollup.binding, rollup.name)
        return None

    def _held(self, path: Path) -> bool:
        return self._suspended.holds(path) is not None

    async def load(self, message: Message) -> bool:
        if await self._read_back(message):
            return True
        self.in_flight -= 1
        return False

    async def _read_back(self, message: Message) -> bool:
        """False: it has come to its end because its record is damaged, or waits until the disk can be read again."""
        while True:
            place = message.place
            try:
                stored = await self._loop.run_in_executor(None, self._journal.read_mail, place)
            except JournalError as error:
                if message.place != place:
                    continue  # compaction moved it while we read
                if isinstance(error, JournalDamaged):
                    self._endings.unreadable(message)
                else:
                    self._endings.unread(message)
                return False
            fill(message, stored.meta, message.index, Body(stored.content, stored.trace))
            return True

    def settle(self, message: Message, outcome: Outcome) -> None:
        self.in_flight -= 1
        if not outcome.counts:
            self._hand_back(message)
        else:
            message.attempts += 1
            if outcome.verdict is Verdict.DELIVERED:
                self._endings.delivered(message, outcome)
            elif outcome.verdict is Verdict.DEFERRED:
                self._endings.deferred(message, outcome)
            else:
                self._endings.failed(message, outcome)
        if self._books.orders:
            self.operator.came_back(message.id)

    def _hand_back(self, message: Message) -> None:
        path = self._books.path(message)
        if not message.weight:  # its body was loaded for this attempt and is not charged to the memory goal
            self._live.rest(message, path, Why.HANDED_BACK, 0.0, 0)
        self._live.put_back(message.id)
        path.put_back(message.id, message.flow, retry=bool(message.attempts))

    # --- start, stop, look --------------------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Load what the journal held when it was opened; how many messages. New mail is served meanwhile."""
        found = await recover(self._books, self._endings, self.jobs)
        self._deadlines.delayed()
        return found

    def reconfigure(self, options: QueueOptions) -> None:
        """Other options count from now on. What is in line keeps its expiry and its next try."""
        self._books.options = options

    def stop(self) -> None:
        """Refuse new mail and let no more time pass. What deliver still has may be settled."""
        self._stopping = True
        self._deadlines.stop()

    def summary(self) -> list[PathCount]:
        """A snapshot of all paths, the fullest first."""
        return self._paths.summary()

    def standing(self, number: int) -> Standing | None:
        """Where a message stands and why; None when it is not queued."""
        return standing(self._books, number)

    def path(self, binding: str, domain: str) -> Path | None:
        """For looking only."""
        return self._paths.get(binding, domain)

    def paths(self) -> list[Path]:
        """For looking only."""
        return list(self._paths)

    @property
    def behind(self) -> bool:
        """Too many ends wait for the journal: nothing is given out until it has written some."""
        return self._journal.holding() or self._endings.overdue()

    def flying(self, numbers: Iterable[int]) -> int:
        """How many of these are in flight."""
        taken = self._live.taken
        return sum(number in taken for number in numbers)

    @property
    def bounced(self) -> int:
        """Messages that ended undelivered, since the start."""
        return self._books.bounced

    @property
    def resident(self) -> int:
        """Octets of messages kept in memory."""
        return self._live.resident

    def listing(self, where: Where, limit: int) -> list[Standing]:
        """The first messages that are there, in the order in which their queues will give them out."""
        return listing(self._books, where, limit)

    def select(self, selector: Selector) -> AsyncIterator[list[int]]:
        """Ids of the messages that are selected, in time slices. They may have moved on when you look at them."""
        return select(self._books, selector)

    async def envelope(self, number: int) -> Message | None:
        """A queued message with its envelope and body, wherever it is kept, to be looked at only; None when it is not
        queued or can't be read."""
        return await envelope(self._books, number)


def _sooner(wanted: str, life: float) -> float:
    """Seconds to live: as its context says, but not longer than its path allows."""
    try:
        seconds = float(wanted)
    except ValueError:
        return life
    return seconds if 0 <= seconds < life else life
