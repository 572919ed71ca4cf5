"""ARC (RFC 8617): what earlier hands say they found, each sealed over those before it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from enum import Enum
from typing import NamedTuple

from postroad.auth.dkim.canon import BodyHash, Canon, canonical_field
from postroad.auth.dkim.keys import MIN_BITS, Algorithm, PrivateKey, PublicKey
from postroad.auth.dkim.sign import DEFAULT_HEADERS, folded_base64, folded_names
from postroad.auth.dkim.tags import TagError, base64_tag, number_tag, parse_tags, unfolded
from postroad.auth.dkim.verify import (
    Broken,
    KeyFinder,
    Result,
    Signature,
    TxtResolver,
    check,
    own_field,
    read_algorithm,
    read_canons,
    read_names,
)
from postroad.auth.fields import Field, body_start, split_fields

MAX_INSTANCE = 50  # RFC 8617 4.2.1
_MAX_HEADER = 1 << 20
_KINDS = (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")
_INSTANCE = re.compile(rb"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([0-9]{1,3})[ \t\r\n]*;")


class ChainResult(Enum):
    """The values of cv=."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"


class ArcSet(NamedTuple):
    results: Field
    signature: Field
    seal: Field


class ArcOutcome(NamedTuple):
    """instances: how many sets; domains: d= of the seals, the oldest first. temporary: it failed because DNS did not
    answer, and may pass later. ended: the chain had been declared broken, so nobody may add to it."""

    result: ChainResult
    reason: str = ""
    instances: int = 0
    domains: tuple[str, ...] = ()
    temporary: bool = False
    ended: bool = False


async def verify_chain(content: bytes, resolver: TxtResolver, *, keys: int = MAX_INSTANCE + 1) -> ArcOutcome:
    """RFC 8617 5.2. content: the message as received. keys: the most key records asked for. Never raises on what a
    message or DNS holds."""
    start = body_start(content)
    if start > _MAX_HEADER:
        return ArcOutcome(ChainResult.FAIL, f"a header section of more than {_MAX_HEADER} octets")
    fields = split_fields(content[:start])
    highest = 0
    ended = False
    domains: tuple[str, ...] = ()
    try:
        sets = _sets(fields)
        highest = len(sets)
        if not sets:
            return ArcOutcome(ChainResult.NONE)
        seals = [_read_seal(each.seal, number) for number, each in enumerate(sets, 1)]
        domains = tuple(seal.signature.domain for seal in seals)
        ended = seals[-1].validation is ChainResult.FAIL
        for number, seal in enumerate(seals, 1):
            if seal.validation is not (ChainResult.PASS if number > 1 else ChainResult.NONE):
                raise Broken(Result.FAIL, f"seal {number} says cv={seal.validation.value}")
        finder = KeyFinder(resolver, keys)
        newest = _read_message_signature(sets[-1].signature)
        await _check_message(newest, fields, BodyHash(content, start), finder, highest)
        for number in range(highest, 0, -1):
            await _check_seal(seals[number - 1].signature, sets[:number], finder, number)
    except TagError as error:
        return ArcOutcome(ChainResult.FAIL, str(error), highest, domains, ended=ended)
    except Broken as broken:
        temporary = broken.result is Result.TEMPERROR
        return ArcOutcome(ChainResult.FAIL, broken.reason, highest, domains, temporary, ended)
    return ArcOutcome(ChainResult.PASS, "", highest, domains)


def _instance(field: Field) -> int:
    value = field.raw.partition(b":")[2]
    if field.name == b"arc-authentication-results":
        match = _INSTANCE.match(value)
        number = int(match[1]) if match else 0
    else:
        number = number_tag(parse_tags(value), "i", 3) or 0
    if not 1 <= number <= MAX_INSTANCE:
        raise Broken(Result.FAIL, f"{field.name.decode()}: no instance from 1 to {MAX_INSTANCE}")
    return number


def _sets(fields: list[Field]) -> list[ArcSet]:
    """The sets by rising instance. Raises Broken where one is incomplete, doubled or missing."""
    found: dict[int, dict[bytes, Field]] = {}
    for field in fields:
        if field.name in _KINDS:
            mine = found.setdefault(_instance(field), {})
            if field.name in mine:
                raise Broken(Result.FAIL, f"{field.name.decode()} of one instance stands twice")
            mine[field.name] = field
    if sorted(found) != list(range(1, len(found) + 1)):
        raise Broken(Result.FAIL, "an instance is missing")
    if any(len(mine) != len(_KINDS) for mine in found.values()):
        raise Broken(Result.FAIL, "an ARC set is incomplete")
    return [ArcSet(*(found[number][kind] for kind in _KINDS)) for number in sorted(found)]


class _Seal(NamedTuple):
    signature: Signature
    validation: ChainResult


def _read_seal(field: Field, number: int) -> _Seal:
    tags = parse_tags(field.raw.partition(b":")[2])
    for name in ("a", "b", "cv", "d", "s"):
        if not tags.get(name):
            raise Broken(Result.FAIL, f"seal {number} lacks {name}=")
    if "h" in tags or "bh" in tags:
        raise Broken(Result.FAIL, f"seal {number} has h= or bh=")
    try:
        validation = ChainResult(tags["cv"].lower())
    except ValueError:
        raise Broken(Result.FAIL, f"seal {number}: an unknown cv=") from None
    number_tag(tags, "t", 12)
    domain, selector = read_names(tags)
    algorithm = read_algorithm(tags["a"])
    relaxed = Canon.RELAXED
    return _Seal(
        Signature(algorithm, domain, selector, "", relaxed, relaxed, (), b"", base64_tag(tags, "b"), None, field.raw),
        validation,
    )


