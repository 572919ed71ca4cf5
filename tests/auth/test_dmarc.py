"""DMARC: whose policy holds, alignment, and authors that can't be hidden."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.auth.author import author_domains
from postroad.auth.dmarc import DmarcRecord, DmarcResult, Policy, author_domain, evaluate, read_record
from tests.auth.names import Table

ZONE: dict[str, list[bytes] | None] = {
    "_dmarc.example.com": [b"v=DMARC1; p=reject; sp=quarantine; np=reject; rua=mailto:a@example.com"],
    "_dmarc.strict.example": [b"v=DMARC1; p=reject; adkim=s; aspf=s"],
    "_dmarc.test.example": [b"v=DMARC1; p=reject; t=y"],
    "_dmarc.com": [b"v=DMARC1; p=none; psd=y"],
    "_dmarc.bank": [b"v=DMARC1; p=reject; psd=y; np=reject; sp=quarantine"],
    "_dmarc.division.corp.example": [b"v=DMARC1; p=none; psd=n"],
    "_dmarc.corp.example": [b"v=DMARC1; p=reject"],
    "_dmarc.twice.example": [b"v=DMARC1; p=reject", b"v=DMARC1; p=none"],
    "_dmarc.down.example": None,
    "_dmarc.x.example": [b"v=spf1 -all", b"v=DMARC1; p=quarantine"],
}
HOSTS = {"mail.example.com", "there.bank"}


class Names(Table):
    async def exists(self, name: str) -> bool:
        return name in HOSTS


@pytest.mark.parametrize(
    ("domain", "spf", "dkim", "result", "disposition"),
    [
        ("example.com", "example.com", [], "pass", "none"),
        ("example.com", "bounce.example.com", [], "pass", "none"),
        ("example.com", "", ["news.example.com"], "pass", "none"),
        ("mail.example.com", "", ["example.com"], "pass", "none"),
        ("example.com", "example.net", ["example.net"], "fail", "reject"),
        ("example.com", "notexample.com", ["other.com"], "fail", "reject"),
        ("mail.example.com", "", [], "fail", "quarantine"),
        ("gone.example.com", "", [], "fail", "reject"),
        ("strict.example", "a.strict.example", ["b.strict.example"], "fail", "reject"),
        ("strict.example", "", ["STRICT.example."], "pass", "none"),
        ("test.example", "", [], "fail", "quarantine"),
        ("there.bank", "", [], "fail", "quarantine"),
        ("gone.bank", "", [], "fail", "reject"),
        ("a.gone.bank", "", ["b.gone.bank"], "pass", "none"),
        ("a.gone.bank", "", ["b.other.bank"], "fail", "reject"),
        ("a.division.corp.example", "", ["corp.example"], "fail", "none"),
        ("a.corp.example", "", ["b.corp.example"], "pass", "none"),
        ("twice.example", "", [], "none", "none"),
        ("down.example", "", [], "temperror", "none"),
        ("x.example", "", [], "fail", "quarantine"),
        ("nothing.invalid", "nothing.invalid", [], "none", "none"),
        ("a..b", "", [], "permerror", "none"),
    ],
)
async def test_evaluate(domain: str, spf: str, dkim: list[str], result: str, disposition: str) -> None:
    outcome = await evaluate(domain, Names(ZONE), spf_domain=spf, dkim_domains=dkim)
    assert (outcome.result, outcome.disposition) == (DmarcResult(result), Policy(disposition)), outcome


async def test_the_walk_is_short() -> None:
    """RFC 9989 4.10: eight questions at most, however long the name."""
    names = Names({})
    await evaluate(".".join("abcdefghijkl") + ".mail.example.com", names)
    assert len(names.asked) == 8
    assert names.asked[1:3] == ["_dmarc.i.j.k.l.mail.example.com", "_dmarc.j.k.l.mail.example.com"]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"v=DMARC1; p=reject; pct=50", DmarcRecord(Policy.REJECT)),
        (b"v=DMARC1;p=REJECT;sp=none", DmarcRecord(Policy.REJECT, Policy.NONE)),
        (b"v=DMARC1; sp=reject", DmarcRecord(Policy.NONE, Policy.REJECT)),
        (b"v=DMARC1", DmarcRecord(Policy.NONE)),
        # One wish that can't be read takes the others with it (RFC 9989 4.10.1).
        (b"v=DMARC1; p=reject; sp=odd", None),
        (b"v=DMARC1; p=reject; np=; rua=mailto:a@b", DmarcRecord(Policy.NONE, rua="mailto:a@b")),
        (b"v=DMARC1; p=odd; rua=mailto:a@b", DmarcRecord(Policy.NONE, rua="mailto:a@b")),
        (b"v=DMARC1; p=odd", None),
        (b"v=DMARC2; p=reject", None),
        (b"p=reject; v=DMARC1", None),
        (b"v=DMARC1; p=none; p=reject", None),
        (b"", None),
        (b"\xff", None),
    ],
)
def test_records(raw: bytes, expected: DmarcRecord | None) -> None:
    assert read_record(raw) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a@example.com", ["example.com"]),
        (b"A <a@Example.COM.>", ["example.com"]),
        (b'"b@bank.example" <a@example.com>', ["example.com"]),
        (b"b@bank.example <a@example.com>", ["example.com"]),
        (b"a@example.com (b@bank.example)", ["example.com"]),
        (b"A <a@example.com>, b@bank.example", ["example.com", "bank.example"]),
        (b"Group: a@example.com, b@example.com;", ["example.com"]),
        ("A <a@bücher.example>".encode(), ["xn--bcher-kva.example"]),
        (b"nobody", []),
        (b"A <a@>", []),
        (b'"open <a@example.com>', []),
        (b"x" * 9000 + b"@example.com", []),
    ],
)
def test_authors(value: bytes, expected: list[str]) -> None:
    assert author_domains(value) == expected


@pytest.mark.parametrize(
    "header", [b"To: x@y\r\n\r\n", b"From: a@b.c\r\nFrom: a@b.c\r\n\r\n", b"From: a@b.c, d@e.f\r\n\r\n"]
)
def test_one_author(header: bytes) -> None:
    with pytest.raises(ValueError, match="From"):
        author_domain(header)


@given(st.binary(max_size=200))
def test_any_octets(raw: bytes) -> None:
    assert all(domain.isascii() for domain in author_domains(raw))
    assert (read_record(raw) is None) or raw.lstrip(b" \t").startswith(b"v")
