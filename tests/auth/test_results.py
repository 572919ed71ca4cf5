"""Authentication-Results: written, read back, and forged ones gone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.auth.results import MethodResult, Results, ResultsError, parse_results, without_forged, write_results


def value(field: bytes) -> bytes:
    return field.partition(b":")[2].removesuffix(b"\r\n")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        # RFC 8601 appendix B.
        (b"example.org 1; none", Results("example.org")),
        (
            b"example.com; spf=pass smtp.mailfrom=example.net",
            Results("example.com", (MethodResult("spf", "pass", (("smtp", "mailfrom", "example.net"),)),)),
        ),
        (
            b"example.com;\r\n auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n"
            b" spf=pass smtp.mailfrom=example.net",
            Results(
                "example.com",
                (
                    MethodResult("auth", "pass", (("smtp", "auth", "sender@example.net"),)),
                    MethodResult("spf", "pass", (("smtp", "mailfrom", "example.net"),)),
                ),
            ),
        ),
        (
            b"foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n"
            b" policy (A dot can go here) . (like that) expired"
            b" (this surprised me) = (as I wasn't expecting it) 1362471462",
            Results("foo.example.net", (MethodResult("dkim", "fail", (("policy", "expired", "1362471462"),)),)),
        ),
        (
            b'a.example; dkim=fail reason="bad \\"sig\\"" header.b=oINEO8hg/; ',
            Results("a.example", (MethodResult("dkim", "fail", (("header", "b", "oINEO8hg/"),), 'bad "sig"'),)),
        ),
        (
            b'a.example; spf=pass smtp.mailfrom="a b"@x.example',
            Results("a.example", (MethodResult("spf", "pass", (("smtp", "mailfrom", "a b@x.example"),)),)),
        ),
    ],
)
def test_read(raw: bytes, expected: Results) -> None:
    assert parse_results(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"a.example",
        b"a.example;",
        b"a.example 2; none",
        b"a.example; none; spf=pass",
        b"a.example; spf",
        b"a.example; spf=",
        b"a.example; spf=pass smtp=x",
        b"a.example; spf=pass smtp.mailfrom",
        b"a.example; spf=pass dkim=pass",
        b"a.example; spf=pass (open",
        b"a.example; spf=pass \xff",
        b'a.example; spf=pass smtp.helo="open',
        b"a.example;; spf=pass",
    ],
)
def test_refused(raw: bytes) -> None:
    with pytest.raises(ResultsError):
        parse_results(raw)


TEXT = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60)
NAME = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
METHODS = st.builds(
    MethodResult,
    NAME.filter(lambda name: name != "none"),
    NAME,
    st.lists(st.tuples(NAME.filter(lambda n: n != "reason"), NAME, TEXT), max_size=3).map(tuple),
    TEXT,
    st.just(1),
)


@given(NAME, st.lists(METHODS, max_size=3))
def test_what_we_write_reads_back(authserv_id: str, methods: list[MethodResult]) -> None:
    field = write_results(authserv_id, methods)
    assert field.endswith(b"\r\n")
    assert parse_results(value(field)) == Results(authserv_id, tuple(methods))


def test_strangers_cannot_break_out() -> None:
    field = write_results("mx.example", [MethodResult("spf", "fail", (), 'a"\r\nBcc: x; dkim=pass\0')])
    (spf,) = parse_results(value(field)).methods
    assert (spf.method, spf.reason) == ("spf", 'a"??Bcc: x; dkim=pass?')
    assert field.count(b"\r\n") == 2


@given(st.binary(max_size=200))
def test_any_octets_are_results_or_refused(raw: bytes) -> None:
    try:
        found = parse_results(raw)
    except ResultsError:
        return
    assert parse_results(value(write_results(found.authserv_id, found.methods))).methods == found.methods


FORGED = [
    b"Authentication-Results: mx.example; spf=pass\r\n",
    b"authentication-results :\r\n MX.Example 1; spf=pass\r\n",
    b"Authentication-Results: (x) mx.example.; none\r\n",
    b'Authentication-Results: "mx.example"; none\r\n',
    b"Authentication-Results: mx.example\xff; broken\r\n",
]


@pytest.mark.parametrize("forged", FORGED)
def test_forged_ones_go(forged: bytes) -> None:
    kept = b"Authentication-Results: other.example; spf=pass\r\nX-A: b\r\n"
    assert without_forged(b"A: b\r\n" + forged + kept + b"\r\n", ["mx.example"]) == b"A: b\r\n" + kept + b"\r\n"
    assert without_forged(kept, ["mx.example"]) == kept
