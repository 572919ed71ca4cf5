"""What the tests of TLS and AUTH share: an authority made for the test, users, a client's half of SCRAM."""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import trustme

from postroad.auth import ApiKeys, new_key
from postroad.auth.scram import make_verifier
from postroad.auth.smtpauth import SmtpUsers
from postroad.config.schema import ApiKey, CertificateOptions, ListenerOptions, SmtpUser
from postroad.inject import SmtpListener
from postroad.message import IdSource
from postroad.net import Resolver, SystemClock
from tests.inject.kit import HOSTNAME, MemoryAcceptor

USER, PASSWORD = "sales@client.example", "p\u00e4ss, word="
_KEY, _HASH = new_key()
KEY = _KEY
_VERIFIER = str(make_verifier(PASSWORD, b"0123456789abcdef", 4096))


def users() -> SmtpUsers:
    keys = [ApiKey(label="sparky", sha256=_HASH, grants=["smtp"]), ApiKey(label="rest", sha256="0" * 64)]
    return SmtpUsers(
        [
            SmtpUser(name=USER, password=_VERIFIER),
            SmtpUser(name="bound", password=_VERIFIER, senders=["@ours.example"]),
        ],
        ApiKeys(keys),
    )


class Authority:
    """Issues what listeners and clients show, as files of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ca = trustme.CA()
        self.file = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.file)

    def files(self, *names: str, common: str | None = None) -> tuple[str, str]:
        leaf = self._ca.issue_cert(*names, common_name=common)
        chain, key = self.folder / f"{names[0]}.pem", self.folder / f"{names[0]}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return str(chain), str(key)

    def options(self, *names: str) -> CertificateOptions:
        certificate, key = self.files(*names)
        return CertificateOptions(certificate=certificate, key=key)

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.file)


def listening(
    acceptor: MemoryAcceptor, authority: Authority | None = None, resolver: Resolver | None = None, **changes: Any
) -> SmtpListener:
    """A listener of strangers on an ephemeral port, with TLS by a certificate for mx.example where there is an
    authority."""
    if authority is not None:
        changes = {"certificates": [authority.options(HOSTNAME, "127.0.0.1")], "tls": "offered", **changes}
    options = ListenerOptions(**{"address": "127.0.0.1:0", **changes})
    clock = SystemClock()
    return SmtpListener(
        options,
        hostname=HOSTNAME,
        acceptor=acceptor,
        clock=clock,
        ids=IdSource(clock.wall),
        users=users(),
        resolver=resolver,
    )


def coded(text: str | bytes) -> bytes:
    return b64encode(text.encode() if isinstance(text, str) else text)


class ScramClient:
    """RFC 5802 from the client's side, written from the RFC and apart from the server's half."""

    def __init__(self, user: str, password: str, nonce: str = "fyko+d2lbbFgONRv9qkxdawL", gs2: str = "n,,") -> None:
        self.password = password
        self.gs2 = gs2
        self.nonce = nonce
        self.bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        self.signature = b""

    def first(self) -> bytes:
        return (self.gs2 + self.bare).encode()

    def final(self, server_first: bytes) -> bytes:
        match = re.fullmatch(r"r=([^,]+),s=([^,]+),i=(\d+)", server_first.decode())
        assert match is not None and match[1].startswith(self.nonce) and len(match[1]) > len(self.nonce) + 16
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), b64decode(match[2]), int(match[3]))
        client_key = hmac.new(salted, b"Client Key", "sha256").digest()
        bare_final = f"c={b64encode(self.gs2.encode()).decode()},r={match[1]}"
        message = f"{self.bare},{server_first.decode()},{bare_final}".encode()
        signature = hmac.new(hashlib.sha256(client_key).digest(), message, "sha256").digest()
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.signature = hmac.new(hmac.new(salted, b"Server Key", "sha256").digest(), message, "sha256").digest()
        return f"{bare_final},p={b64encode(proof).decode()}".encode()
