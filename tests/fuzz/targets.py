"""What is fuzzed: for each target seeds, words, and what must hold for any input. A target raises when it does not."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import NamedTuple
from zlib import crc32

import dkim

from postroad.auth.arc import verify_chain
from postroad.auth.dkim import Result, Signer, verify
from postroad.auth.results import ResultsError, parse_results
from postroad.auth.spf import RecordError, check_host, parse_record
from postroad.inject.proxy import MAX_HEADER, ProxyError, read_header
from postroad.message.mime import parse_mime
from tests.auth.dkim.messages import HEAD, KEYS, NASTY, NOW, RECORDS
from tests.auth.names import Table
from tests.inject.test_attack import run_in_pieces
from tests.inject.test_proxy import SIGNATURE, version_2

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_LONG = 3000


class Target(NamedTuple):
    check: Callable[[bytes], Awaitable[None]]
    seeds: Sequence[bytes]
    words: Sequence[bytes] = ()


async def smtp(data: bytes) -> None:
    """In whatever pieces it comes, the same is said, taken and refused; what holds at each moment is checked there."""
    rng = Random(crc32(data))
    edges = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(12)))
    pieces = [data[a:b] for a, b in zip([0, *edges], [*edges, len(data)], strict=True)]
    whole, parted = run_in_pieces([data]), run_in_pieces(pieces, answer_late=True)
    assert (whole.out, whole.contents, whole.refusals) == (parted.out, parted.contents, parted.refusals)


async def mime(data: bytes) -> None:
    """A tree within the message, whose parts lie in order within their parents."""
    for part in parse_mime(data).walk():
        assert 0 <= part.start <= part.body <= part.end <= len(data)
        part.text(data)
        at = part.body
        for child in part.parts:
            assert at <= child.start <= child.end <= part.end
            at = child.end


async def dkim_verify(data: bytes) -> None:
    """What we let pass, dkimpy lets pass. It minds a last line of white space without its end, which no message
    has that came by SMTP, and falls over a header that begins with a continuation."""
    data = data.lstrip(b" \t\r\n") + b"\r\n"
    found = await verify(data, Table(RECORDS), now=NOW)
    for index, each in enumerate(found):
        if each.result is Result.PASS and not _BARE.search(data):
            with contextlib.suppress(dkim.MessageFormatError):  # it looks at fields that nobody signed
                assert dkim.DKIM(data).verify(idx=index, dnsfunc=_dkimpy_txt), f"signature {index}"


def _dkimpy_txt(name: bytes, timeout: int = 5) -> bytes:
    records = RECORDS.get(name.decode().rstrip(".").lower())
    return records[0] if records else b""


async def arc(data: bytes) -> None:
    await verify_chain(data, Table(RECORDS))


async def results(data: bytes) -> None:
    try:
        parse_results(data)
    except ResultsError:
        return


class _Zone:
    """One record for all names, so that loops and bombs find their way; no more questions than the RFC allows."""

    def __init__(self, record: bytes) -> None:
        self.record = record
        self.asked = 0

    def _count(self) -> None:
        self.asked += 1
        assert self.asked <= 200, "questions without end"

    async def txt(self, name: str) -> list[bytes]:
        self._count()
        return [self.record]

    async def records(self, name: str, kind: str) -> list[str]:
        self._count()
        return {"A": ["192.0.2.7"], "AAAA": ["2001:db8::7"], "MX": ["mx.a.example"], "PTR": ["h.a.example"]}[kind]


async def spf(data: bytes) -> None:
    """Judged, whatever the record; a broken one is a permanent error and nothing else."""
    try:
        parse_record(data)
        broken = False
    except RecordError:
        broken = True
    outcome = await check_host("192.0.2.1", "x@a.example", "h.a.example", _Zone(data))
    if broken and data.lower().startswith(b"v=spf1 "):
        assert outcome.result.value == "permerror"


async def proxy(data: bytes) -> None:
    try:
        client = read_header(data)
    except ProxyError:
        return
    if client is None:
        assert len(data) < MAX_HEADER
    else:
        assert 0 < client.used <= len(data)
        assert not client.address or ipaddress.ip_address(client.address)


_SESSIONS = [
    b"EHLO c.example\r\nMAIL FROM:<a@b.example> SIZE=10 BODY=8BITMIME\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
    b"Subject: x\r\n\r\n..\r\ntext\r\n.\r\nQUIT\r\n",
    b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nRCPT TO:<c@d.example> NOTIFY=NEVER\r\n"
    b"BDAT 8\r\nA: b\r\n\r\nBDAT 3 LAST\r\nx\r\nRSET\r\nNOOP\r\n",
    b"HELO c\r\nMAIL FROM:<no@b.example>\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<no@d.example>\r\n"
    b"RCPT TO:<c@d.example>\r\nDATA\r\n\r\n.\r\n"
    b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
]
_COMMANDS = [
    b"EHLO x\r\n",
    b"MAIL FROM:<a@b.example>\r\n",
    b"RCPT TO:<c@d.example>\r\n",
    b"DATA\r\n",
    b"BDAT 5 LAST\r\n",
]
_COMMANDS += [
    b"RSET\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN AGEAYg==\r\n",
    b"XCLIENT ADDR=1.2.3.4\r\n",
    b"\r\n.\r",
    b"QUIT\r\n",
]
_MULTIPART = (
    HEAD
    + b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="a"\r\n\r\n--a\r\nContent-Type: text/plain\r\n\r\n'
    b"one\r\n--a\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--b\r\n"
    b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nx\r\n--b--\r\n--a--\r\n"
)
_SMALL = [content for content in NASTY.values() if len(content) < _LONG]
_SIGNED = [Signer(KEYS).sign(content, now=NOW) + content for content in _SMALL]
_TAGS = [b"v=1", b"a=rsa-sha256", b"c=relaxed/simple", b"l=0", b"x=1", b"h=from:to", b"bh=", b"b=", b"i=@example.com"]

TARGETS: dict[str, Target] = {
    "smtp": Target(smtp, _SESSIONS, _COMMANDS),
    "mime": Target(
        mime,
        [_MULTIPART, *_SMALL],
        [
            b"--a\r\n",
            b"--a--\r\n",
            b"--b\r\n",
            b"boundary=a",
            b"Content-Type: multipart/mixed;",
            b"charset*0*=utf-8''%41",
        ],
    ),
    "dkim": Target(dkim_verify, _SIGNED, [*_TAGS, b"DKIM-Signature: "]),
    "arc": Target(
        arc,
        [b"ARC-Seal: i=1; a=rsa-sha256; d=example.com; s=rsa; cv=none; b=AA==\r\n" + signed for signed in _SIGNED],
        [*_TAGS, b"ARC-Seal: ", b"ARC-Message-Signature: ", b"ARC-Authentication-Results: i=1;", b"i=1;", b"cv=pass"],
    ),
    "results": Target(
        results,
        [b' mx.example; spf=pass smtp.mailfrom=a@b.example; dkim=fail (bad) header.d=x reason="no"', b"x 1; none"],
        [b"spf=pass", b"dkim=", b"reason=", b"(((", b"policy.iprev=1"],
    ),
    "spf": Target(
        spf,
        [
            b"v=spf1 include:a.example a mx ip4:192.0.2.0/24 ip6:2001:db8::/32 exists:%{i}._x.%{d2r} ?all",
            b"v=spf1 redirect=_spf.%{o} exp=e.%{h}",
            b"v=spf1 ptr:a.example a:b.example/24//64 mx:c.example -all",
        ],
        [b"include:", b"redirect=", b"exists:", b"%{ir}", b"%{d1}", b"%%", b"%_", b"%-", b"/33", b"//129", b"~", b"+"],
    ),
    "proxy": Target(
        proxy,
        [
            b"PROXY TCP4 192.0.2.1 198.51.100.1 1025 25\r\nEHLO",
            b"PROXY TCP6 2001:db8::1 ::1 1 25\r\n",
            b"PROXY UNKNOWN\r\n",
            version_2("192.0.2.1", 99, b"\x04\x00\x01x"),
            version_2("2001:db8::1", 99, b""),
        ],
        [SIGNATURE, b"PROXY ", b"TCP4 ", b"UNKNOWN", b"65536", b"\x21\x11\x00\x0c", b"\x20\x00\x00\x00"],
    ),
}
