import email
import email.header
import email.policy
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.generate import HeaderError, Person, parse_people, person_text, to_field
from postroad.generate.people import people_field


def mailboxes(field: bytes, name: str = "To") -> list[tuple[str, str]]:
    message = email.message_from_bytes(field + b"\r\n", policy=email.policy.default)
    assert list(message) == [name]
    assert not message[name].defects
    return [(each.display_name, each.addr_spec) for each in message[name].addresses]


# The table of api.md 2.4.
@pytest.mark.parametrize(
    ("name", "header_to", "field"),
    [
        ("", None, b"To: a@b.example\r\n"),
        ("Al", None, b'To: "Al" <a@b.example>\r\n'),
        ("", "x@y.example", b"To: x@y.example\r\n"),
        ("", 'A <a@x.example>, "B" <b@x.example>', b'To: A <a@x.example>, "B" <b@x.example>\r\n'),
        ("Al", "x@y.example", b'To: "Al" <x@y.example>\r\n'),
        ("Foo", '"Main" <main@x.example>', b'To: "Main" <main@x.example>\r\n'),
        ("Foo", "a@x.example,b@x.example", b"To: a@x.example,b@x.example\r\n"),
        ("", "", b""),
        ("Al", "", b""),
        ("", "undisclosed-recipients:;", b"To: undisclosed-recipients:;\r\n"),
        ("", "Jürgen <j@x.example>, b@x.example", b"To: =?UTF-8?B?SsO8cmdlbg==?= <j@x.example>, b@x.example\r\n"),
    ],
)
def test_to(name: str, header_to: str | None, field: bytes) -> None:
    assert to_field("address", "a@b.example", name, header_to) == field


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=120))
def test_any_name_is_one_mailbox(name: str) -> None:
    field = to_field("address", "a@b.example", name)
    assert field.count(b"\r\n") == field.count(b"\n") == field.count(b"\r")
    assert field.isascii()
    assert all(line.startswith(b" ") for line in field.split(b"\r\n")[1:-1])
    assert [person.email for person in parse_people("to", field[3:-2].decode().replace("\r\n", ""))] == ["a@b.example"]


@given(st.text("abc ,;:<>@()[]\\.äé😀'", max_size=60))
def test_the_standard_library_reads_the_same_name(name: str) -> None:
    field = to_field("address", "a@b.example", name)
    assert mailboxes(field)[0][1] == "a@b.example"
    # The library's newer reader keeps the space between encoded words, against RFC 2047 6.2; the older one does not.
    shown, address = email.utils.parseaddr(field[3:-2].decode().replace("\r\n", ""))
    assert address == "a@b.example"
    assert str(email.header.make_header(email.header.decode_header(shown))) == name.strip(" \t")


def test_long_lists_are_folded_between_addresses() -> None:
    text = ",".join(f"user{number}@example.com" for number in range(200))
    field = people_field("cc", "Cc", text)
    assert all(len(line) <= 78 for line in field.split(b"\r\n"))
    assert [address for _, address in mailboxes(field, "Cc")] == text.split(",")


def test_international_addresses() -> None:
    # A domain has an ASCII form; a local part does not, and goes out as RFC 6532 says.
    assert person_text("from", "", "a@bücher.example") == "a@xn--bcher-kva.example"
    assert to_field("address", "jürgen@bücher.example") == "To: jürgen@bücher.example\r\n".encode()


@pytest.mark.parametrize(
    ("text", "people"),
    [
        ("", []),
        (" , ,", []),
        ("a@b.c", [Person("", "a@b.c")]),
        ('"Test From, with comma" <f@x.y>', [Person("Test From, with comma", "f@x.y")]),
        ("A B <a@b.c>, d@e.f", [Person("A B", "a@b.c"), Person("", "d@e.f")]),
        ("a@b.c (Al Bo)", [Person("Al Bo", "a@b.c")]),
        ('"a b"@c.d', [Person("", '"a b"@c.d')]),
        ('"q \\" q" <a@b.c>', [Person('q " q', "a@b.c")]),
        ("=?utf-8?q?J=C3=BCrgen?= <j@x.y>", [Person("Jürgen", "j@x.y")]),
        ("<a@b.c>", [Person("", "a@b.c")]),
    ],
)
def test_reading(text: str, people: list[Person]) -> None:
    assert parse_people("from", text) == people


@pytest.mark.parametrize(
    "text", ["<a@b> <c@d>", "<a@b> x", '"open', "(open", "<open", ">", "(comment)", "a\r\nb@c", "a\0"]
)
def test_not_lists(text: str) -> None:
    with pytest.raises(HeaderError):
        parse_people("from", text)


@given(st.text(st.sampled_from('ab@,<>()"\\ \t.=?é\r\n:;'), max_size=30))
def test_reading_anything_ends_in_people_or_an_error(text: str) -> None:
    try:
        people = parse_people("from", text)
    except HeaderError:
        return
    assert all(person.email for person in people) or "<" in text


def test_encoded_words_can_not_smuggle_line_breaks() -> None:
    (person,) = parse_people("to", "=?utf-8?q?a=0D=0ABcc:_x@y.z?= <a@b.example>")
    with pytest.raises(HeaderError, match="line breaks"):
        person_text("to", person.name, person.email)


@pytest.mark.parametrize("address", ["", "a", "a@", "@b", "a@b c", "a b@c", "a@b>", "a\r\n@b", "x" * 65 + "@b.example"])
def test_bad_addresses(address: str) -> None:
    with pytest.raises(HeaderError):
        person_text("from", "Name", address)
