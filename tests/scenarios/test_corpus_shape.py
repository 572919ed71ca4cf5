"""The corpus itself: is there enough of it, of many shapes, and is it made fit for the wire as documented?"""

from __future__ import annotations

from collections import Counter
from email import message_from_bytes
from email.policy import compat32

import pytest

from tests.scenarios.corpus import messages, normalised


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        (b"A: b\n\nc", b"A: b\r\n\r\nc\r\n"),
        (b"A: b\r\n\r\nc\r\n", b"A: b\r\n\r\nc\r\n"),
        (b"A: b\r\rc\n\r", b"A: b\r\n\r\nc\r\n\r\n"),
        (b"From x Mon\nA: b\n\nFrom y\n", b"A: b\r\n\r\nFrom y\r\n"),
        (b"\n\nFrom x Mon\nA: b\n", b"A: b\r\n"),
        (b"\nA: b\n\n.\n\xff\x00\n", b"A: b\r\n\r\n.\r\n\xff\x00\r\n"),
        (b"", b""),
        (b"\n", b""),
    ],
)
def test_normalisation(raw: bytes, content: bytes) -> None:
    assert normalised(raw) == content
    assert normalised(content) == content or content.startswith(b"From ")


def test_samples_are_unique_and_end_their_lines_with_crlf() -> None:
    samples = messages()
    assert len({sample.name for sample in samples}) == len({sample.content for sample in samples}) == len(samples)
    for sample in samples:
        assert sample.content.endswith(b"\r\n")
        assert sample.content.replace(b"\r\n", b"").translate(None, b"\r\n") == sample.content.replace(b"\r\n", b"")


def test_the_standard_library_gives_its_share() -> None:
    assert sum(sample.name.startswith("test_email/") for sample in messages()) >= 70


def test_the_corpus_is_large_and_of_many_shapes() -> None:
    samples = messages()
    assert len(samples) >= 200
    shapes: Counter[str] = Counter()
    for sample in samples:
        message = message_from_bytes(sample.content, policy=compat32)
        shapes["multipart"] += message.is_multipart()
        shapes["defects"] += any(part.defects for part in message.walk())
        shapes["8-bit"] += not sample.content.isascii()
        shapes["attachment"] += any(part.get_filename() for part in message.walk())
        shapes["bounce"] += message.get_content_type() == "multipart/report"
        shapes["dot"] += b"\r\n." in sample.content
        shapes["no date"] += "date" not in message
    assert all(shapes[shape] for shape in ("multipart", "defects", "8-bit", "attachment", "bounce", "dot", "no date"))
