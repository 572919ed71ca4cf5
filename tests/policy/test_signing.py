"""Signatures at the door: whose key, when, and that they verify as the message goes out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from postroad.auth.dkim import Algorithm, PrivateKey, Result, Slot, seal, verify
from postroad.config.schema import DkimOptions
from postroad.message import Accepted, Body, Recipient, Refused, Reply, Transaction
from postroad.policy import HeldKey, KeyRing, Signing, SigningError, from_domain, load_keys
from tests.policy.doors import Kept

ED, RSA = Algorithm.ED25519, Algorithm.RSA


def held(domain: str, selector: str, algorithm: Algorithm = ED, **time: float) -> HeldKey:
    key = PrivateKey.generate(domain, selector, algorithm)
    return HeldKey(Slot(domain, selector, algorithm, time.get("begin"), time.get("end")), key)


def given(author: str = "A <a@mail.example.com>", trace: bytes = b"Received: x\r\n") -> Transaction:
    content = b"From: " + author.encode() + b"\r\nSubject: s\r\n\r\n.body\r\n"
    return Transaction("a@s.example", [Recipient("b@x.example", "x.example")], Body(content, trace), id=7)


async def taken(ring: KeyRing, transaction: Transaction, now: float = 1000.0) -> tuple[Body, Signing]:
    kept = Kept()
    signing = Signing(kept, lambda: ring, lambda: now)
    result: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    signing.accept(transaction, result.set_result)
    assert await result == Accepted([1])
    signing.close()
    return kept.transactions[0].body, signing


class Names:
    """Key records, as DNS would give them."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = keys

    async def txt(self, name: str) -> list[bytes]:
        return [self._keys[name].encode()] if name in self._keys else []


@pytest.mark.parametrize("algorithms", [[ED], [RSA], [RSA, ED]])
async def test_signatures_verify_as_it_goes_out(algorithms: list[Algorithm]) -> None:
    keys = [held("example.com", f"s{n}", algorithm) for n, algorithm in enumerate(algorithms)]
    transaction = given(trace=b"Received: x\r\nDate: Tue, 24 Nov 2026 15:00:00 +0000\r\n")
    body, signing = await taken(KeyRing(keys, lambda: 1000.0), transaction)
    assert signing.signed == 1
    assert body.trace.endswith(b"Received: x\r\nDate: Tue, 24 Nov 2026 15:00:00 +0000\r\n")
    assert body.dotted
    names = Names({one.key.name: one.key.record() for one in keys})
    found = await verify(bytes(body), names, now=1000.0)
    assert [one.result for one in found] == [Result.PASS] * len(keys)
    broken = await verify(bytes(body).replace(b"2026", b"2027"), names, now=1000.0)
    assert {one.result for one in broken} == {Result.FAIL}, "the Date that we added is signed too"


async def test_without_a_key_a_message_goes_as_it_is() -> None:
    for ring in (KeyRing([], lambda: 0.0), KeyRing([held("other.example", "s")], lambda: 0.0)):
        transaction = given()
        before = transaction.body
        body, signing = await taken(ring, transaction)
        assert body is before
        assert signing.signed == 0


def test_the_nearest_domain_signs() -> None:
    ring = KeyRing([held("example.com", "up"), held("mail.example.com", "own")], lambda: 0.0)

    def selectors(domain: str) -> list[str]:
        signer = ring.signer(domain)
        return [key.selector for key in signer.keys] if signer else []

    assert selectors("mail.example.com") == ["own"]
    assert selectors("news.example.com") == ["up"]
    assert selectors("example.com") == ["up"]
    assert selectors("badexample.com") == selectors("com") == []


