"""What verification says of each thing that can be wrong, and where its bounds are."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from postroad.auth.dkim import (
    Algorithm,
    BodyHash,
    Canon,
    PrivateKey,
    Result,
    Signer,
    TagError,
    Verification,
    VerifyLimits,
    parse_tags,
    verify,
)
from postroad.auth.dkim.canon import canonical_body, canonical_field
from postroad.auth.dkim.sign import folded_base64
from postroad.auth.dkim.verify import signed_header
from postroad.auth.fields import body_start, split_fields
from tests.auth.dkim.messages import ED25519, HEAD, KEYS, NASTY, NOW, OURS, RECORDS, RSA
from tests.auth.names import Table

BODY = b"\r\nHello.\r\n"
MESSAGE = HEAD + BODY
FIELD = Signer([ED25519]).sign(MESSAGE, now=NOW)
RECORD = ED25519.record().encode()


async def only(content: bytes, records: dict[str, list[bytes] | None] = RECORDS, now: float = NOW) -> Verification:
    (found,) = await verify(content, Table(records), now=now)
    return found


@pytest.mark.parametrize("canon", Canon)
@pytest.mark.parametrize("kind", [*NASTY, *OURS])
async def test_ours_verify(kind: str, canon: Canon) -> None:
    content = {**NASTY, **OURS}[kind]
    fields = Signer(KEYS, header_canon=canon, body_canon=canon, lifetime=3600).sign(content, now=NOW)
    found = await verify(fields + content, Table(RECORDS), now=NOW)
    assert [each.result for each in found] == [Result.PASS, Result.PASS]
    assert [each.bits for each in found] == [2048, 256]
    assert all(len(line) <= 78 for line in fields.split(b"\r\n"))


async def test_trace_is_signed_too() -> None:
    trace = b"Message-ID: <1@example.com>\r\n"
    field = Signer([ED25519]).sign(MESSAGE, now=NOW, trace=trace)
    assert (await only(field + trace + MESSAGE)).result is Result.PASS
    assert (await only(field + trace.replace(b"1", b"2") + MESSAGE)).reason == "signature did not verify"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (MESSAGE.replace(b"Hello.", b"Hello!"), "body hash did not verify"),
        (MESSAGE.replace(b"hello", b"hallo"), "signature did not verify"),
        (b"From: another@example.net\r\n" + MESSAGE, "signature did not verify"),
        (b"Subject: oversigned\r\n" + MESSAGE, "signature did not verify"),
        (b"Cc: none was there\r\n" + MESSAGE, "signature did not verify"),
    ],
)
async def test_changed_content(content: bytes, reason: str) -> None:
    found = await only(FIELD + content)
    assert (found.result, found.reason) == (Result.FAIL, reason)


@pytest.mark.parametrize(
    ("old", "new", "result", "reason"),
    [
        (b"v=1", b"v=2", Result.PERMERROR, "incompatible version"),
        (b"v=1; ", b"", Result.PERMERROR, "signature missing required tag v="),
        (b"a=ed25519-sha256", b"a=rsa-sha1", Result.POLICY, "rsa-sha1 is refused (RFC 8301)"),
        (b"a=ed25519-sha256", b"a=rsa-md5", Result.PERMERROR, "unknown algorithm 'rsa-md5'"),
        (b"a=ed25519-sha256", b"a=rsa-sha256", Result.PERMERROR, "inappropriate key algorithm: ed25519"),
        (b"h=from:from", b"h=sender", Result.PERMERROR, "From field not signed"),
        (b"h=from", b"h=:from", Result.PERMERROR, "signature syntax error: h= holds what is no field name"),
        (b"c=relaxed/relaxed", b"c=nowsp", Result.PERMERROR, "unknown canonicalization"),
        (b"d=example.com", b"d=example..com", Result.PERMERROR, "d= is no domain name"),
        (b"d=example.com", b"d=" + "é".encode() * 5000, Result.PERMERROR, "d= is no domain name"),
        (b"s=ed;", b"s=ed;s=ed;", Result.PERMERROR, "signature syntax error: the tag s= stands twice"),
        (b"s=ed;", b"s=ed; i=@example.net;", Result.PERMERROR, "domain mismatch: i= is not within d="),
        (b"s=ed;", b"s=ed; i=@badexample.com;", Result.PERMERROR, "domain mismatch: i= is not within d="),
        (b"s=ed;", b"s=ed; q=http;", Result.PERMERROR, "no query method of q= is known"),
        (b"s=ed;", b"s=ed; x=1700000000;", Result.PERMERROR, "x= is not later than t="),
        (b"t=1795528800", b"x=1795528799", Result.POLICY, "signature expired"),
        (b"t=1795528800", b"t=1795529200", Result.POLICY, "signature from the future"),
        (b"t=1795528800", b"t=soon", Result.PERMERROR, "signature syntax error: t= is no number of at most 12 digits"),
        (b"s=ed;", b"s=ed; l=9999;", Result.PERMERROR, "l= is more than there is"),
        (b"bh=", b"bh=!", Result.PERMERROR, "signature syntax error: bh= is no base64"),
        (b"s=ed;", b"s=other;", Result.PERMERROR, "no key for signature: other._domainkey.example.com"),
        (b"s=ed;", b"s=ed; \xff=;", Result.PERMERROR, "signature syntax error: not UTF-8"),
    ],
)
async def test_bad_signatures(old: bytes, new: bytes, result: Result, reason: str) -> None:
    assert old in FIELD
    found = await only(FIELD.replace(old, new, 1) + MESSAGE)
    assert (found.result, found.reason) == (result, reason)


@pytest.mark.parametrize(
    ("records", "result", "reason"),
    [
        (None, Result.TEMPERROR, f"key unavailable: {ED25519.name}"),
        ([], Result.PERMERROR, f"no key for signature: {ED25519.name}"),
        ([b"v=DKIM1; k=ed25519; p="], Result.PERMERROR, "key revoked"),
        ([b"v=DKIM1; k=ed25519"], Result.PERMERROR, "key syntax error: p= is missing"),
        (
            [b"k=ed25519; v=DKIM1; p=AA=="],
            Result.PERMERROR,
            "key syntax error: v= is not DKIM1 or does not stand first",
        ),
        ([b"v=DKIM1; k=ed25519; p=AAAA"], Result.PERMERROR, "the key can't be read"),
        ([b"v=DKIM1; k=ed25519; p=*"], Result.PERMERROR, "key syntax error: p= is no base64"),
        ([RECORD + b"; s=tlsrpt"], Result.PERMERROR, "the key is not for e-mail"),
        ([RECORD + b"; h=sha1"], Result.PERMERROR, "inappropriate hash algorithm"),
        ([RECORD, RECORD], Result.PERMERROR, f"several keys at {ED25519.name}"),
        ([b"v=spf1 -all", RECORD], Result.PASS, ""),
        ([RECORD + b"; t=s"], Result.PASS, ""),
    ],
)
async def test_key_records(records: list[bytes] | None, result: Result, reason: str) -> None:
    found = await only(FIELD + MESSAGE, {ED25519.name: records})
    assert (found.result, found.reason) == (result, reason)


async def test_testing_key() -> None:
    assert (await only(FIELD + MESSAGE, {ED25519.name: [RECORD + b"; t=y:s"]})).testing


async def test_small_rsa_keys() -> None:
    key = PrivateKey.generate("example.com", "small", Algorithm.RSA, bits=1024)
    field = Signer([key]).sign(MESSAGE, now=NOW)
    table = Table({key.name: [key.record().encode()]})
    (passed,) = await verify(field + MESSAGE, table, now=NOW)
    assert (passed.result, passed.bits) == (Result.PASS, 1024)
    (refused,) = await verify(field + MESSAGE, table, now=NOW, limits=VerifyLimits(min_bits=2048))
    assert (refused.result, refused.reason) == (Result.POLICY, "an RSA key of 1024 bits; 2048 are the least")


async def test_body_length_is_noted() -> None:
    """The tag l= as another signer would have set it: over the first two octets of the canonical body."""
    partial = base64.b64encode(hashlib.sha256(b"He").digest())
    unsigned = re.sub(rb"bh=[^;]*", b"bh=" + partial + b"; l=2", FIELD)
    unsigned = unsigned[: unsigned.index(b"\r\n b=")] + b"\r\n b="
    names = re.search(rb"h=([^;]*)", unsigned)
    assert names is not None
    data = signed_header(re.sub(rb"\s", b"", names[1]).split(b":"), split_fields(HEAD), Canon.RELAXED)
    data += canonical_field(unsigned + b"\r\n", Canon.RELAXED)[:-2]
    field = unsigned + folded_base64(ED25519.sign_digest(hashlib.sha256(data).digest())) + b"\r\n"
    found = await only(field + MESSAGE)
    assert (found.result, found.partial) == (Result.PASS, True)


async def test_bounds() -> None:
    content = FIELD * 20 + MESSAGE
    table = Table(RECORDS)
    found = await verify(content, table, now=NOW, limits=VerifyLimits(signatures=5))
    assert len(found) == 5
    assert table.asked == [ED25519.name]  # asked once
    many = b"".join(FIELD.replace(b"s=ed;", b"s=s%d;" % number) for number in range(4)) + MESSAGE
    found = await verify(many, table, now=NOW, limits=VerifyLimits(keys=2))
    assert [each.reason for each in found[2:]] == ["too many different keys"] * 2
    (refused,) = await verify(content, table, now=NOW, limits=VerifyLimits(header=100))
    assert refused.result is Result.POLICY
    assert await verify(MESSAGE, table, now=NOW) == []


def test_no_from_is_not_signed() -> None:
    with pytest.raises(ValueError, match="no From"):
        Signer([ED25519]).sign(b"To: x@example.com\r\n\r\n", now=NOW)


def test_body_hash_is_shared() -> None:
    body = BodyHash(MESSAGE, body_start(MESSAGE))
    first = Signer([RSA]).sign(MESSAGE, now=NOW, body=body)
    wrong = HEAD + b"\r\nAnother body.\r\n"
    # The shared hash is used, not computed again: signing another body with it gives the same bh=.
    second = Signer([RSA]).sign(wrong, now=NOW, body=body)
    assert re.findall(rb"bh=[^;]*", first) == re.findall(rb"bh=[^;]*", second)


RFC_8463 = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")
RFC_8463_KEYS: dict[str, list[bytes] | None] = {
    "brisbane._domainkey.football.example.com": [b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="],
    "test._domainkey.football.example.com": [
        b"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/"
        b"J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryO"
        b"TIKT+l/K4w3QIDAQAB"
    ],
}


async def test_rfc_8463() -> None:
    """RFC 8463 appendix A: the message with both its signatures, and the key made of the seed."""
    found = await verify(RFC_8463, Table(RFC_8463_KEYS), now=NOW)
    assert [(each.result, each.algorithm) for each in found] == [
        (Result.PASS, "ed25519-sha256"),
        (Result.PASS, "rsa-sha256"),
    ]
    seed = base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    key = PrivateKey("football.example.com", "brisbane", Ed25519PrivateKey.from_private_bytes(seed))
    assert RFC_8463_KEYS[key.name] == [key.record().encode()]


@given(st.binary(max_size=200))
def test_any_octets_are_a_tag_list_or_refused(raw: bytes) -> None:
    try:
        tags = parse_tags(raw)
    except TagError:
        return
    assert all(name.isascii() and ";" not in value for name, value in tags.items())


@given(st.binary(max_size=300), st.binary(max_size=100))
async def test_any_message_is_judged(signature: bytes, body: bytes) -> None:
    content = b"DKIM-Signature:" + signature.replace(b"\r", b"") + b"\r\nFrom: a@b.c\r\n\r\n" + body
    found = await verify(content, Table(RECORDS), now=NOW)
    assert [each.result for each in found if each.result is Result.PASS] == []


@given(
    st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b"\r", b"\n", b"\xff"]), max_size=40), st.sampled_from(Canon)
)
def test_canonical_bodies_stay_as_they_are(parts: list[bytes], canon: Canon) -> None:
    once = canonical_body(b"".join(parts), canon)
    assert canonical_body(once, canon) == once
