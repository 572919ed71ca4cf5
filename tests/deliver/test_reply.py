from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.deliver.reply import MAX_LINE, MAX_REPLY, MAX_TEXT, ReplyError, ReplyReader


def read(*pieces: bytes) -> list[tuple[int, str]]:
    reader = ReplyReader()
    found = []
    for piece in pieces:
        reader.feed(piece)
        while code := reader.next():
            found.append((code, reader.text()))
    return found


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"250 ok\r\n", [(250, "ok")]),
        (b"250\r\n", [(250, "")]),
        (b"250 \r\n", [(250, "")]),
        (b"250 bare line feed\n", [(250, "bare line feed")]),
        (b"250-a\r\n250-b\r\n250 c\r\n", [(250, "a / b / c")]),
        (b"250-a\r\n250 \r\n", [(250, "a")]),
        (b"250 a\r\n550 b\r\n", [(250, "a"), (550, "b")]),
        (b"550-5.7.1 one\r\n550 5.7.1 two\r\n", [(550, "5.7.1 one / two")]),
        (b"550-5.7.1 one\r\n550 5.7.12 two\r\n", [(550, "5.7.1 one / 5.7.12 two")]),
        (b"550-first\r\n421 last counts\r\n", [(421, "first / last counts")]),
        (b"250 caf\xc3\xa9\r\n", [(250, "café")]),
        (b"250 caf\xe9\r\n", [(250, "caf\ufffd")]),
        (b"250 a\x00b\x1b[31mc\rd\r\n", [(250, "a b [31mc d")]),
        (b"25", []),
        (b"250-never ends\r\n", []),
    ],
)
def test_reads_replies(octets: bytes, expected: list[tuple[int, str]]) -> None:
    assert read(octets) == expected


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n",
        b"hello\r\n",
        b"25\r\n",
        b"25x ok\r\n",
        b"2500\r\n",
        b"250_ok\r\n",
        b"199 low\r\n",
        b"600 high\r\n",
        b"+25 sign\r\n",
        "２５０ wide digits\r\n".encode(),
        b"250-a\r\n\r\n250 b\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"250 " + b"x" * MAX_LINE,
        b"250 " + b"x" * MAX_LINE + b"\r\n",
        b"250-x\r\n" * MAX_REPLY,
    ],
)
def test_refuses_what_is_no_reply(octets: bytes) -> None:
    with pytest.raises(ReplyError):
        read(octets)


def test_an_endless_line_is_noticed_long_before_memory_is() -> None:
    reader = ReplyReader()
    fed = 0
    with pytest.raises(ReplyError):
        while fed < 1_000_000:
            reader.feed(b"2" * 100)
            fed += 100
            reader.next()
    assert fed <= MAX_LINE + 100


def test_text_is_bounded() -> None:
    ((_, text),) = read(b"".join(b"250-" + b"y" * 1000 + b"\r\n" for _ in range(5)) + b"250 z\r\n")
    assert len(text) == MAX_TEXT


REPLIES = st.lists(
    st.sampled_from([b"250 ok\r\n", b"250-a\r\n250 b\r\n", b"354\r\n", b"550-5.1.1 no\r\n550 5.1.1 such\n"]), max_size=6
)


@given(REPLIES, st.lists(st.integers(0, 120)))
def test_pieces_do_not_matter(replies: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(replies)
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[a:b] for a, b in pairwise(edges)]
    assert read(*pieces) == read(whole)


@given(st.binary(max_size=300))
def test_any_octets_are_replies_or_an_error(octets: bytes) -> None:
    try:
        found = read(octets)
    except ReplyError as error:
        assert str(error).isprintable()
    else:
        assert all(200 <= code < 600 and text.isprintable() for code, text in found)
