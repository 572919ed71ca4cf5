"""SCRAM-SHA-256 (RFC 5802, 7677): what is kept of a password, and the server's side of the arithmetic. Pure."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import unicodedata
from base64 import b64decode, b64encode
from typing import NamedTuple

ITERATIONS = 10_000  # for new passwords; RFC 7677 4 wants at least 4096
MAX_ITERATIONS = 1_000_000
_SHA256 = 32
_FORM = re.compile(r"SCRAM-SHA-256\$(\d{1,7}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")


class Verifier(NamedTuple):
    """What is kept instead of the password. Who has it can't log in with it, nor find a good password by it."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    def __str__(self) -> str:
        salt, stored, server = (b64encode(part).decode() for part in self[1:])
        return f"SCRAM-SHA-256${self.iterations}:{salt}${stored}:{server}"

    def __repr__(self) -> str:
        return "Verifier((secret))"


def make_verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> Verifier:
    """salt: random octets, 16 are good. Takes milliseconds."""
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password).encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return Verifier(iterations, salt, hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256"))


def parse_verifier(text: str) -> Verifier:
    """The text form, as PostgreSQL keeps it too. Raises ValueError, which does not repeat the text."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("is not of the form SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey")
    iterations = int(match[1])
    try:
        salt, stored, server = (b64decode(part, validate=True) for part in match.groups()[1:])
    except binascii.Error:
        raise ValueError("holds something that is not base64") from None
    if not 4096 <= iterations <= MAX_ITERATIONS or not salt or len(stored) != _SHA256 or len(server) != _SHA256:
        raise ValueError(f"must have 4096 to {MAX_ITERATIONS} iterations, a salt and two keys of {_SHA256} octets")
    return Verifier(iterations, salt, stored, server)


def matches(verifier: Verifier, password: str) -> bool:
    """Is it this password? Takes milliseconds: not on the event loop."""
    return hmac.compare_digest(
        make_verifier(password, verifier.salt, verifier.iterations).stored_key, verifier.stored_key
    )


def proven(verifier: Verifier, message: bytes, proof: bytes) -> bool:
    """message: the AuthMessage of RFC 5802 3; proof: ClientProof."""
    if len(proof) != _SHA256:
        return False
    signature = hmac.digest(verifier.stored_key, message, "sha256")
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), verifier.stored_key)


def server_signature(verifier: Verifier, message: bytes) -> bytes:
    return hmac.digest(verifier.server_key, message, "sha256")


def prepared(text: str) -> str:
    """What of SASLprep (RFC 4013) matters between honest people: other spaces are spaces, and NFKC."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", "".join(" " if c.isspace() else c for c in text))
