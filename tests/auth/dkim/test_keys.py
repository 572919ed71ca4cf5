"""Keys at rest, in DNS, and following each other."""

from __future__ import annotations

import pytest

from postroad.auth.dkim import Algorithm, SealError, Slot, due, published, seal, signing, unseal
from postroad.auth.dkim.keys import split_record
from tests.auth.dkim.messages import ED25519, KEYS, RSA

SECRET = bytes(range(32))
DAY = 86400.0


def test_sealed_keys_open_again() -> None:
    for each in KEYS:
        sealed = seal(each, SECRET)
        assert "PRIVATE" not in sealed
        assert unseal(sealed + "\n", each.domain, each.selector, SECRET).record() == each.record()
        assert seal(each, SECRET) != sealed  # never the same salt and nonce


@pytest.mark.parametrize(
    ("domain", "secret", "reason"),
    [
        ("example.com", bytes(32), "another secret"),
        ("example.net", SECRET, "another name"),
        ("example.com", b"short", "5 octets"),
    ],
)
def test_sealed_keys_stay_shut(domain: str, secret: bytes, reason: str) -> None:
    with pytest.raises(SealError, match=reason):
        unseal(seal(ED25519, SECRET), domain, "ed", secret)


def test_damaged_seals() -> None:
    sealed = seal(ED25519, SECRET)
    for text in ("", sealed[:40], sealed[:-8] + "AAAAAAA=", sealed + "!"):
        with pytest.raises(SealError):
            unseal(text, "example.com", "ed", SECRET)


def test_records_are_split() -> None:
    parts = split_record(RSA.record())
    assert [len(part) for part in parts] == [255, len(RSA.record()) - 255]
    assert "".join(parts) == RSA.record()
    assert RSA.zone_line().count('"') == 4


def test_no_key_in_its_repr() -> None:
    assert repr(ED25519) == "PrivateKey('ed._domainkey.example.com', ed25519-sha256)"


def test_rotation() -> None:
    old = Slot("example.com", "a", Algorithm.RSA, None, 10 * DAY)
    new = Slot("example.com", "b", Algorithm.RSA, 9 * DAY)
    curve = Slot("example.com", "c", Algorithm.ED25519, 0.0)
    other = Slot("example.net", "d", Algorithm.RSA)
    slots = [old, new, curve, other]

    def selectors(found: list[Slot]) -> str:
        return "".join(slot.selector for slot in found)

    assert selectors(signing(slots, "example.com", 8.9 * DAY)) == "ac"
    assert selectors(signing(slots, "example.com", 9 * DAY)) == "bc"  # both are active; the newcomer signs
    assert selectors(signing([old], "example.com", 10 * DAY)) == ""
    assert selectors(published(slots, 6.9 * DAY)) == "acd"
    assert selectors(published(slots, 7 * DAY)) == "abcd"
    assert selectors(published(slots, 17 * DAY)) == "bcd"
    assert selectors(due(slots, 17 * DAY)) == "a"
