"""Reading header fields where they stand, without parsing the message (RFC 5322 2.2).

Nothing here copies the body: each look-up is one scan over the header section, which ends at the first empty line.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Iterator
from functools import lru_cache

_WORD = re.compile(r"=\?([!->@-~]{1,60})\?([bBqQ])\?")
_LONGEST_WORD = 2000  # characters; RFC 2047 2 allows 75 in all, and some write whole subjects as one
_Q = re.compile(rb"=([0-9A-Fa-f]{2})")
# Codecs of Python that are no charsets of mail: one takes time by the square of the length, others warn or mean code.
_NO_CHARSETS = frozenset(("idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"))
_FOLD = re.compile(rb"\r?\n(?=[ \t])")


def header_end(content: bytes) -> int:
    """Offset just behind the empty line that ends the header section; len(content) when there is none."""
    if content.startswith(b"\r\n"):
        return 2
    end = content.find(b"\r\n\r\n")
    return len(content) if end < 0 else end + 4


@lru_cache(maxsize=256)
def _field_pattern(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"^" + re.escape(name) + rb"[ \t]*:((?:[^\n]|\n[ \t])*)", re.IGNORECASE | re.MULTILINE)


def fields(content: bytes, name: bytes, end: int | None = None) -> list[bytes]:
    """The unfolded raw values of all fields of this name, in order, stripped of white space. end: header_end."""
    found = _field_pattern(name).findall(content, 0, header_end(content) if end is None else end)
    return [_unfold(value) for value in found]


def field(content: bytes, name: bytes, end: int | None = None) -> bytes | None:
    """The first field's unfolded raw value, or None."""
    match = _field_pattern(name).search(content, 0, header_end(content) if end is None else end)
    return None if match is None else _unfold(match[1])


def count(content: bytes, name: bytes, end: int | None = None) -> int:
    """How many fields of this name there are."""
    pattern = _field_pattern(name)
    return sum(1 for _ in pattern.finditer(content, 0, header_end(content) if end is None else end))


def _unfold(value: bytes) -> bytes:
    if b"\n" in value:
        value = _FOLD.sub(b"", value)
    return value.strip()


def decode_words(raw: bytes) -> str:
    """The text of an unstructured field: RFC 2047 words decoded, else UTF-8 (RFC 6532), else Latin-1. Never raises.

    Takes time by its length only (the standard library's reader does not: a Subject of a megabyte would stop us for
    minutes). A word that can't be decoded stays as it is.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if "=?" not in text:
        return text
    pieces: list[str] = []
    run = b""  # words of one charset in a row: a character may begin in one and end in the next
    charset = ""
    at = 0
    for begin, end, its_charset, octets in _words(text):
        gap = text[at:begin] if at else text[:begin].lstrip()
        if at and gap.isspace():
            gap = ""  # white space between two words only parts them (RFC 2047 6.2)
        if run and (gap or its_charset != charset):
            pieces.append(decode_text(run, charset))
            run = b""
        pieces.append(gap)
        run, charset, at = run + octets, its_charset, end
    pieces += [decode_text(run, charset), text[at:]]
    return "".join(pieces)


def _words(text: str) -> Iterator[tuple[int, int, str, bytes]]:
    """The encoded words: where each begins and ends, its charset in lower case, its octets."""
    at = 0
    while (match := _WORD.search(text, at)) is not None:
        close = text.find("?=", match.end(), match.end() + _LONGEST_WORD)
        octets = _undone(match[2], text[match.end() : close]) if close >= 0 else None
        if octets is None:
            at = match.end()
        else:
            at = close + 2
            # RFC 2231 5: a language may follow the charset.
            yield match.start(), at, match[1].partition("*")[0].lower(), octets


def _undone(encoding: str, coded: str) -> bytes | None:
    """Undo B or Q. None: this is no such text."""
    if not coded.isascii():
        return None
    if encoding in "qQ":
        return _Q.sub(lambda found: bytes([int(found[1], 16)]), coded.replace("_", " ").encode())
    try:
        return binascii.a2b_base64(coded + "=" * (-len(coded) % 4))
    except binascii.Error:
        return None


def decode_text(octets: bytes, charset: str) -> str:
    """By this charset, else UTF-8, else Latin-1: whatever a stranger names. Never raises."""
    for name in (charset, "utf-8"):
        try:
            if codecs.lookup(name).name not in _NO_CHARSETS:
                return octets.decode(name)
        except (LookupError, UnicodeDecodeError, ValueError):
            pass
    return octets.decode("latin-1")
