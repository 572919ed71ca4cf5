"""Editing a message: what was not touched keeps its octets; nothing can break out of a field."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.policy import Content, ContentError

MAIL = b"From: a@example.com\r\nSubject: one\r\n two\r\nX: 1\r\nsubject: again\r\n\r\nbody\r\n"


def test_fields_are_read() -> None:
    content = Content(MAIL)
    assert content.get("SUBJECT") == "one two"
    assert content.get_all("subject") == ["one two", "again"]
    assert content.count("x") == 1
    assert content.get("missing") is None
    assert content.names() == ["From", "Subject", "X", "subject"]
    assert Content(b"S: =?utf-8?q?f=C3=BCr?=\r\n\r\n").get("s") == "für"
    assert not content.changed


def test_set_takes_the_first_ones_place_and_removes_the_others() -> None:
    content = Content(MAIL)
    content.set("Subject", "new")
    assert content.octets == b"From: a@example.com\r\nSubject: new\r\nX: 1\r\n\r\nbody\r\n"
    assert content.changed


@pytest.mark.parametrize(
    ("octets", "last", "wanted"),
    [
        (MAIL, False, b"N: v\r\n" + MAIL),
        (b"A: b\r\n\r\nbody", True, b"A: b\r\nN: v\r\n\r\nbody"),
        (b"\r\nbody", True, b"N: v\r\n\r\nbody"),
        (b"\r\nbody", False, b"N: v\r\n\r\nbody"),
        (b"A: b", True, b"A: b\r\nN: v\r\n\r\n"),
        (b"A: b\r\n", True, b"A: b\r\nN: v\r\n\r\n"),
        (b"", True, b"N: v\r\n\r\n"),
    ],
)
def test_add(octets: bytes, last: bool, wanted: bytes) -> None:
    content = Content(octets)
    content.add("N", "v", last=last)
    assert content.octets == wanted


def test_remove() -> None:
    content = Content(MAIL)
    assert content.remove("Subject") == 2
    assert content.octets == b"From: a@example.com\r\nX: 1\r\n\r\nbody\r\n"
    assert content.remove("Subject") == 0


@pytest.mark.parametrize("value", ["a\r\nBcc: x@example.com", "a\nb", "a\rb", "a\0b"])
def test_no_value_becomes_a_field(value: str) -> None:
    content = Content(MAIL)
    for change in (content.add, content.set):
        with pytest.raises(ContentError, match="line break"):
            change("X", value)
    assert content.octets == MAIL


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "ä", "x" * 100])
def test_no_name_is_anything_else(name: str) -> None:
    with pytest.raises(ContentError, match="no name"):
        Content(MAIL).add(name, "v")


def test_a_word_that_no_line_can_hold_is_refused() -> None:
    with pytest.raises(ContentError, match="998"):
        Content(MAIL).add("X", "a" * 2000)


@given(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=900))
def test_what_is_set_is_read_back(value: str) -> None:
    content = Content(MAIL)
    try:
        content.set("X-Text", value)
    except ContentError:
        assert max(map(len, value.split(" "))) > 900 - len("X-Text: ")
        return
    head = content.octets[: content.header_size]
    assert all(len(line) <= 998 for line in head.split(b"\r\n"))
    assert content.count("X-Text") == 1
    assert content.names() == ["From", "Subject", "X", "subject", "X-Text"]
    got = content.get("X-Text")
    assert got is not None
    assert got.split() == value.split()


def _parts() -> bytes:
    mail = EmailMessage(policy=email.policy.SMTP)
    mail["Subject"] = "parts"
    mail.set_content("plain\n")
    mail.add_alternative("<p>html</p>\n", subtype="html")
    mail.add_attachment(b"first", maintype="image", subtype="png", filename="1.png")
    mail.add_attachment(b"second", maintype="image", subtype="png", filename="2.png")
    return mail.as_bytes()


def _read(content: Content) -> list[tuple[str, bytes]]:
    found = email.message_from_bytes(content.octets, policy=email.policy.SMTP)
    return [
        (part.get_content_type(), bytes(part.get_payload(decode=True)))
        for part in found.walk()
        if not part.is_multipart()
    ]


def test_a_text_part_gets_another_text() -> None:
    content = Content(_parts())
    before = content.octets
    (html,) = content.parts("text/html")
    content.replace_text(html, "<p>größer</p>\n")
    assert dict(_read(content))["text/html"].decode() == "<p>größer</p>\r\n"
    # All before and behind that part is as it was.
    assert content.octets.startswith(before[: html.start])
    assert content.octets.endswith(before[html.end :])


def test_parts_by_type_and_other_octets() -> None:
    content = Content(_parts())
    images = content.parts("image/")
    assert [content.data(part) for part in images] == [b"first", b"second"]
    content.replace_data(images[1], bytes(range(256)) * 3)
    assert _read(content)[-1] == ("image/png", bytes(range(256)) * 3)
    assert content.parts("image/")[1].filename == "2.png"


def test_a_part_is_dropped() -> None:
    for at, left in ((0, b"second"), (1, b"first")):
        content = Content(_parts())
        content.drop(content.parts("image/")[at])
        assert [octets for kind, octets in _read(content) if kind == "image/png"] == [left]
        assert len(_read(content)) == 3


def test_a_part_of_before_is_refused() -> None:
    content = Content(_parts())
    html, image = content.parts("text/html")[0], content.parts("image/")[0]
    content.set("Subject", "a longer one than it was")
    with pytest.raises(ContentError):
        content.replace_text(html, "x")
    with pytest.raises(ContentError):
        content.drop(image)
    with pytest.raises(ContentError, match="not text"):
        content.replace_text(content.parts("image/")[0], "x")


def test_a_message_of_one_part() -> None:
    content = Content(MAIL)
    content.replace_text(content.mime, "grüß\r\ngott")
    assert content.text(content.mime) == "grüß\r\ngott"
    assert content.get("Content-Type") == 'text/plain; charset="utf-8"'
    assert content.get("From") == "a@example.com"


@pytest.mark.parametrize("change", ["remove", "set"])
def test_very_many_fields_of_a_name(change: str) -> None:
    """A copy of the message for each of them would take longer than any test may."""
    content = Content(b"A: b\r\n" + b"X: 1\r\nY: 2\r\n" * 70_000 + b"\r\n" + b"z" * 10_000_000)
    if change == "set":
        content.set("X", "3")
        assert content.get_all("X") == ["3"]
    else:
        assert content.remove("X") == 70_000
        assert content.count("X") == 0
    assert content.count("Y") == 70_000
    assert content.octets.startswith(b"A: b\r\n" + (b"X: 3\r\n" if change == "set" else b"") + b"Y: 2\r\nY: 2\r\n")
