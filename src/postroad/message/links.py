"""Signed addresses in mail: links whose clicks are counted, pixels, unsubscribing (api.md 10.3).

A token carries everything that must be known when it comes back, so nothing is looked up and nothing kept. It is

    base64url( version 1 octet, key 1 octet, length of `about` 2 octets, about, link, seal 16 octets )

without padding. about and link are msgpack arrays: what is said of the message, encoded once for all its links, and of
the link. The seal is HMAC-SHA256 (RFC 2104) over all octets before it, truncated to its left half. A key has a number,
so that keys can be changed while mail with the old one is still read.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

VERSION = 1
LIFETIME = 31_536_000  # seconds a link lives, api.md 10.3
MAX_TOKEN = 16_384  # characters; longer ones are not read
MAX_METADATA = 1000  # bytes of JSON that a link carries, api.md 10.3
_SEAL = 16  # octets
_HEAD = 4  # octets

_encode = msgspec.msgpack.Encoder().encode


class Aim(StrEnum):
    """What a token is for; its path has a place of its own (api.md 10.3)."""

    CLICK = "f"
    OPEN = "q"
    INITIAL_OPEN = "o"
    UNSUBSCRIBE = "u"


class About(Struct, frozen=True, array_like=True, omit_defaults=True):
    """What events about a link say of its message. made: Unix seconds. message and transmission: ids."""

    message: str
    transmission: str
    recipient: str
    made: int
    subaccount: int = 0
    template: str = ""
    template_version: str = ""
    campaign: str = ""
    sender: str = ""
    metadata: dict[str, Any] = {}
    tags: list[str] = []


class Linked(Struct, frozen=True, array_like=True, omit_defaults=True):
    """url: where it leads, "" for pixels."""

    aim: str
    url: str = ""
    name: str = ""
    unsubscribe: bool = False


class LinkError(ValueError):
    """No token of ours, or one that was changed, or is too old."""


_about = msgspec.msgpack.Decoder(About)
_linked = msgspec.msgpack.Decoder(Linked)


class LinkKeys:
    """The secrets of a server by their number, 0 to 255. current: signs; the others are still read."""

    __slots__ = ("_current", "_keys")

    def __init__(self, keys: Mapping[int, bytes], current: int) -> None:
        """Raises ValueError: a secret of less than 16 octets, a number that is none, no current one."""
        if current not in keys or not all(0 <= number < 256 for number in keys):
            raise ValueError("link keys are numbered from 0 to 255, and the current one must be among them")
        if any(len(secret) < 16 for secret in keys.values()):
            raise ValueError("a link key must have 16 octets or more")
        self._keys = dict(keys)
        self._current = current

    def signer(self, about: About) -> Signer:
        """Raises ValueError when there is more to say than a token holds."""
        said = _encode(about)
        if len(said) >= 1 << 16:
            raise ValueError("too much to say about a link")
        head = bytes((VERSION, self._current)) + len(said).to_bytes(2, "big")
        return Signer(self._keys[self._current], head + said)

    def read(self, token: str, now: float) -> tuple[About, Linked]:
        """now: Unix seconds. Raises LinkError."""
        if len(token) > MAX_TOKEN or not token.isascii():
            raise LinkError("no token")
        try:
            octets = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raise LinkError("no token") from None
        if len(octets) < _HEAD + _SEAL or octets[0] != VERSION:
            raise LinkError("no token of this version")
        secret = self._keys.get(octets[1])
        if secret is None:
            raise LinkError("signed with a key that is not ours any more")
        payload, seal = octets[:-_SEAL], octets[-_SEAL:]
        if not hmac.compare_digest(hmac.digest(secret, payload, "sha256")[:_SEAL], seal):
            raise LinkError("changed on its way")
        end = _HEAD + int.from_bytes(payload[2:4], "big")
        try:
            about, linked = _about.decode(payload[_HEAD:end]), _linked.decode(payload[end:])
        except (msgspec.DecodeError, RecursionError):
            raise LinkError("not readable") from None
        if now > about.made + LIFETIME:
            raise LinkError("too old")
        return about, linked


class Signer:
    """Makes the tokens of one recipient's message."""

    __slots__ = ("_secret", "_start")

    def __init__(self, secret: bytes, start: bytes) -> None:
        self._secret = secret
        self._start = start

    def token(self, linked: Linked) -> str:
        payload = self._start + _encode(linked)
        sealed = payload + hmac.digest(self._secret, payload, "sha256")[:_SEAL]
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
