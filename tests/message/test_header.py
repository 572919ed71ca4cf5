import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message.header import count, decode_words, field, fields, header_end

MESSAGE = (
    b"Received: one\r\nSubject: a\r\n  folded\r\n\tvalue \r\nreceived : two\r\nX-Empty:\r\nX: Subject: not me\r\n\r\n"
    b"Subject: in the body\r\n"
)


def test_fields_are_found_unfolded_and_only_in_the_header() -> None:
    assert field(MESSAGE, b"subject") == b"a  folded\tvalue"
    assert fields(MESSAGE, b"Received") == [b"one", b"two"]
    assert count(MESSAGE, b"Received") == 2
    assert field(MESSAGE, b"X-Empty") == b""
    assert field(MESSAGE, b"Date") is None
    assert MESSAGE[header_end(MESSAGE) :] == b"Subject: in the body\r\n"


@pytest.mark.parametrize(
    ("content", "end"),
    [(b"", 0), (b"\r\nbody", 2), (b"A: b", 4), (b"A: b\r\n", 6), (b"A: b\r\n\r\nx", 8), (b"A: b\r\n\r\n\r\n\r\n", 8)],
)
def test_header_end(content: bytes, end: int) -> None:
    assert header_end(content) == end


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?q?K=C3=A4se?= und =?iso-8859-1?b?5A==?=", "Käse und ä"),
        (b"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("Käse".encode(), "Käse"),
        (b"K\xe4se", "Käse"),
        (b"=?no-such-charset?q?=E4?=", "ä"),
        (b"=?utf-8?q?=FF?=", "ÿ"),
    ],
)
def test_decode_words(raw: bytes, text: str) -> None:
    assert decode_words(raw) == text


@given(st.binary(max_size=200))
def test_decode_words_never_raises(raw: bytes) -> None:
    decode_words(raw)
    decode_words(b"=?utf-8?q?" + raw + b"?=")


names = st.from_regex(rb"[A-Za-z][A-Za-z\-]{0,12}", fullmatch=True)
values = st.from_regex(rb"[!-~]([ -~]{0,30}[!-~])?(\r\n [!-~]{1,10}){0,2}", fullmatch=True)


@given(st.lists(st.tuples(names, values), min_size=1, max_size=8), st.binary(max_size=50))
def test_agrees_with_the_standard_library(pairs: list[tuple[bytes, bytes]], body: bytes) -> None:
    content = b"".join(name + b": " + value + b"\r\n" for name, value in pairs) + b"\r\n" + body
    parsed = email.message_from_bytes(content, policy=email.policy.compat32)
    for name, _ in pairs:
        theirs = [str(v).replace("\r\n", "").replace("\n", "").strip() for v in parsed.get_all(name.decode(), [])]
        assert [v.decode() for v in fields(content, name)] == theirs
        assert count(content, name) == len(theirs)
