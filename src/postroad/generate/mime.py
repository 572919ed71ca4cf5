"""Building a message by slots: everything that all recipients share is made once, a recipient's copy is one join.

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
from postroad.generate.people import Person, people_field, person_text
from postroad.message.model import has_dotted_line

# Fields that the content's own members make. A client that gives them as headers contradicts itself.
OWNED = frozenset({"from", "to", "subject", "reply-to"})
# Fields that are not the sender's to set, or that would tell what must stay hidden; they are left out.
# X-MSYS-API is a message to the mailer, sent along by clients that copy all their headers (api.md 23.1).
DROPPED = frozenset({"bcc", "mime-version", "return-path", "x-msys-api"})
_ADDRESS_LISTS = frozenset({"cc", "sender", "resent-from", "resent-to", "resent-cc", "disposition-notification-to"})
_CONTENT_ID = re.compile(r"[ !-;=?-~]{1,255}\Z")
_BARE_BREAK = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class PartError(BuildError):
    """A part that can't be made."""


class BuildErrors(ValueError):
    """Everything that is wrong with the content, not only the first thing."""

    def __init__(self, errors: list[BuildError]) -> None:
        super().__init__("; ".join(str(error) for error in errors))
        self.errors = errors


class Attachment(NamedTuple):
    """name: file name, or for an inline image its Content-ID. type: a Content-Type value, copied as it is."""

    name: str
    type: str
    data: bytes


@dataclass(slots=True, kw_only=True)
class Content:
    """What a message says, in Unicode and without any encoding. At least one of text and html is given."""

    sender: Person
    subject: str = ""
    text: str | None = None
    html: str | None = None
    amp_html: str | None = None
    reply_to: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    attachments: Sequence[Attachment] = ()
    inline_images: Sequence[Attachment] = ()


class Draft:
    """A message ready but for its slots: Date, Message-ID and To.

    smtputf8: the header holds non-ASCII octets (an address with a non-ASCII local part), which needs RFC 6531.
    dotted: as Body.dotted, and true of every rendering. len(draft): octets of a rendering without its slots.
    """

    __slots__ = ("_head", "_rest", "dotted", "has_date", "has_message_id", "smtputf8")

    def __init__(self, head: bytes, rest: bytes, body: bytes, *, has_date: bool, has_message_id: bool) -> None:
        self._head = head
        self._rest = rest + body
        self.smtputf8 = not (head.isascii() and rest.isascii())
        # Header lines begin with a name or white space, never with a dot.
        self.dotted = has_dotted_line(body)
        self.has_date = has_date
        self.has_message_id = has_message_id

    def __len__(self) -> int:
        return len(self._head) + len(self._rest)

    def render(self, *, to: bytes, date: bytes, message_id: bytes) -> bytes:
        """The whole message. Each argument is a whole field with CRLF, or empty; Date and Message-ID are left out where
        the client gave its own."""
        return b"".join(
            (
                b"" if self.has_date else date,
                b"" if self.has_message_id else message_id,
                self._head,
                to,
                self._rest,
            )
        )


def draft(content: Content, boundary: Callable[[], str]) -> Draft:
    """boundary: makes a fresh MIME boundary (RFC 2046 5.1.1), unguessable in production so that no content can hold it.

    Raises BuildErrors.
    """
    errors: list[BuildError] = []
    head = _attempt(errors, _from_field, content.sender)
    rest = [_attempt(errors, text_field, "subject", "Subject", content.subject)]
    if content.reply_to.strip():
        rest.append(_attempt(errors, people_field, "reply_to", "Reply-To", content.reply_to))
    own = _custom_fields(errors, content.headers)
    rest.extend(own.values())
    part = _attempt(errors, _body, content, boundary, errors)
    if errors:
        raise BuildErrors(errors)
    # A part is fields, an empty line and a body; its fields stand at the end of the message's.
    fields, _, body = part.partition(b"\r\n\r\n")
    rest.append(b"MIME-Version: 1.0\r\n" + fields + b"\r\n\r\n")
    return Draft(head, b"".join(rest), body, has_date="date" in own, has_message_id="message-id" in own)


def _attempt(errors: list[BuildError], make: Callable[..., bytes], *arguments: object) -> bytes:
    try:
        return make(*arguments)
    except BuildError as error:
        errors.append(error)
        return b""


def _from_field(sender: Person) -> bytes:
    return structured_field("from", "From", person_text("from", sender.name, sender.email))


def _custom_fields(errors: list[BuildError], headers: Mapping[str, str]) -> dict[str, bytes]:
    """The client's own fields by lower-case name. Names that differ in case only are one: lists are joined."""
    merged: dict[str, tuple[str, str, str]] = {}
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
                value = f"{merged[key][2]}, {value}"
            merged[key] = (where, "Cc" if key == "cc" else name, value)
        except HeaderError as error:
            errors.append(error)
    made = {}
    for key, (where, name, value) in merged.items():
        if key in _ADDRESS_LISTS:
            made[key] = _attempt(errors, people_field, where, name, value)
        else:
            made[key] = _attempt(errors, _raw_field, where, name, value)
    return made


def _raw_field(where: str, name: str, value: str) -> bytes:
    return text_field(where, name, value, raw=True)


def _body(content: Content, boundary: Callable[[], str], errors: list[BuildError]) -> bytes:
    alternatives = []
    for kind, text in (("text/plain", content.text), ("text/x-amp-html", content.amp_html)):
        if text is not None:
            alternatives.append(_attempt(errors, _text, kind, text))
    images: list[bytes] = []
    seen = set()
    for number, image in enumerate(content.inline_images):
        where = f"inline_images[{number}]"
        if image.name in seen:
            errors.append(PartError(f"{where}.name", "is used twice"))
        seen.add(image.name)
        images.append(_attempt(errors, _image, where, image))
    if content.html is not None:
        html = _attempt(errors, _text, "text/html", content.html)
        alternatives.append(_multipart(b"related", [html, *images], boundary, b'; type="text/html"'))
        images = []
    if not alternatives:
        raise PartError("text", "or html must be given")
    if content.amp_html is not None and len(alternatives) == 1:
        raise PartError("amp_html", "needs text or html beside it")
    parts = [_multipart(b"alternative", alternatives, boundary), *images]
    for number, attachment in enumerate(content.attachments):
        parts.append(_attempt(errors, _attachment, f"attachments[{number}]", attachment))
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


def _text(kind: str, text: str) -> bytes:
    try:
        encoding, lines = text_part(text)
    except UnicodeEncodeError:
        name = {"text/plain": "text", "text/html": "html", "text/x-amp-html": "amp_html"}[kind]
        raise PartError(name, "is not valid Unicode") from None
    return b"".join(
        (
            b"Content-Type: " + kind.encode() + b"; charset=utf-8\r\nContent-Transfer-Encoding: ",
            encoding,
            b"\r\n\r\n",
            lines,
        )
    )


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
