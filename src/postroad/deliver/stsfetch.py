"""Fetching a policy: one GET over HTTPS, from a host that a stranger names. So: the certificate must be right (RFC 8461
3.3), nothing is followed anywhere, and size, time and the networks it may lead to are limited."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Protocol

import httptools

from postroad.config.schema import NOT_PUBLIC
from postroad.deliver.plan import Screen
from postroad.net import DnsFailure, NoSuchDomain, Resolver

PATH = "/.well-known/mta-sts.txt"
_TIME = 30.0  # RFC 8461 3.3 suggests a minute; mail waits for this
_MOST = 64 << 10
_HEAD = 16 << 10
_ADDRESSES = 4


class FetchError(Exception):
    """No policy was to be had. The message says why. certificate: the host is not shown to be the right one."""

    def __init__(self, text: str, certificate: bool = False) -> None:
        super().__init__(text)
        self.certificate = certificate


class Fetch(Protocol):
    async def __call__(self, domain: str) -> bytes:
        """The policy file of this domain. Raises FetchError."""


class HttpsFetch:
    """trust: authorities to believe, None for the system's. allowed: may we connect to this address? None: to public
    ones. port: other than 443 for tests only. time: seconds for the whole."""

    def __init__(
        self,
        resolver: Resolver,
        trust: ssl.SSLContext | None = None,
        allowed: Callable[[str], bool] | None = None,
        *,
        port: int = 443,
        time: float = _TIME,
    ) -> None:
        self._resolver = resolver
        self._trust = trust or ssl.create_default_context()
        self._allowed = allowed or _is_public
        self._port = port
        self._time = time

    async def __call__(self, domain: str) -> bytes:
        host = f"mta-sts.{domain}"
        try:
            async with asyncio.timeout(self._time):
                return await self._fetch(host)
        except TimeoutError:
            raise FetchError(f"https://{host}{PATH} did not come within {self._time:g} s") from None
        except ssl.SSLCertVerificationError as error:
            raise FetchError(f"the certificate of {host} is not accepted: {error.verify_message}", True) from None
        except ssl.SSLError as error:
            raise FetchError(f"no TLS with {host}: {(error.reason or str(error)).replace('_', ' ').lower()}") from None

    async def _fetch(self, host: str) -> bytes:
        try:
            found = await self._resolver.addresses(host)
        except (DnsFailure, NoSuchDomain) as error:
            raise FetchError(f"{host}: {error or 'no address'}") from None
        addresses = [address for address in found if self._allowed(address)]
        if not addresses:
            raise FetchError(f"{host} leads to a network that may not be connected to")
        return await self._get(host, addresses[:_ADDRESSES])

    async def _get(self, host: str, addresses: Sequence[str]) -> bytes:
        loop = asyncio.get_running_loop()
        why = ""
        for address in addresses:
            try:
                transport, answer = await loop.create_connection(
                    lambda: _Answer(loop.create_future()), address, self._port, ssl=self._trust, server_hostname=host
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                why = f"no connection to {host} at {address}: {error.strerror or error}"
                continue
            try:
                head = f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\nAccept: text/plain\r\nConnection: close\r\n\r\n"
                transport.write(head.encode())
                return await answer.done
            finally:
                transport.close()
        raise FetchError(why)


_SCREEN = Screen(NOT_PUBLIC, use_ipv6=True)


def _is_public(address: str) -> bool:
    return not _SCREEN.prohibited(address)


class _Answer(asyncio.Protocol):
    """Reads one response. done: its body, or FetchError."""

    def __init__(self, done: asyncio.Future[bytes]) -> None:
        self.done = done
        self._parser = httptools.HttpResponseParser(self)
        self._octets = 0
        self._body = bytearray()
        self._type = b""
        self._begun = False  # the body
        self._sized = False  # its length is told

    def data_received(self, data: bytes) -> None:
        if self.done.done():
            return
        self._octets += len(data)
        if self._octets > _MOST + _HEAD:
            self._fail("the answer is too large for a policy")
            return
        try:
            self._parser.feed_data(data)
        except FetchError as error:
            self._fail(str(error))
        except httptools.HttpParserError as error:
            inner = error.__context__
            self._fail(str(inner) if isinstance(inner, FetchError) else f"the answer is no HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        # A body without a length ends with the connection, and then nobody can tell whether it is all there: the
        # policy's own checks must do.
        if self._begun and not self._sized and exc is None:
            self.on_message_complete()
        self._fail("the connection ended before the answer")

    def _fail(self, text: str) -> None:
        if not self.done.done():
            self.done.set_exception(FetchError(text))

    # --- what the parser tells ----------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"content-type":
            self._type = value.partition(b";")[0].strip().lower()
        elif lower in (b"content-length", b"transfer-encoding"):
            self._sized = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status != 200:
            raise FetchError(f"the answer is {status}")  # redirects must not be followed either (3.3)
        if self._type != b"text/plain":
            raise FetchError(
                f"the answer is {self._type[:60].decode('ascii', 'replace') or 'of no type'}, not text/plain"
            )
        self._begun = True

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > _MOST:
            raise FetchError("the answer is too large for a policy")

    def on_message_complete(self) -> None:
        if not self.done.done():
            self.done.set_result(bytes(self._body))
