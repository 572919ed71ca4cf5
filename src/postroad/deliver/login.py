"""Logging in at a host that wants to know us: SASL, the client's side (RFC 4954, 4616, 5802, 7677). No I/O.

A secret is never in the configuration itself, only where it is to be found: nothing that shows options shows it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

# What a host may ask of us: it chooses the count, and the event loop does the work.
_MAX_ITERATIONS = 200_000
_MAX_SECRET = 4096  # octets of a secret's file


class LoginError(Exception):
    """The host does not say what the mechanism wants. The message says how."""


class Exchange(Protocol):
    def first(self) -> bytes | None:
        """The initial response; None: the mechanism has none."""

    def answer(self, challenge: bytes) -> bytes:
        """Raises LoginError."""

    def accepted(self) -> None:
        """The host says that we are in. Raises LoginError when it has not shown that it knows us."""


class Credential(NamedTuple):
    """mechanism: the one to use, "" for the best that is offered. in_clear: also without TLS."""

    user: str
    secret: str
    mechanism: str = ""
    in_clear: bool = False

    def __repr__(self) -> str:
        return f"Credential({self.user!r}, (secret))"

    def choose(self, offered: tuple[str, ...]) -> str:
        """The mechanism for a host that offers these; "" when there is none."""
        wanted = (self.mechanism,) if self.mechanism else ("SCRAM-SHA-256", "PLAIN", "LOGIN")
        return next((each for each in wanted if each in offered), "")

    def exchange(self, mechanism: str, nonce: str) -> Exchange:
        """nonce: printable ASCII without a comma, never used before."""
        if mechanism == "SCRAM-SHA-256":
            return _Scram(self.user, self.secret, nonce)
        if mechanism == "LOGIN":
            return _Words(None, self.user.encode(), self.secret.encode())
        if mechanism == "XOAUTH2":
            # A refusal comes as a challenge that wants an empty answer, before the reply.
            return _Words(f"user={self.user}\x01auth=Bearer {self.secret}\x01\x01".encode(), b"")
        return _Words(f"\0{self.user}\0{self.secret}".encode())


class _Words:
    """Mechanisms that just say it: an initial response, and an answer to each challenge."""

    def __init__(self, first: bytes | None, *answers: bytes) -> None:
        self._first = first
        self._answers = list(answers)

    def first(self) -> bytes | None:
        return self._first

    def answer(self, challenge: bytes) -> bytes:
        if not self._answers:
            raise LoginError("it asks for more than the mechanism has to say")
        return self._answers.pop(0)

    def accepted(self) -> None:
        if self._answers and self._first is None:
            raise LoginError("it took less than the mechanism has to say")


class _Scram:
    """RFC 5802 without channel binding. The secret never leaves us, and the host has to show that it knows it."""

    _FIRST = re.compile(r"r=([!-+\--~]+),s=([A-Za-z0-9+/=]+),i=([0-9]{1,7})(?:,.*)?")

    def __init__(self, user: str, secret: str, nonce: str) -> None:
        name = user.replace("=", "=3D").replace(",", "=2C")
        self._secret = secret
        self._nonce = nonce
        self._bare = f"n={name},r={nonce}"
        self._signature = b""
        self._step = 0

    def first(self) -> bytes:
        return f"n,,{self._bare}".encode()

    def answer(self, challenge: bytes) -> bytes:
        self._step += 1
        if self._step == 1:
            return self._proof(challenge)
        if self._step == 2:
            self._verify(challenge)
            return b""
        raise LoginError("it asks for more than the mechanism has to say")

    def _proof(self, challenge: bytes) -> bytes:
        text = challenge.decode("ascii", "replace")
        match = self._FIRST.fullmatch(text)
        if match is None or not match[1].startswith(self._nonce) or len(match[1]) == len(self._nonce):
            raise LoginError("its first SCRAM message is malformed")
        count = int(match[3])
        if not 1 <= count <= _MAX_ITERATIONS:
            raise LoginError(f"it wants {count} iterations of SCRAM, and {_MAX_ITERATIONS} are the most we do")
        try:
            salt = b64decode(match[2], validate=True)
        except Base64Error:
            raise LoginError("its SCRAM salt is no base64") from None
        salted = _salted(self._secret, salt, count)
        final = f"c=biws,r={match[1]}"
        said = f"{self._bare},{text},{final}".encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), said, "sha256")
        self._signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), said, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        return f"{final},p={b64encode(proof).decode()}".encode()

    def _verify(self, challenge: bytes) -> None:
        if not hmac.compare_digest(challenge, b"v=" + b64encode(self._signature)):
            raise LoginError("it does not know our secret")

    def accepted(self) -> None:
        # SMTP's 235 carries no data (RFC 4954 4): the host's proof must have come in a challenge before it.
        if self._step < 2:
            raise LoginError("it did not show that it knows our secret")


@lru_cache(maxsize=256)
def _salted(secret: str, salt: bytes, iterations: int) -> bytes:
    """Milliseconds of work, and a host gives the same salt each time."""
    return hashlib.pbkdf2_hmac("sha256", secret.encode(), salt, iterations)


def read_secret(place: str, environ: Callable[[str], str | None] = os.environ.get) -> str:
    """place: "file:/absolute/path" or "env:NAME". A line end after it is no part of it. Reads files. Raises ValueError,
    which does not repeat the secret."""
    kind, _, where = place.partition(":")
    if kind == "env":
        found = environ(where)
        if found is None:
            raise ValueError(f"the environment has no {where}")
    elif kind == "file":
        try:
            with Path(where).open("rb") as file:
                found = file.read(_MAX_SECRET + 1).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{where} can't be read: {getattr(error, 'strerror', None) or 'it is no UTF-8'}") from None
    else:
        raise ValueError('must be "file:/absolute/path" or "env:NAME"')
    secret = found.rstrip("\r\n")
    if not secret or len(secret) > _MAX_SECRET or "\0" in secret:
        raise ValueError("the secret is empty, too long, or holds a NUL")
    return secret
