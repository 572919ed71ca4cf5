"""Verification (RFC 6376 6). Bounded: so many signatures are looked at, so many keys are asked for, and no more."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from postroad.auth.author import to_ascii
from postroad.auth.dkim.canon import BodyHash, Canon, canonical_field
from postroad.auth.dkim.keys import MIN_BITS, Algorithm, DkimKeyError, PublicKey, read_key_record
from postroad.auth.dkim.tags import TagError, base64_tag, number_tag, parse_tags, unfolded
from postroad.auth.fields import Field, body_start, split_fields
from postroad.net import DnsFailure

_B_VALUE = re.compile(rb"((?:\A|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")
_NAME = re.compile(r"[\x21-\x39\x3b-\x7e]+\Z")
_DOMAIN = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9_\-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_\-]*[A-Za-z0-9_])?)*\Z"
)
_SKEW = 300  # seconds a signer's clock may run ahead


class TxtResolver(Protocol):
    async def txt(self, name: str) -> list[bytes]:
        """As `postroad.net.PolicyResolver.txt`."""


class Result(Enum):
    """The results of RFC 8601 2.7.1."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    POLICY = "policy"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class VerifyLimits(NamedTuple):
    """signatures: looked at, from the top; keys: different key records asked for; header: octets of a header section
    that is read at all; min_bits: of an RSA key."""

    signatures: int = 8
    keys: int = 8
    header: int = 1 << 20
    min_bits: int = MIN_BITS


DEFAULT_LIMITS = VerifyLimits()


class Verification(NamedTuple):
    """One signature. domain, selector, identity: d=, s=, i= as given, "" where unreadable. signed: the names of h=.
    partial: l= leaves octets at the end of the body unsigned. testing: the key says t=y. b: the first characters of
    the signature, which tell signatures of one domain apart (RFC 6008)."""

    result: Result
    reason: str = ""
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    bits: int = 0
    signed: tuple[str, ...] = ()
    partial: bool = False
    testing: bool = False
    b: str = ""


class Broken(Exception):
    """Why a signature does not pass."""

    def __init__(self, result: Result, reason: str) -> None:
        super().__init__(reason)
        self.result = result
        self.reason = reason


class Signature(NamedTuple):
    """A signature field that can be checked."""

    algorithm: Algorithm
    domain: str
    selector: str
    identity: str
    header_canon: Canon
    body_canon: Canon
    names: tuple[bytes, ...]
    body_hash: bytes
    signature: bytes
    length: int | None
    raw: bytes


async def verify(
    content: bytes, resolver: TxtResolver, *, now: float, limits: VerifyLimits = DEFAULT_LIMITS
) -> list[Verification]:
    """What each DKIM-Signature field is worth, from the top; [] when there is none. Never raises on what a message or
    DNS holds. content: the message as received, CRLF line ends. now: seconds since 1970. The arithmetic runs in the
    loop's executor."""
    start = body_start(content)
    if start > limits.header:
        return [Verification(Result.POLICY, f"a header section of more than {limits.header} octets")]
    fields = split_fields(content[:start])
    body = BodyHash(content, start)
    keys = KeyFinder(resolver, limits.keys)
    signatures = [field for field in fields if field.name == b"dkim-signature"][: limits.signatures]
    return [await _verify_one(field, fields, body, keys, now, limits) for field in signatures]


