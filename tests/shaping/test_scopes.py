"""Which scope's value counts for a path."""

from __future__ import annotations

import pytest

from postroad.config import parse
from postroad.config.schema import Duration
from postroad.shaping import Scopes

# One option in every scope, from the widest to the narrowest: each value is its rank.
SCOPES = [
    ("[delivery]\nmax_connections = 1", "[delivery]"),
    ('[[provider]]\nname = "p"\nmx_suffixes = ["mx.test"]\nmax_connections = 2', 'provider "p"'),
    ('[[domain]]\nmatch = "*.test"\nmax_connections = 3', 'domain "*.test"'),
    ('[[domain]]\nmatch = "d.test"\nmax_connections = 4', 'domain "d.test"'),
    ('[[group]]\nname = "g"\nmembers = [{ binding = "b" }]\nmax_connections = 5', 'group "g"'),
    ('[[binding]]\nname = "b"\nmax_connections = 6', 'binding "b"'),
    ('[[group.domain]]\nmatch = "*.test"\nmax_connections = 7', 'group "g", domain "*.test"'),
    ('[[group.domain]]\nmatch = "d.test"\nmax_connections = 8', 'group "g", domain "d.test"'),
    ('[[binding.domain]]\nmatch = "/d[.]test/"\nmax_connections = 9', 'binding "b", domain "/d[.]test/"'),
    ('[[binding.domain]]\nmatch = "d.test"\nmax_connections = 10', 'binding "b", domain "d.test"'),
    ('[[group.members.domain]]\nmatch = "?.test"\nmax_connections = 11', 'group "g", binding "b", domain "?.test"'),
    ('[[group.members.domain]]\nmatch = "d.test"\nmax_connections = 12', 'group "g", binding "b", domain "d.test"'),
]


def text(ranks: set[int]) -> str:
    """A file in which only these scopes set the option."""
    lines = []
    by_header = {"binding": [5, 8, 9], "group": [4, 6, 7, 10, 11], "rest": [0, 1, 2, 3]}
    for places in by_header.values():
        for place in places:
            part = SCOPES[place][0]
            if place + 1 not in ranks:
                part = part.rsplit("\n", 1)[0]
            if "members = " in part:
                part = part.replace('members = [{ binding = "b" }]\n', "").replace('members = [{ binding = "b" }]', "")
                part += '\n[[group.members]]\nbinding = "b"'
            lines.append(part)
    return "\n".join(lines)


@pytest.mark.parametrize("rank", range(1, 13))
def test_the_narrowest_scope_that_sets_an_option_counts(rank: int) -> None:
    scopes = Scopes(parse(text(set(range(1, rank + 1)))).config)
    assert scopes.options("b", "d.test", "p").delivery.max_connections == rank
    found = scopes.trace("max_connections", scopes.chain("b", "d.test", "p"))
    assert (found[0].value, found[0].scope.label) == (rank, SCOPES[rank - 1][1])
    assert [setting.value for setting in found] == list(range(rank, 0, -1))


@pytest.mark.parametrize(
    ("binding", "domain", "provider", "value"),
    [
        ("b", "d.test", "p", 12),
        ("b", "e.test", "p", 11),
        ("b", "e.example", "p", 6),
        ("other", "d.test", "p", 4),
        ("other", "e.test", "", 3),
        ("other", "e.example", "p", 2),
        ("other", "e.example", "", 1),
    ],
)
def test_scopes_apply_where_they_match(binding: str, domain: str, provider: str, value: int) -> None:
    scopes = Scopes(parse(text(set(range(1, 13)))).config)
    assert scopes.options(binding, domain, provider).delivery.max_connections == value


def test_a_group_can_be_asked_for_without_a_binding() -> None:
    scopes = Scopes(parse(text(set(range(1, 13)))).config)
    chain = scopes.chain("", "d.test", group="g")
    assert [setting.value for setting in scopes.trace("max_connections", chain)] == [8, 7, 5, 4, 3, 1]


def test_options_of_the_queue_have_scopes_too() -> None:
    scopes = Scopes(parse('[queue]\nretry_interval = "1m"\n[[domain]]\nmatch = "d.test"\nretry_interval = "2m"').config)
    assert scopes.options("default", "d.test").queue.retry_interval == Duration(120)
    assert scopes.options("default", "e.test").queue.retry_interval == Duration(60)
    assert scopes.options("default", "d.test").delivery is not None


