"""MIME of strangers: the tree that the standard library reads where the message is well formed, as many steps as the
message is long, and edits that leave the other parts' octets alone."""

from __future__ import annotations

import email
import email.policy
import sys
from collections.abc import Callable
from functools import partial
from random import Random
from types import FrameType
from typing import Any

import pytest

from postroad.message.mime import MAX_DEPTH, MAX_PARTS, parse_mime
from postroad.policy import Content, ContentError

_TYPES = (b"text/plain", b"text/html; charset=utf-8", b"application/pdf; name=a.pdf", b"image/png")
_BODIES = (b"", b"one line", b"a\r\n\r\nb", b"--", b"--x\r\n", b"=C3=BC", b"aGk=", b"\xff\xfe", b".\r\n")
_ODD = (
    *(b"--b1\r\n", b"--b1--\r\n", b"--b2", b"\r\n--b1", b"Content-Type: message/rfc822\r\n", b"\r\n\r\n", b"\n", b"\0"),
    *(b'boundary="b1"', b"boundary=", b";", b'"', b"filename*0*=utf-8''%FF", b"charset=punycode", b"base64", b"\xff"),
)


def _entity(rng: Random, depth: int, number: list[int]) -> bytes:
    """A well formed entity, header and all."""
    kind = rng.random()
    if depth and kind < 0.45:
        number[0] += 1
        boundary = b"b%d" % number[0]
        quoted = rng.choice((boundary, b'"%b"' % boundary))
        head = b"Content-Type: multipart/%b;%b boundary=%b\r\n" % (
            rng.choice((b"mixed", b"alternative", b"related")),
            rng.choice((b"", b"\r\n\t")),
            quoted,
        )
        parts = [_entity(rng, depth - 1, number) for _ in range(rng.randrange(1, 4))]
        before, after = rng.choice((b"", b"preamble\r\n")), rng.choice((b"", b"\r\n", b"\r\nepilogue\r\n"))
        inside = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
        return head + b"\r\n" + before + inside + b"--%b--" % boundary + after
    if depth and kind < 0.55:
        return b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n" + _entity(rng, depth - 1, number)
    head = b"" if rng.random() < 0.2 else b"Content-Type: %b\r\n" % rng.choice(_TYPES)
    if rng.random() < 0.3:
        head += b'Content-Disposition: attachment; filename="f %d.txt"\r\n' % number[0]
    if rng.random() < 0.3:
        head += b"Content-Transfer-Encoding: %b\r\n" % rng.choice((b"base64", b"quoted-printable", b"8bit", b"x-odd"))
    return head + b"\r\n" + rng.choice(_BODIES)


def _message(rng: Random) -> bytes:
    return b"From: a@b.example\r\nMIME-Version: 1.0\r\n" + _entity(rng, 4, [0])


def _dirty(rng: Random) -> bytes:
    data = bytearray(_message(rng))
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(data) + 1)
        data[at : at + rng.choice((0, 0, 1, 9))] = rng.choice(_ODD)
    return bytes(data)


@pytest.mark.parametrize("rounds", [400, pytest.param(100_000, marks=pytest.mark.soak)])
def test_well_formed_trees_are_the_standard_librarys(rounds: int) -> None:
    for seed in range(rounds):
        content = _message(Random(seed))
        ours = list(parse_mime(content).walk())
        theirs = list(email.message_from_bytes(content, policy=email.policy.compat32).walk())
        assert [p.type for p in ours] == [p.get_content_type() for p in theirs], (seed, content)
        assert [p.filename for p in ours] == [p.get_filename() or "" for p in theirs], (seed, content)
        for mine, its in zip(ours, theirs, strict=True):
            if not its.is_multipart() and mine.encoding in ("7bit", "8bit", "x-odd"):
                assert content[mine.body : mine.end] == its.get_payload(decode=True), (seed, content)


@pytest.mark.parametrize("rounds", [1500, pytest.param(400_000, marks=pytest.mark.soak)])
def test_an_edit_leaves_all_other_parts_alone(rounds: int) -> None:
    changed = 0
    for seed in range(rounds):
        rng = Random(seed)
        octets = _dirty(rng) if seed % 3 else _message(rng)
        content = Content(octets)
        parts = content.parts()
        at = rng.randrange(len(parts))
        part = parts[at]
        before, after = octets[: part.start], octets[part.end :]
        try:
            if part.type.startswith("text/") and rng.random() < 0.5:
                content.replace_text(part, "grüße\nan alle")
            else:
                content.replace_data(part, rng.randbytes(rng.choice((0, 3, 200))))
        except ContentError:
            continue
        changed += 1
        assert content.octets.startswith(before) and content.octets.endswith(after), (seed, octets)
        # What was written can be read back where the part stands, unless it is a boundary of those around it.
        if seed % 3 == 0:
            assert len(content.parts()) == len(parts), (seed, octets)
            others = [p for number, p in enumerate(content.parts()) if number != at]
            assert [content.octets[p.start : p.end] for p in others] == [
                octets[p.start : p.end] for number, p in enumerate(parts) if number != at
            ], (seed, octets)
    assert changed > rounds * 0.9


def _steps(run: Callable[[], Any]) -> int:
    """Calls of functions, ours and the interpreter's, while it runs."""
    count = 0

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


_B = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
_BOMBS: dict[str, tuple[bytes, bytes]] = {
    "delimiters": (_B, b"--b\r\n"),
    "openings of delimiters": (_B, b"\r\n--b "),
    "multiparts within": (b"", _B + b"--b\r\n"),
    "messages within": (b"", b"Content-Type: message/rfc822\r\n\r\n"),
    "parameters": (b"Content-Type: text/plain", b"; a*0*=x"),
    "quotes": (b"Content-Type: text/plain", b';a="\\'),
    "white space": (b"Content-Type: text/plain;", b" "),
    "folds": (b"Content-Type: text/plain;", b"\r\n "),
    "fields": (b"", b"Content-Type: text/plain\r\n"),
    "words": (b"Content-Disposition: x; filename=", b"=?x?q?"),
}


@pytest.mark.parametrize("name", _BOMBS)
def test_steps_grow_no_faster_than_the_message(name: str) -> None:
    head, piece = _BOMBS[name]
    counts = [_steps(partial(parse_mime, head + piece * n)) for n in (2000, 4000)]
    assert counts[1] <= 2 * counts[0] + 200


@pytest.mark.parametrize("name", _BOMBS)
def test_a_megabyte_is_read_at_once(name: str) -> None:
    """What one step costs can't be counted; by the square of the length this would take longer than any test may."""
    head, piece = _BOMBS[name]
    content = head + piece * ((1 << 20) // len(piece))
    tree = list(parse_mime(content).walk())
    assert len(tree) <= MAX_PARTS * MAX_DEPTH
    for part in tree[:3]:
        part.text(content)
