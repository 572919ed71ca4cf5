"""Canonical forms of header fields and bodies, and the hash of a body (RFC 6376 3.4).

No loop over lines: each step is one pass of a bytes method or of a pattern that looks for a fixed string.
"""

from __future__ import annotations

import hashlib
import re
from enum import Enum

_SPACES = re.compile(rb"  +")
# Line ends are taken off in big pieces first: a hostile body may have millions.
_LINE_ENDS = tuple(b"\r\n" * count for count in (32768, 256, 1))


class Canon(Enum):
    SIMPLE = "simple"
    RELAXED = "relaxed"


def relaxed_value(value: bytes) -> bytes:
    """What stands behind the colon, unfolded, runs of white space as one space, none around it (RFC 6376 3.4.2)."""
    value = value.replace(b"\r\n", b"").replace(b"\t", b" ")
    if b"  " in value:
        value = _SPACES.sub(b" ", value)
    return value.strip(b" ")


def canonical_field(raw: bytes, canon: Canon) -> bytes:
    """A whole field with its final CRLF."""
    if canon is Canon.SIMPLE:
        return raw
    name, _, value = raw.partition(b":")
    return name.rstrip(b" \t").lower() + b":" + relaxed_value(value) + b"\r\n"


def _without_empty_lines_at_end(body: bytes) -> bytes:
    """Body without all CRLF at its end. Linear also where there are millions of them."""
    end = len(body)
    for ends in _LINE_ENDS:
        while body.endswith(ends, 0, end):
            end -= len(ends)
    return body if end == len(body) else body[:end]


def canonical_body(body: bytes, canon: Canon) -> bytes:
    """RFC 6376 3.4.3, 3.4.4: an empty body is CRLF in the simple form and nothing in the relaxed one (errata 1384)."""
    if canon is Canon.RELAXED:
        if b"\t" in body:
            body = body.replace(b"\t", b" ")
        if b"  " in body:
            body = _SPACES.sub(b" ", body)
        body = body.replace(b" \r\n", b"\r\n")
        if body.endswith(b" "):
            body = body[:-1]  # the last line, when no CRLF ends it
        body = _without_empty_lines_at_end(body)
        return body + b"\r\n" if body else b""
    return _without_empty_lines_at_end(body) + b"\r\n"


class BodyHash:
    """The SHA-256 of one body, in each form at most once, however many recipients and signatures share it.

    content: the message; start: where its body begins. Only read, so it may be asked from several threads: the worst
    that can happen is that two compute the same.
    """

    __slots__ = ("_content", "_hashes", "_start")

    def __init__(self, content: bytes, start: int) -> None:
        self._content = content
        self._start = start
        self._hashes: dict[Canon, bytes] = {}

    def sha256(self, canon: Canon) -> bytes:
        """32 octets."""
        found = self._hashes.get(canon)
        if found is None:
            body = canonical_body(self._content[self._start :], canon)
            found = self._hashes[canon] = hashlib.sha256(body).digest()
        return found

    def partial(self, canon: Canon, length: int) -> bytes | None:
        """Of the first `length` octets of the canonical form (the l= tag); None when there are not so many."""
        body = canonical_body(self._content[self._start :], canon)
        return hashlib.sha256(body[:length]).digest() if length <= len(body) else None