def _read_message_signature(field: Field) -> Signature:
    tags = parse_tags(field.raw.partition(b":")[2])
    for name in ("a", "b", "bh", "d", "h", "s"):
        if not tags.get(name):
            raise Broken(Result.FAIL, f"the message signature lacks {name}=")
    names = tuple(name.encode() for name in unfolded(tags["h"]).lower().split(":"))
    if b"arc-seal" in names or not all(names):
        raise Broken(Result.FAIL, "the message signature signs a seal, or what is no field")
    if "t" in tags:
        number_tag(tags, "t", 12)
    domain, selector = read_names(tags)
    header, body = read_canons(tags)
    algorithm = read_algorithm(tags["a"])
    body_hash, signature = base64_tag(tags, "bh"), base64_tag(tags, "b")
    return Signature(
        algorithm, domain, selector, "", header, body, names, body_hash, signature, number_tag(tags, "l", 76), field.raw
    )


async def _key(signature: Signature, finder: KeyFinder) -> PublicKey:
    key = await finder.find(signature.domain, signature.selector, signature.algorithm)
    if signature.algorithm is Algorithm.RSA and key.bits < MIN_BITS:
        raise Broken(Result.POLICY, f"an RSA key of {key.bits} bits; {MIN_BITS} are the least")
    return key


async def _check_message(
    signature: Signature, fields: list[Field], body: BodyHash, finder: KeyFinder, number: int
) -> None:
    key = await _key(signature, finder)
    try:
        await asyncio.get_running_loop().run_in_executor(None, check, signature, key, fields, body)
    except Broken as broken:
        raise Broken(broken.result, f"message signature {number}: {broken.reason}") from None


def _sealed(sets: list[ArcSet]) -> bytes:
    """What comes in front of a seal's own field: all sets before it, and its own other two (RFC 8617 5.1.1)."""
    fields = [field for each in sets for field in each][:-1]
    return b"".join(canonical_field(field.raw, Canon.RELAXED) for field in fields)


async def _check_seal(signature: Signature, sets: list[ArcSet], finder: KeyFinder, number: int) -> None:
    key = await _key(signature, finder)
    digest = hashlib.sha256(_sealed(sets) + own_field(signature.raw, Canon.RELAXED)).digest()
    loop = asyncio.get_running_loop()
    if not await loop.run_in_executor(None, key.verifies, signature.signature, digest):
        raise Broken(Result.FAIL, f"seal {number} did not verify")


def seal(
    content: bytes, key: PrivateKey, results: bytes, previous: ArcOutcome, *, now: float, body: BodyHash | None = None
) -> bytes:
    """The three fields to put in front, or b"" when nothing may be added: the chain was declared broken before, or is
    full (RFC 8617 5.1.2).

    content: the message as it goes out, with all changes; results: what `results_value` gives; previous: of
    `verify_chain` before any change. CPU-heavy with RSA: call it in an executor.
    """
    if previous.ended or previous.instances >= MAX_INSTANCE:
        return b""
    start = body_start(content)
    fields = split_fields(content[:start])
    number = _next_instance(fields, previous)
    if not number:
        return b""
    aar = b"ARC-Authentication-Results: i=%d; %s\r\n" % (number, results)
    ams = _message_signature(fields, body or BodyHash(content, start), key, number, now)
    begin = b"ARC-Seal: i=%d; a=%s; cv=%s;\r\n d=%s; s=%s; t=%d;\r\n b=" % (
        number,
        key.algorithm.value.encode(),
        previous.result.value.encode(),
        key.domain.encode(),
        key.selector.encode(),
        int(now),
    )
    # A broken chain is sealed as if it were not there: only our own set (RFC 8617 5.1.2).
    sets = _sets(fields) if previous.result is ChainResult.PASS else []
    own = ArcSet(Field(_KINDS[0], aar), Field(_KINDS[1], ams), Field(_KINDS[2], begin + b"\r\n"))
    data = _sealed([*sets, own]) + canonical_field(begin + b"\r\n", Canon.RELAXED)[:-2]
    return begin + folded_base64(key.sign_digest(hashlib.sha256(data).digest())) + b"\r\n" + ams + aar


def _next_instance(fields: list[Field], previous: ArcOutcome) -> int:
    """0 when there is none. Of a chain too broken to count, one more than the highest that stands there."""
    if previous.result is not ChainResult.FAIL:
        return previous.instances + 1
    highest = 0
    for field in fields:
        if field.name in _KINDS:
            try:
                highest = max(highest, _instance(field))
            except (Broken, TagError):
                continue
    return highest + 1 if highest < MAX_INSTANCE else 0


def _message_signature(fields: list[Field], body: BodyHash, key: PrivateKey, number: int, now: float) -> bytes:
    wanted = [name.encode() for name in (*DEFAULT_HEADERS, "dkim-signature")]
    by_name: dict[bytes, list[bytes]] = {}
    for field in reversed(fields):
        by_name.setdefault(field.name, []).append(field.raw)
    names = [name for name in wanted for _ in by_name.get(name, ())]
    signed = b"".join(canonical_field(raw, Canon.RELAXED) for name in wanted for raw in by_name.get(name, ()))
    begin = (
        b"ARC-Message-Signature: i=%d; a=%s; c=relaxed/relaxed;\r\n d=%s; s=%s; t=%d;\r\n h=%s;\r\n bh=%s;\r\n b="
        % (
            number,
            key.algorithm.value.encode(),
            key.domain.encode(),
            key.selector.encode(),
            int(now),
            folded_names(names),
            base64.b64encode(body.sha256(Canon.RELAXED)),
        )
    )
    own = canonical_field(begin + b"\r\n", Canon.RELAXED)[:-2]
    return begin + folded_base64(key.sign_digest(hashlib.sha256(signed + own).digest())) + b"\r\n"
