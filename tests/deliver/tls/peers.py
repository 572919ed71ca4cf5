"""Far ends that speak TLS, well or badly, with certificates of an authority made for the test."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path

import trustme

from tests.deliver.peers import Answer, Peer

HOST = "mx1.example.net"
EHLO = b"250-peer.example.net\r\n250-PIPELINING\r\n250 STARTTLS\r\n"
EHLO_INSIDE = b"250-peer.example.net\r\n250-PIPELINING\r\n250 DSN\r\n"


class Madness(Enum):
    """What a peer may do after its 220 to STARTTLS."""

    GARBAGE = auto()  # no TLS at all
    HANG_UP = auto()
    SILENCE = auto()
    INJECT = auto()  # more SMTP in the same packet
    ALERT = auto()  # a TLS alert
    HANG_UP_INSIDE = auto()  # TLS, and then nothing
    CHATTER = auto()  # TLS, and words before it was asked


class Certificates:
    """An authority; another that nobody trusts; what both issue."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.stranger = trustme.CA(organization_name="Stranger")
        self.folder = folder
        self.file = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.file)

    def right(self) -> trustme.LeafCert:
        return self.authority.issue_cert(HOST)

    def other_name(self) -> trustme.LeafCert:
        return self.authority.issue_cert("mx.example.org")

    def unknown_issuer(self) -> trustme.LeafCert:
        return self.stranger.issue_cert(HOST)

    def expired(self) -> trustme.LeafCert:
        past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        return self.authority.issue_cert(HOST, not_before=past, not_after=past + datetime.timedelta(days=1))

    def pem(self, leaf: trustme.LeafCert, name: str) -> tuple[str, str]:
        """The files of a certificate and of its key."""
        chain, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return str(chain), str(key)


def server_context(leaf: trustme.LeafCert, tune: Callable[[ssl.SSLContext], object] | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    if tune is not None:
        tune(context)
    return context


class TlsPeer(Peer):
    """A Peer that takes STARTTLS. shown: by connection, (name the client asked for, its certificate's subject)."""

    def __init__(self, context: ssl.SSLContext | None, madness: Madness | None = None, **answers: Answer) -> None:
        super().__init__(**{"ehlo": EHLO, "star": b"220 2.0.0 go ahead\r\n", **answers})
        self.madness = madness
        self.encrypted: set[int] = set()
        self.names: list[str | None] = []
        self.clients: list[object] = []
        self._context = context
        if context is not None:
            context.sni_callback = lambda sock, name, ctx: self.names.append(name)

    async def _answer(
        self, step: str, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> bytes:
        if step == "ehlo" and number in self.encrypted and self.answers["ehlo"] is EHLO:
            writer.write(EHLO_INSIDE)
            return EHLO_INSIDE
        if step == "star" and self.madness is Madness.INJECT:
            writer.write(b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n")
            return b""
        answer = await super()._answer(step, line, reader, writer, number)
        if step != "star" or not answer.startswith(b"220"):
            return answer
        if self.madness in (Madness.GARBAGE, Madness.ALERT):
            await reader.read(1)  # the handshake has begun
        if self.madness is Madness.GARBAGE:
            writer.write(b"500 what do you mean?\r\n" * 20)
            await reader.read()
            return b""
        if self.madness is Madness.ALERT:
            writer.write(b"\x15\x03\x03\x00\x02\x02\x28")
            await reader.read()
            return b""
        if self.madness is Madness.SILENCE:
            while await reader.read(65536):
                pass
            return b""
        if self.madness is Madness.HANG_UP:
            return b""
        assert self._context is not None
        try:
            await writer.start_tls(self._context)
        except OSError:  # the client did not like what it saw
            return b""
        if self.madness is Madness.HANG_UP_INSIDE:
            return b""
        if self.madness is Madness.CHATTER:
            writer.write(b"250-hello\r\n250 AUTH PLAIN\r\n")
        self.encrypted.add(number)
        self.clients.append(writer.get_extra_info("peercert"))
        return answer