def test_keys_follow_each_other() -> None:
    now = 0.0
    ring = KeyRing([held("a.example", "old", end=100.0), held("a.example", "new", begin=90.0)], lambda: now)

    def selector() -> str:
        signer = ring.signer("a.example")
        assert signer is not None
        return signer.keys[0].selector

    for now, wanted in ((0.0, "old"), (89.0, "old"), (90.0, "new"), (99.0, "new"), (100.0, "new"), (1e9, "new")):
        assert (now, selector()) == (now, wanted)


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        ("a@Example.COM", "example.com"),
        ("Name <a@example.com>", "example.com"),
        ('"x <b@evil.example>" <a@example.com>', "example.com"),
        ("a@example.com, b@other.example", ""),
        ("a@example.com, b@example.com", "example.com"),
        ("=?utf-8?q?N?= <a@xn--mnchen-3ya.example>", "xn--mnchen-3ya.example"),
        ("A <a@münchen.example>", "xn--mnchen-3ya.example"),
        ("nobody", ""),
        ("", ""),
        ("<b@evil.example> <a@example.com>", None),
    ],
)
def test_whose_message_it_is(value: str, domain: str | None) -> None:
    found = from_domain(b"From: " + value.encode() + b"\r\n\r\n")
    assert found == domain if domain is not None else found in ("", "example.com", "evil.example")


def test_keys_of_the_configuration(tmp_path: Path) -> None:
    secret = bytes(range(32))
    (tmp_path / "dkim.secret").write_text(secret.hex())
    key = PrivateKey.generate("a.example", "s1", ED)
    (tmp_path / "sealed").write_text(seal(key, secret))
    (tmp_path / "pem").write_bytes(PrivateKey.generate("b.example", "s2", RSA).pem())
    ring = load_keys(
        [
            DkimOptions(domain="A.example", selector="s1", key="sealed", active_until="2026-12-01"),
            DkimOptions(domain="b.example", selector="s2", key="pem", active_from="2026-12-01T06:00:00+06:00"),
        ],
        tmp_path,
        lambda: 1796083200.0 - 1,  # a second before 2026-12-01T00:00Z
    )
    signer = ring.signer("a.example")
    assert signer is not None and signer.keys[0].record() == key.record()
    assert ring.signer("b.example") is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"key": "none"}, "No such file"),
        ({"key": "damaged"}, "no sealed key|base64"),
        ({"key": "sealed", "secret": "other.secret"}, "another secret"),
        ({"key": "sealed", "selector": "s2"}, "another secret"),
        ({"key": "sealed", "secret": "pem"}, "hexadecimal"),
        ({"key": "pem", "active_from": "tomorrow"}, "'tomorrow' is no moment"),
        ({"key": "pem", "domain": "a b"}, "no domain name"),
    ],
)
def test_keys_that_cannot_be_used(tmp_path: Path, options: dict[str, str], text: str) -> None:
    secret = bytes(range(32))
    (tmp_path / "dkim.secret").write_text(secret.hex())
    (tmp_path / "other.secret").write_text(bytes(32).hex())
    (tmp_path / "sealed").write_text(seal(PrivateKey.generate("a.example", "s1", ED), secret))
    pem = PrivateKey.generate("a.example", "s1", ED).pem()
    (tmp_path / "pem").write_bytes(pem)
    (tmp_path / "damaged").write_text("nothing")
    wanted = DkimOptions(**{"domain": "a.example", "selector": "s1", **options})
    with pytest.raises(SigningError, match=text) as caught:
        load_keys([wanted], tmp_path, lambda: 0.0)
    assert secret.hex() not in str(caught.value)
    assert pem.decode().splitlines()[1] not in str(caught.value)


@pytest.mark.parametrize("algorithm", [ED, RSA])
async def test_own_mail_that_could_not_be_kept_gathers_no_signatures(algorithm: Algorithm) -> None:
    kept = Kept(full=Reply(452, "4.3.1 full"))
    one = held("example.com", "s", algorithm)
    ring = KeyRing([one], lambda: 1000.0)
    signing = Signing(Kept(), lambda: ring, lambda: 1000.0)
    keep = signing.own_mail(kept.accept)
    transaction = given()
    for _ in range(2):
        refused: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        keep(transaction, refused.set_result)
        assert await refused == Refused(Reply(452, "4.3.1 full"))
    kept.full = None
    results: list[object] = []
    keep(transaction, results.append)
    await signing.settled()
    assert results == [Accepted([1])]
    signing.close()
    found = await verify(bytes(kept.transactions[0].body), Names({one.key.name: one.key.record()}), now=1000.0)
    assert [each.result for each in found] == [Result.PASS]
