"""MTA-STS records and policy files, as RFC 8461 writes them and as they must not be."""

from __future__ import annotations

import pytest

from postroad.deliver.sts import MAX_AGE, Mode, StsError, StsPolicy, parse_policy, record_id

BOTH = ("mail.example.com", "*.example.net")
GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        ([b"v=STSv1;id=1"], "1"),
        ([b"v=STSv1 ; id = abc ; more=x"], "abc"),
        ([b"v=spf1 -all", b"v=STSv1; id=2"], "2"),
        ([b"v=STSv1; id=1", b"v=STSv1; id=2"], None),
        ([b"v=STSv2; id=1"], None),
        ([b"v=STSv10; id=1"], None),
        ([b"v=STSv1; id="], None),
        ([b"v=STSv1; id=a-b"], None),
        ([b"v=STSv1; id=" + b"a" * 33], None),
        ([b"v=STSv1"], None),
        ([b"id=1; v=STSv1"], None),
        ([b"\xff\xfe"], None),
        ([], None),
    ],
)
def test_records(records: list[bytes], found: str | None) -> None:
    assert record_id(records) == found


def test_a_policy() -> None:
    assert parse_policy(GOOD) == StsPolicy(Mode.ENFORCE, 604800, BOTH)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (b"\r\n", b"\n", StsPolicy(Mode.ENFORCE, 604800, BOTH)),
        (b"max_age: 604800", b"max_age:9999999999", StsPolicy(Mode.ENFORCE, MAX_AGE, BOTH)),
        (b"mode: enforce", b"mode: testing\nmode: none", StsPolicy(Mode.TESTING, 604800, BOTH)),
        (b"mx: *.example.net", b"more: of this\n\nand that", StsPolicy(Mode.ENFORCE, 604800, ("mail.example.com",))),
        (b"mail.example.com", b"MAIL.Example.COM.", StsPolicy(Mode.ENFORCE, 604800, BOTH)),
    ],
)
def test_policies_that_are_right(before: bytes, after: bytes, found: StsPolicy) -> None:
    assert parse_policy(GOOD.replace(before, after)) == found


def test_mode_none_needs_no_host() -> None:
    assert parse_policy(b"version: STSv1\nmode: none\nmax_age: 1").mode is Mode.NONE


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b"STSv1", b"STSv2", "version"),
        (b"version: STSv1", b"", "version"),
        (b"enforce", b"ENFORCE", "mode"),
        (b"604800", b"-1", "max_age"),
        (b"604800", b"1e9", "max_age"),
        (b"604800", b"9" * 100, "max_age"),
        (b"max_age", b"age", "max_age"),
        (b"mail.example.com", b"mail.*.com", "mx"),
        (b"mail.example.com", b"*", "mx"),
        (b"mail.example.com", b"mail example com", "mx"),
        (b"mx", b"host", "names no mx"),
        (b"mode", b"\xff", "UTF-8"),
        (b"mx: mail", b"".join(b"mx: h%d.example\n" % n for n in range(1001)) + b"mx: mail", "1000"),
    ],
)
def test_policies_that_are_wrong(before: bytes, after: bytes, words: str) -> None:
    with pytest.raises(StsError, match=words):
        parse_policy(GOOD.replace(before, after))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mail.example.com", True),
        ("MAIL.example.com.", True),
        ("a.example.net", True),
        ("a.b.example.net", False),
        ("example.net", False),
        ("mail.example.com.evil.example", False),
        ("xmail.example.com", False),
        ("*.example.net", True),
    ],
)
def test_hosts(host: str, allowed: bool) -> None:
    assert parse_policy(GOOD).allows(host) is allowed
