"""Keys of DKIM: the private ones we sign with, and the public ones as DNS shows them (RFC 6376 3.6, RFC 8463)."""

from __future__ import annotations

import base64
from enum import Enum
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from postroad.auth.dkim.tags import TagError, base64_tag, parse_tags, unfolded

# RFC 8301 3.2: signers use 2048, verifiers refuse less than 1024. The upper bound bounds what a stranger's key costs.
MIN_BITS = 1024
MAX_BITS = 8192
_PADDING = PKCS1v15()
_PREHASHED = Prehashed(hashes.SHA256())


class Algorithm(Enum):
    """The values of a=. rsa-sha1 is not among them: RFC 8301 3.1 forbids it to signers and verifiers."""

    RSA = "rsa-sha256"
    ED25519 = "ed25519-sha256"


class DkimKeyError(ValueError):
    """A key that can't be used; the message says why, and never holds the key."""


class PrivateKey:
    """domain, selector: A-labels in lower case. digest signatures only: both algorithms sign the SHA-256 of the data
    (RFC 8463 3)."""

    def __init__(self, domain: str, selector: str, key: RSAPrivateKey | Ed25519PrivateKey) -> None:
        self.domain = domain
        self.selector = selector
        self._key = key
        self.algorithm = Algorithm.RSA if isinstance(key, RSAPrivateKey) else Algorithm.ED25519

    def __repr__(self) -> str:
        return f"PrivateKey({self.name!r}, {self.algorithm.value})"

    @property
    def name(self) -> str:
        """Where DNS shows the public half."""
        return f"{self.selector}._domainkey.{self.domain}"

    @classmethod
    def generate(cls, domain: str, selector: str, algorithm: Algorithm, *, bits: int = 2048) -> PrivateKey:
        """A new key. bits: of an RSA key, 1024 to 8192."""
        if algorithm is Algorithm.ED25519:
            return cls(domain, selector, Ed25519PrivateKey.generate())
        if not MIN_BITS <= bits <= MAX_BITS:
            raise DkimKeyError(f"an RSA key has {MIN_BITS} to {MAX_BITS} bits, not {bits}")
        return cls(domain, selector, generate_private_key(65537, bits))

    @classmethod
    def from_pem(cls, domain: str, selector: str, pem: bytes) -> PrivateKey:
        """Raises DkimKeyError."""
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # Their messages may quote what they read.
            raise DkimKeyError(f"the key of {selector}._domainkey.{domain} is no unencrypted PEM") from None
        if isinstance(key, RSAPrivateKey):
            if not MIN_BITS <= key.key_size <= MAX_BITS:
                raise DkimKeyError(f"an RSA key has {MIN_BITS} to {MAX_BITS} bits, not {key.key_size}")
            return cls(domain, selector, key)
        if isinstance(key, Ed25519PrivateKey):
            return cls(domain, selector, key)
        raise DkimKeyError(f"the key of {selector}._domainkey.{domain} is neither RSA nor Ed25519")

    def pem(self) -> bytes:
        """PKCS #8, in the clear: for `seal`."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign_digest(self, digest: bytes) -> bytes:
        """Thread-safe, and OpenSSL lets go of the interpreter lock meanwhile."""
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(digest, _PADDING, _PREHASHED)
        return self._key.sign(digest)

    def record(self) -> str:
        """The text of the TXT record."""
        public = self._key.public_key()
        if isinstance(public, RSAPublicKey):
            data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return f"v=DKIM1; k=rsa; p={base64.b64encode(data).decode()}"
        data = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(data).decode()}"

    def zone_line(self) -> str:
        """The record as a line of a zone file."""
        quoted = " ".join(f'"{part}"' for part in split_record(self.record()))
        return f"{self.name}. IN TXT ( {quoted} )"


def split_record(text: str) -> list[str]:
    """The character strings of a TXT record: at most 255 octets each (RFC 1035 3.3). text: ASCII."""
    return [text[start : start + 255] for start in range(0, len(text), 255)]


class PublicKey(NamedTuple):
    """A key record. strict: t=s, the i= domain must be d= itself; testing: t=y."""

    key: RSAPublicKey | Ed25519PublicKey
    testing: bool = False
    strict: bool = False

    @property
    def bits(self) -> int:
        return self.key.key_size if isinstance(self.key, RSAPublicKey) else 256

    def matches(self, other: PublicKey) -> bool:
        """Is it the same key, whatever the flags of the records?"""
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return self.key.public_bytes(*form) == other.key.public_bytes(*form)

    def verifies(self, signature: bytes, digest: bytes) -> bool:
        try:
            if isinstance(self.key, RSAPublicKey):
                self.key.verify(signature, digest, _PADDING, _PREHASHED)
            else:
                self.key.verify(signature, digest)
        except InvalidSignature:
            return False
        return True


def read_key_record(raw: bytes, algorithm: Algorithm) -> PublicKey:
    """The key in a TXT record, for signatures of this algorithm. Raises DkimKeyError with the reason of RFC 6376 6.1.2:
    a record that is none, a key of another kind or use, a revoked one (an empty p=), one that can't be read."""
    try:
        tags = parse_tags(raw)
    except TagError as error:
        raise DkimKeyError(f"key syntax error: {error}") from None
    if "v" in tags and (tags["v"] != "DKIM1" or next(iter(tags)) != "v"):
        raise DkimKeyError("key syntax error: v= is not DKIM1 or does not stand first")
    kind = tags.get("k", "rsa")
    if kind != algorithm.value.partition("-")[0]:
        raise DkimKeyError(f"inappropriate key algorithm: {kind[:20]}")
    if "h" in tags and "sha256" not in _words(tags["h"]):
        raise DkimKeyError("inappropriate hash algorithm")
    if not {"*", "email"} & _words(tags.get("s", "*")):
        raise DkimKeyError("the key is not for e-mail")
    if "p" not in tags:
        raise DkimKeyError("key syntax error: p= is missing")
    if not tags["p"]:
        raise DkimKeyError("key revoked")
    flags = _words(tags.get("t", ""))
    try:
        return PublicKey(_load(base64_tag(tags, "p"), algorithm), "y" in flags, "s" in flags)
    except TagError as error:
        raise DkimKeyError(f"key syntax error: {error}") from None


def _words(value: str) -> set[str]:
    return set(unfolded(value).split(":"))


def _load(data: bytes, algorithm: Algorithm) -> RSAPublicKey | Ed25519PublicKey:
    try:
        if algorithm is Algorithm.ED25519:
            return Ed25519PublicKey.from_public_bytes(data)
        key = load_der_public_key(data)  # SubjectPublicKeyInfo, or a bare RSAPublicKey as RFC 6376 says
    except (ValueError, UnsupportedAlgorithm):
        raise DkimKeyError("the key can't be read") from None
    if not isinstance(key, RSAPublicKey):
        raise DkimKeyError("the key is no RSA key")
    if key.key_size > MAX_BITS:
        raise DkimKeyError(f"an RSA key of {key.key_size} bits; more than {MAX_BITS} are refused")
    return key
