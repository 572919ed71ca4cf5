"""One connection to one host: the machine's shell. It moves octets, keeps the time of each step, and asks its owner for
the next message. On the way of a message there are only callbacks: no task, no future."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from postroad.deliver.machine import Machine
from postroad.deliver.plan import Target
from postroad.deliver.shake import shake
from postroad.deliver.steps import SMTP, Again, Manner, Result, Step
from postroad.deliver.steptimes import StepTimes
from postroad.deliver.tls import LOST, PLAIN, Proof, Request, Trouble
from postroad.message import Message, Reply, Stage, Verdict
from postroad.net import Tap

if TYPE_CHECKING:
    from postroad.deliver.siblings import Kin

# Octets handed to the transport at once; a longer message follows as the peer takes it. Nothing is copied up to here,
# and no more than this (and the transport's 64 KB) is ever waiting in a buffer.
_SLICE = 128 << 10
# Results without a word to the peer (too large, needs SMTPUTF8) in a row before others get their turn.
_BURST = 50


# The connection was lost while the message was loaded.
NOT_BEGUN = Result(
    Verdict.DEFERRED,
    Reply(451, "4.4.2 the connection was lost before the message began"),
    Stage.IDLE,
    internal=True,
    again=Again.HAND_OVER,
)


class Owner(Protocol):
    """What a connection needs of the path it works for. Called on the event loop; none may raise."""

    def ready(self, connection: Connection) -> None:
        """The session is established."""

    def next(self, connection: Connection) -> Message | None:
        """The message to send now; None: there is none, and the connection is idle until `work` is called."""

    def more(self, connection: Connection, first: Message) -> Message | None:
        """One more, to go in the same transaction; None: what stands next can't, or may not yet."""

    def back(self, message: Message) -> None:
        """It was given and has not begun: another connection, or this one later, may have it."""

    def load(self, connection: Connection, message: Message) -> None:
        """The message has no body: fetch it, then call `loaded`."""

    def settled(self, connection: Connection, message: Message, result: Result) -> None:
        """How a message ended here."""

    def closed(self, connection: Connection) -> None:
        """An established session is over, and the connection gone."""


