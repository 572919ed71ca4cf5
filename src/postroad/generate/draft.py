"""A message by slots: what all share is made once; a copy is what its recipient's data changes, and one join."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from postroad.generate.filling import PARTS, Filling, Letter, TextSlot, resolver
from postroad.generate.headers import BuildError, HeaderError, check_breaks, structured_field, text_field
from postroad.generate.mime import (
    MARK,
    BuildErrors,
    Content,
    Header,
    attempt,
    header_field,
    mark,
    own_headers,
    parts,
    text_entity,
)
from postroad.generate.people import Person, parse_people, people_field, person_text
from postroad.generate.template import Kind, Template, TemplateSyntaxError, compile, header

# `Name <address>` of a From that holds statements: a quote or comma of a value is then no syntax.
_NAMED = re.compile(r"\s*(.*?)\s*<([^<>]*)>\s*\Z", re.DOTALL)


A = TypeVar("A")
S = TypeVar("S")
_UNSUBSCRIBE = ("list-unsubscribe", "list-unsubscribe-post")

_Slot = Callable[[Filling], bytes]
_Piece = bytes | _Slot


class _Value:
    """A header value with statements in it. Raises TemplateSyntaxError when it is made."""

    __slots__ = ("_template",)

    def __init__(self, name: str, source: str) -> None:
        self._template: Template = compile(source, header(name))

    def text(self, filling: Filling) -> str:
        return self._template.render(filling.data, snippets=resolver(filling.snippets, Kind.HEADER)).strip()


class Draft:
    """A message ready but for what a recipient's Filling brings. Its parts are those of `Content`.

    shared: nothing in it depends on the recipient's data, so only To and links differ. sender, subject: the From
    address and the subject, "" where each recipient has its own. tracked: links may be tracked, or there is HTML for a
    pixel. len(draft): octets of what is shared.
    """

    __slots__ = (
        "_from",
        "_rest",
        "_size",
        "_subject",
        "_utf8",
        "has_date",
        "has_message_id",
        "sender",
        "shared",
        "subject",
        "tracked",
    )

    def __init__(
        self,
        content: Content,
        boundary: Callable[[], str],
        *,
        substitute: bool | None,
        finish: Callable[[str], str] | None,
    ) -> None:
        making = _Making(substitute, finish)
        fixed = _Making(None, None)
        self._from = (fixed if content.literal_sender else making).try_slot(_sender, content.sender)
        self._subject = making.try_slot(_subject, content.subject)
        self.sender = content.sender.email if isinstance(self._from, bytes) else ""
        self.subject = content.subject if isinstance(self._subject, bytes) else ""
        rest: list[_Piece] = []
        if content.literal_reply_to is not None:
            rest.append(fixed.try_slot(_list_field, Header("reply_to", "Reply-To", content.literal_reply_to)))
        elif content.reply_to.strip():
            rest.append(making.try_slot(_list_field, Header("reply_to", "Reply-To", content.reply_to)))
        own = own_headers(making.errors, content.headers)
        for key, each in own.items():
            if key not in _UNSUBSCRIBE:
                rest.append(making.try_slot(_own_field, each))
        literal = own_headers(making.errors, content.literal_headers)
        rest += [fixed.try_slot(_own_field, each) for each in literal.values()]
        rest.append(_unsubscribe([making.try_slot(_own_field, own[key]) for key in _UNSUBSCRIBE if key in own]))
        texts = making.texts(content)
        entity = attempt(making.errors, parts, content, texts, boundary, making.errors)
        if making.errors or making.faults or fixed.errors:
            raise BuildErrors([*making.errors, *fixed.errors, *making.faults])
        # A part is fields, an empty line and a body; its fields stand at the end of the message's.
        for place, piece in enumerate(MARK.split(b"MIME-Version: 1.0\r\n" + entity)):
            rest.append(making.text_slot(piece.decode()) if place % 2 else piece)
        self._rest = joined(rest)
        self._size = sum(map(len, making.fixed.values())) + sum(
            len(piece) for piece in self._rest if isinstance(piece, bytes)
        )
        self._utf8 = making.utf8 or fixed.utf8
        self.has_date = "date" in own
        self.has_message_id = "message-id" in own
        self.shared = not making.personal
        self.tracked = any(slot.trackable for slot in making.slots.values())

    def __len__(self) -> int:
        return self._size

    def author(self, filling: Filling) -> str:
        """The From address of this recipient's copy. Raises TemplateRenderError."""
        return self.sender if isinstance(self._from, bytes) else self._from(filling).email

    def letter(self, filling: Filling) -> Letter:
        """The whole message. Date and Message-ID are left out where the client gave its own.

        Raises TemplateRenderError, BuildError.
        """
        utf8 = self._utf8
        sender, subject = self.sender, self.subject
        pieces = [b"" if self.has_date else filling.date, b"" if self.has_message_id else filling.message_id]
        if isinstance(self._from, bytes):
            pieces.append(self._from)
        else:
            person = self._from(filling)
            sender = person.email
            pieces.append(structured_field("from", "From", person_text("from", person.name, sender)))
            utf8 = utf8 or not pieces[-1].isascii()
        pieces.append(filling.to)
        if isinstance(self._subject, bytes):
            pieces.append(self._subject)
        else:
            subject = self._subject.text(filling)
            pieces.append(text_field("subject", "Subject", subject))
        pieces.extend(piece if isinstance(piece, bytes) else piece(filling) for piece in self._rest)
        return Letter(b"".join(pieces), sender, subject, utf8 or not filling.to.isascii())


