import base64
import quopri

from hypothesis import example, given
from hypothesis import strategies as st

from postroad.generate.encoded import (
    base64_lines,
    crlf_lines,
    has_long_line,
    is_7bit,
    quoted_printable,
    text_part,
)

# Line ends, blanks at line ends, dots, equal signs and non-ASCII are where the encodings go wrong.
texts = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        st.sampled_from(["\r", "\n", "\r\n", " ", "\t", ".", "=", "=\n", "é", "x" * 80, "x" * 1000, " \n", "\0"]),
    ),
    max_size=12,
).map("".join)


@given(texts)
def test_lines_end_in_crlf_only(text: str) -> None:
    data = crlf_lines(text)
    assert data.count(b"\r") == data.count(b"\n") == data.count(b"\r\n") > 0
    assert data.endswith(b"\r\n")
    assert crlf_lines(data.decode()) == data


@given(texts)
@example("x" * 100)
@example("trailing \nand\t\n.\n")
@example("é" * 76 + ".")
def test_quoted_printable_is_read_back(text: str) -> None:
    data = crlf_lines(text)
    encoded = quoted_printable(data)
    assert encoded.isascii()
    assert encoded.count(b"\r") == encoded.count(b"\n") == encoded.count(b"\r\n")
    assert max(len(line) for line in encoded.split(b"\r\n")) <= 76
    assert not any(line.endswith((b" ", b"\t")) for line in encoded.split(b"\r\n"))
    assert quopri.decodestring(encoded.replace(b"\r\n", b"\n")).replace(b"\r\n", b"\n") == data.replace(b"\r\n", b"\n")


@given(st.binary(max_size=400))
def test_base64_is_read_back(data: bytes) -> None:
    encoded = base64_lines(data)
    assert base64.b64decode(encoded) == data
    lines = encoded.split(b"\r\n")
    assert all(len(line) == 76 for line in lines[:-2])
    assert lines[-1] == b""
    assert len(lines[0]) <= 76


@given(st.lists(st.integers(0, 30), max_size=8), st.booleans(), st.sampled_from([b"\n", b"\r\n"]))
def test_long_lines_are_found(lengths: list[int], ended: bool, line_end: bytes) -> None:
    data = line_end.join(b"x" * length for length in lengths) + (line_end if ended else b"")
    assert has_long_line(data, 10) == any(length > 10 for length in lengths)


@given(texts)
def test_clean_text_stays_as_it_is(text: str) -> None:
    encoding, lines = text_part(text)
    data = crlf_lines(text)
    if encoding == b"7bit":
        assert lines == data
        assert data.isascii()
        assert max(len(line) for line in data.split(b"\r\n")) <= 998
    else:
        assert not is_7bit(data)
        assert encoding == b"quoted-printable"


def test_encodings_by_content() -> None:
    assert text_part("plain")[0] == b"7bit"
    assert text_part("x" * 998)[0] == b"7bit"
    assert text_part("x" * 999)[0] == b"quoted-printable"
    assert text_part("naïve")[0] == b"quoted-printable"
    assert text_part("nul\0")[0] == b"quoted-printable"
