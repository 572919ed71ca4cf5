"""Reading header fields where they stand, without parsing the message (RFC 5322 2.2).

Nothing here copies the body: each look-up is one scan over the header section, which ends at the first empty line.
"""

from __future__ import annotations

import re
from email.header import decode_header
from functools import lru_cache

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
    """The text of an unstructured field: RFC 2047 words decoded, else UTF-8 (RFC 6532), else Latin-1. Never raises."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if "=?" not in text:
        return text
    try:
        parts = decode_header(text)
    except Exception:  # the standard library raises several kinds on malformed words
        return text
    return "".join(_decode_part(part, charset) for part, charset in parts)


def _decode_part(part: bytes | str, charset: str | None) -> str:
    if isinstance(part, str):
        return part
    try:
        # Without a charset the library hands back the text between words, as raw-unicode-escape octets.
        return part.decode(charset or "raw-unicode-escape")
    except (LookupError, UnicodeDecodeError, ValueError):
        return part.decode("latin-1")
