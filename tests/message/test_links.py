from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message.links import LIFETIME, About, Aim, Linked, LinkError, LinkKeys

ABOUT = About("12", "34", "kim@b.example", 1_700_000_000, 5, "t", "3", "spring", "a@a.example", {"k": ["v"]}, ["tag"])
LINKED = Linked(Aim.CLICK.value, "https://a.example/?é", "main", True)
NOW = 1_700_000_001.0
OLD, NEW = b"o" * 32, b"n" * 32


def token(keys: LinkKeys) -> str:
    return keys.signer(ABOUT).token(LINKED)


def test_what_is_signed_is_read() -> None:
    keys = LinkKeys({1: OLD}, 1)
    assert keys.read(token(keys), NOW) == (ABOUT, LINKED)


@given(st.text(max_size=200), st.text(max_size=200), st.dictionaries(st.text(), st.integers(0, 9), max_size=3))
def test_anything_can_be_said(url: str, name: str, metadata: dict[str, int]) -> None:
    keys = LinkKeys({1: OLD}, 1)
    about, linked = About("1", "2", url, 1, metadata=dict(metadata)), Linked("f", url, name)
    assert keys.read(keys.signer(about).token(linked), 2) == (about, linked)


def test_keys_change() -> None:
    sent = token(LinkKeys({1: OLD}, 1))
    both = LinkKeys({1: OLD, 2: NEW}, 2)
    assert both.read(sent, NOW)[0] == ABOUT
    with pytest.raises(LinkError, match="changed"):
        LinkKeys({1: NEW}, 1).read(sent, NOW)
    with pytest.raises(LinkError, match="not ours"):
        LinkKeys({2: NEW}, 2).read(sent, NOW)


def test_every_changed_octet_is_found() -> None:
    keys = LinkKeys({1: OLD}, 1)
    sent = token(keys)
    octets = base64.urlsafe_b64decode(sent + "=" * (-len(sent) % 4))
    for place in range(len(octets)):
        changed = octets[:place] + bytes((octets[place] ^ 1,)) + octets[place + 1 :]
        with pytest.raises(LinkError):
            keys.read(base64.urlsafe_b64encode(changed).rstrip(b"=").decode(), NOW)


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_what_others_write_is_no_token(written: str) -> None:
    with pytest.raises(LinkError):
        LinkKeys({1: OLD}, 1).read(written, NOW)


def test_it_ends() -> None:
    keys = LinkKeys({1: OLD}, 1)
    sent = token(keys)
    assert keys.read(sent, ABOUT.made + LIFETIME)
    with pytest.raises(LinkError, match="too old"):
        keys.read(sent, ABOUT.made + LIFETIME + 1)


def test_too_much() -> None:
    with pytest.raises(ValueError, match="too much"):
        LinkKeys({1: OLD}, 1).signer(About("1", "2", "x" * 70_000, 1))
    with pytest.raises(LinkError):
        LinkKeys({1: OLD}, 1).read("A" * 20_000, NOW)


@pytest.mark.parametrize(("keys", "current"), [({1: OLD}, 2), ({256: OLD}, 256), ({1: b"short"}, 1), ({}, 0)])
def test_keys_that_are_none(keys: dict[int, bytes], current: int) -> None:
    with pytest.raises(ValueError, match="key"):
        LinkKeys(keys, current)
