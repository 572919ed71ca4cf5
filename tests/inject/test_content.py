"""Content readers against a reader that is too simple to be wrong, for every way of cutting the octets."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postroad.config.schema import ListenerOptions, Size
from postroad.inject import replies
from postroad.inject.content import ChunkReader, DotReader, inspect
from postroad.message import Reply
from postroad.message.header import header_end
from postroad.message.trace import received_field

# What matters at borders, many times, among other things.
_FRAGMENTS = st.sampled_from(
    [
        b"\r\n",
        b"\r\n",
        b".",
        b".",
        b"\r",
        b"\n",
        b"a",
        b"bc",
        b"\r\n.\r\n",
        b"\r\n..",
        b"\n.\n",
        b"\r.\r",
        b"\0",
        b"\xff",
    ]
)
_OCTETS = st.lists(_FRAGMENTS, max_size=30).map(b"".join)


def oracle(stream: bytes) -> tuple[bytes | Reply, bool, int] | None:
    """RFC 5321 4.1.1.4 word by word: the content (or refusal), whether it has a dotted line, octets used up."""
    whole = b"\r\n" + stream
    end = whole.find(b"\r\n.\r\n")
    if end < 0:
        return None
    raw = whole[2 : end + 2]
    lines = raw.split(b"\r\n")[:-1]
    used = end + 5 - 2
    if any(b"\r" in line or b"\n" in line for line in lines):
        return replies.BARE_LINE_END, False, used
    lines = [line[1:] if line.startswith(b".") else line for line in lines]
    return b"".join(line + b"\r\n" for line in lines), any(line.startswith(b".") for line in lines), used


def pieces(stream: bytes, cuts: list[int]) -> Iterator[bytes]:
    at = 0
    for cut in sorted({cut % (len(stream) + 1) for cut in cuts}):
        if cut > at:
            yield stream[at:cut]
            at = cut
    if at < len(stream):
        yield stream[at:]


def read(reader: DotReader, parts: Iterator[bytes], lead: bytes = b"") -> int:
    """Feed the parts; how many octets were used up. lead: octets in front of each piece, as of a command before."""
    used = 0
    for part in parts:
        taken = reader.feed(lead + part, len(lead)) - len(lead)
        used += taken
        if reader.finished:
            return used
        assert taken == len(part)
    return used


@given(_OCTETS, st.lists(st.integers(0, 10_000), max_size=12), st.sampled_from([b"", b"DATA\r\n"]))
@example(b".\r\n", [1, 2], b"")
@example(b"..\r\n.\r\n", [1, 2, 3, 4, 5, 6], b"")
@example(b"a\r\n.\r\nMAIL\rFROM\n", [], b"")
@example(b"\r\n.\r.\r\n.\r\n", [3, 4], b"")
def test_data_is_read_as_the_rfc_says(stream: bytes, cuts: list[int], lead: bytes) -> None:
    reader = DotReader(1 << 20)
    used = read(reader, pieces(stream, cuts), lead)
    expected = oracle(stream)
    assert reader.finished is (expected is not None)
    if expected is None:
        assert used == len(stream)
        return
    content, dotted, taken = expected
    assert used == taken
    result = reader.result()
    assert result == (content if isinstance(content, Reply) else (content, dotted))


@given(_OCTETS)
def test_data_octet_by_octet_is_the_same(stream: bytes) -> None:
    whole, crumbs = DotReader(1 << 20), DotReader(1 << 20)
    assert read(whole, iter([stream] if stream else [])) == read(crumbs, iter([bytes([o]) for o in stream]))
    assert whole.finished is crumbs.finished
    if whole.finished:
        assert whole.result() == crumbs.result()


@given(st.lists(_OCTETS, min_size=1, max_size=5), st.lists(st.integers(0, 10_000), max_size=8))
def test_chunks_are_opaque(chunks: list[bytes], cuts: list[int]) -> None:
    reader = ChunkReader(1 << 20)
    for number, chunk in enumerate(chunks):
        reader.expect(len(chunk), number == len(chunks) - 1)
        for part in pieces(chunk, cuts):
            assert not reader.finished
            # Octets behind the chunk are not its own.
            assert reader.feed(b"xx" + part + b"NOOP\r\n"[: 0 if part != chunk else 6], 2) == 2 + len(part)
        assert reader.finished
    content = b"".join(chunks)
    bare = re.search(rb"\r(?!\n)|(?<!\r)\n", content) is not None
    result = reader.result()
    if bare:
        assert result == replies.BARE_LINE_END
    else:
        ended = content + (b"\r\n" if content and not content.endswith(b"\r\n") else b"")
        assert result == (ended, b"\r\n." in b"\r\n" + content)


@pytest.mark.parametrize("dots", [0, 1, 500])
@pytest.mark.parametrize("size", [100, 7])
@pytest.mark.parametrize("over", [0, 1])
def test_the_size_limit_is_exact_whatever_is_stuffed(dots: int, size: int, over: int) -> None:
    content = b".\r\n" * dots + b"a" * 4998 + b"\r\n"
    reader = DotReader(len(content) - over)
    read(reader, pieces(content.replace(b".\r\n", b"..\r\n") + b".\r\n", list(range(0, 10_000, size))))
    assert reader.finished
    result = reader.result()
    assert not isinstance(result, Reply)
    options = ListenerOptions(max_message_size=Size(len(content) - over))
    assert isinstance(inspect(result[0], options), Reply) is bool(over)


def test_what_is_too_big_is_not_kept() -> None:
    reader = DotReader(10_000)
    most = 0
    for _ in range(1000):
        reader.feed(b"x" * 998 + b"\r\n", 0)
        most = max(most, reader.held)
    assert most <= 10_000 + 2048 and reader.held == 0 and not reader.finished
    assert reader.feed(b".\r\nQUIT\r\n", 0) == 3
    assert reader.result() == replies.TOO_BIG


def test_shed_content_is_read_to_its_end() -> None:
    reader = DotReader(10_000)
    reader.feed(b"abc\r\n", 0)
    assert reader.held == 5
    reader.shed(replies.MEMORY_SHORT)
    reader.feed(b"def\r\n.\r\n", 0)
    assert reader.finished and reader.held == 0 and reader.result() == replies.MEMORY_SHORT


def _options(**changes: int) -> ListenerOptions:
    return ListenerOptions(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "changes", "reply"),
    [
        (b"A: b\r\n\r\nc\0d\r\n", {}, replies.NUL),
        (b"A: b\r\n\r\n" + b"x" * 998 + b"\r\n", {"max_line_length": 998}, None),
        (b"A: b\r\n\r\n" + b"x" * 999 + b"\r\n", {"max_line_length": 998}, replies.LINE_OF_CONTENT_TOO_LONG),
        (b"x" * 999 + b"\r\nA: b\r\n\r\n", {"max_line_length": 998}, replies.LINE_OF_CONTENT_TOO_LONG),
        ((b"x" * 998 + b"\r\n") * 9 + b"y\r\n", {"max_line_length": 998}, None),
        ((b"x" * 998 + b"\r\n") * 9 + b"y" * 999 + b"\r\n", {"max_line_length": 998}, replies.LINE_OF_CONTENT_TOO_LONG),
        (b"A: b\r\n" * 100 + b"\r\nx\r\n", {"max_headers_size": 602}, None),
        (b"A: b\r\n" * 100 + b"\r\nx\r\n", {"max_headers_size": 601}, replies.HEADER_TOO_BIG),
        (b"Received: x\r\n" * 5 + b"\r\n", {"max_hops": 5}, None),
        (b"Received: x\r\n" * 6 + b"\r\n", {"max_hops": 5}, replies.TOO_MANY_HOPS),
        (b"RECEIVED:\r\n" * 6 + b"\r\n", {"max_hops": 5}, replies.TOO_MANY_HOPS),
        (b"X: y\r\n\r\n" + b"Received: x\r\n" * 6, {"max_hops": 5}, None),
        (b"", {}, None),
        (b"\r\n", {}, None),
        (b"no header at all\r\n", {}, None),
    ],
)
def test_limits_of_a_message(content: bytes, changes: dict[str, int], reply: Reply | None) -> None:
    assert inspect(content, _options(**changes)) == (reply if reply is not None else header_end(content))


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 30))
def test_long_lines_are_found_exactly(lengths: list[int], limit: int) -> None:
    content = b"".join(b"x" * length + b"\r\n" for length in lengths)
    refused = inspect(content, _options(max_line_length=limit)) == replies.LINE_OF_CONTENT_TOO_LONG
    assert refused is any(length > limit for length in lengths)


@pytest.mark.parametrize("kind", [DotReader, ChunkReader])
def test_content_in_crumbs_takes_no_more_memory_than_it_counts(kind: type[DotReader | ChunkReader]) -> None:
    """A `bytes` of two octets takes 35: kept one by one, crumbs would fill twenty times the memory that is allowed."""
    reader = kind(1 << 20)
    if isinstance(reader, ChunkReader):
        reader.expect(1 << 20, True)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(50_000):
            reader.feed(bytes((97 + number % 26, 98)), 0)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert reader.held == 100_000
    assert taken < 2 * reader.held


def _received(hostname: str, identifier: str = "04a1b2c3d4000001") -> bytes:
    return received_field(
        helo="c.example", peer="192.0.2.1", hostname=hostname, protocol="ESMTP", identifier=identifier, wall=1e9
    )


@pytest.mark.parametrize(
    ("header", "refused"),
    [
        (_received("us.example") * 3, False),
        (_received("us.example") * 4, True),
        (_received("them.example") * 4, False),
        (_received("us.example", "not one of ours") * 4, False),
        (_received("us.example") + _received("them.example") * 5 + _received("us.example") * 3, True),
        (b"X: y\r\n\r\n" + _received("us.example") * 4, False),  # they stand in the body
    ],
)
def test_a_message_that_comes_back_again_and_again_loops(header: bytes, refused: bool) -> None:
    options = _options(max_own_hops=3)
    found = inspect(header + b"Subject: x\r\n\r\nHello\r\n", options, "us.example")
    assert (found == replies.OUR_LOOP) is refused
