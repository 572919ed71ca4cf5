"""TLS of one session, between its socket and its machine, by memory buffers: no task, no transport of the loop's own.

The loops' `start_tls` keeps 256 KB of buffer for each connection and could lose what a load balancer sent together with
its PROXY header; here idle sessions cost what OpenSSL takes, and octets come in order, whoever read them.
"""

from __future__ import annotations

import ssl
from typing import NamedTuple

_PIECE = 1 << 16


class Peer(NamedTuple):
    """What the handshake came to. version: "TLSv1.3"; subject: common name or first name of a verified certificate."""

    version: str
    cipher: str
    subject: str = ""

    @property
    def text(self) -> str:
        return f"{self.version} {self.cipher}"


class TlsLayer:
    """Server side. done: the handshake is over. ended: the client said that it sends no more (close_notify)."""

    __slots__ = ("_in", "_object", "_out", "done", "ended")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_side=True)
        self.done = False
        self.ended = False

    def received(self, data: bytes) -> bytes:
        """Octets from the socket; the plain text they hold. Raises ssl.SSLError, after which the session is over but
        for what `take` still has to say."""
        self._in.write(data)
        if not self.done:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                return b""
            self.done = True
        pieces: list[bytes] = []
        try:
            while piece := self._object.read(_PIECE):
                pieces.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def send(self, data: bytes) -> None:
        """Plain text for the client; only when `done`."""
        if data:
            self._object.write(data)

    def close(self) -> None:
        """Tell the client that no more will come."""
        if not self.done:
            return
        try:
            self._object.unwrap()
        except ssl.SSLError:
            return  # it has not said the same yet, and we don't wait for that (RFC 8446 6.1)

    def take(self) -> bytes:
        """What is to go into the socket."""
        return self._out.read()

    def peer(self) -> Peer:
        """Only when `done`."""
        cipher = self._object.cipher()
        return Peer(self._object.version() or "", cipher[0] if cipher else "", _subject(self._object.getpeercert()))


def _subject(certificate: object) -> str:
    """A name of a certificate that was verified; "" where none was given."""
    if not isinstance(certificate, dict):
        return ""
    for group in certificate.get("subject", ()):
        for name, value in group:
            if name == "commonName":
                return str(value)
    for kind, value in certificate.get("subjectAltName", ()):
        if kind in ("DNS", "email"):
            return str(value)
    return ""
