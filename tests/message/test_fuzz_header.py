"""Encoded words of strangers: read as the standard library reads them where those are well formed, never raising, and
in time by their length."""

from __future__ import annotations

import warnings
from email.header import decode_header, make_header
from random import Random

import pytest

from postroad.message.header import decode_text, decode_words

_PIECES = (
    "=?utf-8?q?gr=C3=BC=C3=9Fe?=",
    "=?iso-8859-1?Q?f=FCr_alle?=",
    "=?UTF-8?B?w7w=?=",
    "=?us-ascii?q?a?=",
    "plain",
)
_DIRT = ("=?", "?=", "?", "=", "q?", "=?utf-8?b?%?=", "=?utf-8?q?=C3?=", "=?x?q?=FF?=", "_", "é", "\udc80", "\t")


def _words(rng: Random, pieces: tuple[str, ...]) -> str:
    text = ""
    for _ in range(rng.randrange(1, 8)):
        text += rng.choice(pieces) + rng.choice((" ", "  ", " "))
    return text.strip()


def test_well_formed_words_as_the_library_reads_them() -> None:
    rng = Random(1)
    for _ in range(3000):
        text = _words(rng, _PIECES)
        theirs = "".join(
            part if isinstance(part, str) else part.decode(charset or "ascii") for part, charset in decode_header(text)
        )
        assert decode_words(text.encode()) == theirs, text
        # Its other reader minds spaces between words and text in its own way.
        assert "".join(str(make_header(decode_header(text))).split()) == "".join(theirs.split())


@pytest.mark.parametrize("rounds", [3000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_any_words_are_read(rounds: int) -> None:
    rng = Random(2)
    for _ in range(rounds):
        text = _words(rng, _PIECES + _DIRT * 2)
        raw = text.encode("utf-8", "surrogateescape")
        assert len(decode_words(raw).encode()) <= 2 * len(raw), text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"=?utf-8?q?really?_yes?=", "really? yes"),
        (b"=?utf-8*en?q?a?= =?utf-8*de?q?b?=", "ab"),
        (b"=?utf-8?b?w?= =?utf-8?q?x?=", "=?utf-8?b?w?= x"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),
        (b"=?utf-8?q?a?=b =?utf-8?q?c?=", "ab c"),
        (b"\\u0041 =?utf-8?q?b?=", "\\u0041 b"),
        (b"=?nobody-knows?q?=FC?=", "ü"),
        (b"=?x?q?open", "=?x?q?open"),
    ],
)
def test_odd_words(raw: bytes, text: str) -> None:
    assert decode_words(raw) == text


@pytest.mark.parametrize("end", [b"", b"?="])
@pytest.mark.parametrize(
    "piece", [b"=?a?q?x", b"=?a?b?x", b"=?", b"=?a?b?!!!!!?", b"=?a?q?x?= ", b"=?a?q?" + b"_" * 1990]
)
def test_a_megabyte_of_openings_is_read_at_once(piece: bytes, end: bytes) -> None:
    """By the square of its length this would take longer than any test may."""
    assert decode_words(piece * ((1 << 20) // len(piece)) + end)


@pytest.mark.parametrize(
    "charset", ["punycode", "idna", "Unicode_Escape", "raw_unicode_escape", "undefined", "rot13", "\0"]
)
def test_what_is_no_charset_of_mail(charset: str) -> None:
    """Of these one takes time by the square of the length, and one warns of what it reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_text(b"x" * 500_000 + b"-\\q" + b"a" * 500_000, charset).startswith("xxx")