async def _verify_one(
    field: Field, fields: list[Field], body: BodyHash, keys: KeyFinder, now: float, limits: VerifyLimits
) -> Verification:
    tags: dict[str, str] = {}
    about = Verification(Result.PERMERROR)
    try:
        try:
            tags = parse_tags(field.raw.partition(b":")[2])
            about = _about(tags)
            signature = read_signature(tags, field.raw, now)
        except TagError as error:
            raise Broken(Result.PERMERROR, f"signature syntax error: {error}") from None
        about = about._replace(identity=signature.identity)
        key = await keys.find(signature.domain, signature.selector, signature.algorithm)
        about = about._replace(bits=key.bits, testing=key.testing)
        if signature.algorithm is Algorithm.RSA and key.bits < limits.min_bits:
            raise Broken(Result.POLICY, f"an RSA key of {key.bits} bits; {limits.min_bits} are the least")
        if key.strict and signature.identity.rpartition("@")[2].lower() != signature.domain:
            raise Broken(Result.PERMERROR, "the key is not for subdomains (t=s)")
        loop = asyncio.get_running_loop()
        partial = await loop.run_in_executor(None, check, signature, key, fields, body)
        return about._replace(result=Result.PASS, partial=partial)
    except Broken as broken:
        return about._replace(result=broken.result, reason=broken.reason)


def _about(tags: dict[str, str]) -> Verification:
    return Verification(
        Result.PERMERROR,
        domain=tags.get("d", "")[:253],
        selector=tags.get("s", "")[:253],
        identity=tags.get("i", "")[:320],
        algorithm=tags.get("a", "")[:40],
        signed=tuple(unfolded(tags.get("h", "")).lower().split(":")),
        b=unfolded(tags.get("b", ""))[:8],
    )


def read_signature(tags: dict[str, str], raw: bytes, now: float) -> Signature:
    """The checks of RFC 6376 6.1.1. Raises TagError or Broken."""
    for name in ("v", "a", "b", "bh", "d", "h", "s"):
        if not tags.get(name):
            raise Broken(Result.PERMERROR, f"signature missing required tag {name}=")
    if tags["v"] != "1":
        raise Broken(Result.PERMERROR, "incompatible version")
    algorithm = read_algorithm(tags["a"])
    domain, selector = read_names(tags)
    identity = _read_identity(tags, domain)
    names = tuple(name.encode() for name in unfolded(tags["h"]).lower().split(":"))
    if not all(_NAME.match(name.decode()) for name in names):
        raise Broken(Result.PERMERROR, "signature syntax error: h= holds what is no field name")
    if b"from" not in names:
        raise Broken(Result.PERMERROR, "From field not signed")
    if "dns/txt" not in unfolded(tags.get("q", "dns/txt")).split(":"):
        raise Broken(Result.PERMERROR, "no query method of q= is known")
    made, expires = number_tag(tags, "t", 12), number_tag(tags, "x", 12)
    if expires is not None:
        if made is not None and expires <= made:
            raise Broken(Result.PERMERROR, "x= is not later than t=")
        if expires < now:
            raise Broken(Result.POLICY, "signature expired")
    if made is not None and made > now + _SKEW:
        raise Broken(Result.POLICY, "signature from the future")
    header_canon, body_canon = read_canons(tags)
    return Signature(
        algorithm,
        domain,
        selector,
        identity,
        header_canon,
        body_canon,
        names,
        base64_tag(tags, "bh"),
        base64_tag(tags, "b"),
        number_tag(tags, "l", 76),
        raw,
    )


def read_algorithm(text: str) -> Algorithm:
    """Raises Broken: rsa-sha1 is policy (RFC 8301 3.1), others can't be known."""
    if text == "rsa-sha1":
        raise Broken(Result.POLICY, "rsa-sha1 is refused (RFC 8301)")
    try:
        return Algorithm(text)
    except ValueError:
        raise Broken(Result.PERMERROR, f"unknown algorithm {text[:40]!r}") from None


def read_names(tags: dict[str, str]) -> tuple[str, str]:
    """d= and s= in lower case, as A-labels (RFC 8616). Raises Broken."""
    names = []
    for tag in ("d", "s"):
        text = tags[tag] if tags[tag].isascii() else to_ascii(tags[tag])
        if len(text) > 253 or not _DOMAIN.match(text) or any(len(label) > 63 for label in text.split(".")):
            raise Broken(Result.PERMERROR, f"{tag}= is no domain name")
        names.append(text.lower())
    return names[0], names[1]


