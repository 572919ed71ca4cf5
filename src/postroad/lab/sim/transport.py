"""The transport of one end of a simulated connection, as an asyncio socket transport behaves (the contract of
asyncio.Transport and the habits of its selector implementation that protocols come to depend on)."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from postroad.lab.sim.pipe import Pipe
from postroad.lab.sim.process import Process

if TYPE_CHECKING:
    from postroad.lab.sim.loop import SimLoop

Address = tuple[Any, ...]
_HIGH_WATER = 64 * 1024


class SimTransport(asyncio.Transport):
    """owner: the process whose socket it is; None for the world's own. context: its protocol is called in it.
    on_close: called once when the socket is gone."""

    _start_tls_compatible = True  # asyncio.loop.start_tls asks for this

    def __init__(
        self,
        loop: SimLoop,
        owner: Process | None,
        context: Context,
        pipes: tuple[Pipe, Pipe],
        names: tuple[Address, Address],
        on_close: Callable[[], None],
    ) -> None:
        super().__init__()
        self._loop = loop
        self._owner = owner
        self._context = context
        self._out, self._in = pipes
        self._out.sender = self
        self._names = {"sockname": names[0], "peername": names[1]}
        self._on_close = on_close
        self._protocol: asyncio.BaseProtocol | None = None
        self._unread: deque[bytes] = deque()  # arrived while reading was paused
        self._unread_end: OSError | bool = False  # True: the end of the stream; an error: a reset
        self._reading = True
        self._closing = False
        self._lost = False  # connection_lost is due or done
        self._gone = False  # the socket is closed
        self._eof_written = False
        self._rudely = False  # data came that nobody read: closing answers with a reset
        self._writing_paused = False
        self.set_write_buffer_limits()
        if owner is not None:
            owner.sockets[self] = self._out.label

    def __repr__(self) -> str:
        return f"<SimTransport {self._out.label}>"

    def made(self, protocol: asyncio.BaseProtocol) -> None:
        """The connection stands: tell the protocol, before any data."""
        self.set_protocol(protocol)
        self._loop.call_soon(protocol.connection_made, self, context=self._context)
        # After that, also when data comes in the very iteration in which the connection stands.
        self._loop.call_soon(self._in.attach, self, context=self._loop.neutral)

    # --- asyncio.BaseTransport ----------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._names.get(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._rudely = bool(self._unread)
        if not self._out.pending:
            self._lose(None)

    # --- asyncio.ReadTransport ----------------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if self._closing or self._reading:
            return
        self._reading = True
        if self._unread or self._unread_end:
            self._loop.call_soon(self._catch_up, context=self._loop.neutral)

    # --- asyncio.WriteTransport ---------------------------------------------------------------------------------------

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low
        self._flow()

    def get_write_buffer_size(self) -> int:
        return len(self._out.pending)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._lost:
            return
        if isinstance(self._unread_end, OSError):  # a reset that a paused reader hadn't noticed
            self._lose(BrokenPipeError(errno.EPIPE, "Broken pipe"))
            return
        self._out.pending += data
        self._out.pump()
        self._flow()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if self._closing or self._eof_written:
            return
        self._eof_written = True
        if not self._out.pending:
            self._out.finish(reset=False)

    def abort(self) -> None:
        self._lose(None)

    def reset(self) -> None:
        """Not asyncio's: abort so that the peer gets a reset for certain (SO_LINGER 0)."""
        self._rudely = True
        self.abort()

    def when_read(self, callback: Callable[[], None]) -> None:
        """Not asyncio's: call back once the peer's protocol has got all that was written here so far, if ever."""
        self._out.watch(callback)

    # --- what the pipes say -------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        if self._gone:
            self._in.refuse()
        elif self._closing:
            self._rudely = True
        elif self._reading and not self._unread:
            self._hand(data)
        else:
            self._unread.append(data)

    def receive_eof(self) -> None:
        if self._reading and not self._unread:
            self._hand_eof()
        else:
            self._unread_end = self._unread_end or True

    def receive_reset(self, error: OSError) -> None:
        if self._reading or self._out.pending or self._closing:
            self._lose(error)
        else:
            self._unread_end = error

    def pumped(self) -> None:
        """The write buffer has shrunk (or nothing was in it)."""
        if not self._lost and self._owner_lives():
            self._context.run(self._flow)
        if self._out.pending or self._lost:
            return
        if self._closing:
            self._lose(None)
        elif self._eof_written:
            self._out.finish(reset=False)

    def kill(self) -> None:
        """The owner died: the kernel closes the socket, and nobody is told."""
        self._protocol = None
        self._closing = self._lost = True
        self._rudely = self._rudely or bool(self._unread)
        self._disappear()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _owner_lives(self) -> bool:
        return self._owner is None or self._owner.alive

    def _catch_up(self) -> None:
        while self._unread and self._reading and not self._closing:
            self._hand(self._unread.popleft())
        if self._unread or not self._reading or self._closing:
            return
        end, self._unread_end = self._unread_end, False
        if isinstance(end, OSError):
            self._lose(end)
        elif end:
            self._hand_eof()

    def _hand(self, data: bytes) -> None:
        self._in.consumed(len(data))
        try:
            self._context.run(self._feed, data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # asyncio's own transports close on any
            self._fatal(error, "protocol.data_received() call failed.")

    def _feed(self, data: bytes) -> None:
        protocol = self._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            rest = memoryview(data)
            while rest and protocol is self._protocol:
                buffer = memoryview(protocol.get_buffer(len(rest)))
                size = min(len(buffer), len(rest))
                if not size:
                    raise RuntimeError("get_buffer() returned an empty buffer")
                buffer[:size] = rest[:size]
                protocol.buffer_updated(size)
                rest = rest[size:]
            if rest:
                self._feed(bytes(rest))
        elif isinstance(protocol, asyncio.Protocol):
            protocol.data_received(data)

    def _hand_eof(self) -> None:
        protocol = self._protocol
        if self._closing or not isinstance(protocol, (asyncio.Protocol, asyncio.BufferedProtocol)):
            return
        try:
            keep_open = self._context.run(protocol.eof_received)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal(error, "protocol.eof_received() call failed.")
            return
        if not keep_open:
            self.close()

    def _flow(self) -> None:
        """Tell the protocol to pause or to go on, in its own context."""
        protocol = self._protocol
        if protocol is None:
            return
        size = len(self._out.pending)
        if size > self._high and not self._writing_paused:
            self._writing_paused = True
            self._tell(protocol.pause_writing)
        elif size <= self._low and self._writing_paused:
            self._writing_paused = False
            self._tell(protocol.resume_writing)

    def _tell(self, what: Callable[[], None]) -> None:
        try:
            what()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._report(error, f"protocol.{what.__name__}() failed")

    def _fatal(self, error: BaseException, message: str) -> None:
        if not self._owner_lives():
            return  # it died in there
        self._report(error, f"Fatal error: {message}")
        self._lose(error)

    def _report(self, error: BaseException, message: str) -> None:
        self._loop.call_exception_handler(
            {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
        )

    def _lose(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self._closing = self._lost = True
        self._rudely = self._rudely or bool(self._unread) or error is not None
        self._out.pending.clear()
        self._loop.call_soon(self._say_lost, error, context=self._context)

    def _say_lost(self, error: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        try:
            if protocol is not None:
                protocol.connection_lost(error)
        finally:
            self._disappear()

    def _disappear(self) -> None:
        if self._gone:
            return
        self._gone = True
        self._unread.clear()
        self._out.finish(reset=self._rudely)
        if self._owner is not None:
            self._owner.sockets.pop(self, None)
        self._on_close()
