"""Handing a TLS report over by HTTPS (RFC 8460 5.4): one POST to a place that a stranger names. So: its certificate
must be right, nothing is followed anywhere, no network is reached that mail would not be sent to, and time and size are
limited."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import httptools

from postroad.config.schema import NOT_PUBLIC
from postroad.deliver.plan import Screen
from postroad.net import DnsFailure, NoSuchDomain, Resolver

_TIME = 60.0
_MOST = 64 << 10  # octets of an answer that are read
_ADDRESSES = 4
_PORT = 443
_MEDIA_TYPE = "application/tlsrpt+gzip"
_SCREEN = Screen(NOT_PUBLIC, use_ipv6=True)


class PostError(Exception):
    """The report was not taken. The message says why."""


class Place(NamedTuple):
    """target: path and query."""

    host: str
    target: str


def place(uri: str) -> Place:
    """Where an `https` URI of a `rua` leads. Raises PostError for what nobody needs: other ports, users, addresses."""
    if not uri.isascii() or not uri.isprintable() or " " in uri or len(uri) > 2000:
        raise PostError("the URI is malformed")
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise PostError(f"the URI is malformed: {error}") from None
    host = parts.hostname or ""
    if parts.scheme.lower() != "https" or not host or "@" in parts.netloc:
        raise PostError("the URI is none of https with a host name alone")
    if port not in (None, _PORT):
        raise PostError(f"reports are posted to port {_PORT} only, not {port}")
    if ":" in host or host.replace(".", "").isdigit() or not all(c.isalnum() or c in "-._" for c in host):
        raise PostError("the URI names no host")
    target = parts.path or "/"
    return Place(host, f"{target}?{parts.query}" if parts.query else target)


class Post(Protocol):
    async def __call__(self, uri: str, body: bytes) -> None:
        """Hand the report over. Raises PostError."""


class HttpsPost:
    """trust: authorities to believe, None for the system's. allowed: may we connect to this address? None: to public
    ones. port: other than 443 for tests only. time: seconds for the whole."""

    def __init__(
        self,
        resolver: Resolver,
        trust: ssl.SSLContext | None = None,
        allowed: Callable[[str], bool] | None = None,
        *,
        port: int = _PORT,
        time: float = _TIME,
    ) -> None:
        self._resolver = resolver
        self._trust = trust
        self._allowed = allowed or (lambda address: not _SCREEN.prohibited(address))
        self._port = port
        self._time = time

    async def __call__(self, uri: str, body: bytes) -> None:
        where = place(uri)
        try:
            async with asyncio.timeout(self._time):
                await self._post(where, body)
        except TimeoutError:
            raise PostError(f"{where.host} did not take it within {self._time:g} s") from None
        except (ssl.SSLError, OSError) as error:
            raise PostError(f"no HTTPS with {where.host}: {error}") from None

    async def _post(self, where: Place, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await self._resolver.addresses(where.host)
        except (DnsFailure, NoSuchDomain) as error:
            raise PostError(f"{where.host}: {error or 'no address'}") from None
        addresses = [address for address in found if self._allowed(address)][:_ADDRESSES]
        if not addresses:
            raise PostError(f"{where.host} leads to a network that may not be connected to")
        if self._trust is None:
            # It reads the system's authorities, which takes milliseconds: not before they are needed, nor in the loop.
            self._trust = await loop.run_in_executor(None, ssl.create_default_context)
        for at, address in enumerate(addresses, 1):
            try:
                transport, answer = await loop.create_connection(
                    lambda: _Answer(loop.create_future()),
                    *(address, self._port),
                    ssl=self._trust,
                    server_hostname=where.host,
                )
            except ssl.SSLError:
                raise
            except OSError:
                if at == len(addresses):
                    raise
                continue
            try:
                head = (
                    f"POST {where.target} HTTP/1.1\r\nHost: {where.host}\r\nContent-Type: {_MEDIA_TYPE}\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                )
                transport.write(head.encode() + body)
                status = await answer.done
            finally:
                transport.close()
            if not 200 <= status < 300:
                raise PostError(f"{where.host} answers {status}")
            return


class _Answer(asyncio.Protocol):
    """Reads no more of the response than its status. done: that, or PostError."""

    def __init__(self, done: asyncio.Future[int]) -> None:
        self.done = done
        self._parser = httptools.HttpResponseParser(self)
        self._octets = 0

    def data_received(self, data: bytes) -> None:
        if self.done.done():
            return
        self._octets += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"the answer is no HTTP: {error}")
        if self._octets > _MOST:
            self._fail("the answer's head has no end")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection ended before the answer")

    def _fail(self, text: str) -> None:
        if not self.done.done():
            self.done.set_exception(PostError(text))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and not self.done.done():  # 1xx: more is to come
            self.done.set_result(status)
