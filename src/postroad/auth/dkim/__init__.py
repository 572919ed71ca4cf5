"""DKIM: signatures of domains on messages (RFC 6376, RFC 8301, RFC 8463).

`Signer` makes them, `verify` checks them. `BodyHash` is computed once for a body and shared by all who sign it."""

from postroad.auth.dkim.canon import BodyHash, Canon
from postroad.auth.dkim.keys import Algorithm, DkimKeyError, PrivateKey, PublicKey, read_key_record
from postroad.auth.dkim.rotation import Slot, due, published, signing
from postroad.auth.dkim.sealed import SealError, seal, unseal
from postroad.auth.dkim.secretfile import FILE as SECRET_FILE
from postroad.auth.dkim.secretfile import own_secret, read_secret
from postroad.auth.dkim.sign import DEFAULT_HEADERS, DEFAULT_OVERSIGNED, Signer
from postroad.auth.dkim.tags import TagError, parse_tags
from postroad.auth.dkim.verify import Result, Verification, VerifyLimits, verify

__all__ = [
    "DEFAULT_HEADERS",
    "DEFAULT_OVERSIGNED",
    "SECRET_FILE",
    "Algorithm",
    "BodyHash",
    "Canon",
    "DkimKeyError",
    "PrivateKey",
    "PublicKey",
    "Result",
    "SealError",
    "Signer",
    "Slot",
    "TagError",
    "Verification",
    "VerifyLimits",
    "due",
    "own_secret",
    "parse_tags",
    "published",
    "read_key_record",
    "read_secret",
    "seal",
    "signing",
    "unseal",
    "verify",
]
