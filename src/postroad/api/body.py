"""Reading a request body: bounded while it arrives, unpacked as it arrives (api.md 1.8)."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from postroad.inject.http import Code, Failure

Receive = Callable[[], Awaitable[Any]]


class Budget:
    """Octets of request bodies held at once, over all requests."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def take(self, octets: int) -> None:
        """Raises Failure when there is no room: the client comes again later."""
        if self.taken + octets > self.limit:
            raise Failure(
                Code.TOO_MANY_REQUESTS, "too many request bodies are being read", headers={"Retry-After": "1"}
            )
        self.taken += octets

    def give_back(self, octets: int) -> None:
        self.taken -= octets


class BodyReader:
    """Reads one body. As a context manager it returns to the budget what it took; the body is dead then."""

    def __init__(self, receive: Receive, headers: Mapping[str, str], limit: int, budget: Budget) -> None:
        self._receive = receive
        self._headers = headers
        self._limit = limit
        self._budget = budget
        self._held = 0

    def __enter__(self) -> BodyReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.give_back(self._held)

    async def read(self) -> bytes | bytearray:
        """The body, unpacked. Raises Failure: 413, 415, 429, or 400 for damaged gzip and a client that went away."""
        unpack = self._unpacker()
        declared = self._headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._limit:
            raise self._too_large()
        body = bytearray()
        received = 0
        more = True
        while more:
            event = await self._receive()
            if event["type"] != "http.request":
                raise Failure(Code.BAD_REQUEST, "the client closed the connection")
            more = bool(event.get("more_body", False))
            piece: bytes = event.get("body", b"")
            received += len(piece)
            if received > self._limit:  # packed octets may come to nothing at any length
                raise self._too_large()
            if unpack is None:
                self._keep(body, piece)
                if not more and not body:
                    return piece
                body += piece
            else:
                unpack.feed(piece, body, self._keep)
        if unpack is not None:
            unpack.end()
        return body

    def _keep(self, body: bytearray, piece: bytes) -> None:
        if len(body) + len(piece) > self._limit:
            raise self._too_large()
        self._budget.take(len(piece))
        self._held += len(piece)

    def _too_large(self) -> Failure:
        return Failure(Code.TOO_LARGE, f"the request body is larger than {self._limit} bytes")

    def _unpacker(self) -> _Gunzip | None:
        encoding = self._headers.get("content-encoding", "identity").strip().lower()
        if encoding in ("gzip", "x-gzip"):
            return _Gunzip()
        if encoding in ("identity", ""):
            return None
        raise Failure(
            Code.UNSUPPORTED_TYPE,
            f"Content-Encoding {encoding[:40]!r} is not supported; gzip is",
            headers={"Accept-Encoding": "gzip"},
        )


class _Gunzip:
    """RFC 1952, one or several members. Unpacks in steps, so that a bomb is found before it has grown."""

    STEP = 1 << 18  # octets

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)
        self._fresh = True

    def feed(self, packed: bytes, body: bytearray, keep: Callable[[bytearray, bytes], None]) -> None:
        while packed:
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(wbits=31)
            self._fresh = False
            try:
                piece = self._inflate.decompress(packed, self.STEP)
            except zlib.error:
                raise Failure(Code.BAD_REQUEST, "the body is not valid gzip") from None
            keep(body, piece)
            body += piece
            packed = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if not packed and len(piece) == self.STEP and not self._inflate.eof:
                # The inflater may hold output back although it took all input.
                self._rest(body, keep)

    def _rest(self, body: bytearray, keep: Callable[[bytearray, bytes], None]) -> None:
        while piece := self._inflate.decompress(b"", self.STEP):
            keep(body, piece)
            body += piece

    def end(self) -> None:
        if not self._fresh and not self._inflate.eof:
            raise Failure(Code.BAD_REQUEST, "the gzip body ends too early")