def _read_identity(tags: dict[str, str], domain: str) -> str:
    identity = tags.get("i", "@" + domain)
    _, at, host = identity.rpartition("@")
    if not at:
        raise Broken(Result.PERMERROR, "i= has no @")
    if not ("." + host.lower()).endswith("." + domain):
        raise Broken(Result.PERMERROR, "domain mismatch: i= is not within d=")
    return identity


def read_canons(tags: dict[str, str]) -> tuple[Canon, Canon]:
    """Of header and body; Broken on names nobody knows."""
    header, _, body = tags.get("c", "simple/simple").partition("/")
    try:
        return Canon(header), Canon(body or "simple")
    except ValueError:
        raise Broken(Result.PERMERROR, "unknown canonicalization") from None


class KeyFinder:
    """Asks for key records, each once. Not more than `most` in all."""

    def __init__(self, resolver: TxtResolver, most: int) -> None:
        self._resolver = resolver
        self._left = most
        self._records: dict[str, list[bytes]] = {}

    async def find(self, domain: str, selector: str, algorithm: Algorithm) -> PublicKey:
        """Raises Broken."""
        name = f"{selector}._domainkey.{domain}"
        records = self._records.get(name)
        if records is None:
            if not self._left:
                raise Broken(Result.POLICY, "too many different keys")
            self._left -= 1
            try:
                records = self._records[name] = await self._resolver.txt(name)
            except DnsFailure:
                raise Broken(Result.TEMPERROR, f"key unavailable: {name}") from None
        if not records:
            raise Broken(Result.PERMERROR, f"no key for signature: {name}")
        keys: list[PublicKey] = []
        problem = ""
        for record in records[:4]:
            try:
                keys.append(read_key_record(record, algorithm))
            except DkimKeyError as error:
                problem = problem or str(error)
        if not keys:
            raise Broken(Result.PERMERROR, problem)
        if len(keys) > 1:
            # RFC 6376 3.6.2.2 leaves it open; guessing among keys would let any of them speak for the domain.
            raise Broken(Result.PERMERROR, f"several keys at {name}")
        return keys[0]


def signed_header(names: Sequence[bytes], fields: list[Field], canon: Canon) -> bytes:
    """What h= covers: of each name the lowest field not yet taken; nothing for one too many (RFC 6376 5.4.2)."""
    wanted = frozenset(names)
    by_name: dict[bytes, list[bytes]] = {}
    for field in fields:
        if field.name in wanted:
            by_name.setdefault(field.name, []).append(field.raw)
    return b"".join(canonical_field(raws.pop(), canon) for name in names if (raws := by_name.get(name)))


def own_field(raw: bytes, canon: Canon) -> bytes:
    """The signature's own field as it was signed: b= empty, without the final CRLF."""
    name, _, value = raw.partition(b":")
    emptied = name + b":" + _B_VALUE.sub(rb"\1", value.removesuffix(b"\r\n"), count=1) + b"\r\n"
    return canonical_field(emptied, canon)[:-2]


def check(signature: Signature, key: PublicKey, fields: list[Field], body: BodyHash) -> bool:
    """Is it true? Gives whether part of the body is unsigned. Raises Broken. Pure, for a thread."""
    partial = False
    if signature.length is None:
        digest: bytes | None = body.sha256(signature.body_canon)
    else:
        digest = body.partial(signature.body_canon, signature.length)
        if digest is None:
            raise Broken(Result.PERMERROR, "l= is more than there is")
        partial = digest != body.sha256(signature.body_canon)
    if not hmac.compare_digest(digest or b"", signature.body_hash):
        raise Broken(Result.FAIL, "body hash did not verify")
    header = signed_header(signature.names, fields, signature.header_canon)
    header += own_field(signature.raw, signature.header_canon)
    if not key.verifies(signature.signature, hashlib.sha256(header).digest()):
        raise Broken(Result.FAIL, "signature did not verify")
    return partial
