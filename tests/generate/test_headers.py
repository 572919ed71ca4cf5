import email
import email.policy

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from postroad.generate import HeaderError
from postroad.generate.headers import (
    check_media_type,
    check_name,
    encoded_words,
    file_name_parameter,
    fold,
    structured_field,
    text_field,
)

values = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
one_line = values.filter(lambda text: not set(text) & set("\r\n\0"))


def parse(field: bytes, name: str) -> str:
    """The value as the standard library reads it; the field must be the only one, and whole."""
    message = email.message_from_bytes(field + b"\r\n", policy=email.policy.default)
    assert [key.lower() for key in message] == [name.lower()]
    assert message.get_payload() == ""
    assert not message.defects
    assert not message[name].defects
    return str(message[name])


@given(one_line)
@example("é" * 200)
@example("=?utf-8?q?literal?= text")
@example("a" * 2000)
@example("word " * 60)
@example("x" * 990 + " y")
@example("\x85\u2028 separators of lines to str.splitlines")
def test_subject_is_read_back(value: str) -> None:
    field = text_field("subject", "Subject", value)
    # The oracle reads plain white space runs and control characters its own way; the octets are checked below.
    words = value.strip(" \t")
    lines = field.split(b"\r\n")
    assert lines[-1] == b""
    assert all(len(line) <= 998 for line in lines)
    assert all(line.startswith((b" ", b"\t")) for line in lines[1:-1])
    assert field.isascii()
    if b"=?UTF-8?B?" in field:
        assert all(len(line) <= 76 for line in lines)
        decoded = b"".join(_decoded_words(field))
        assert decoded.decode() == words
    else:
        assert b"".join(lines).decode() == f"Subject: {words}".rstrip(" ")


def _decoded_words(field: bytes) -> list[bytes]:
    import base64

    return [base64.b64decode(piece.partition(b"?=")[0], validate=True) for piece in field.split(b"=?UTF-8?B?")[1:]]


@given(st.text('abc äöü€😀.,;:<>"()[]@=?_', max_size=200))
def test_the_standard_library_agrees_on_subjects(value: str) -> None:
    assume("=?" not in value)  # literal encoded words are decoded twice by the oracle's lenient reader
    assert parse(text_field("subject", "Subject", value), "Subject") == value.strip()


@given(values, st.sampled_from("\r\n\0"), values)
def test_line_breaks_are_refused(before: str, mark: str, after: str) -> None:
    for make in (
        lambda value: text_field("headers.X-A", "X-A", value),
        lambda value: text_field("headers.X-A", "X-A", value, raw=True),
        lambda value: structured_field("headers.X-A", "X-A", value),
        lambda value: file_name_parameter("headers.X-A", value),
    ):
        with pytest.raises(HeaderError, match=r"headers\.X-A: must not contain line breaks"):
            make(before + mark + after)


@pytest.mark.parametrize("name", ["", "A B", "A:", "Ä", "A\r\nB", "A\n", "x" * 77, "a\0"])
def test_bad_names(name: str) -> None:
    with pytest.raises(HeaderError, match="is not a header name"):
        check_name("headers", name)


def test_client_encoded_words_pass_in_raw_fields() -> None:
    assert text_field("h", "X-A", "=?utf-8?q?=C3=A9?=", raw=True) == b"X-A: =?utf-8?q?=C3=A9?=\r\n"
    assert b"=?UTF-8?B?" in text_field("h", "X-A", "=?utf-8?q?=C3=A9?=")


def test_long_words() -> None:
    with pytest.raises(HeaderError, match="longer than a header line"):
        text_field("headers.X-A", "X-A", "a" * 1000, raw=True)
    with pytest.raises(HeaderError, match="longer than a header line"):
        structured_field("headers.X-A", "X-A", "a" * 1000)


def test_fold_keeps_every_octet_and_starts_no_empty_line() -> None:
    line = "References: " + " ".join(f"<{number:060d}@a.example>" for number in range(9))
    folded = fold(line)
    assert folded is not None
    assert folded.replace("\r\n", "") == line
    assert folded.startswith("References: <")
    assert all(len(part) <= 78 for part in folded.split("\r\n")[1:])


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100))
def test_encoded_words_are_short_and_whole(value: str) -> None:
    for word in encoded_words(value).split(" "):
        assert len(word) <= 75
        assert _decoded_words(word.encode())[0].decode()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("text/plain", "text/plain"),
        ('Text/Plain; charset="iso-8859-1"', "text/plain"),
        ("image/svg+xml", "image/svg+xml"),
        ('application/x; name="a;b\\"c"; y=z', "application/x"),
    ],
)
def test_media_types(value: str, kind: str) -> None:
    assert check_media_type("type", value) == kind


@pytest.mark.parametrize(
    "value",
    ["", "text", "text/", "/plain", "text/plain; x", "a/b\r\nX: y", "a/b; x=ä", "a/b c", "a/b; " + "x=y; " * 99],
)
def test_bad_media_types(value: str) -> None:
    with pytest.raises(HeaderError, match="type: is not a media type"):
        check_media_type("type", value)
