"""Keys of the HTTP API (api.md 1.2). Only their SHA-256 is kept; a key never reaches a log or an error."""

from __future__ import annotations

import binascii
import hashlib
import ipaddress
import secrets
from collections.abc import Callable, Iterable
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from postroad.config.schema import ApiKey

GRANTS = ("transmissions", "metrics", "admin", "smtp")
_LONG = {"transmissions": "transmissions/modify", "metrics": "metrics/view", "smtp": "smtp/inject"}


class Key(NamedTuple):
    """A key that was recognised. grants: words of GRANTS; admin implies metrics. subaccount: the one it is bound to;
    None: it is the primary account's, and may act for all. rate: HTTP requests a second; 0: what the server allows."""

    label: str
    grants: frozenset[str] = frozenset(("transmissions",))
    subaccount: int | None = None
    rate: float = 0.0

    def may(self, grant: str) -> bool:
        """The short words of the configuration, or those of api.md 20.2 that mean the same."""
        if grant in self.grants or (grant == "metrics" and "admin" in self.grants):
            return True
        return _LONG.get(grant) in self.grants


class AuthFailure(Enum):
    """UNAUTHORIZED: no key, or none of ours (401). FORBIDDEN: the key may not be used from there (403)."""

    UNAUTHORIZED = 401
    FORBIDDEN = 403


class Entry(NamedTuple):
    """A key, and where it may be used from; (): from anywhere."""

    key: Key
    networks: tuple[IPv4Network | IPv6Network, ...]


def new_key() -> tuple[str, str]:
    """(key of 40 hexadecimal digits for its user, its SHA-256 for the configuration)."""
    key = secrets.token_hex(20)
    return key, hashlib.sha256(key.encode()).hexdigest()


class ApiKeys:
    """The keys of one configuration generation, and those of the store. stored: the key of a SHA-256, asked each time,
    so that a revoked one is dead at once. Raises ValueError on a network or a grant that is none, naming the key."""

    def __init__(self, keys: Iterable[ApiKey], stored: Callable[[bytes], Entry | None] | None = None) -> None:
        self._stored = stored
        self._entries: dict[bytes, Entry] = {}
        for key in keys:
            try:
                networks = tuple(ipaddress.ip_network(network) for network in key.networks)
            except ValueError as error:
                raise ValueError(f"API key {key.label!r}: {error}") from None
            for grant in key.grants:
                if grant not in GRANTS:
                    raise ValueError(f"API key {key.label!r}: {grant!r} is no grant; known: {', '.join(GRANTS)}")
            self._entries[bytes.fromhex(key.sha256)] = Entry(
                Key(key.label, frozenset(key.grants), rate=key.rate), networks
            )

    def __len__(self) -> int:
        return len(self._entries)

    def authenticate(self, authorization: bytes | None, peer: str) -> Key | AuthFailure:
        """Who is it? authorization: the raw header value, or None; peer: the client's IP address.

        The key stands alone, as the user name of Basic with an empty password, or as a Bearer token.
        """
        presented = _presented(authorization)
        if presented is None:
            return AuthFailure.UNAUTHORIZED
        # Looking a digest up leaks nothing through its timing: the guesser can't steer the digest of a guess.
        digest = hashlib.sha256(presented).digest()
        entry = self._entries.get(digest)
        if entry is None and self._stored is not None:
            entry = self._stored(digest)
        if entry is None:
            return AuthFailure.UNAUTHORIZED
        if entry.networks and not _within(peer, entry.networks):
            return AuthFailure.FORBIDDEN
        return entry.key


def _presented(authorization: bytes | None) -> bytes | None:
    """The key in an Authorization value, or None."""
    if not authorization:
        return None
    scheme, blank, rest = authorization.strip().partition(b" ")
    if not blank:
        return scheme or None
    scheme = scheme.lower()
    if scheme == b"bearer":
        return rest.strip() or None
    if scheme == b"basic":
        try:
            user, _, password = binascii.a2b_base64(rest.strip(), strict_mode=True).partition(b":")
        except binascii.Error:
            return None
        return user if user and not password else None
    return None


def _within(peer: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        # A socket that listens on both families shows IPv4 clients like this.
        address = address.ipv4_mapped
    return any(address in network for network in networks)
