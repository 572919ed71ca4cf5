"""Reading the MIME structure of a message where it stands: which parts there are, and what each says (RFC 2045-2047,
2183, 2231). Bodies are cut out and decoded only when they are asked for.

Pure, and bounded: a message that nests deeper or has more parts than we follow is read as far as that, and the rest of
it counts as one opaque part.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import collapse_rfc2231_value, decode_params

from postroad.message.header import decode_text, decode_words
from postroad.message.header import field as header_field

MAX_DEPTH = 20
MAX_PARTS = 1000
_MAX_BOUNDARY = 200  # RFC 2046 allows 70

_TOKEN = rb"[^\x00-\x20()<>@,;:\\\"/\[\]?=\x7f]+"
_TYPE = re.compile(rb"\s*(" + _TOKEN + rb")/(" + _TOKEN + rb")")
_WORD = re.compile(rb"\s*(" + _TOKEN + rb")")
_PARAM = re.compile(rb";\s*(" + _TOKEN + rb")\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;]*))", re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
# Octets the base64 decoder skips: a stray one must not hide what follows from whoever looks for something.
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")


@dataclass(slots=True, eq=False)
class Part:
    """One entity, between `start` and `end` in the octets of the message; its body begins at `body`.

    type: "text/plain", lower case. parameters: of Content-Type, names in lower case. disposition: "attachment",
    "inline" or "". filename: "" for none. encoding: of the transfer, lower case, "7bit" when it says nothing.
    parts: what a multipart or message/rfc822 holds.
    """

    start: int
    body: int
    end: int
    type: str = "text/plain"
    parameters: dict[str, str] = field(default_factory=dict)
    disposition: str = ""
    filename: str = ""
    encoding: str = "7bit"
    parts: list[Part] = field(default_factory=list)

    @property
    def charset(self) -> str:
        return self.parameters.get("charset", "us-ascii").lower()

    def walk(self) -> Iterator[Part]:
        """This part and all below it, in the order of the message."""
        left = [self]
        while left:
            part = left.pop()
            yield part
            left.extend(reversed(part.parts))

    def octets(self, content: bytes) -> bytes:
        """The body with its transfer encoding undone. What can't be decoded comes as far as it can. Never raises."""
        return decode_transfer(content[self.body : self.end], self.encoding)

    def text(self, content: bytes) -> str:
        """The body as text: by its charset, else UTF-8, else Latin-1. Never raises."""
        return decode_text(self.octets(content), self.charset)


def decode_transfer(octets: bytes, encoding: str) -> bytes:
    """Undo a Content-Transfer-Encoding (RFC 2045 6). An unknown one is left as it is. Never raises."""
    if encoding == "base64":
        letters = _NOT_BASE64.sub(b"", octets)
        letters = letters[: len(letters) - (len(letters) % 4 == 1)]
        try:
            return base64.b64decode(letters + b"=" * (-len(letters) % 4))
        except binascii.Error:
            return octets
    if encoding == "quoted-printable":
        return quopri.decodestring(octets)
    return octets


def parse_mime(content: bytes) -> Part:
    """The tree of a message. content: CRLF line ends. Never raises, whatever the octets are."""
    count = 0

    def read(start: int, end: int, depth: int) -> Part:
        nonlocal count
        count += 1
        part = _entity(content, start, end)
        if depth >= MAX_DEPTH:
            return part
        if part.type.startswith("multipart/"):
            boundary = part.parameters.get("boundary", "")
            if boundary and len(boundary) <= _MAX_BOUNDARY:
                for begin, stop in _between(content, boundary, part.body, part.end):
                    if count >= MAX_PARTS:
                        break
                    part.parts.append(read(begin, stop, depth + 1))
        elif part.type == "message/rfc822" and part.encoding in ("7bit", "8bit", "binary"):
            part.parts.append(read(part.body, part.end, depth + 1))
        return part

    return read(0, len(content), 0)


def _entity(content: bytes, start: int, end: int) -> Part:
    head = content[start : min(end, start + _header_length(content, start, end))]
    part = Part(start, start + len(head), end)
    value = header_field(head, b"Content-Type")
    if value is not None and (match := _TYPE.match(value)) is not None:
        part.type = f"{match[1].decode('latin-1')}/{match[2].decode('latin-1')}".lower()
        part.parameters = _parameters(value)
    value = header_field(head, b"Content-Disposition")
    names = {}
    if value is not None and (match := _WORD.match(value)) is not None:
        part.disposition = match[1].decode("latin-1").lower()
        names = _parameters(value)
    part.filename = names.get("filename") or part.parameters.get("name", "")
    value = header_field(head, b"Content-Transfer-Encoding")
    if value is not None and (match := _WORD.match(value)) is not None:
        part.encoding = match[1].decode("latin-1").lower()
    return part


def _header_length(content: bytes, start: int, end: int) -> int:
    if content.startswith(b"\r\n", start):
        return 2
    found = content.find(b"\r\n\r\n", start, end)
    return end - start if found < 0 else found + 4 - start


def _between(content: bytes, boundary: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the parts of a multipart lie (RFC 2046 5.1.1). The line end before a delimiter belongs to it."""
    delimiter = re.compile(
        rb"(?:\r\n|(?<=\r\n))--" + re.escape(boundary.encode("latin-1", "replace")) + rb"(--)?[ \t]*(?:\r\n|$)"
    )
    begin = None
    at = start
    while (match := delimiter.search(content, at, end)) is not None:
        if begin is not None:
            yield begin, max(begin, match.start())
        begin = match.end()
        if match[1]:
            return
        # The line end behind this delimiter may be the one before the next: an empty part.
        at = max(match.start() + 1, match.end() - 2)
    if begin is not None:  # the closing delimiter is missing: what is there counts
        yield begin, end


def _parameters(value: bytes) -> dict[str, str]:
    """By name in lower case; the first of a name counts. RFC 2231 continuations and charsets are undone."""
    found: list[tuple[str, str]] = []
    for name, quoted, plain in _PARAM.findall(value):
        text = quoted.decode("latin-1") if quoted else plain.decode("latin-1")
        if quoted:
            text = _QUOTED_PAIR.sub(r"\1", text)
        found.append((name.decode("latin-1").lower(), text))
    result: dict[str, str] = {}
    if any("*" in name for name, _ in found):
        try:
            # Its first entry is taken for the value before the parameters, and it quotes what it returns.
            decoded = [(name, collapse_rfc2231_value(text)) for name, text in decode_params([("", ""), *found])[1:]]
            found = [(name, text.strip('"')) for name, text in decoded]
        except Exception:  # the standard library raises several kinds on malformed ones
            found = [(name.partition("*")[0], text) for name, text in found]
    for name, text in found:
        result.setdefault(name, decode_words(text.encode("latin-1", "replace")) if "=?" in text else text)
    return result
