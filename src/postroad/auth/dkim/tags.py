"""Tag lists: `a=b; c=d` (RFC 6376 3.2), the form of signatures, key records, DMARC records and ARC fields."""

from __future__ import annotations

import binascii
import re

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_FOLDING = re.compile(r"[ \t\r\n]+")
_VALUE = re.compile(r"[\x21-\x3a\x3c-\x7e \t\r\n]*\Z")
_VALUE_UTF8 = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f;]*\Z")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")


class TagError(ValueError):
    """No tag list. The message says what is wrong with which tag."""


def parse_tags(raw: bytes) -> dict[str, str]:
    """The tags in order, names as they stand (they are case-sensitive), white space around values removed.

    Raises TagError on octets that are not UTF-8 (RFC 8616), a tag without "=", a bad name, and a tag given twice
    (RFC 6376 3.2: the whole list is invalid then).
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise TagError("not UTF-8") from None
    parts = text.split(";")
    if not parts[-1].strip(" \t\r\n"):
        parts.pop()  # one semicolon may end the list
    tags: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip(" \t\r\n")
        if not equals or not _NAME.match(name):
            raise TagError(f"{part.strip()[:40]!r} is no tag")
        if name in tags:
            raise TagError(f"the tag {name}= stands twice")
        value = value.strip(" \t\r\n")
        if not (_VALUE if value.isascii() else _VALUE_UTF8).match(value):
            raise TagError(f"the tag {name}= holds a control character")
        tags[name] = value
    return tags


def unfolded(value: str) -> str:
    """Without any white space: for values in which it means nothing."""
    return _FOLDING.sub("", value) if value else value


def base64_tag(tags: dict[str, str], name: str) -> bytes:
    """The octets of a base64 tag. Raises TagError when it is missing, empty or no base64."""
    text = unfolded(tags.get(name, ""))
    if not text:
        raise TagError(f"{name}= is missing")
    if not _BASE64.match(text):
        raise TagError(f"{name}= is no base64")
    return binascii.a2b_base64(text)


def number_tag(tags: dict[str, str], name: str, digits: int) -> int | None:
    """A decimal number of at most that many digits, or None when the tag is missing. Raises TagError."""
    text = tags.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise TagError(f"{name}= is no number of at most {digits} digits")
    return int(text)
