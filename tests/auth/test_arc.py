"""ARC: our chains before dkimpy, dkimpy's before us, and what breaks them."""

from __future__ import annotations

import re

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.auth.arc import ArcOutcome, ChainResult, seal, verify_chain
from postroad.auth.results import MethodResult, results_value, write_results
from tests.auth.dkim.messages import ED25519, HEAD, KEYS, NASTY, NOW, RECORDS, RSA
from tests.auth.dkim.test_interop import dkimpy_txt
from tests.auth.names import Table

MESSAGE = HEAD + b"\r\nHello.\r\n"
FOUND = [MethodResult("spf", "pass", (("smtp", "mailfrom", "a@example.com"),)), MethodResult("arc", "none")]
RESULTS = results_value("mx.example.com", FOUND)


async def sealed(content: bytes, hops: int) -> bytes:
    for number in range(hops):
        previous = await verify_chain(content, Table(RECORDS))
        content = seal(content, KEYS[number % 2], RESULTS, previous, now=NOW) + content
    return content


@pytest.mark.parametrize("hops", [1, 2, 5])
async def test_chains_pass(hops: int) -> None:
    found = await verify_chain(await sealed(MESSAGE, hops), Table(RECORDS))
    assert found == ArcOutcome(ChainResult.PASS, "", hops, ("example.com",) * hops)


@pytest.mark.parametrize("kind", NASTY)
async def test_dkimpy_verifies_ours(kind: str) -> None:
    content = NASTY[kind]
    for _ in range(2):
        content = seal(content, RSA, RESULTS, await verify_chain(content, Table(RECORDS)), now=NOW) + content
    result, _, reason = dkim.arc_verify(content, dnsfunc=dkimpy_txt)
    assert (result, reason) == (b"pass", "success")


async def test_we_verify_dkimpys() -> None:
    sets = b""
    for number in (1, 2, 3):
        # dkimpy takes cv= of its seal from the Authentication-Results of its own name.
        before = write_results("lists.example.org", [MethodResult("arc", "pass" if sets else "none")])
        content = before + sets + MESSAGE
        key = RSA.pem()
        fields = dkim.arc_sign(content, b"rsa", b"example.com", key, b"lists.example.org", timestamp=int(NOW))
        sets = b"".join(fields) + sets
        found = await verify_chain(sets + MESSAGE, Table(RECORDS))
        assert (found.result, found.reason, found.instances) == (ChainResult.PASS, "", number)


async def test_no_chain() -> None:
    assert await verify_chain(MESSAGE, Table(RECORDS)) == ArcOutcome(ChainResult.NONE)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (rb"Hello", rb"Hullo", "message signature 2: body hash did not verify"),
        (rb"Subject: hello", rb"Subject: hullo", "message signature 2: signature did not verify"),
        (rb"i=1; mx", rb"i=1; my", "seal 2 did not verify"),
        (rb"cv=pass", rb"cv=none", "seal 2 says cv=none"),
        (rb"cv=pass", rb"cv=fail", "seal 2 says cv=fail"),
        (rb"cv=none", rb"cv=pass", "seal 1 says cv=pass"),
        (rb"cv=pass", rb"cv=maybe", "seal 2: an unknown cv="),
        (rb"cv=pass", rb"cv=pass; h=from", "seal 2 has h= or bh="),
        (rb"ARC-Seal: i=2", rb"ARC-Seal: i=3", "an ARC set is incomplete"),
        (rb"ARC-Seal: i=2", rb"ARC-Seal: i=1", "arc-seal of one instance stands twice"),
        (rb"ARC-Seal: i=2", rb"ARC-Seal: i=51", "arc-seal: no instance from 1 to 50"),
        (rb"ARC-Seal: i=2", rb"ARC-Seal: i=0", "arc-seal: no instance from 1 to 50"),
        (rb"(?s)ARC-Seal: i=1.*?ARC-Auth[^\r]*\r\n( [^\r]*\r\n)*", b"", "an instance is missing"),
        (rb"h=from", rb"h=arc-seal:from", "the message signature signs a seal, or what is no field"),
    ],
)
async def test_broken_chains(old: bytes, new: bytes, reason: str) -> None:
    content, changed = re.subn(old, new, await sealed(MESSAGE, 2), count=1)
    assert changed
    found = await verify_chain(content, Table(RECORDS))
    assert (found.result, found.reason) == (ChainResult.FAIL, reason)


async def test_a_broken_chain_is_sealed_as_broken_and_ends() -> None:
    broken = (await sealed(MESSAGE, 2)).replace(b"Hello", b"Hullo")
    previous = await verify_chain(broken, Table(RECORDS))
    content = seal(broken, ED25519, RESULTS, previous, now=NOW) + broken
    assert b"ARC-Seal: i=3; a=ed25519-sha256; cv=fail;" in content
    found = await verify_chain(content, Table(RECORDS))
    assert (found.result, found.ended, found.instances) == (ChainResult.FAIL, True, 3)
    assert seal(content, ED25519, RESULTS, found, now=NOW) == b""


async def test_dns_that_does_not_answer() -> None:
    content = await sealed(MESSAGE, 1)
    found = await verify_chain(content, Table({RSA.name: None}))
    assert (found.result, found.temporary) == (ChainResult.FAIL, True)


async def test_no_more_than_fifty() -> None:
    content = await sealed(MESSAGE, 50)
    found = await verify_chain(content, Table(RECORDS))
    assert (found.result, found.instances) == (ChainResult.PASS, 50)
    assert seal(content, ED25519, RESULTS, found, now=NOW) == b""


@given(
    st.lists(
        st.tuples(st.sampled_from(["Seal", "Message-Signature", "Authentication-Results"]), st.binary(max_size=80))
    )
)
async def test_any_fields_are_judged(parts: list[tuple[str, bytes]]) -> None:
    fields = [f"ARC-{name}: i=1; ".encode() + value.replace(b"\r", b"") + b"\r\n" for name, value in parts]
    found = await verify_chain(b"".join(fields) + MESSAGE, Table(RECORDS))
    assert found.result is (ChainResult.FAIL if parts else ChainResult.NONE)
