"""A queue in memory, as deliver sees one, that knows when it is told anything twice."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable

from postroad.message import Body, Message, Notify, Outcome, Ret

SENDER = "sender@example.com"


def message(
    number: int = 1,
    *,
    sender: str = SENDER,
    recipient: str = "",
    domain: str = "example.net",
    content: bytes = b"Subject: x\r\n\r\nHello\r\n",
    trace: bytes = b"",
    binding: str = "default",
    smtputf8: bool = False,
    notify: Notify = Notify.UNSET,
    orcpt: str = "",
    ret: Ret = Ret.UNSET,
    envid: str = "",
    loaded: bool = True,
    body: Body | None = None,
    place: int = 0,
) -> Message:
    made = Message()
    made.id = number
    made.sender = sender
    made.recipient = recipient or f"user{number}@{domain}"
    made.domain = domain
    made.binding = binding
    made.body = (body or Body(content, trace)) if loaded else None
    made.received = 0.0
    made.expires = 1e12
    made.attempts = 0
    made.notify = notify
    made.orcpt = orcpt
    made.ret = ret
    made.envid = envid
    made.smtputf8 = smtputf8
    made.method = "esmtp"
    made.connection = {}
    made.context = {}
    made.event = b""
    made.place = place or -number  # of its own, unless it is told
    return made


class Shelf:
    """Implements Supply. Messages stand under (binding, domain); `outcomes` has what each id came to, in order."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.queues: defaultdict[tuple[str, str], deque[Message]] = defaultdict(deque)
        self.in_flight: set[int] = set()
        self.outcomes: dict[int, list[Outcome]] = {}
        self.bodies: dict[int, Body | None] = {}  # what `load` finds; None: unreadable
        self.gate: asyncio.Event | None = None  # what `load` waits for
        self.asked = asyncio.Event()  # `load` was called
        self.unreadable: list[int] = []
        self.held = False  # take gives nothing, though there is something
        self._changed = asyncio.Event()
        for each in messages:
            self.put(each)

    def put(self, each: Message) -> None:
        self.queues[each.binding, each.domain].append(each)

    def waiting(self, binding: str, domain: str) -> int:
        return len(self.queues[binding, domain])

    def take(self, binding: str, domain: str) -> Message | None:
        if self.held or not self.queues[binding, domain]:
            return None
        taken = self.queues[binding, domain].popleft()
        self.in_flight.add(taken.id)
        return taken

    async def load(self, each: Message) -> bool:
        assert each.id in self.in_flight
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        each.body = self.bodies[each.id]
        if each.body is None:
            self.in_flight.remove(each.id)
            self.unreadable.append(each.id)
            self._changed.set()
        return each.body is not None

    def settle(self, each: Message, outcome: Outcome) -> None:
        self.in_flight.remove(each.id)  # KeyError: settled twice, or never taken
        assert each.body is not None or not outcome.counts, "what is told of a message is in its envelope"
        self.outcomes.setdefault(each.id, []).append(outcome)
        if not outcome.counts:
            self.queues[each.binding, each.domain].appendleft(each)
        self._changed.set()

    async def changed(self) -> None:
        """Wait until a message is settled or found unreadable."""
        self._changed.clear()
        await self._changed.wait()

    async def until(self, count: int) -> None:
        """Wait until so many messages are settled or found unreadable."""
        while len(self.outcomes) + len(self.unreadable) < count:
            await self.changed()

    def outcome(self, number: int = 1) -> Outcome:
        (outcome,) = self.outcomes[number]
        return outcome
