"""Writing header fields (RFC 5322 2.2, 3.2; RFC 2047; RFC 2231; RFC 6532).

No value can add a field or end the header section: CR, LF and NUL are refused by name, everything else that is not
plain is encoded, and lines are broken only where white space stands already.
"""

from __future__ import annotations

import binascii
import re
from urllib.parse import quote

from postroad.generate.encoded import MAX_LINE

_SOFT_LIMIT = 78  # columns, RFC 5322 2.1.1
_WORD_LINE = 76  # columns of a line with encoded words, RFC 2047 2
_WORD_OCTETS = 36  # octets of text in one encoded word: 60 columns, so that "Reply-To: " fits in front

_BREAKS = re.compile(r"[\r\n\0]")
_PLAIN = re.compile(r"[\t -~]*\Z")
_NAME = re.compile(r"[!-9;-~]{1,76}\Z")
_TOKENS = re.compile(r"[ \t]*[^ \t]+")
_TOKEN = r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+"
_MEDIA_TYPE = re.compile(
    rf"{_TOKEN}/{_TOKEN}(?:[ \t]*;[ \t]*{_TOKEN}=(?:{_TOKEN}|\"(?:[\t !#-\[\]-~]|\\[\t -~])*\"))*[ \t]*;?[ \t]*\Z"
)


class BuildError(ValueError):
    """No message can be built of this. field: where it came from, in the client's words; problem: what is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class HeaderError(BuildError):
    """A value that can't stand in a header."""


def check_breaks(field: str, value: str) -> None:
    """Raises HeaderError when the value holds a CR, LF or NUL."""
    if _BREAKS.search(value):
        raise HeaderError(field, "must not contain line breaks or NUL characters")


def check_name(field: str, name: str) -> None:
    """Raises HeaderError when this is no field name (RFC 5322 3.6.8)."""
    if not _NAME.match(name):
        raise HeaderError(field, "is not a header name: printable ASCII without colon or space, 76 characters at most")


def is_plain(value: str) -> bool:
    """Can the value be read as it stands: printable ASCII that no reader takes for an encoded word?"""
    return _PLAIN.match(value) is not None and "=?" not in value


def encoded_words(value: str) -> str:
    """RFC 2047 encoded words (UTF-8, B), a space between them, each cut between characters."""
    data = value.encode()
    words = []
    start, size = 0, len(data)
    while start < size:
        end = min(start + _WORD_OCTETS, size)
        while end < size and data[end] & 0xC0 == 0x80:
            end -= 1
        words.append("=?UTF-8?B?" + binascii.b2a_base64(data[start:end], newline=False).decode() + "?=")
        start = end
    return " ".join(words)


def fold(line: str, *, words: bool = False) -> str | None:
    """The line broken in front of white space, or None when a piece is too long to be a line.

    words: the line holds encoded words.
    """
    if len(line) <= _WORD_LINE:
        return line
    limit = _WORD_LINE if words else _SOFT_LIMIT
    lines: list[str] = []
    current = ""
    for token in _TOKENS.findall(line):
        # Text stays beside the field's name where it can: some readers stumble over an empty first line.
        held = not current or (not lines and not words and current[-1] == ":" and " " not in current)
        if (held and len(current) + len(token) <= MAX_LINE) or len(current) + len(token) <= limit:
            current += token
        else:
            lines.append(current)
            current = token
    lines.append(current)
    if any(
        len(part) > MAX_LINE or (not part.isascii() and len(part.encode(errors="replace")) > MAX_LINE) for part in lines
    ):
        return None
    return "\r\n".join(lines)


def text_field(field: str, name: str, value: str, *, raw: bool = False) -> bytes:
    """An unstructured field (RFC 5322 3.6.5), encoded where needed. raw: encoded words of the client pass as they are.

    Raises HeaderError.
    """
    check_breaks(field, value)
    value = value.strip(" \t")
    if not value:
        return f"{name}:\r\n".encode()
    if (raw and _PLAIN.match(value)) or is_plain(value):
        folded = fold(f"{name}: {value}")
        if folded is not None:
            return f"{folded}\r\n".encode()
        if raw:
            raise HeaderError(field, f"holds a word longer than a header line may be ({MAX_LINE} octets)")
    try:
        words = encoded_words(value)
    except UnicodeEncodeError:
        raise HeaderError(field, "is not valid Unicode") from None
    return f"{fold(f'{name}: {words}', words=True)}\r\n".encode()


def structured_field(field: str, name: str, value: str) -> bytes:
    """A field whose value is already in its final form: only folded. Non-ASCII text goes out as RFC 6532 UTF-8.

    Raises HeaderError.
    """
    check_breaks(field, value)
    folded = fold(f"{name}: {value.strip(' ' + chr(9))}", words="=?" in value)
    if folded is None:
        raise HeaderError(field, f"holds a word longer than a header line may be ({MAX_LINE} octets)")
    try:
        return f"{folded}\r\n".encode()
    except UnicodeEncodeError:
        raise HeaderError(field, "is not valid Unicode") from None


def quoted_string(value: str) -> str:
    """RFC 5322 3.2.4 of plain text."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def file_name_parameter(field: str, name: str) -> str:
    """`filename=...`: quoted when plain, else RFC 2231 extended. name: at most 255 octets. Raises HeaderError."""
    check_breaks(field, name)
    try:
        octets = len(name.encode())
    except UnicodeEncodeError:
        raise HeaderError(field, "is not valid Unicode") from None
    if octets > 255:
        raise HeaderError(field, "is longer than 255 bytes")
    # White space that readers might trim or join is better encoded, too.
    if is_plain(name) and " ".join(name.split()) == name:
        return "filename=" + quoted_string(name)
    return "filename*=UTF-8''" + quote(name, safe="")


def check_media_type(field: str, value: str) -> str:
    """The lower-case type/subtype of a Content-Type value (RFC 2045 5.1). Raises HeaderError."""
    if len(value) > 255 or not _MEDIA_TYPE.match(value):
        raise HeaderError(field, "is not a media type such as text/plain; charset=utf-8")
    return value.partition(";")[0].strip().lower()
