"""A far end: a plain SMTP receiver (RFC 5321) that keeps what it gets, and can be told to misbehave at each step."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal, NamedTuple

from postroad.lab.sim.loop import SimLoop
from postroad.lab.sim.process import Process
from postroad.lab.sim.transport import SimTransport

Step = Literal["banner", "ehlo", "mail", "rcpt", "data", "final", "rset", "quit"]
Deed = Literal["reply", "reset", "close", "stall"]


class Act(NamedTuple):
    """What the receiver does at a step. text: the reply (several lines joined by LF). delay: seconds before it."""

    deed: Deed
    text: str = ""
    delay: float = 0.0


@dataclass
class Arrival:
    """A message whose end was received. accepted: we decided for a 2xx. answered: when the client's protocol was handed
    an unmistakable 250 (SimLoop.awake), None if it never was."""

    at: float
    source: str
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    accepted: bool = False
    answered: float | None = None


@dataclass
class Manner:
    """How a receiver behaves: chances a step, 0 to 1. An instance is a decision for `SmtpReceiver`."""

    rng: Random
    defer: float = 0.0
    refuse: float = 0.0
    reset: float = 0.0
    close: float = 0.0
    stall: float = 0.0
    nonsense: float = 0.0
    leave: float = 0.0  # 421 and goodbye
    slow: float = 0.0
    slow_by: tuple[float, float] = (0.1, 20.0)

    def __call__(self, step: Step, argument: str) -> Act | None:
        draw = self.rng.random()
        for chance, act in (
            (self.defer, Act("reply", "451 4.3.0 not now")),
            (self.refuse if step in ("rcpt", "final") else 0.0, Act("reply", "550 5.1.1 not here")),
            (self.reset, Act("reset")),
            (self.close, Act("close")),
            (self.stall, Act("stall")),
            (self.leave, Act("close", "421 4.3.2 going away")),
        ):
            if draw < chance:
                return act
            draw -= chance
        if draw < self.nonsense:
            return Act("reply", self.rng.choice(_NONSENSE))
        if draw - self.nonsense < self.slow:
            return Act("reply", "", self.rng.uniform(*self.slow_by))
        return None


_SUCCESS = re.compile(r"2\d\d( [^\n]*)?")
_NONSENSE = ("", "hello there", "999 what", "250", "25", "250-open\n250-end", "354 more", "220 again")


@dataclass
class SmtpReceiver:
    """decide(step, argument): what to do at this step, None for what is right. extensions: lines of the EHLO reply."""

    process: Process
    port: int = 25
    decide: Callable[[Step, str], Act | None] = lambda step, argument: None
    extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 50000000", "ENHANCEDSTATUSCODES", "DSN")
    arrivals: list[Arrival] = field(default_factory=list)
    sessions: int = 0
    open_sessions: int = 0

    @property
    def loop(self) -> SimLoop:
        return self.process.loop

    async def start(self, address: str) -> None:
        """Listen on one more address. Call it inside the process."""
        await self.loop.create_server(lambda: _Session(self), address, self.port)


class _Session(asyncio.Protocol):
    """One connection. While it waits with a reply (delay), later input waits too."""

    def __init__(self, receiver: SmtpReceiver) -> None:
        self._receiver = receiver
        self._input = bytearray()
        self._content = False
        self._held = False  # stalled, or a delayed reply is due
        self._sender: str | None = None
        self._recipients: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, SimTransport)
        self._transport = transport
        self._source = str(transport.get_extra_info("peername")[0])
        self._receiver.sessions += 1
        self._receiver.open_sessions += 1
        self._do("banner", "", "220 far.test ESMTP")

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.open_sessions -= 1

    def data_received(self, data: bytes) -> None:
        self._input += data
        self._work()

    def _work(self) -> None:
        while not self._held and not self._transport.is_closing():
            if self._content:
                if not self._take_content():
                    return
            else:
                line, end, rest = self._input.partition(b"\r\n")
                if not end:
                    return
                self._input = rest
                self._command(line.decode("utf-8", "replace"))

    def _take_content(self) -> bool:
        if self._input.startswith(b".\r\n"):
            end, size = 0, 3
        else:
            end = self._input.find(b"\r\n.\r\n")
            if end < 0:
                return False
            end, size = end + 2, 3
        raw = bytes(self._input[:end])
        del self._input[: end + size]
        self._content = False
        stuffed = raw[1:] if raw.startswith(b"..") else raw
        arrival = Arrival(
            self._receiver.loop.time(),
            self._source,
            self._sender or "",
            tuple(self._recipients),
            stuffed.replace(b"\r\n..", b"\r\n."),
        )
        self._receiver.arrivals.append(arrival)
        self._receiver.loop.trace.note("arrival", arrival.sender, *arrival.recipients, len(arrival.content))
        self._sender, self._recipients = None, []
        self._do("final", " ".join(arrival.recipients), "250 2.0.0 kept", arrival)
        return True

    def _command(self, line: str) -> None:
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        if verb == "EHLO":
            self._sender, self._recipients = None, []
            lines = ["250-far.test", *(f"250-{name}" for name in self._receiver.extensions)]
            lines[-1] = lines[-1].replace("250-", "250 ", 1)
            self._do("ehlo", argument, "\n".join(lines))
        elif verb == "HELO":
            self._do("ehlo", argument, "250 far.test")
        elif verb == "MAIL":
            if self._sender is not None:
                return self._say("503 5.5.1 sender given already")
            if self._do("mail", argument, "250 2.1.0 sender ok"):
                self._sender = _path(argument)
        elif verb == "RCPT":
            if self._sender is None:
                return self._say("503 5.5.1 sender first")
            if self._do("rcpt", argument, "250 2.1.5 recipient ok"):
                self._recipients.append(_path(argument))
        elif verb == "DATA":
            if not self._recipients:
                return self._say("554 5.5.1 no valid recipients")
            if self._do("data", "", "354 go ahead"):
                self._content = True
        elif verb == "RSET":
            self._sender, self._recipients = None, []
            self._do("rset", "", "250 2.0.0 ok")
        elif verb == "QUIT":
            self._do("quit", "", "221 2.0.0 bye")
            self._transport.close()
        else:
            self._say("500 5.5.2 what?")
        return None

    def _do(self, step: Step, argument: str, right: str, arrival: Arrival | None = None) -> bool:
        """Answer as decided, `right` by default. True when the answer is the right one."""
        act = self._receiver.decide(step, argument) or Act("reply")
        if act.deed == "reply" or act.text:
            reply = act.text or right
            good = reply[:1] == right[:1] and act.deed == "reply"
            if arrival is not None:
                # Any whole 2xx reply hands the responsibility over, expected there or not (RFC 5321 4.2.1).
                arrival.accepted = _SUCCESS.fullmatch(reply) is not None
            if act.delay:
                self._held = True
                self._receiver.loop.call_later(act.delay, self._say_later, reply, arrival)
            else:
                self._say(reply, arrival)
            if act.deed == "close":
                self._transport.close()
            return good
        if act.deed == "stall":
            self._held = True
        elif act.deed == "reset":
            self._transport.reset()
        else:
            self._transport.close()
        return False

    def _say_later(self, reply: str, arrival: Arrival | None) -> None:
        self._held = False
        if not self._transport.is_closing():
            self._say(reply, arrival)
            self._work()

    def _say(self, reply: str, arrival: Arrival | None = None) -> None:
        self._transport.write(reply.replace("\n", "\r\n").encode() + b"\r\n")
        # A client may well doubt a 2xx that isn't the right one, and come again.
        if arrival is not None and arrival.accepted and reply.startswith("250"):
            self._transport.when_read(lambda: self._answered(arrival))

    def _answered(self, arrival: Arrival) -> None:
        arrival.answered = self._receiver.loop.awake()


def _path(argument: str) -> str:
    return argument.partition("<")[2].partition(">")[0]
