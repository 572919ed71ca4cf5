"""Private keys at rest: AES-256-GCM under a key drawn from the server's secret (NIST SP 800-38D, RFC 5869).

The name and the algorithm of the key are bound in, so a sealed key put under another name does not open.
"""

from __future__ import annotations

import base64
import binascii
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from postroad.auth.dkim.keys import DkimKeyError, PrivateKey

_PREFIX = "postroad-dkim-key-1:"
_SALT = 16
_NONCE = 12
MIN_SECRET = 32


class SealError(ValueError):
    """A sealed key that does not open: another secret, another name, or damage. Holds nothing secret."""


def _cipher(secret: bytes, salt: bytes) -> AESGCM:
    if len(secret) < MIN_SECRET:
        raise SealError(f"the secret has {len(secret)} octets; {MIN_SECRET} random ones are the least")
    return AESGCM(HKDF(hashes.SHA256(), 32, salt, b"postroad dkim key at rest").derive(secret))


def seal(key: PrivateKey, secret: bytes) -> str:
    """One line of text. secret: at least 32 random octets, the same at every start of the server."""
    salt = secrets.token_bytes(_SALT)
    nonce = secrets.token_bytes(_NONCE)
    sealed = _cipher(secret, salt).encrypt(nonce, key.pem(), key.name.encode())
    return _PREFIX + base64.b64encode(salt + nonce + sealed).decode()


def unseal(text: str, domain: str, selector: str, secret: bytes) -> PrivateKey:
    """Raises SealError."""
    name = f"{selector}._domainkey.{domain}"
    text = text.strip()
    if not text.startswith(_PREFIX):
        raise SealError(f"{name}: no sealed key")
    try:
        data = base64.b64decode(text[len(_PREFIX) :], validate=True)
    except binascii.Error:
        raise SealError(f"{name}: no base64") from None
    salt, nonce, sealed = data[:_SALT], data[_SALT : _SALT + _NONCE], data[_SALT + _NONCE :]
    if len(sealed) < 16:
        raise SealError(f"{name}: cut short")
    try:
        return PrivateKey.from_pem(domain, selector, _cipher(secret, salt).decrypt(nonce, sealed, name.encode()))
    except InvalidTag:
        raise SealError(f"{name}: sealed with another secret, under another name, or damaged") from None
    except DkimKeyError as error:
        raise SealError(str(error)) from None
