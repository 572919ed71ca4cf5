"""What a domain publishes beside its mail hosts: names with DNSSEC, and a web server for its MTA-STS policy."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.deliver.tls.peers import server_context


def tlsa(usage: int, certificate: bytes, *, selector: int = 0, matching: int = 1) -> str:
    """The rdata of a TLSA record for this certificate (PEM)."""
    found = x509.load_pem_x509_certificate(certificate)
    if selector == 0:
        data = found.public_bytes(Encoding.DER)
    else:
        data = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if matching:
        data = {1: hashlib.sha256, 2: hashlib.sha512}[matching](data).digest()
    return f"{usage} {selector} {matching} {data.hex()}"


def policy(mode: str = "enforce", *hosts: str, max_age: int = 604800) -> bytes:
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {host}" for host in hosts or ("*.example.net",))]
    return "\r\n".join([*lines, f"max_age: {max_age}", ""]).encode()


def answer(body: bytes, *, status: str = "200 OK", kind: str = "text/plain") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class PolicyHost:
    """Gives the same answer to everybody, octet for octet. hold: never answer. asked: the requests so far."""

    def __init__(self, reply: bytes, leaf: trustme.LeafCert) -> None:
        self.reply = reply
        self.hold = False
        self.asked: list[bytes] = []
        self._context = server_context(leaf)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            if self.hold:
                await reader.read()
            writer.write(self.reply)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Its port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        async with server:
            yield server.sockets[0].getsockname()[1]


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context
