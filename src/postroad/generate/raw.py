"""A whole message of the client's (email_rfc822, api.md 2.5 D) by slots: headers with statements, and the first text,
html and AMP part that are no attachments. All else stays as it came, octet for octet."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from postroad.generate.draft import joined
from postroad.generate.encoded import text_part
from postroad.generate.filling import Filling, Letter, TextSlot, resolver
from postroad.generate.headers import BuildError, HeaderError
from postroad.generate.mime import BuildErrors, Header, header_field
from postroad.generate.people import parse_people
from postroad.generate.template import Kind, Part, Template, TemplateSyntaxError, compile, header
from postroad.message import mime
from postroad.message.address import AddressError, parse_mailbox
from postroad.message.header import count, decode_words, header_end

_KINDS = {"text/plain": Kind.TEXT, "text/html": Kind.HTML, "text/x-amp-html": Kind.AMP}
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\r]|\r(?!\n)|\r\n[ \t])*)\r\n")
_PEOPLE = frozenset({b"from", b"to", b"cc", b"reply-to", b"sender"})
_ENCODED = frozenset({b"content-type", b"content-transfer-encoding"})
# What was signed or encrypted must arrive as it was.
_SEALED = frozenset({"multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"})
_Piece = bytes | Callable[[Filling], bytes]


class Raw:
    """content: CRLF lines. Members and letter() as of Draft; the To of a Filling is not used.

    Raises BuildErrors: of From there must be one, with one address.
    """

    __slots__ = (
        "_from",
        "_pieces",
        "_size",
        "_subject",
        "has_date",
        "has_message_id",
        "sender",
        "shared",
        "subject",
        "tracked",
    )

    def __init__(self, content: bytes, *, substitute: bool | None, finish: Callable[[str], str] | None = None) -> None:
        end = header_end(content)
        self._size = len(content)
        self.has_date = count(content, b"Date", end) > 0
        self.has_message_id = count(content, b"Message-ID", end) > 0
        self._from: Template | None = None
        self._subject: Template | None = None
        self.sender = self.subject = ""
        self.shared = True
        self.tracked = False
        errors: list[BuildError | TemplateSyntaxError] = []
        if count(content, b"From", end) != 1:
            errors.append(HeaderError("from", "must be there once"))
        slots = dict(_text_slots(content, substitute, finish, errors))
        own = next((part for part in slots if part.start == 0), None)
        pieces: list[_Piece] = []
        at = 0
        for start, at, name, value in _fields(content, 0, end):
            try:
                piece = self._field(content[start:at], name, value, substitute is not None)
            except (TemplateSyntaxError, BuildError) as error:
                errors.append(error)
                continue
            if own is None or name.lower() not in _ENCODED:
                pieces.append(piece)
            else:
                pieces.append(_where_untouched(slots[own], content[start:at]))
        if errors:
            raise BuildErrors(errors)
        if own is not None:
            kept = content[at:end].strip(b"\r\n")
            version = b"" if count(content, b"MIME-Version", end) else b"MIME-Version: 1.0\r\n"
            head = version + (kept + b"\r\n" if kept else b"")
            pieces.append(_entity(content, own, slots[own], head, content[at : own.end]))
            at = own.end
        else:
            for part, slot in sorted(slots.items(), key=lambda each: each[0].start):
                fields = _fields(content, part.start, part.body)
                kept = b"".join(content[start:stop] for start, stop, name, _ in fields if name.lower() not in _ENCODED)
                as_it_was = content[part.start : part.end]
                pieces += (content[at : part.start], _entity(content, part, slot, kept, as_it_was))
                at = part.end
        pieces.append(content[at:])
        self._pieces = joined(pieces)
        self.shared = self.shared and all(slot.fixed is not None for slot in slots.values())
        self.tracked = any(slot.trackable for slot in slots.values())

    def __len__(self) -> int:
        return self._size

    def author(self, filling: Filling) -> str:
        """The From address of this recipient's copy. Raises TemplateRenderError, HeaderError."""
        return self.sender if self._from is None else _one_sender(_rendered(self._from, filling))

    def letter(self, filling: Filling) -> Letter:
        """Date and Message-ID only where the message has none. Raises TemplateRenderError, BuildError."""
        pieces = [piece if isinstance(piece, bytes) else piece(filling) for piece in self._pieces]
        sender, subject = self.sender, self.subject
        if self._from is not None:
            sender = self.author(filling)
        if self._subject is not None:
            subject = _rendered(self._subject, filling)
        trace = (b"" if self.has_date else filling.date) + (b"" if self.has_message_id else filling.message_id)
        return Letter(b"".join(pieces), sender, subject, False, trace + filling.unsubscribe)

    def _field(self, octets: bytes, name: bytes, value: bytes, language: bool) -> _Piece:
        text = decode_words(value)
        lower = name.lower()
        if not language or "{{" not in text:
            if lower == b"from":
                self.sender = _one_sender(value.decode(errors="replace").replace("\r\n", ""))
            elif lower == b"subject":
                self.subject = text
            return octets
        shown = name.decode()
        template = compile(text, header(shown))
        self.shared = False
        given = Header(f"email_rfc822 header {shown}", shown, "")
        if lower == b"from":
            self._from = template
        elif lower == b"subject":
            self._subject = template

        def field(filling: Filling) -> bytes:
            rendered = _rendered(template, filling)
            return header_field(given, rendered, people=lower in _PEOPLE)

        return field