class Connection(asyncio.Protocol):
    """One message after the other. hello: our EHLO name. limit: messages before QUIT, 0 for no limit.

    opened: done when the session is established (None) or will never be (the Result that says why).
    expires: loop time from which the owner gives it no more messages. leaving: QUIT instead of the next message; set by
    the owner, also from within `next` and `settled`. fruitless: why the session ended before any message got a
    reply, though one was sent; None if that did not happen. terms: the options it was made with; the owner's. kin: what
    it has in common with others that could take each other's mail; None: it serves one owner.
    tls: how it is encrypted, as in Outcome. trouble: why it is not, though it was asked for and the host agreed.
    """

    kind: ClassVar[type[Machine]] = Machine
    batches: ClassVar[bool] = False  # see BatchConnection

    def __init__(
        self,
        owner: Owner,
        target: Target,
        source: str,
        hello: str,
        times: StepTimes,
        limit: int,
        request: Request = PLAIN,
        manner: Manner = SMTP,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.target = target
        self.source = source
        self.expires = inf
        self.most = 1  # recipients of a transaction; more in a BatchConnection alone
        self.terms: object = None
        self.kin: Kin | None = None
        self.opened: asyncio.Future[Result | None] = loop.create_future()
        self.tap: Tap | None = None
        self.domain = ""
        self.machine = self.kind(hello, request.demand, manner)
        self.request = request
        self.tls = ""
        self.trouble: Trouble | None = None
        self.message: Message | None = None
        self.since = inf  # loop time at which it was given the message
        self.idle = False
        self.leaving = False
        self.established = False
        self.fruitless: Reply | None = None
        self._owner = owner
        self._times = times
        self._limit = limit
        self._loop = loop
        self._now = loop.time
        self._transport: asyncio.Transport | None = None
        self._plain: asyncio.Transport | None = None  # the one below TLS
        self._handshake: asyncio.Task[None] | None = None
        self._gone = False
        self._slices: Iterator[memoryview] | None = None
        self._paused = False
        self._loading = False
        self._deadline = inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    # --- what the loop tells ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        if not self.source:
            name = transport.get_extra_info("sockname")
            self.source = str(name[0]) if name else ""
        self._watch(self._times.by_step[Step.BANNER])

    def data_received(self, data: bytes) -> None:
        if self.tap is not None:
            self.tap.passed(self, self.domain, self.target.address, False, data)
        machine = self.machine
        machine.receive(data, machine.step is Step.CONTENT and self._unsent())
        self._work()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._slices is not None:
            self._stream()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.tap is not None:
            self.tap.over(self)
        if self._gone:
            return
        self._gone = True
        machine = self.machine
        if machine.step not in (Step.CLOSED, Step.QUIT):
            self._break_tls()
            machine.lost(self._slices is not None or self._paused)
        self._transport = None
        self._slices = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._report()
        if self.established:
            self._owner.closed(self)
        elif not self.opened.done():
            self.opened.set_result(machine.failure or _never_open())

    # --- what the owner tells -----------------------------------------------------------------------------------------

    def work(self) -> None:
        """There may be something to send; the connection is idle."""
        self.idle = False
        self._work()

    def loaded(self, message: Message) -> None:
        """The body that `load` was asked for is there."""
        self._loading = False
        if self.machine.step is Step.READY and message.body is not None:
            self.machine.send(message, message.body)
        elif self.machine.result is None:
            self.machine.result = NOT_BEGUN
        self._work()

    def unreadable(self) -> None:
        """The body can't be had, and the message is none of ours any more."""
        self._loading = False
        self.message = None
        self._work()

    @property
    def owner(self) -> Owner:
        return self._owner

    def move(self, owner: Owner, target: Target, domain: str, terms: object) -> None:
        """Another owner takes it over; it is idle, and `work` follows. target: the same place, by the name that the new
        owner has for it."""
        self._owner = owner
        self.target = target
        self.domain = domain
        self.terms = terms
        self.expires = inf

    def quit(self) -> None:
        """Take leave if idle."""
        if self.machine.step is Step.READY and self.message is None:
            self.idle = False
            self.machine.quit()
            self._work()

    def end(self) -> None:
        """Take leave now, or after the message."""
        self.leaving = True
        self.quit()

    def abort(self) -> None:
        """Drop the connection now."""
        if self._transport is not None:
            self._transport.abort()

    # --- the work -----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Write what the machine wants written, report what it found, give it the next message."""
        machine = self.machine
        for _ in range(_BURST):
            if machine.output:
                self._flush()
            if machine.result is not None:
                self._report()
            if machine.step is not Step.READY or self._loading or self.idle:
                break
            if not self.established:
                self.established = True
                self._owner.ready(self)
                if not self.opened.done():
                    self.opened.set_result(None)
            message = None
            if not self.leaving and not (self._limit and machine.served >= self._limit):
                message = self._owner.next(self)
                if message is None and not self.leaving:
                    self.idle = True
                    break
            if message is None:
                machine.quit()
                continue
            self.message = message
            self.since = self._now()
            if message.body is not None and not self.batches:
                machine.send(message, message.body)
            elif not self._begin(message):
                break
        else:
            self._loop.call_soon(self._work)
        if self._transport is None:
            return
        step = machine.step
        if step is Step.CLOSED:
            self._close()
        elif step is Step.HANDSHAKE:
            self._encrypt()
        elif self._slices is None:
            # _watch, in line: this is passed four times a message.
            self._deadline = self._now() + self._times.by_step[step]
            if self._deadline < self._timer_at:
                self._set_timer()

    def _begin(self, message: Message) -> bool:
        """What is not just sent. False: something has to be loaded first."""
        self._loading = True
        self._owner.load(self, message)
        return False

    def _report(self) -> None:
        result = self.machine.result
        message = self.message
        if result is None or message is None or self._loading:
            return
        self.machine.result = None
        self.message = None
        if self.machine.step is Step.CLOSED and not self.machine.served:
            self.fruitless = result.reply
        self._owner.settled(self, message, result)

    def _flush(self) -> None:
        output = self.machine.output
        self.machine.output = []
        transport = self._transport
        if transport is None:
            return
        if self.tap is not None:
            self.tap.passed(self, self.domain, self.target.address, True, b"".join(output))
        if len(output) == 1 and len(output[0]) <= _SLICE:
            transport.write(output[0])
        elif sum(map(len, output)) <= _SLICE:
            transport.writelines(output)
        else:
            self._slices = _slices(output)
            self._stream()

    def _stream(self) -> None:
        """Hand over slices until the transport has enough."""
        assert self._transport is not None
        assert self._slices is not None
        while not self._paused:
            piece = next(self._slices, None)
            if piece is None:
                self._slices = None
                self._watch(self._times.by_step[self.machine.step])
                return
            self._transport.write(piece)
        self._watch(self._times.body)

    def _unsent(self) -> bool:
        if self._slices is not None:
            return True
        if self._transport is None or self._transport.get_write_buffer_size() > 0:
            return self._transport is not None
        return self._plain is not None and self._plain.get_write_buffer_size() > 0

    def _close(self) -> None:
        """The machine is done. A peer that does not take our QUIT gets no more than a moment to do so."""
        assert self._transport is not None
        if self._transport.is_closing():
            return
        self._slices = None
        self._transport.close()
        self._watch(self._times.by_step[Step.CLOSED])

    # --- TLS ----------------------------------------------------------------------------------------------------------

    def _encrypt(self) -> None:
        """The one task of a connection, far from any message."""
        if self._handshake is not None:
            return
        assert self._transport is not None
        # From now on nothing may be read that is not TLS.
        self._transport.pause_reading()
        self._watch(self._times.by_step[Step.HANDSHAKE])
        self._handshake = self._loop.create_task(self._shake(self._transport))

    async def _shake(self, transport: asyncio.Transport) -> None:
        done = await shake(transport, self, self.request)
        machine = self.machine
        if machine.step is Step.HANDSHAKE and isinstance(done, Trouble):
            self.trouble = done
            machine.not_encrypted(done.text)
        if machine.step is not Step.HANDSHAKE or isinstance(done, Trouble):
            transport.abort()
            # A protocol that never became part of TLS may not be told that its connection is lost.
            self.connection_lost(None)
        else:
            self._plain, self._transport = transport, done.transport
            proof = self.request.proof
            self.tls = f"{done.version} {done.cipher} verified={proof.value}"
            machine.verified = proof in (Proof.HOST, Proof.DANE)
            machine.encrypted()
            self._work()

    def _break_tls(self) -> None:
        """The peer is gone or silent. Before the session stands that may be its way to say that it can't do TLS: what
        TLS 1.3 servers have against us shows after the handshake only."""
        if self.machine.step is Step.HANDSHAKE or (self.tls and not self.established):
            self.trouble = LOST

    # --- time ---------------------------------------------------------------------------------------------------------

    def _watch(self, seconds: float) -> None:
        """The step may take so long. One timer serves all steps: it is set again when it rings early, so that a busy
        connection touches the loop's timers once in minutes rather than four times a message."""
        self._deadline = self._now() + seconds
        if self._deadline < self._timer_at:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._timer_at = inf
        if self._transport is None:
            return
        if self._loading or self._now() < self._deadline:
            if self._loading:
                self._deadline = self._now() + self._times.by_step[Step.READY]
            self._set_timer()
            return
        machine = self.machine
        step = machine.step
        if step is Step.READY:
            self.quit()
        elif step in (Step.QUIT, Step.CLOSED):
            self._transport.abort()
        else:
            stalled = self._slices is not None
            self._break_tls()
            machine.timed_out(self._times.body if stalled else self._times.by_step[step], self._unsent())
            self._report()
            self._transport.abort()


def _slices(pieces: list[bytes]) -> Iterator[memoryview]:
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), _SLICE):
            yield view[start : start + _SLICE]


def _never_open() -> Result:
    reply = Reply(451, "4.4.2 the connection was closed before the session began")
    return Result(Verdict.DEFERRED, reply, Stage.BANNER, internal=True)
