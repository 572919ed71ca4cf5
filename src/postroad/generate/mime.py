"""The parts of a message (RFC 2045, 2046), each as octets that all recipients share, with marks where a
recipient's own text goes.

Structure (api.md 2.11): mixed( alternative( text, amp, related( html, inline images ) ), attachments ), each level only
where it has more than one part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from postroad.generate.encoded import base64_lines, has_long_line, text_part
from postroad.generate.headers import (
    BuildError,
    HeaderError,
    check_breaks,
    check_media_type,
    check_name,
    file_name_parameter,
    structured_field,
    text_field,
)
from postroad.generate.people import Person, people_field
from postroad.generate.template import TemplateSyntaxError

# Fields that the content's own members make. A client that gives them as headers contradicts itself.
OWNED = frozenset({"from", "to", "subject", "reply-to"})
# Fields that are not the sender's to set, or that would tell what must stay hidden; they are left out.
# X-MSYS-API is a message to the mailer, sent along by clients that copy all their headers (api.md 23.1).
DROPPED = frozenset({"bcc", "mime-version", "return-path", "x-msys-api"})
_ADDRESS_LISTS = frozenset({"cc", "sender", "resent-from", "resent-to", "resent-cc", "disposition-notification-to"})
_CONTENT_ID = re.compile(r"[ !-;=?-~]{1,255}\Z")
_BARE_BREAK = re.compile(rb"\r(?!\n)|(?<!\r)\n")
MARK = re.compile(rb"\0([a-z_]+)\0")
_TYPES = {"text": b"text/plain", "html": b"text/html", "amp_html": b"text/x-amp-html"}
_HEADS = {
    name: b"Content-Type: " + kind + b"; charset=utf-8\r\nContent-Transfer-Encoding: " for name, kind in _TYPES.items()
}


class PartError(BuildError):
    """A part that can't be made."""


class BuildErrors(ValueError):
    """Everything that is wrong with the content, not only the first thing."""

    def __init__(self, errors: list[BuildError | TemplateSyntaxError]) -> None:
        super().__init__("; ".join(str(error) for error in errors))
        self.errors = errors


class Attachment(NamedTuple):
    """name: file name, or for an inline image its Content-ID. type: a Content-Type value, copied as it is."""

    name: str
    type: str
    data: bytes


@dataclass(slots=True, kw_only=True)
class Content:
    """What a message says, in Unicode and without any encoding. At least one of text and html is given.

    literal_headers, literal_reply_to, literal_sender: what is never of the template language, whatever is in it
    (api.md 2.2, override); literal_reply_to wins over reply_to.
    """

    sender: Person
    subject: str = ""
    text: str | None = None
    html: str | None = None
    amp_html: str | None = None
    reply_to: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    literal_headers: Mapping[str, str] = field(default_factory=dict)
    literal_reply_to: str | None = None
    literal_sender: bool = False
    attachments: Sequence[Attachment] = ()
    inline_images: Sequence[Attachment] = ()


class Header(NamedTuple):
    """One of the client's own. where: as errors name it. value: as given, not in any encoding."""

    where: str
    name: str
    value: str


def attempt(errors: list[BuildError], make: Callable[..., bytes], *arguments: object) -> bytes:
    try:
        return make(*arguments)
    except BuildError as error:
        errors.append(error)
        return b""


def own_headers(errors: list[BuildError], headers: Mapping[str, str]) -> dict[str, Header]:
    """The client's own headers by lower-case name. Names that differ in case only are one: lists are joined."""
    merged: dict[str, Header] = {}
    for name, value in headers.items():
        where = f"headers.{name}"
        key = name.lower()
        try:
            check_name(where, name)
            check_breaks(where, value)
            if key in OWNED or key.startswith("content-"):
                raise HeaderError(where, "can not be set here")
            if key in DROPPED or not value.strip(" \t"):
                continue
            if key in merged:
                if key not in _ADDRESS_LISTS:
                    raise HeaderError(where, "is given twice")
                value = f"{merged[key].value}, {value}"
            merged[key] = Header(where, "Cc" if key == "cc" else name, value)
        except HeaderError as error:
            errors.append(error)
    return merged


def header_field(header: Header, value: str, *, people: bool = False) -> bytes:
    """The field with this value; b"" for a blank one, which says nothing. people: it is a list of addresses.

    Raises HeaderError.
    """
    if not value.strip(" \t"):
        return b""
    if people or header.name.lower() in _ADDRESS_LISTS:
        return people_field(header.where, header.name, value)
    return text_field(header.where, header.name, value, raw=True)


