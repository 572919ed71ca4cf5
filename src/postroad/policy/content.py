"""A message as a hook sees it: header fields and MIME parts to read and to edit. Octets are made anew only when
something was changed, and only around what was changed: a signature over the rest stays good."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from email.header import Header
from itertools import pairwise

from postroad.message.header import count, decode_words, header_end
from postroad.message.header import field as first_field
from postroad.message.header import fields as all_fields
from postroad.message.mime import Part, parse_mime

_NAME = re.compile(r"[!-9;-~]{1,76}")  # RFC 5322 3.6.8: printable ASCII without the colon
_LINE = 998
_WIDTH = 78  # of a line of the header, where it can be folded (RFC 5322 2.1.1)
_BASE64_LINE = 57  # octets, which make 76 letters


class ContentError(ValueError):
    """What a hook wants to write is no header field, or there is no such part."""


class Content:
    """octets: the message, CRLF line ends.

    Names of fields are compared without regard to case. Text comes decoded (RFC 2047) and is encoded where it must be;
    a CR or LF in it is refused, so that no value can become a field of its own.
    """

    __slots__ = ("_end", "_octets", "_root", "changed")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._end = -1
        self._root: Part | None = None
        self.changed = False

    @property
    def octets(self) -> bytes:
        """The whole message."""
        return self._octets

    def __len__(self) -> int:
        return len(self._octets)

    # --- header -------------------------------------------------------------------------------------------------------

    @property
    def header_size(self) -> int:
        """Octets of the header section, with the empty line."""
        if self._end < 0:
            self._end = header_end(self._octets)
        return self._end

    def get(self, name: str) -> str | None:
        """The text of the first field of this name."""
        raw = first_field(self._octets, _name(name), self.header_size)
        return None if raw is None else decode_words(raw)

    def get_all(self, name: str) -> list[str]:
        """The texts of all fields of this name, in order."""
        return [decode_words(raw) for raw in all_fields(self._octets, _name(name), self.header_size)]

    def raw(self, name: str) -> list[bytes]:
        """All fields of this name, unfolded, otherwise as they came."""
        return all_fields(self._octets, _name(name), self.header_size)

    def count(self, name: str) -> int:
        """How many fields of this name there are."""
        return count(self._octets, _name(name), self.header_size)

    def names(self) -> list[str]:
        """Of all fields, in order."""
        head = self._octets[: self.header_size]
        return [match.decode("latin-1") for match in re.findall(rb"^([!-9;-~]+)[ \t]*:", head, re.MULTILINE)]

    def add(self, name: str, value: str, *, last: bool = False) -> None:
        """A field more, before all others or after them. Raises ContentError."""
        made = _field(name, value)
        end = self.header_size
        if not last:
            self._become(made + self._octets)
        elif self._octets.endswith(b"\r\n\r\n", 0, end):
            self._become(self._octets[: end - 2] + made + self._octets[end - 2 :])
        elif end == 2:  # no fields at all
            self._become(made + self._octets)
        else:  # a header section without the empty line
            head = self._octets[:end]
            self._become(head + (b"" if not head or head.endswith(b"\r\n") else b"\r\n") + made + b"\r\n")

    def set(self, name: str, value: str) -> None:
        """One field of this name, in the place of the first there was. Raises ContentError."""
        made = _field(name, value)
        found = list(self._spans(name))
        if not found:
            self.add(name, value, last=True)
            return
        self._become(self._without(found, made))

    def remove(self, name: str) -> int:
        """Take all fields of this name out. Returns how many there were."""
        found = list(self._spans(name))
        if found:
            self._become(self._without(found))
        return len(found)

    def replace_header(self, octets: bytes) -> None:
        """Another header section, as octets with the empty line: whoever made them answers for their form."""
        self._become(octets + self.body)

    def _without(self, spans: list[tuple[int, int]], instead: bytes = b"") -> bytes:
        """The message without these; `instead` in the place of the first. One copy, of however many fields."""
        pieces = [self._octets[: spans[0][0]], instead]
        for (_, end), (start, _) in pairwise([*spans, (len(self._octets), 0)]):
            pieces.append(self._octets[end:start])
        return b"".join(pieces)

    def _spans(self, name: str) -> Iterator[tuple[int, int]]:
        """Where the fields of this name stand, with their line ends."""
        pattern = re.compile(rb"^" + re.escape(_name(name)) + rb"[ \t]*:(?:[^\n]|\n[ \t])*\n?", re.I | re.M)
        for match in pattern.finditer(self._octets, 0, self.header_size):
            yield match.span()

    # --- body ---------------------------------------------------------------------------------------------------------

    @property
    def body(self) -> bytes:
        """Octets behind the header section."""
        return self._octets[self.header_size :]

    @property
    def mime(self) -> Part:
        """The tree of parts, until the next change."""
        if self._root is None:
            self._root = parse_mime(self._octets)
        return self._root

    def parts(self, kind: str = "") -> list[Part]:
        """All parts that hold no others; kind: of this type ("text/html") or this half of one ("image/")."""
        leaves = (part for part in self.mime.walk() if not part.parts)
        if kind.endswith("/"):
            return [part for part in leaves if part.type.startswith(kind)]
        return [part for part in leaves if kind in ("", part.type)]

    def text(self, part: Part) -> str:
        """A text part, decoded."""
        return part.text(self._octets)

    def data(self, part: Part) -> bytes:
        """A part without its transfer encoding."""
        return part.octets(self._octets)

    def replace_text(self, part: Part, text: str) -> None:
        """Give a text part another text, in UTF-8. Line ends become CRLF. Parts in hand are no longer valid."""
        if not part.type.startswith("text/"):
            raise ContentError(f"this part is {part.type}, not text")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
        self._replace(part, lines.encode(), {"Content-Type": _text_type(part)})

    def replace_data(self, part: Part, data: bytes) -> None:
        """Give a part that holds no others other octets. Parts in hand are no longer valid."""
        self._replace(part, data, {})

    def drop(self, part: Part) -> None:
        """Take a part out of its multipart, with the delimiter before it. Parts in hand are no longer valid."""
        for parent in self.mime.walk():
            if parent.type.startswith("multipart/") and any(child is part for child in parent.parts):
                octets = self._octets
                begin = octets.rfind(b"--" + parent.parameters["boundary"].encode("latin-1"), 0, part.start)
                # Its delimiter's own line end stays with what comes before.
                end = part.end + 2 if octets.startswith(b"\r\n", part.end) else part.end
                self._become(octets[:begin] + octets[end:])
                return
        raise ContentError("this part stands in no multipart (any more)")

    def _replace(self, part: Part, data: bytes, wanted: dict[str, str]) -> None:
        if part.parts or part not in self.mime.walk():
            raise ContentError("this part holds others, or is not of this message (any more)")
        octets = self._octets
        head = Content(octets[part.start : part.body] or b"\r\n")
        coded, encoding = _encode(data)
        for name, value in (*wanted.items(), ("Content-Transfer-Encoding", encoding)):
            head.set(name, value)
        self._become(octets[: part.start] + head.octets + coded + octets[part.end :])

    def _become(self, octets: bytes) -> None:
        self._octets = octets
        self._end = -1
        self._root = None
        self.changed = True


def _text_type(part: Part) -> str:
    others = "".join(
        f'; {name}="{value}"' for name, value in part.parameters.items() if name != "charset" and value.isprintable()
    )
    return f'{part.type}; charset="utf-8"{others}'


def _encode(data: bytes) -> tuple[bytes, str]:
    """(as it travels, its transfer encoding): as it is when it has only ASCII and short lines, else base64."""
    if data.isascii() and b"\0" not in data and all(len(line) <= _LINE for line in data.split(b"\r\n")):
        bare = data.replace(b"\r\n", b"")
        if b"\r" not in bare and b"\n" not in bare:
            return data, "7bit"
    lines = (data[at : at + _BASE64_LINE] for at in range(0, len(data), _BASE64_LINE))
    return b"\r\n".join(base64.b64encode(line) for line in lines), "base64"


def _name(name: str) -> bytes:
    if _NAME.fullmatch(name) is None:
        raise ContentError(f"{name[:60]!r} is no name of a header field")
    return name.encode()


def _field(name: str, value: str) -> bytes:
    """The octets of a field, folded."""
    _name(name)
    if "\r" in value or "\n" in value or "\0" in value:
        raise ContentError(f"the value of {name} has a line break or NUL in it: {value[:60]!r}")
    line = f"{name}: {value}"
    if value.isascii() and len(line) <= _WIDTH:
        return line.encode() + b"\r\n"
    if value.isascii():
        return _folded(line)
    coded = Header(value, "utf-8", header_name=name).encode(linesep="\r\n")
    return f"{name}: {coded}\r\n".encode()


def _folded(line: str) -> bytes:
    """At white space (RFC 5322 2.2.3)."""
    pieces = [""]
    for word in re.findall(r"[ \t]*[^ \t]+|[ \t]+$", line):
        if pieces[-1] and len(pieces[-1]) + len(word) > _WIDTH and word[0] in " \t":
            pieces.append("")
        pieces[-1] += word
    if any(len(piece) > _LINE for piece in pieces):
        raise ContentError(f"a word of a header field has more than {_LINE} characters, and can't be folded")
    return "\r\n".join(pieces).encode() + b"\r\n"
