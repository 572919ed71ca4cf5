"""Bindings, groups, domains and providers must fit each other; how domains are matched."""

from __future__ import annotations

import pytest

from postroad.config import ConfigError, parse, parse_rate, rate_text
from postroad.config.match import exact, pattern

A = '[[binding]]\nname = "a"\n'


def problems(text: str) -> list[str]:
    try:
        generation = parse(text, "p.toml")
    except ConfigError as error:
        return [str(problem).partition(": ")[2] for problem in error.problems]
    return [
        f"{problem.name}: {problem.text} (warning)" for problem in generation.warnings if problem.name[:4] != "http"
    ]


QUIET = '[[listener]]\nbinding = "a"\nrelay = false\n[server]\nhostname = "mx.test"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (A, ["binding[0].name: no group or listener names a: it gets no mail (warning)"]),
        (A + QUIET, []),
        (A + A + QUIET, ["binding[1].name: a is the name of binding[0] already"]),
        ('[[binding]]\nname = "a b"', ["binding[0].name: does not have the form ^[A-Za-z0-9_.\\-]{1,64}\\Z"]),
        ("[[binding]]", ["binding[0]: name is missing"]),
        (
            '[[group]]\nname = "g"\nmembers = [{ binding = "x" }]',
            ["group[0].members[0].binding: there is no binding x"],
        ),
        (
            A + '[[group]]\nname = "g"\nmembers = [{ binding = "a" }]\n[[group]]\nname = "h"\n'
            'members = [{ binding = "default" }, { binding = "a" }]',
            ["group[1].members[1].binding: a is in group g already"],
        ),
        (
            '[[group]]\nname = "g"\nmembers = [{ binding = "default", weight = 0 }]',
            ["group[0]: has no member with a weight: mail for it can't be given a binding"],
        ),
        (
            A + '[[listener]]\nbinding = "a"\ngroup = "default"',
            ["listener[0].binding: stands beside group; one of them must go"],
        ),
        ('[[listener]]\nbinding = "b"', ["listener[0].binding: there is no binding b"]),
        ('[[listener]]\ngroup = "g"', ["listener[0].group: there is no group g"]),
        (
            '[[domain]]\nmatch = "x.test"\n[[domain]]\nmatch = "X.test."',
            ["domain[1].match: X.test. stands in domain[0] already"],
        ),
        (
            '[[domain]]\nmatch = "x y"',
            [
                _WRONG := "domain[0].match: must be a domain, a pattern such as"
                ' "*.example.com", or a /regular expression/'
            ],
        ),
        ('[[domain]]\nmatch = ""', [_WRONG]),
        ('[[domain]]\nmatch = "münchen.example"', ["domain[0].match: must be in A-labels (xn--...)"]),
        ('[[domain]]\nmatch = "/x"', ["domain[0].match: a regular expression stands between two slashes"]),
        (
            "[[domain]]\nmatch = '/(a+)+x/'",
            ["domain[0].match: repeats a (group): that may take for ever on a hostile domain"],
        ),
        (
            "[[domain]]\nmatch = '/.*.*.*x/'",
            ["domain[0].match: has more than 2 repetitions: that may take long on a hostile domain"],
        ),
        (
            A + QUIET + '[[binding.domain]]\nmatch = "x.test"\ngateway = "host"\nmax_connections = 0',
            ["binding[0].domain[0].max_connections: must be 1 or more, not 0"],
        ),
        (
            A + '[[binding.domain]]\nmatch = "x.test"\ngateway = "host"\nprohibited_hosts = ["10.1"]',
            [
                "binding[0].domain[0].gateway: must be HOST:PORT or [IPv6]:PORT",
                "binding[0].domain[0].prohibited_hosts[0]: 10.1 is not a network such as 10.0.0.0/8 or 2001:db8::/32",
            ],
        ),
        (
            '[[binding]]\nname = "default"\nsource_address = "::1"\nretry_interval = 0',
            [
                "binding[0].source_address: is not an IPv4 address",
                "binding[0].retry_interval: must be more than 0",
            ],
        ),
        (
            '[[provider]]\nname = "p"',
            ["provider[0]: has neither mx_suffixes nor domains: nothing belongs to it (warning)"],
        ),
        (
            '[[provider]]\nname = "p"\nmx_suffixes = ["*.x.test"]',
            ["provider[0].mx_suffixes[0]: is a host name or the end of some, without patterns"],
        ),
        (
            '[delivery]\nuse_ipv6 = false\n[[domain]]\nmatch = "x.test"\nuse_ipv6 = true',
            [
                "domain[0].use_ipv6: finds no addresses: delivery.use_ipv6 is false, so that none are looked up"
                " (warning)"
            ],
        ),
        ('[[provider]]\nname = "p"\nmx_suffixes = [".x.test."]\ndomains = ["*.y.test"]', []),
        (
            '[delivery]\nmessage_rate = "5"',
            ['delivery.message_rate: must be a rate such as "100/s", "20/30s" or "100/s, 20000/h, 300000/d"'],
        ),
        ("[delivery]\nmessage_rate = 5", ["delivery.message_rate: must be a rate, not 5"]),
        (
            '[[domain]]\nmatch = "x.test"\ndefault_binding = "none"',
            ["domain[0].default_binding: there is no such option here; it belongs to [delivery]"],
        ),
    ],
)
def test_what_does_not_fit_is_found(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        ("*.example.com", ["a.example.com", "a.b.example.com"], ["example.com", "a.example.com.x", "aexample.com"]),
        ("mx?.test", ["mx1.test"], ["mx.test", "mx12.test"]),
        ("/mx[0-9]+\\.(eu|us)\\.test/", ["mx12.eu.test"], ["mx.eu.test", "xmx1.eu.test", "mx1.eu.testx"]),
        ("/A.test/", ["a.test"], []),
    ],
)
def test_patterns_match_whole_domains(match: str, yes: list[str], no: list[str]) -> None:
    assert exact(match) is None
    expression = pattern(match)
    assert [domain for domain in (*yes, *no) if expression.fullmatch(domain)] == yes


@pytest.mark.parametrize(("text", "name"), [("Example.COM", "example.com"), ("a.test.", "a.test"), ("[::1]", "[::1]")])
def test_names(text: str, name: str) -> None:
    assert exact(text) == name


@pytest.mark.parametrize(
    ("text", "windows", "shown"),
    [
        ("", [], ""),
        ("100/s", [(100, 1)], "100/s"),
        ("300000/d, 100/s,20000/h", [(100, 1), (20000, 3600), (300000, 86400)], "100/s, 20000/h, 300000/d"),
        ("5 / 30 s", [(5, 30)], "5/30s"),
        ("5/min", [(5, 60)], "5/m"),
        ("7/90s", [(7, 90)], "7/90s"),
        ("7/2d", [(7, 172800)], "7/2d"),
    ],
)
def test_rates(text: str, windows: list[tuple[int, int]], shown: str) -> None:
    rate = parse_rate(text)
    assert list(rate) == windows and rate_text(rate) == shown
    assert parse_rate(shown) == rate


@pytest.mark.parametrize(
    "text", ["0/s", "5", "/s", "5/0s", "5/x", "-5/s", "5.5/s", "1/s, 2/s", "1/s,", "9/32d", "1e9/s"]
)
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rate(text)
