"""Passing a request on to control over its local socket: bodies stream both ways, nothing is kept, and a control that
is away costs nobody more than a 503."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import httptools

from postroad.api.callers import peer_of
from postroad.api.envelope import failure_body
from postroad.api.local import OURS, PEER, short
from postroad.api.stamp import FIELD
from postroad.inject.http import Code, Failure

AWAY = "the control process does not answer just now; mail goes on. Ask again in some seconds"
_UNCLEAR = "the control process went away while it worked on this; look whether it was done"
_BUSY = "too many requests wait for the control process"
_SILENCE = 120.0  # seconds without an octet from control
_PIECE = 65_536
# RFC 9110 7.6.1, and what uvicorn answers or sets itself
_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"trailer"),
        *(b"transfer-encoding", b"upgrade", b"expect", b"date", FIELD),
    )
)


class Passing:
    """An ASGI application. path: of control's socket. most: requests under way at once. words: what is told while it
    is away, and when it went away with a request that may have changed something."""

    def __init__(self, path: Path, *, most: int = 256, words: tuple[str, str] = (AWAY, _UNCLEAR)) -> None:
        self._path = path
        self._words = words
        self._most = most
        self._under_way = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._under_way >= self._most:
            await refuse(send, Failure(Code.RESOURCES_UNAVAILABLE, _BUSY, headers={"Retry-After": "1"}))
            return
        self._under_way += 1
        try:
            try:
                with short(self._path) as name:
                    reader, writer = await asyncio.open_unix_connection(name)
            except OSError:
                await refuse(send, _away(self._words[0]))
                return
            try:
                await _Exchange(scope, receive, send, reader, writer, self._words).run()
            finally:
                writer.close()
        finally:
            self._under_way -= 1


class _Exchange:
    """One request and its reply; also what httptools calls while it reads the reply."""

    def __init__(
        self,
        scope: Any,
        receive: Any,
        send: Any,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        words: tuple[str, str],
    ) -> None:
        self._words = words
        self._scope = scope
        self._receive = receive
        self._send = send
        self._reader = reader
        self._writer = writer
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._events: list[dict[str, Any]] = []
        self._started = False
        self._complete = False
        self._chunked = False

    async def run(self) -> None:
        self._writer.write(self._head())
        sending = asyncio.ensure_future(self._pump())
        answering = asyncio.ensure_future(self._answer())
        try:
            # The sender ends first only when the client is gone: then nobody waits for the answer.
            await asyncio.wait((sending, answering), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, answering):
                if not task.done():
                    task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)
        if not answering.cancelled():
            answering.result()

    def _head(self) -> bytes:
        scope = self._scope
        target: bytes = scope["raw_path"]
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        headers = scope["headers"]
        named = {
            name.strip().lower() for field, value in headers if field == b"connection" for name in value.split(b",")
        }
        self._chunked = any(name == b"transfer-encoding" for name, _ in headers)
        lines = [b"%s %s HTTP/1.1" % (scope["method"].encode(), target)]
        lines += [
            b"%s: %s" % (name, value)
            for name, value in headers
            if name not in _HOP and name not in named and not name.startswith(OURS)
        ]
        lines.append(b"%s: %s" % (PEER, peer_of(scope).encode()))
        lines.append(b"%s: %s" % (FIELD, scope["request_id"].encode()))
        lines.append(b"connection: close")
        if self._chunked:
            lines.append(b"transfer-encoding: chunked")
        return b"\r\n".join(lines) + b"\r\n\r\n"

    async def _pump(self) -> None:
        """The body, and then watch whether the client goes."""
        more = True
        while True:
            event = await self._receive()
            if event["type"] != "http.request":
                return
            if not more:
                continue
            piece: bytes = event.get("body", b"")
            more = bool(event.get("more_body", False))
            if self._chunked:
                piece = (b"%x\r\n%s\r\n" % (len(piece), piece) if piece else b"") + (b"" if more else b"0\r\n\r\n")
            # Control may have answered already, and hung up.
            with contextlib.suppress(ConnectionError):
                self._writer.write(piece)
                await self._writer.drain()

    async def _answer(self) -> None:
        try:
            while not self._complete:
                async with asyncio.timeout(_SILENCE):
                    data = await self._reader.read(_PIECE)
                if not data:
                    break
                self._parser.feed_data(data)
                events, self._events = self._events, []
                for event in events:
                    await self._send(event)
        except (OSError, TimeoutError, httptools.HttpParserError):
            pass
        if self._complete:
            return
        if self._started:
            # The client must not take a part for the whole: uvicorn cuts the connection.
            raise ConnectionError("control went away within its reply")
        safe = self._scope["method"] in ("GET", "HEAD", "OPTIONS")
        await refuse(self._send, _away(self._words[0] if safe else self._words[1]))

    # --- the parser ---------------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name not in _HOP:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._headers.clear()
            return
        self._started = True
        self._events.append({"type": "http.response.start", "status": status, "headers": self._headers})
        if self._scope["method"] == "HEAD":
            self._finish()

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._events.append({"type": "http.response.body", "body": body, "more_body": True})

    def on_message_complete(self) -> None:
        if self._started and not self._complete:
            self._finish()

    def _finish(self) -> None:
        self._complete = True
        self._events.append({"type": "http.response.body", "body": b"", "more_body": False})


def _away(text: str) -> Failure:
    return Failure(Code.RESOURCES_UNAVAILABLE, text, headers={"Retry-After": "5"})


async def refuse(send: Any, failure: Failure) -> None:
    """Answer outside an application of Litestar."""
    body = failure_body(failure.faults)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(name.lower().encode(), value.encode()) for name, value in failure.headers.items()]
    await send({"type": "http.response.start", "status": failure.code.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