def test_paths_that_nothing_tells_apart_share_their_options() -> None:
    scopes = Scopes(parse('[[domain]]\nmatch = "d.test"\nport = 26').config)
    assert scopes.options("default", "a.test") is scopes.options("default", "b.test")
    assert scopes.options("default", "a.test") is not scopes.options("default", "d.test")
    assert scopes.options("other", "a.test").binding.name == "other"


THROTTLED = """
[delivery]
message_rate = "1000/s"
[[binding]]
name = "a"
[[binding]]
name = "b"
message_rate = "10/s"
[[binding.domain]]
match = "d.test"
message_rate = "1/s"
[[provider]]
name = "p"
domains = ["x.test", "y.test"]
message_rate = "20/s"
[[domain]]
match = "*.test"
connection_rate = "5/s"
"""


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (("a", "e.example"), ("default", "f.example"), True),
        (("b", "e.example"), ("b", "f.example"), True),
        (("b", "e.example"), ("a", "e.example"), False),
        (("b", "d.test"), ("b", "e.example"), False),
        (("a", "x.test"), ("default", "y.test"), True),
        (("a", "x.test"), ("a", "e.example"), False),
    ],
)
def test_a_throttle_is_one_bucket_for_all_that_set_none(
    one: tuple[str, str], other: tuple[str, str], shared: bool
) -> None:
    scopes = Scopes(parse(THROTTLED).config)
    buckets = [scopes.options(*path, scopes.provider_of(path[1])).message for path in (one, other)]
    assert all(len(each) == 1 for each in buckets)
    assert (buckets[0] == buckets[1]) is shared


def test_the_key_of_a_bucket_outlives_tables_before_it() -> None:
    scopes = Scopes(parse(THROTTLED).config)
    moved = Scopes(
        parse('[[binding]]\nname = "zero"\n' + THROTTLED.replace("[delivery]", "[queue]\n[delivery]")).config
    )
    assert scopes.options("b", "d.test").message == moved.options("b", "d.test").message
    assert scopes.options("b", "d.test").message[0].key == "binding:b/domain:d.test/message_rate"


def test_a_rate_of_nothing_lifts_the_wider_one() -> None:
    scopes = Scopes(parse('[delivery]\nmessage_rate = "1/s"\n[[domain]]\nmatch = "d.test"\nmessage_rate = ""').config)
    assert scopes.options("default", "d.test").message == ()


@pytest.mark.parametrize(
    ("domain", "hosts", "provider"),
    [
        ("a.example", ["mx1.big.test", "MX2.BIG.TEST."], "big"),
        ("a.example", ["big.test"], "big"),
        ("a.example", ["mx1.big.test", "mx.other.test"], ""),
        ("a.example", ["notbig.test"], ""),
        ("a.example", ["mx.dotted.test"], "dotted"),
        ("a.example", [], ""),
        ("named.example", ["mx.other.test"], "big"),
        ("sub.named.test", [], "big"),
        ("both.example", ["mx.big.test", "mx.dotted.test"], ""),
    ],
)
def test_a_provider_is_known_by_all_of_its_hosts(domain: str, hosts: list[str], provider: str) -> None:
    scopes = Scopes(
        parse("""
[[provider]]
name = "big"
mx_suffixes = ["big.test"]
domains = ["named.example", "*.named.test"]
[[provider]]
name = "dotted"
mx_suffixes = [".dotted.test."]
""").config
    )
    assert scopes.provider_of(domain, hosts) == provider


@pytest.mark.parametrize(
    ("own", "four", "six"),
    [
        ("", "192.0.2.1", "2001:db8::1"),
        ('source_address = "192.0.2.9"', "192.0.2.9", ""),
        ('source_address6 = "2001:db8::9"', "", "2001:db8::9"),
        ('source_address = "192.0.2.9"\nsource_address6 = "2001:db8::9"', "192.0.2.9", "2001:db8::9"),
    ],
)
def test_a_binding_with_an_address_of_its_own_takes_none_of_everybodys(own: str, four: str, six: str) -> None:
    scopes = Scopes(
        parse(f"""
[delivery]
source_address = "192.0.2.1"
source_address6 = "2001:db8::1"
ehlo_hostname = "mx.test"
[[binding]]
name = "b"
{own}
[[binding.domain]]
match = "d.test"
ehlo_hostname = "other.test"
""").config
    )
    binding = scopes.options("b", "a.test").binding
    assert (binding.name, binding.source_address, binding.source_address6) == ("b", four, six)
    assert binding.ehlo_hostname == "mx.test"
    assert scopes.options("b", "d.test").binding.ehlo_hostname == "other.test"
    assert scopes.options("default", "a.test").binding.source_address == "192.0.2.1"
