"""MIME structure, against the standard library's reader and against hostile octets."""

from __future__ import annotations

import base64
import email
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message.mime import MAX_DEPTH, MAX_PARTS, decode_transfer, parse_mime


def _mail() -> bytes:
    mail = EmailMessage(policy=email.policy.SMTP)
    mail["From"] = "a@example.com"
    mail["Subject"] = "parts"
    mail.set_content("plain ünïcode\n", charset="utf-8")
    mail.add_alternative("<p>html</p>\n", subtype="html", charset="iso-8859-1")
    mail.add_attachment(b"\x00\x01\xffdata", maintype="application", subtype="pdf", filename="Rechnung März.pdf")
    inner = EmailMessage(policy=email.policy.SMTP)
    inner["Subject"] = "inner"
    inner.set_content("inside\n")
    mail.add_attachment(inner)
    return mail.as_bytes()


def test_tree_is_the_standard_librarys() -> None:
    content = _mail()
    ours = list(parse_mime(content).walk())
    theirs = list(email.message_from_bytes(content, policy=email.policy.SMTP).walk())
    assert [part.type for part in ours] == [part.get_content_type() for part in theirs]
    assert [part.filename for part in ours] == [part.get_filename() or "" for part in theirs]
    assert [part.disposition for part in ours] == [part.get_content_disposition() or "" for part in theirs]


def test_bodies_decode() -> None:
    content = _mail()
    by_type = {part.type: part for part in parse_mime(content).walk()}
    assert by_type["text/html"].text(content) == "<p>html</p>\r\n"
    assert by_type["application/pdf"].octets(content) == b"\x00\x01\xffdata"
    plain = [part for part in parse_mime(content).walk() if part.type == "text/plain"]
    assert plain[0].text(content) == "plain ünïcode\r\n"
    assert plain[1].text(content) == "inside\r\n"


def test_parts_lie_where_they_say() -> None:
    head = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    content = head + b"pre\r\n--b\r\n\r\none\r\n--b\r\nX: y\r\n\r\ntwo\r\n--b--\r\npost"
    root = parse_mime(content)
    assert [content[part.body : part.end] for part in root.parts] == [b"one", b"two"]
    assert [content[part.start : part.body] for part in root.parts] == [b"\r\n", b"X: y\r\n\r\n"]


@pytest.mark.parametrize(
    ("content", "bodies"),
    [
        (b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nno end', [b"no end"]),
        (b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n--b\r\n\r\nx\r\n--b--', [b"", b"x"]),
        (b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--bb\r\n\r\nx\r\n--b--', []),
        (b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx\r\n--b--", []),
        (b'Content-Type: multipart/mixed; boundary=b c"\r\n\r\n--b  \r\n\r\nx\r\n--b--  \r\n', [b"x"]),
    ],
)
def test_odd_multiparts(content: bytes, bodies: list[bytes]) -> None:
    assert [content[part.body : part.end] for part in parse_mime(content).parts] == bodies


@pytest.mark.parametrize(
    ("field", "name"),
    [
        (b"attachment; filename=a.txt", "a.txt"),
        (b'attachment; filename="a \\"b\\".txt"', 'a "b".txt'),
        (b"attachment; filename*=utf-8''M%C3%A4rz.txt", "März.txt"),
        (b"attachment; filename*0=long; filename*1=name.txt", "longname.txt"),
        (b"attachment; filename==?utf-8?q?M=C3=A4rz?=", "März"),
        (b"attachment; filename", ""),
        (b"attachment; FileName=A.txt", "A.txt"),
    ],
)
def test_file_names(field: bytes, name: str) -> None:
    assert parse_mime(b"Content-Disposition: " + field + b"\r\n\r\n").filename == name


def test_bombs_are_bounded() -> None:
    deep = b""
    for level in range(200):
        deep += b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (level, level)
    depth, part = 0, parse_mime(deep)
    while part.parts:
        depth, part = depth + 1, part.parts[0]
    assert depth == MAX_DEPTH
    wide = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\nx\r\n" * 5000
    assert len(list(parse_mime(wide).walk())) == MAX_PARTS


def test_base64_with_dirt_still_shows_what_it_hides() -> None:
    encoded = base64.b64encode(b"hidden words")
    assert decode_transfer(encoded[:5] + b"*\r\n " + encoded[5:], "base64") == b"hidden words"
    assert decode_transfer(b"A", "base64") == b""
    assert decode_transfer(b"a=3Db", "quoted-printable") == b"a=b"
    assert decode_transfer(b"as it is", "x-unknown") == b"as it is"


_LINES = st.sampled_from(
    [
        b"",
        b"--b",
        b"--b--",
        b"--c",
        b'Content-Type: multipart/mixed; boundary="b"',
        b"Content-Type: multipart/x; boundary=c",
        b"Content-Type: message/rfc822",
        b"Content-Transfer-Encoding: base64",
        b"Content-Disposition: x; filename*0*=''%",
        b" folded; boundary=c",
        b"text",
        b"\xff\x00",
    ]
)


@given(st.lists(_LINES | st.binary(max_size=20), max_size=40))
def test_any_octets_give_a_tree_within_the_message(lines: list[bytes]) -> None:
    content = b"\r\n".join(lines)
    for part in parse_mime(content).walk():
        assert 0 <= part.start <= part.body <= part.end <= len(content)
        part.text(content)
        for child in part.parts:
            assert part.body <= child.start <= child.end <= part.end
