"""uvicorn's HTTP/1.1 protocol with bounds against hostile clients, and errors in the API's own shape."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from functools import lru_cache
from typing import NoReturn, cast

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from postroad.api.envelope import plain_failure
from postroad.api.stamp import RequestIds
from postroad.inject.http import Code
from postroad.net import Clock

MAX_URI = 4096  # octets, api.md 1.1
MAX_HEAD = 65_536  # octets of header fields and trailers of one request
_HEAD_TOO_LARGE = f"the request's head is larger than {MAX_HEAD} octets"
LINGER = 5.0  # seconds that a refused client gets to stop sending and read the reply


class Shared(ServerState):
    """What the connections of a server share.

    max_discard: octets read and thrown away after the reply to a request that had not come in whole.
    """

    def __init__(
        self,
        clock: Clock,
        ids: RequestIds,
        *,
        max_connections: int,
        idle_time: float,
        request_time: float,
        max_discard: int,
    ) -> None:
        self._clock = clock
        self.ids = ids
        super().__init__()
        self.max_connections = max_connections
        self.idle_time = idle_time
        self.request_time = request_time
        self.max_discard = max_discard
        self.empty = asyncio.Event()
        self.empty.set()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        # uvicorn keeps these in a list that a timer renews; asked for at each reply, they need no timer.
        return _date_header(int(self._clock.wall()))

    @default_headers.setter
    def default_headers(self, _: list[tuple[bytes, bytes]]) -> None:
        """uvicorn sets an empty list at the start."""


@lru_cache(maxsize=2)
def _date_header(second: int) -> list[tuple[bytes, bytes]]:
    return [(b"date", formatdate(second, usegmt=True).encode())]


class _Transport:
    """The transport as uvicorn sees it: its close() lets the client read the reply first."""

    __slots__ = ("_connection", "abort", "get_extra_info", "is_closing", "pause_reading", "resume_reading", "write")

    def __init__(self, real: asyncio.Transport, connection: Connection) -> None:
        self._connection = connection
        self.abort = real.abort
        self.get_extra_info = real.get_extra_info
        self.is_closing = connection.is_closing
        self.pause_reading = real.pause_reading
        self.resume_reading = real.resume_reading
        self.write = real.write

    def close(self) -> None:
        self._connection.finish()


class Connection(HttpToolsProtocol):
    """One client connection."""

    def __init__(self, config: uvicorn.Config, shared: Shared, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config, shared, {}, loop)
        self._shared = shared
        self._last = loop.time()
        self._began: float | None = None  # when the head under way began
        self._asked: float | None = None  # when the request under way began that has not come in whole
        self._head = 0  # octets of fields of this request
        self._unparsed = 0  # octets since the parser last made something of them
        self._discarded = 0
        self._refusal: tuple[Code, str] | None = None
        self._lingering = False
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._real = cast(asyncio.Transport, transport)
        super().connection_made(cast(asyncio.Transport, _Transport(self._real, self)))
        self._shared.empty.clear()
        if len(self.connections) > self._shared.max_connections:
            # No lingering: it would let a flood hold the very connections it may not have.
            self._answer(Code.RESOURCES_UNAVAILABLE, "too many connections")
            self._real.close()
            return
        self._watch = self.loop.call_later(min(self._shared.idle_time, self._shared.request_time), self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if not self.connections:
            self._shared.empty.set()

    def is_closing(self) -> bool:
        return self._lingering or self._real.is_closing()

    def finish(self) -> None:
        """Close once everything is written. While the client is still sending, closing at once would reset the
        connection, and the reply would be lost on its way (RFC 9112 9.6): so first only our direction is closed."""
        if self.is_closing():
            return
        unread = self._refusal is not None or (self.cycle is not None and self.cycle.more_body)
        if not unread or not self._real.can_write_eof():
            self._real.close()
            return
        self._lingering = True
        self._real.write_eof()
        self.flow.resume_reading()
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self.loop.call_later(LINGER, self._real.close)

    def _discard(self, octets: int) -> None:
        self._discarded += octets
        if self._discarded > self._shared.max_discard:
            self._real.close()

    def _look(self) -> None:
        """Close the connection when the client owes us something for too long; look again when it may do so next.

        One timer a connection, never moved while requests come in.
        """
        now = self.loop.time()
        working = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        since = now if working else self._last
        if self._began is not None:
            since = min(since, self._began)
        over = since + self._shared.idle_time
        if self._asked is not None:
            over = min(over, self._asked + self._shared.request_time)
        if now >= over:  # the very sum the timer is set to: a difference may round the other way, and never be reached
            self._real.close()
            return
        # A request that begins meanwhile is not looked at too late.
        self._watch = self.loop.call_at(min(over, now + self._shared.request_time), self._look)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._lingering:
            self._discard(len(data))
            return
        if self._real.is_closing():
            return
        self._last = self.loop.time()
        self._unparsed += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(*(self._refusal or (Code.BAD_REQUEST, "this is not a valid HTTP request")))
        else:
            if self._unparsed > MAX_HEAD:
                self._refuse(Code.BAD_REQUEST, _HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._began = self._asked = self._last
        self._head = self._unparsed = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._unparsed = 0
        if len(self.url) > MAX_URI:
            self._stop(Code.URI_TOO_LONG, f"it is longer than {MAX_URI} octets")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unparsed = 0
        self._head += len(name) + len(value) + 4
        if self._head > MAX_HEAD:
            self._stop(Code.BAD_REQUEST, _HEAD_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._began = None
        self._unparsed = self._discarded = 0
        if self.parser.should_upgrade():
            # What follows would be in the protocol asked for, not in HTTP/1.1.
            self._stop(Code.BAD_REQUEST, "protocol upgrades and CONNECT are not supported")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        if self.cycle.response_complete:
            # Most clients send all before they look for a reply, so the rest is read; but not without end.
            self._discard(len(body))
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._asked = None
        self._unparsed = 0
        super().on_message_complete()

    def _stop(self, code: Code, description: str) -> NoReturn:
        """Inside a callback of the parser: end parsing."""
        self._refusal = (code, description)
        raise ValueError(description)

    def _refuse(self, code: Code, description: str) -> None:
        """Answer outside the application, and close."""
        if self.cycle is not None and not self.cycle.response_complete:
            # A reply is under way: ours would break into it, or be taken for the answer to another request.
            self._real.close()
            return
        self._refusal = (code, description)
        self._answer(code, description)
        self.finish()

    def _answer(self, code: Code, description: str) -> None:
        body = plain_failure(code, description)
        head = (
            b"content-type: application/json\r\nx-request-id: %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            % (self._shared.ids.new(), len(body))
        )
        self._real.write(STATUS_LINE[code.status] + head + body)
