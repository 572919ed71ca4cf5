"""The link between the supervisor and one of its children: an inherited pair of sockets, frames on it both ways.

A frame on the wire is its length (4 bytes, little-endian) and the MessagePack array of a struct whose first element
names its type. Both ends are the same version of the same program on one machine; still, a frame of a type nobody here
has asked for is passed over, so that a supervisor can outlive the version its children are restarted with.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any, TypeVar, cast

import msgspec

_LENGTH = 4
_MAX_FRAME = 16 << 20  # octets; a longer one is no frame of ours
_MAX_UNREAD = 64 << 20  # octets the other end may be behind with before the link is given up


class Frame(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What goes over a link: derive from it (with frozen=True). The class's name is the type's name on the wire, so it
    must be unique."""


F = TypeVar("F", bound=Frame)

_encode = msgspec.msgpack.Encoder().encode


class Link(asyncio.Protocol):
    """One end. Register callbacks with `on`, then `begin(sock)`: frames that come at once are not missed."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._early: list[Frame] = []  # sent before the transport was there
        self._written = asyncio.Event()
        self._callbacks: dict[type[Frame], Callable[[Any], None]] = {}
        self._decoder: msgspec.msgpack.Decoder[Any] | None = None
        self._unread = bytearray()
        self._on_closed: list[Callable[[], None]] = []
        self.closed = False

    def begin(self, sock: socket.socket) -> None:
        """Take the socket over; from now on it is this link's to close. Frames may be sent at once."""
        self._opening = asyncio.get_running_loop().create_task(self.open(sock))

    async def open(self, sock: socket.socket) -> None:
        """The same, and wait until the link stands."""
        sock.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=sock)

    def on(self, kind: type[F], callback: Callable[[F], None]) -> None:
        """Call this for each frame of the type, in the order in which all frames came. One callback a type: the last
        one registered."""
        self._callbacks[kind] = callback
        self._decoder = None

    def on_closed(self, callback: Callable[[], None]) -> None:
        """Call this once when the other end is gone, or at once if it is gone already."""
        if self.closed:
            callback()
        else:
            self._on_closed.append(callback)

    def send(self, frame: Frame) -> None:
        """Frames arrive whole and in order, or not at all once the link is closed: then this does nothing."""
        if self._transport is None:
            self._early.append(frame)
            return
        if self._transport.is_closing():
            return
        data = _encode(frame)
        self._transport.write(len(data).to_bytes(_LENGTH, "little") + data)
        if self._transport.get_write_buffer_size() > _MAX_UNREAD:
            self._transport.abort()  # the other end is stuck: better it is taken for gone than that we grow without end

    async def flushed(self) -> None:
        """All that was sent has left us: what ends right after it loses nothing of it."""
        await self._written.wait()

    def close(self) -> None:
        """Close when all that was sent has gone out."""
        if self._transport is not None:
            self._transport.close()

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's own are that without being derived from it
        self._transport = transport
        self._written.set()
        transport.set_write_buffer_limits(0)  # we are told whenever something waits to be written
        early, self._early = self._early, []
        for frame in early:
            self.send(frame)

    def data_received(self, data: bytes) -> None:
        unread = self._unread
        unread += data
        start = 0
        while len(unread) - start >= _LENGTH:
            length = int.from_bytes(unread[start : start + _LENGTH], "little")
            if length > _MAX_FRAME:
                assert self._transport is not None
                self._transport.abort()
                return
            end = start + _LENGTH + length
            if len(unread) < end:
                break
            frame = bytes(unread[start + _LENGTH : end])
            start = end
            self._take(frame)
        del unread[:start]

    def pause_writing(self) -> None:
        self._written.clear()

    def resume_writing(self) -> None:
        self._written.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._written.set()
        callbacks, self._on_closed = self._on_closed, []
        for callback in callbacks:
            callback()

    def _take(self, data: bytes) -> None:
        if self._decoder is None:
            kinds: Any = reduce(or_, self._callbacks, type(None)) if self._callbacks else type(None)
            self._decoder = msgspec.msgpack.Decoder(kinds)
        try:
            frame = self._decoder.decode(data)
        except msgspec.ValidationError:
            return  # of a type nobody here asked for
        callback = self._callbacks.get(type(frame))
        if callback is not None:
            callback(frame)


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets for the two ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