def parts(content: Content, texts: Mapping[str, bytes], boundary: Callable[[], str], errors: list[BuildError]) -> bytes:
    """All parts as one entity: fields, an empty line, a body. texts: for each of text, html and amp_html that is there
    the whole part, or its mark (see `mark`). Raises PartError."""
    alternatives = [texts[name] for name in ("text", "amp_html") if name in texts]
    images: list[bytes] = []
    seen = set()
    for number, image in enumerate(content.inline_images):
        where = f"inline_images[{number}]"
        if image.name in seen:
            errors.append(PartError(f"{where}.name", "is used twice"))
        seen.add(image.name)
        images.append(attempt(errors, _image, where, image))
    if "html" in texts:
        alternatives.append(_multipart(b"related", [texts["html"], *images], boundary, b'; type="text/html"'))
        images = []
    if not alternatives:
        raise PartError("text", "or html must be given")
    if "amp_html" in texts and len(alternatives) == 1:
        raise PartError("amp_html", "needs text or html beside it")
    parts = [_multipart(b"alternative", alternatives, boundary), *images]
    for number, attachment in enumerate(content.attachments):
        parts.append(attempt(errors, _attachment, f"attachments[{number}]", attachment))
    return _multipart(b"mixed", parts, boundary)


def _multipart(kind: bytes, parts: list[bytes], boundary: Callable[[], str], more: bytes = b"") -> bytes:
    """RFC 2046 5.1. A single part stands for itself."""
    if len(parts) == 1:
        return parts[0]
    mark = boundary().encode()
    between = b"\r\n--" + mark + b"\r\n"
    return b"".join(
        (
            b"Content-Type: multipart/" + kind + more + b';\r\n boundary="' + mark + b'"\r\n\r\n--' + mark + b"\r\n",
            between.join(parts),
            b"\r\n--" + mark + b"--\r\n",
        )
    )


def text_entity(name: str, text: str) -> bytes:
    """The part of a text: its fields, an empty line, its lines. name: text, html or amp_html. Raises PartError."""
    try:
        encoding, lines = text_part(text)
    except UnicodeEncodeError:
        raise PartError(name, "is not valid Unicode") from None
    return _HEADS[name] + encoding + b"\r\n\r\n" + lines


def mark(name: str) -> bytes:
    """Stands for a text that each recipient has its own of. No part holds NUL: texts with one are quoted-printable,
    files base64, and headers refuse it."""
    return b"\0" + name.encode() + b"\0"


def _image(where: str, image: Attachment) -> bytes:
    if not _CONTENT_ID.match(image.name):
        raise PartError(
            f"{where}.name", "must be 1 to 255 printable ASCII characters without < and >: it is an identifier"
        )
    disposition = "inline; " + file_name_parameter(f"{where}.name", image.name)
    return _file(where, image, disposition, f"Content-ID: <{image.name}>\r\n")


def _attachment(where: str, attachment: Attachment) -> bytes:
    disposition = "attachment"
    if attachment.name:
        disposition += "; " + file_name_parameter(f"{where}.name", attachment.name)
    return _file(where, attachment, disposition, "")


def _file(where: str, file: Attachment, disposition: str, more: str) -> bytes:
    kind = check_media_type(f"{where}.type", file.type)
    if kind.startswith("multipart/"):
        raise PartError(f"{where}.type", "can not be multipart: a composed part is not a file")
    head = (
        structured_field(f"{where}.type", "Content-Type", file.type),
        structured_field(f"{where}.name", "Content-Disposition", disposition),
        more.encode(),
    )
    if kind == "message/rfc822" and _may_stand_plain(file.data):
        # A message inside a message may not be encoded (RFC 2046 5.2.1), so it goes as it is where it can.
        encoding = b"7bit" if file.data.isascii() else b"8bit"
        return b"".join((*head, b"Content-Transfer-Encoding: ", encoding, b"\r\n\r\n", file.data))
    return b"".join((*head, b"Content-Transfer-Encoding: base64\r\n\r\n", base64_lines(file.data)))


def _may_stand_plain(data: bytes) -> bool:
    return b"\0" not in data and not has_long_line(data) and not _BARE_BREAK.search(data)
