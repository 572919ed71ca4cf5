"""The header section as signatures see it: its fields in order, octet for octet (RFC 5322 2.2).

Only CRLF ends a line. A bare CR or LF is an octet like any other, as it is for whoever else signs what goes over SMTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_BETWEEN = re.compile(rb"\r\n(?![ \t])")


class Field(NamedTuple):
    """name: in lower case, without the white space before the colon; raw: the whole field with the final CRLF."""

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        """What stands behind the colon, unfolded, without white space around it."""
        return self.raw.partition(b":")[2].replace(b"\r\n", b"").strip(b" \t")


def body_start(content: bytes) -> int:
    """Offset just behind the empty line that ends the header section; len(content) when there is none."""
    if content.startswith(b"\r\n"):
        return 2
    end = content.find(b"\r\n\r\n")
    return len(content) if end < 0 else end + 4


def split_fields(header: bytes) -> list[Field]:
    """The fields of a header section, with or without its final empty line. A line that is no field keeps its place
    under the name b"", which no signature can name."""
    found = []
    for raw in _BETWEEN.split(header):
        if raw:
            name, colon, _ = raw.partition(b":")
            found.append(Field(name.rstrip(b" \t").lower() if colon else b"", raw + b"\r\n"))
    return found


def joined(fields: Iterable[Field]) -> bytes:
    return b"".join(field.raw for field in fields)