def draft(
    content: Content,
    boundary: Callable[[], str],
    *,
    substitute: bool | None = None,
    finish: Callable[[str], str] | None = None,
) -> Draft:
    """boundary: makes a fresh MIME boundary (RFC 2046 5.1.1), unguessable in production so that no content can hold it.
    substitute: are there statements in texts; headers are always of the template language (api.md 2.3). None: the
    content is no template at all. finish: what is done to html once it is rendered.

    Raises BuildErrors with everything that is wrong.
    """
    return Draft(content, boundary, substitute=substitute, finish=finish)


class _Making:
    """What is found out while a draft is made."""

    def __init__(self, substitute: bool | None, finish: Callable[[str], str] | None) -> None:
        self.errors: list[BuildError] = []
        self.faults: list[TemplateSyntaxError] = []
        self.slots: dict[str, TextSlot] = {}
        self.personal = False
        self.utf8 = False
        self.fixed: dict[str, bytes] = {}  # parts that are slots for their links alone, as they are without
        self._substitute = substitute
        self._finish = finish

    def try_slot(self, make: Callable[[_Making, A], bytes | S], value: A) -> bytes | S:
        try:
            piece = make(self, value)
        except TemplateSyntaxError as error:
            self.faults.append(error)
            return b""
        except BuildError as error:
            self.errors.append(error)
            return b""
        if not isinstance(piece, bytes):
            self.personal = True
        elif not piece.isascii():
            self.utf8 = True
        return piece

    def is_template(self, source: str) -> bool:
        return self._substitute is not None and "{{" in source

    def texts(self, content: Content) -> dict[str, bytes]:
        """The part of each text that is there, or its mark."""
        shown: dict[str, bytes] = {}
        for name, part in PARTS.items():
            source = getattr(content, name)
            if source is None:
                continue
            shown[name] = b""
            try:
                finish = self._finish if name == "html" else None
                slot = TextSlot(source, part, substitute=bool(self._substitute), finish=finish)
                if slot.fixed is not None:
                    shown[name] = text_entity(name, slot.fixed)
                if slot.fixed is None or slot.trackable:
                    if slot.fixed is not None:
                        self.fixed[name] = shown[name]
                    self.slots[name] = slot
                    shown[name] = mark(name)
                self.personal = self.personal or slot.fixed is None
            except TemplateSyntaxError as error:
                self.faults.append(error)
            except BuildError as error:
                self.errors.append(error)
        return shown

    def text_slot(self, name: str) -> _Slot:
        slot, fixed = self.slots[name], self.fixed.get(name)

        def entity(filling: Filling) -> bytes:
            if fixed is not None and slot.is_fixed(filling):
                return fixed
            return text_entity(name, slot.text(filling))

        return entity


def _sender(making: _Making, sender: Person) -> bytes | Callable[[Filling], Person]:
    source = sender.name, sender.email
    if not any(map(making.is_template, source)):
        return structured_field("from", "From", person_text("from", *source))
    name, email = _Value("From", sender.name), _Value("From", sender.email)
    return lambda filling: Person(name.text(filling), email.text(filling))


def _subject(making: _Making, subject: str) -> bytes | _Value:
    check_breaks("subject", subject)
    return _Value("Subject", subject) if making.is_template(subject) else text_field("subject", "Subject", subject)


def _list_field(making: _Making, given: Header) -> _Piece:
    return _field_slot(making, given, lambda value: people_field(given.where, given.name, value) if value else b"")


def _own_field(making: _Making, given: Header) -> _Piece:
    return _field_slot(making, given, lambda value: header_field(given, value))


def _field_slot(making: _Making, given: Header, write: Callable[[str], bytes]) -> _Piece:
    check_breaks(given.where, given.value)
    if not making.is_template(given.value):
        return write(given.value)
    value = _Value(given.name, given.value)
    return lambda filling: write(value.text(filling))


def _unsubscribe(own: list[_Piece]) -> _Slot:
    """The platform's List-Unsubscribe is the one that is sent, if there is one (api.md 2.5)."""

    def fields(filling: Filling) -> bytes:
        if filling.unsubscribe:
            return filling.unsubscribe
        return b"".join(piece if isinstance(piece, bytes) else piece(filling) for piece in own)

    return fields


def joined(pieces: list[_Piece]) -> list[_Piece]:
    """With neighbours that are octets made one."""
    made: list[_Piece] = []
    for piece in pieces:
        if isinstance(piece, bytes) and made and isinstance(made[-1], bytes):
            made[-1] += piece
        elif piece != b"":
            made.append(piece)
    return made


def read_sender(text: str) -> Person:
    """The From of a client's string. Around statements only the last <...> is syntax: what their values bring is none.

    Raises HeaderError.
    """
    check_breaks("from", text)
    if "{{" in text:
        named = _NAMED.match(text)
        if named is None:
            return Person("", text.strip())
        return Person(named[1].removeprefix('"').removesuffix('"'), named[2].strip())
    people = parse_people("from", text)
    if len(people) > 1:
        raise HeaderError("from", "must be one address")
    return people[0] if people else Person("", "")
