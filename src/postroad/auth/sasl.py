"""SASL mechanisms, the server's side (RFC 4422): PLAIN (4616), LOGIN, XOAUTH2, SCRAM-SHA-256 (5802, 7677). Pure.

Each exchange is fed the client's responses and says what comes next. Nothing here tells a user that is not there from a
wrong password.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from typing import NamedTuple, Protocol

from postroad.auth.scram import Verifier, prepared, proven, server_signature

MECHANISMS = ("SCRAM-SHA-256", "PLAIN", "LOGIN", "XOAUTH2")
_MAX_NAME = 255  # octets


class Challenge(NamedTuple):
    """Say this and come back with the response."""

    octets: bytes


class Claim(NamedTuple):
    """The client says who it is, and the secret is to be checked. token: it is no password, but an API key."""

    user: str
    secret: str
    token: bool = False

    def __repr__(self) -> str:
        return f"Claim({self.user!r}, (secret))"


class Proven(NamedTuple):
    """The client is who it says, without having told the secret."""

    user: str


class Failed(NamedTuple):
    """It is not, or what it said is malformed. user: if it came that far."""

    user: str = ""


Step = Challenge | Claim | Proven | Failed


class Exchange(Protocol):
    def step(self, response: bytes | None) -> Step:
        """response: None when AUTH came without an initial one."""


class Plain:
    """PLAIN: [authorisation identity] NUL user NUL password."""

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        parts = _text(response).split("\0")
        if len(parts) != 3 or not _is_name(parts[1]) or not parts[2] or parts[0] not in ("", parts[1]):
            return Failed()
        return Claim(parts[1], parts[2])


class Login:
    """LOGIN: never more than a draft, and what many clients know."""

    def __init__(self) -> None:
        self._user: str | None = None

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"Username:")
        text = _text(response)
        if self._user is None:
            if not _is_name(text):
                return Failed()
            self._user = text
            return Challenge(b"Password:")
        return Claim(self._user, text) if text else Failed(self._user)


class XOAuth2:
    """XOAUTH2, as Google documents it: user=NAME ^A auth=Bearer TOKEN ^A ^A."""

    _FORM = re.compile(r"user=([^\x01]+)\x01auth=Bearer ([^\x01]+)\x01\x01", re.IGNORECASE)

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        match = self._FORM.fullmatch(_text(response))
        if match is None or not _is_name(match[1]):
            return Failed()
        return Claim(match[1], match[2], token=True)


class Scram:
    """SCRAM-SHA-256 without channel binding. find: the verifier of a user; for one that is not there one that no
    password fits, the same each time. nonce: printable ASCII without a comma, never used before."""

    _FIRST = re.compile(r"([ny]),(?:a=([^,]*))?,(n=([^,]+),r=([!-+\--~]{1,512}))(?:,[A-Za-z]=[^,]*)*")
    _FINAL = re.compile(r"(c=([A-Za-z0-9+/=]+),r=([!-+\--~]+)(?:,[A-Za-z]=[^,]*)*),p=([A-Za-z0-9+/=]+)")

    def __init__(self, find: Callable[[str], Verifier], nonce: str) -> None:
        self._find = find
        self._nonce = nonce
        self._user = ""
        self._verifier: Verifier | None = None
        self._header = ""
        self._said = ""
        self._proven = False

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        if self._proven:
            return Proven(self._user) if not response else Failed(self._user)
        return self._first(_text(response)) if self._verifier is None else self._final(_text(response), self._verifier)

    def _first(self, text: str) -> Step:
        match = self._FIRST.fullmatch(text)
        if match is None:
            return Failed()
        user = _unescaped(match[4])
        if not _is_name(user) or (match[2] and _unescaped(match[2]) != user):
            return Failed()
        self._user = user
        self._verifier = self._find(user)
        self._nonce = match[5] + self._nonce
        self._header = text[: match.start(3)]
        bare = text[match.start(3) :]
        salt = b64encode(self._verifier.salt).decode()
        first = f"r={self._nonce},s={salt},i={self._verifier.iterations}"
        self._said = f"{bare},{first}"
        return Challenge(first.encode())

    def _final(self, text: str, verifier: Verifier) -> Step:
        match = self._FINAL.fullmatch(text)
        if match is None or match[3] != self._nonce:
            return Failed(self._user)
        try:
            binding, proof = b64decode(match[2], validate=True), b64decode(match[4], validate=True)
        except Base64Error:
            return Failed(self._user)
        message = f"{self._said},{match[1]}".encode()
        if binding != self._header.encode() or not proven(verifier, message, proof):
            return Failed(self._user)
        # SMTP's 235 can't carry the server's proof: it goes in a challenge that wants an empty response (RFC 4954 4).
        self._proven = True
        return Challenge(b"v=" + b64encode(server_signature(verifier, message)))


def _unescaped(name: str) -> str:
    """The name as it stands in SCRAM (RFC 5802 5.1); "" when an "=" begins nothing."""
    if re.search(r"=(?!2C|3D)", name):
        return ""
    return prepared(name.replace("=2C", ",").replace("=3D", "="))


def _text(octets: bytes) -> str:
    """UTF-8; "" for what is none, which no mechanism takes."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return ""


def _is_name(text: str) -> bool:
    return 0 < len(text.encode()) <= _MAX_NAME and text.isprintable()