def _rendered(template: Template, filling: Filling) -> str:
    return template.render(filling.data, snippets=resolver(filling.snippets, Kind.HEADER)).strip()


def _one_sender(text: str) -> str:
    people = parse_people("from", text)
    if len(people) != 1:
        raise HeaderError("from", "must be one address")
    try:
        parse_mailbox(people[0].email)
    except AddressError as error:
        raise HeaderError("from", f"{people[0].email[:320]!r}: {error}") from None
    return people[0].email


def _fields(content: bytes, start: int, end: int) -> Iterator[tuple[int, int, bytes, bytes]]:
    """(begin, end, name, value) of the fields of a header section; what is no field ends it."""
    while found := _FIELD.match(content, start, end):
        yield found.start(), found.end(), found[1], found[2].replace(b"\r\n", b"").strip()
        start = found.end()


def _text_slots(
    content: bytes,
    substitute: bool | None,
    finish: Callable[[str], str] | None,
    errors: list[BuildError | TemplateSyntaxError],
) -> Iterator[tuple[mime.Part, TextSlot]]:
    """The first part of each kind, where something in it may be filled in."""
    whole = mime.parse_mime(content)
    if any(part.type in _SEALED for part in whole.walk()):
        return
    seen: set[Kind] = set()
    for part in whole.walk():
        kind = _KINDS.get(part.type)
        if kind is None or kind in seen or part.disposition == "attachment" or part.filename:
            continue
        seen.add(kind)
        text = part.text(content).replace("\r\n", "\n")
        try:
            slot = TextSlot(
                text,
                Part(kind, part.type),
                substitute=bool(substitute),
                finish=finish if kind is Kind.HTML else None,
            )
        except TemplateSyntaxError as error:
            errors.append(error)
            continue
        if slot.trackable or slot.fixed is None or slot.fixed != text:
            yield part, slot


def _where_untouched(slot: TextSlot, octets: bytes) -> Callable[[Filling], bytes]:
    return lambda filling: octets if slot.untouched(filling) else b""


def _entity(
    content: bytes, part: mime.Part, slot: TextSlot, kept: bytes, as_it_was: bytes
) -> Callable[[Filling], bytes]:
    """The part anew, with the fields it had but for those that tell of its encoding; as it was where nothing in it
    becomes another."""
    head = kept + b"Content-Type: " + part.type.encode() + b"; charset=utf-8"
    if "format" in part.parameters and part.parameters["format"].isalnum():
        head += b"; format=" + part.parameters["format"].encode()
    head += b"\r\nContent-Transfer-Encoding: "
    ends = content.endswith(b"\r\n", part.start, part.end)

    def entity(filling: Filling) -> bytes:
        if slot.untouched(filling):
            return as_it_was
        text = slot.text(filling)
        encoding, lines = text_part(text)
        if not ends:
            # The line end before a boundary is the boundary's (RFC 2046 5.1.1).
            lines = lines.removesuffix(b"\r\n")
        return head + encoding + b"\r\n\r\n" + lines

    return entity
