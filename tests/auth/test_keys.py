import base64
import hashlib

import pytest

from postroad.auth import ApiKeys, AuthFailure, Key, new_key
from postroad.config.schema import ApiKey

KEY, DIGEST = new_key()
HOME = ApiKey(label="home", sha256=DIGEST)


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


def test_new_keys() -> None:
    assert len(KEY) == 40
    assert int(KEY, 16) >= 0
    assert hashlib.sha256(KEY.encode()).hexdigest() == DIGEST
    assert new_key()[0] != KEY


@pytest.mark.parametrize(
    "value",
    [
        KEY.encode(),
        f" {KEY} ".encode(),
        f"Bearer {KEY}".encode(),
        f"bearer  {KEY}".encode(),
        basic(f"{KEY}:"),
        basic(KEY),
        b"basic" + basic(f"{KEY}:")[5:],
    ],
    ids=range(7),
)
def test_forms_of_a_key(value: bytes) -> None:
    assert ApiKeys([HOME]).authenticate(value, "192.0.2.1") == Key("home")


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b" ",
        b"Basic",
        b"Basic ",
        b"Basic !!!",
        basic(f"{KEY}:password"),
        basic(f"user:{KEY}"),
        basic(":"),
        b"Bearer",
        b"Bearer ",
        f"Digest {KEY}".encode(),
        KEY.upper().encode() if KEY.upper() != KEY else b"x",
        KEY[:-1].encode(),
        KEY.encode() + b"0",
        DIGEST.encode(),
        b"\xff\x00",
        b"x" * 100_000,
    ],
    ids=range(18),
)
def test_not_a_key(value: bytes | None) -> None:
    assert ApiKeys([HOME]).authenticate(value, "192.0.2.1") is AuthFailure.UNAUTHORIZED


def test_no_keys_means_nobody() -> None:
    assert ApiKeys([]).authenticate(KEY.encode(), "127.0.0.1") is AuthFailure.UNAUTHORIZED


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        ("192.0.2.7", True),
        ("192.0.3.7", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::ffff:192.0.2.7", True),
        ("::ffff:192.0.3.7", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_networks(peer: str, allowed: bool) -> None:
    keys = ApiKeys([ApiKey(label="near", sha256=DIGEST, networks=["192.0.2.0/24", "2001:db8::/32"])])
    assert keys.authenticate(KEY.encode(), peer) == (Key("near") if allowed else AuthFailure.FORBIDDEN)
    # Where the key may be used is told only to those who know it.
    assert keys.authenticate(b"other", peer) is AuthFailure.UNAUTHORIZED


def test_a_bad_network_names_its_key() -> None:
    with pytest.raises(ValueError, match="API key 'far'"):
        ApiKeys([ApiKey(label="far", sha256=DIGEST, networks=["192.0.2.1/24"])])
