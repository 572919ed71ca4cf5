"""One direction of a simulated TCP connection: bytes leave in pieces, travel, and arrive in order, or meet a fault.

    sender's write buffer --pump--> in flight --tick--> receiver's socket buffer --> protocol

`window` bounds what is in flight and unread, as the socket buffers of both kernels do; what doesn't fit stays in the
sender's write buffer, where its transport counts it against the write-buffer limits.
"""

from __future__ import annotations

import asyncio
import errno
import zlib
from collections import deque
from collections.abc import Callable
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from postroad.lab.sim.loop import SimLoop


class Mark(Enum):
    """What can travel besides bytes."""

    EOF = 1
    RESET = 2


class Fault(NamedTuple):
    """What befalls one direction after `at` bytes: reset (both ends), stall (silence), close (the receiver sees the
    end of the stream, the sender a reset at its next bytes)."""

    kind: str  # "reset" | "stall" | "close"
    at: int


class Cut(Enum):
    """How writes become reads."""

    WHOLE = 1
    SPLIT = 2
    CRUMBS = 3


class Path(NamedTuple):
    """How a direction behaves. latency, jitter: seconds. window: octets in flight and unread."""

    latency: float
    jitter: float
    window: int
    cut: Cut
    fault: Fault | None = None


class End(Protocol):
    """What a pipe tells the transports at its two ends."""

    def receive(self, data: bytes) -> None: ...
    def receive_eof(self) -> None: ...
    def receive_reset(self, error: OSError) -> None: ...
    def pumped(self) -> None:
        """The write buffer has shrunk."""


_CRUMBS = 24  # pieces of a few octets a pipe sends before it takes larger ones, to bound the work


class Pipe:
    def __init__(self, loop: SimLoop, rng: Random, path: Path, label: str) -> None:
        self._loop = loop
        self._rng = rng
        self._path = path
        self.label = label
        self.sender: End | None = None
        self.receiver: End | None = None
        self.back: Pipe  # the other direction
        self.pending = bytearray()  # the sender's write buffer
        self._delivered = 0  # octets handed to the receiver's protocol
        self._watches: deque[tuple[int, Callable[[], None]]] = deque()
        self._flying: deque[tuple[float, bytes | Mark]] = deque()
        self._in_flight = 0  # flying and unread octets
        self._sent = 0
        self._last = loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._ack: asyncio.TimerHandle | None = None
        self._crumbs_left = _CRUMBS
        self._tripped = ""  # the kind of fault that has struck
        self._blocked = False
        self._finished = False

    # --- the sender's side --------------------------------------------------------------------------------------------

    def not_before(self, when: float) -> None:
        """Nothing arrives sooner: the other end isn't there yet."""
        self._last = max(self._last, when)
        fault = self._path.fault
        if fault is not None and fault.at == 0:
            self._trip(fault.kind)

    def pump(self) -> None:
        """Move bytes from the write buffer into the network, as far as the window allows."""
        pending = self.pending
        if self._finished:
            pending.clear()
        while pending and (room := self._path.window - self._in_flight) > 0:
            size = self._piece(min(len(pending), room))
            piece = bytes(pending[:size])
            del pending[:size]
            self._sent += size
            self._in_flight += size
            if self._tripped == "close":
                self.back.send(Mark.RESET)
            elif not self._tripped:
                self.send(piece)
                fault = self._path.fault
                if fault is not None and self._sent == fault.at:
                    self._trip(fault.kind)

    def watch(self, callback: Callable[[], None]) -> None:
        """Call back when all that was written so far has been handed to the receiver's protocol."""
        self._watches.append((self._sent + len(self.pending), callback))

    def _piece(self, size: int) -> int:
        fault = self._path.fault
        if fault is not None and not self._tripped:
            size = min(size, fault.at - self._sent)
        cut = self._path.cut
        if cut is Cut.WHOLE or size == 1:
            return size
        if cut is Cut.CRUMBS and self._crumbs_left > 0:
            self._crumbs_left -= 1
            return min(size, 1 + self._rng.randrange(12))
        return 1 + self._rng.randrange(size)

    def _trip(self, kind: str) -> None:
        self._tripped = kind
        self._loop.trace.note("fault", self.label, kind, "after", self._sent)
        if kind == "reset":
            self.send(Mark.RESET)
            self.back.send(Mark.RESET)
        elif kind == "close":
            self.send(Mark.EOF)

    def finish(self, *, reset: bool) -> None:
        """The sender's socket is closed: what is in flight arrives (after a reset: perhaps not), then the end."""
        if self._finished:
            return
        self._finished = True
        self.pending.clear()
        if self._tripped:
            return
        if reset and self._rng.random() < 0.5:
            self._flying.clear()
        self.send(Mark.RESET if reset else Mark.EOF)

    def send(self, item: bytes | Mark) -> None:
        path = self._path
        when = self._loop.time() + path.latency
        # Half of the pieces catch up with the one before: two writes become one read.
        if path.jitter and self._rng.random() < 0.5:
            when += self._rng.random() * path.jitter
        when = self._last = max(when, self._last)
        self._flying.append((when, item))
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is None and self._flying and not self._blocked:
            when = max(self._flying[0][0], self._loop.time())
            self._timer = self._loop.call_at(when, self._tick, context=self._loop.neutral)

    # --- the network --------------------------------------------------------------------------------------------------

    def attach(self, receiver: End) -> None:
        """The other end is there; what has come for it already is handed over from the next iteration on."""
        self.receiver = receiver
        self._set_timer()

    def block(self) -> None:
        """Nothing arrives until `unblock`: the way is cut, and TCP goes on trying."""
        self._blocked = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def break_off(self) -> None:
        """The connection is forgotten by a machine that was down: what flew is lost, and the end gets a reset."""
        self._flying.clear()
        self._tripped = "reset"
        self.send(Mark.RESET)

    def unblock(self) -> None:
        self._blocked = False
        self._set_timer()

    def _tick(self) -> None:
        self._timer = None
        receiver = self.receiver
        if receiver is None:
            return
        now = self._loop.time()
        pieces: list[bytes] = []
        mark: Mark | None = None
        while self._flying and self._flying[0][0] <= now and mark is None:
            _, item = self._flying.popleft()
            if isinstance(item, Mark):
                mark = item
            else:
                pieces.append(item)
        self._set_timer()
        if pieces:
            data = b"".join(pieces)
            self._loop.trace.note("data", self.label, len(data), zlib.crc32(data))
            receiver.receive(data)
        if mark is Mark.EOF:
            self._loop.trace.note("eof", self.label)
            receiver.receive_eof()
        elif mark is Mark.RESET:
            self._loop.trace.note("reset", self.label)
            receiver.receive_reset(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    # --- the receiver's side ------------------------------------------------------------------------------------------

    def consumed(self, size: int) -> None:
        """The receiver's protocol has these octets; the sender hears of the free room one latency later."""
        self._delivered += size
        self._in_flight -= size
        while self._watches and self._watches[0][0] <= self._delivered:
            self._watches.popleft()[1]()
        if self.pending and self._ack is None:
            when = self._loop.time() + self._path.latency
            self._ack = self._loop.call_at(when, self._acked, context=self._loop.neutral)

    def refuse(self) -> None:
        """Bytes came to a closed socket: its kernel answers with a reset."""
        self.back.send(Mark.RESET)

    def _acked(self) -> None:
        self._ack = None
        self.pump()
        if self.sender is not None:
            self.sender.pumped()
