"""Content transfer encodings (RFC 2045 6): 7bit, quoted-printable, base64. Each is a few passes at C speed."""

from __future__ import annotations

import binascii
import re

MAX_LINE = 998  # octets without CRLF, RFC 5322 2.1.1
_BASE64_LINE = 76  # RFC 2045 6.8
_OVERFULL = re.compile(rb"^([^\r\n]{74,75})(=(?:20|09))(?=\r\n)", re.MULTILINE)


def crlf_lines(text: str) -> bytes:
    """UTF-8 with CRLF for every kind of line end, and one at the end. Raises UnicodeEncodeError on lone surrogates."""
    data = text.encode()
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not data.endswith(b"\n"):
        data += b"\n"
    return data.replace(b"\n", b"\r\n")


def has_long_line(data: bytes, limit: int = MAX_LINE) -> bool:
    """Is some line longer than `limit` octets, its line end not counted?"""
    start, size = 0, len(data)
    while size - start > limit:
        # Looking backwards from the longest allowed line finds a line end at once in ordinary text.
        end = data.rfind(b"\n", start, start + limit + 1)
        if end < 0:
            if data[start + limit : start + limit + 2] != b"\r\n":
                return True
            end = start + limit + 1
        start = end + 1
    return False


def is_7bit(data: bytes) -> bool:
    """May these CRLF lines travel as 7bit (RFC 2045 2.7)?"""
    return data.isascii() and b"\0" not in data and not has_long_line(data)


def quoted_printable(data: bytes) -> bytes:
    """RFC 2045 6.7 of CRLF lines; data ends in CRLF."""
    # binascii takes the kind of its soft line breaks from the first line end, so there must be one.
    encoded = binascii.b2a_qp(data, istext=True)
    if b" \r\n" in data or b"\t\r\n" in data:
        # It encodes a blank at a line's end without looking whether the line has room for that.
        encoded = _OVERFULL.sub(rb"\1=\r\n\2", encoded)
    return encoded


def base64_lines(data: bytes) -> bytes:
    """RFC 2045 6.8, lines of 76 with CRLF, the last one included. Empty data gives nothing."""
    text = binascii.b2a_base64(data, newline=False)
    if not text:
        return b""
    return b"\r\n".join([text[at : at + _BASE64_LINE] for at in range(0, len(text), _BASE64_LINE)]) + b"\r\n"


def text_part(text: str) -> tuple[bytes, bytes]:
    """(Content-Transfer-Encoding, encoded lines) of a text. Raises UnicodeEncodeError on lone surrogates."""
    data = crlf_lines(text)
    # "=_" begins every boundary of ours and can't occur in quoted-printable (RFC 2045 6.7): so nobody who knows the
    # boundary of a mailing can end a part by what a template shows of him.
    if is_7bit(data) and b"--=_" not in data:
        return b"7bit", data
    return b"quoted-printable", quoted_printable(data)
