"""Names and addresses in header fields: From, To, Cc, Reply-To (RFC 5322 3.4, api.md 2.4)."""

from __future__ import annotations

import re
from typing import NamedTuple

from postroad.generate.headers import (
    HeaderError,
    check_breaks,
    encoded_words,
    fold,
    is_plain,
    quoted_string,
    structured_field,
)
from postroad.message.address import AddressError, parse_mailbox
from postroad.message.header import decode_words

_TOKEN = re.compile(
    r'(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<comment>\((?:[^()\\]|\\.)*\))|(?P<angle><[^<>]*>)|(?P<comma>,)'
    r'|(?P<text>[^",<>()]+)'
)
_ESCAPED = re.compile(r"\\(.)")


class Person(NamedTuple):
    """name "": none was given. email is as written; `person` checks it."""

    name: str
    email: str


def parse_people(field: str, value: str) -> list[Person]:
    """Read a comma list of mailboxes. Groups (RFC 5322 3.4) are not read. Raises HeaderError."""
    check_breaks(field, value)
    people: list[Person] = []
    pieces: list[tuple[str, str]] = []
    at, size = 0, len(value)
    while at < size:
        match = _TOKEN.match(value, at)
        if match is None:
            raise HeaderError(field, "is not a list of addresses")
        at = match.end()
        kind = match.lastgroup or ""
        if kind == "comma":
            _finish(field, pieces, people)
        else:
            pieces.append((kind, match[0]))
    _finish(field, pieces, people)
    return people


def _finish(field: str, pieces: list[tuple[str, str]], people: list[Person]) -> None:
    """Make a person of the pieces between two commas; nothing between them is allowed (RFC 5322 4.4)."""
    angles = [text for kind, text in pieces if kind == "angle"]
    if len(angles) > 1:
        raise HeaderError(field, "has two addresses without a comma between them")
    if angles:
        if next(kind for kind, _ in reversed(pieces) if kind != "comment" and _.strip()) != "angle":
            raise HeaderError(field, "has text behind an address")
        people.append(Person(_phrase(pieces), angles[0][1:-1].strip()))
    else:
        # Text and quoted strings together: "a b"@example.com is one address. A comment is the name, as of old.
        email = "".join(text for kind, text in pieces if kind != "comment").strip()
        comments = [text[1:-1] for kind, text in pieces if kind == "comment"]
        if email:
            people.append(Person(_ESCAPED.sub(r"\1", comments[0]).strip() if comments else "", email))
        elif comments:
            raise HeaderError(field, "has a comment without an address")
    pieces.clear()


def _phrase(pieces: list[tuple[str, str]]) -> str:
    words = []
    for kind, text in pieces:
        if kind == "quoted":
            words.append(_ESCAPED.sub(r"\1", text[1:-1]))
        elif kind == "text" and text.strip():
            # Encoded words are read only outside quotes (RFC 2047 5), and written anew by us.
            words.append(decode_words(text.strip().encode()) if "=?" in text else " ".join(text.split()))
    return " ".join(words)


def person_text(field: str, name: str, email: str) -> str:
    """`"Name" <email>` or `email`, ready for a field. Raises HeaderError."""
    check_breaks(field, name)
    try:
        mailbox = parse_mailbox(email)
    except AddressError as error:
        raise HeaderError(field, f"{email[:320]!r}: {error}") from None
    # A domain has an ASCII form that every host understands; a non-ASCII local part has none.
    address = f"{mailbox.local}@{mailbox.routing}" if not email.isascii() and mailbox.local.isascii() else email
    name = name.strip(" \t")
    if not name:
        return address
    if is_plain(name):
        return f"{quoted_string(name)} <{address}>"
    try:
        return f"{encoded_words(name)} <{address}>"
    except UnicodeEncodeError:
        raise HeaderError(field, "is not valid Unicode") from None


def people_field(field: str, name: str, value: str) -> bytes:
    """A field with an address list that the client wrote (To from header_to, Cc, Reply-To). Raises HeaderError.

    A short ASCII value stands as it is, whatever its syntax: the client may know better (groups, encoded words).
    """
    check_breaks(field, value)
    value = value.strip(" \t")
    if value.isascii() and len(value) + len(name) < 75 and value.isprintable():
        return f"{name}: {value}\r\n".encode()
    try:
        people = parse_people(field, value)
        written = ", ".join([person_text(field, person.name, person.email) for person in people])
    except HeaderError:
        if not (value.isascii() and value.replace("\t", " ").isprintable() and fold(f"{name}: {value}")):
            raise
        written = value
    return structured_field(field, name, written)


def to_field(field: str, email: str, name: str = "", header_to: str | None = None) -> bytes:
    """The To field of one recipient, b"" for none (api.md 2.4). field: the client's name of the address object.

    email alone: `email`; with name: `"name" <email>`; header_to: its text, which may be a whole list; "" means no To
    field; name and a header_to that is a bare address: `"name" <header_to>`. Raises HeaderError.
    """
    if header_to is None:
        return structured_field(f"{field}.email", "To", person_text(f"{field}.name" if name else field, name, email))
    if not header_to.strip():
        return b""
    if name and not any(mark in header_to for mark in "<,:;"):
        return structured_field(f"{field}.header_to", "To", person_text(f"{field}.header_to", name, header_to.strip()))
    return people_field(f"{field}.header_to", "To", header_to)
