"""SMTP smuggling: whatever some other server takes for the end of data, we take CRLF.CRLF alone; and a message that
holds a bare CR, a bare LF or NUL is refused once it is read, so that none is handed on to be misread elsewhere."""

from __future__ import annotations

from itertools import product

import pytest

from postroad.inject import Content
from tests.inject.kit import Talk

_ENDS = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\0", b"\0\r\n", b"\n\n", b"\r\n ", b" \r\n", b"")
_TRUE_END = b"\r\n.\r\n"
_SMUGGLED = b"MAIL FROM:<evil@smuggled.example>\r\nRCPT TO:<victim@b.example>\r\nDATA\r\nSubject: evil\r\n\r\nx"


def transcript(stream: bytes, cut: int) -> tuple[list[str], list[Content]]:
    """Replies' codes and enhanced codes, and messages, when the stream comes in pieces of `cut` octets."""
    talk = Talk()
    talk.open("a@b.example")
    assert talk.one(b"DATA\r\n").code == 354
    answers = []
    for at in range(0, len(stream), cut):
        answers += talk.say(stream[at : at + cut])
    return [str(answer)[:9] for answer in answers], talk.contents


@pytest.mark.parametrize("cut", [1, 3, 1000], ids=["octets", "threes", "whole"])
@pytest.mark.parametrize(
    ("before", "after"), [pair for pair in product(_ENDS, _ENDS) if _TRUE_END not in b".".join(pair)]
)
def test_only_crlf_dot_crlf_ends_the_data(before: bytes, after: bytes, cut: int) -> None:
    smuggled = b"Subject: good\r\n\r\ntext" + before + b"." + after + _SMUGGLED
    codes, contents = transcript(smuggled + _TRUE_END + b"NOOP\r\n", cut)
    assert codes[1:] == ["250 2.0.0"], "exactly one message, then NOOP"
    strict = smuggled.replace(b"\r\n", b"")
    if b"\r" in strict or b"\n" in strict or b"\0" in strict:
        assert codes[0] == "550 5.6.0" and contents == []
    else:
        assert codes[0] == "250 2.0.0"
        (content,) = contents
        assert content.content == (smuggled + b"\r\n").replace(b"\r\n.", b"\r\n")
        assert content.envelope.sender == "sender@client.example"


@pytest.mark.parametrize("cut", [1, 2, 1000])
@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n", b".\n", b".\r", b".\r\r\n", b"\r\n.\n", b"\r\n.\r"]
)
def test_at_the_very_start_of_the_content(end: bytes, cut: int) -> None:
    codes, contents = transcript(end + _SMUGGLED + _TRUE_END, cut)
    assert codes == ["550 5.6.0"] and contents == []


@pytest.mark.parametrize("cut", [1, 2, 1000])
def test_the_true_end_is_never_missed(cut: int) -> None:
    for lead in (b"", b"x\r\n", b"..\r\n", b"\r\n", b".x\r\n", b"x\r\r\n", b"x\n\r\n", b"x\0\r\n"):
        codes, _ = transcript(lead + b".\r\nNOOP\r\nRSET\r\n", cut)
        assert codes[1:] == ["250 2.0.0", "250 2.0.0"], lead


def test_what_follows_the_end_is_a_command_though_the_message_was_refused() -> None:
    codes, contents = transcript(b"bare\nline\r\n.\r\n" + _SMUGGLED + _TRUE_END, 1000)
    # It stands behind a true end of data: a pipelined transaction like any other.
    assert codes[:3] == ["550 5.6.0", "250 2.1.0", "250 2.1.5"] and codes[-1] == "250 2.0.0"
    assert [c.envelope.sender for c in contents] == ["evil@smuggled.example"]


@pytest.mark.parametrize("bare", [b"a\nb\r\n", b"a\rb\r\n", b"a\r", b"\n", b"a\r\r\n", b"a\n\r\n", b"a\0b\r\n"])
def test_chunks_with_bare_line_ends_are_refused(bare: bytes) -> None:
    talk = Talk()
    talk.open("a@b.example")
    assert str(talk.one(b"BDAT %d LAST\r\n" % len(bare) + bare)).startswith("550 5.6.0")
    assert talk.contents == [] and len(talk.refusals) == 1
    assert talk.one(b"NOOP\r\n").code == 250


def test_a_line_end_may_be_parted_by_two_chunks() -> None:
    talk = Talk()
    talk.open("a@b.example")
    assert talk.one(b"BDAT 2\r\na\r").code == 250
    assert talk.one(b"BDAT 2 LAST\r\n\nb").code == 250
    assert talk.contents[0].content == b"a\r\nb\r\n"
    talk.open("a@b.example")
    assert talk.one(b"BDAT 2\r\na\r").code == 250
    assert talk.one(b"BDAT 1 LAST\r\nb").code == 550


@pytest.mark.parametrize("end", [b"\r\n.\r\n", b"\n.\n"])
def test_the_end_of_data_is_no_end_within_a_chunk(end: bytes) -> None:
    talk = Talk()
    talk.open("a@b.example")
    content = b"a" + end + b"QUIT\r\n"
    answers = talk.say(b"BDAT %d LAST\r\n" % len(content) + content + b"NOOP\r\n")
    assert [a.code for a in answers] == [250 if end[:1] == b"\r" else 550, 250]


@pytest.mark.parametrize("glue", [b"\n", b"\r", b"\0", b"\n.\n", b"\r\r"])
def test_commands_end_in_crlf_only(glue: bytes) -> None:
    talk = Talk()
    talk.one(b"EHLO c.example\r\n")
    answers = talk.say(b"MAIL FROM:<a@b.example>" + glue + b"RCPT TO:<c@d.example>\r\n")
    assert [a.code for a in answers] == [500] and talk.machine.envelope is None
