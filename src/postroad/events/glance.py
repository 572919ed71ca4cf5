"""A glance at Subject and From of a message, for reports only: nothing is decided by what is found here."""

from __future__ import annotations

import re
from functools import lru_cache

from postroad.message.header import decode_words

MAX_SUBJECT = 998  # characters
_WINDOW = 64 << 10  # octets of the header section that are looked at

_MAX_VALUE = 4096  # octets of a field that are looked at: the patterns below must not meet a hostile megabyte

_ANGLE = re.compile(rb"<\s*([^\s<>,;@]+@[^\s<>,;@]+)")
_BARE = re.compile(rb"[^\s<>,;:\"()@]{1,64}@[^\s<>,;:\"()@]+")
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')


def glance(content: bytes) -> dict[str, str]:
    """`subject` (decoded) and `friendly_from` (the first address of From), where the message has them."""
    end = content.find(b"\r\n\r\n", 0, _WINDOW)
    head = content[: end if end >= 0 else _WINDOW]
    low = b"\n" + head.lower()
    found = {}
    subject = _subject(_field(head, low, b"\nsubject:"))
    if subject:
        found["subject"] = subject
    address = _first_address(_field(head, low, b"\nfrom:"))
    if address:
        found["friendly_from"] = address
    return found


def _field(head: bytes, low: bytes, mark: bytes) -> bytes:
    """The unfolded value of the first field of a name. low: the head in lower case with one line feed in front.

    Finding the name in a lowered copy costs a tenth of the pattern search of `message.header`, and this runs for every
    message. It knows no white space before the colon (RFC 5322 4.5, obsolete): a report can do without that.
    """
    at = low.find(mark)
    if at < 0:
        return b""
    start = at + len(mark) - 1
    end = head.find(b"\n", start)
    while end >= 0 and head[end + 1 : end + 2] in (b" ", b"\t"):
        end = head.find(b"\n", end + 1)
    value = head[start : min(end, start + _MAX_VALUE) if end >= 0 else start + _MAX_VALUE]
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return value.strip()


@lru_cache(maxsize=256)
def _subject(raw: bytes) -> str:
    # Cached because a campaign repeats it, and decoding encoded words takes longer than all the rest of an event.
    return decode_words(raw)[:MAX_SUBJECT].strip()


def _first_address(author: bytes) -> str:
    if b'"' in author:
        author = _QUOTED.sub(b"", author)
    first = author.split(b",", 1)[0]
    if match := _ANGLE.search(first):
        return match[1].decode("utf-8", "replace")
    if match := _BARE.search(first):
        return match[0].decode("utf-8", "replace")
    return ""
