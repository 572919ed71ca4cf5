"""What paths may do at once and in a time: no limit is exceeded, no place is lost, the line is fair."""

from __future__ import annotations

from collections import Counter
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.config import parse
from postroad.config.schema import Config
from postroad.shaping import Allowance, Binding, Limits


class World:
    """Limits, a clock, and who was told."""

    def __init__(self, text: str = "") -> None:
        self.now = 1000.0
        self.limits = Limits(config(text), lambda: self.now)
        self.told: list[tuple[str, str]] = []
        self.limits.told = lambda binding, domain: self.told.append((binding, domain))

    def path(self, domain: str, binding: str = "default") -> Allowance:
        return self.limits.allowance(binding, domain)


def config(text: str) -> Config:
    return parse(text).config


@pytest.mark.parametrize(
    ("waiting", "normal", "high"),
    [(0, 1, 1), (1, 1, 1), (50, 12, 22), (100, 19, 29), (200, 27, 32), (400, 31, 32), (5000, 32, 32), (10**9, 32, 32)],
)
def test_the_goal_grows_with_the_queue(waiting: int, normal: int, high: int) -> None:
    """The curves published for 32 connections (momentum.md 4.2)."""
    world = World('[[domain]]\nmatch = "high.test"\nconnection_growth = "high"')
    assert world.path("d.test").goal(waiting) == normal
    assert world.path("high.test").goal(waiting) == pytest.approx(high, abs=1)


TWO_BINDINGS = '[[binding]]\nname = "a"\n[[binding]]\nname = "b"\n'


@pytest.mark.parametrize(
    ("text", "granted"),
    [
        ("[delivery]\nmax_connections = 2", {("a", "x.test"): 2, ("a", "y.test"): 2, ("b", "x.test"): 2}),
        ("[delivery]\ndomain_max_connections = 2", {("a", "x.test"): 2, ("a", "y.test"): 2, ("b", "x.test"): 0}),
        ("[delivery]\nbinding_max_connections = 2", {("a", "x.test"): 2, ("a", "y.test"): 0, ("b", "x.test"): 2}),
        ("[delivery]\nserver_max_connections = 3", {("a", "x.test"): 3, ("a", "y.test"): 0, ("b", "x.test"): 0}),
        (
            '[[provider]]\nname = "p"\ndomains = ["x.test", "y.test"]\nprovider_max_connections = 3',
            {("a", "x.test"): 3, ("a", "y.test"): 0, ("b", "x.test"): 0, ("b", "z.test"): 4},
        ),
        (
            '[[provider]]\nname = "p"\ndomains = ["x.test", "y.test"]\nrollup = true\nmax_connections = 3',
            {("a", "x.test"): 3, ("a", "y.test"): 0, ("b", "x.test"): 3, ("b", "z.test"): 4},
        ),
        (
            '[[binding.domain]]\nmatch = "x.test"\nmax_connections = 1',
            {("b", "x.test"): 1, ("b", "y.test"): 4, ("a", "x.test"): 4},
        ),
    ],
)
def test_each_kind_of_limit_on_connections(text: str, granted: dict[tuple[str, str], int]) -> None:
    """Each path in turn asks for four."""
    head, mark, rest = text.partition("[[binding.domain]]")
    world = World(f"{head}\n{TWO_BINDINGS}{mark}{rest}")
    found = {(b, d): [world.path(d, b).open() for _ in range(4)].count(0) for b, d in granted}
    assert found == granted


def test_who_stands_in_two_lines_is_kept_one_place_only() -> None:
    world = World(f"[delivery]\ndomain_max_connections = 2\nbinding_max_connections = 2\n{TWO_BINDINGS}")
    path, same_binding, same_domain = world.path("x.test", "a"), world.path("y.test", "a"), world.path("x.test", "b")
    assert path.open() == 0 == same_binding.open()
    assert path.open() == inf  # waits for the binding
    assert same_domain.open() == 0
    assert path.open() == inf  # and for the domain
    path.closed()
    assert world.told == [path.key]
    path.decline()
    same_binding.closed()
    same_domain.closed()
    assert [same_domain.open() for _ in range(3)] == [0, 0, inf]
    assert [same_binding.open() for _ in range(3)] == [0, 0, inf]


def test_hosts() -> None:
    world = World("[delivery]\nhost_max_connections = 2")
    one, other = world.path("a.test"), world.path("b.test")
    assert one.host_open("192.0.2.1") and other.host_open("192.0.2.1")
    assert not other.host_open("192.0.2.1") and other.host_open("192.0.2.2")
    other.host_wait("192.0.2.1")
    one.host_closed("192.0.2.1")
    assert world.told == [("default", "b.test")] and other.host_room("192.0.2.1")


def test_a_place_at_a_host_that_the_first_in_line_does_not_use_goes_to_the_next() -> None:
    world = World("[delivery]\nhost_max_connections = 1")
    open_, first, second = (world.path(f"{name}.test") for name in "abc")
    assert open_.host_open("192.0.2.1")
    first.host_wait("192.0.2.1")
    second.host_wait("192.0.2.1")
    open_.host_closed("192.0.2.1")
    assert world.told == [first.key]
    first.decline()
    assert world.told == [first.key, second.key]
    second.decline()
    assert len(world.told) == 2


def test_a_place_at_a_host_that_was_used_is_not_offered_again() -> None:
    world = World("[delivery]\nhost_max_connections = 1")
    open_, first, second = (world.path(f"{name}.test") for name in "abc")
    assert open_.host_open("192.0.2.1")
    first.host_wait("192.0.2.1")
    second.host_wait("192.0.2.1")
    open_.host_closed("192.0.2.1")
    assert first.host_open("192.0.2.1")
    first.decline()
    assert world.told == [first.key]
    first.host_closed("192.0.2.1")
    assert world.told == [first.key, second.key]


def test_an_idle_connection_to_a_host_that_others_wait_for_ends() -> None:
    world = World("[delivery]\nhost_max_connections = 1")
    world.limits.at = lambda connection: "192.0.2.1" if connection == "connection" else ""
    idle, waiting = world.path("a.test"), world.path("b.test")
    assert idle.open() == 0 and idle.host_open("192.0.2.1")
    idle.host_wait("192.0.2.1")  # itself for one more: that is no reason
    assert idle.idle("connection") is None
    idle.busy("connection")
    waiting.host_wait("192.0.2.1")
    assert idle.idle("another") is None
    assert idle.idle("connection") == "connection"


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("", True),
        ("[delivery]\nserver_max_connections = 1\nhost_max_connections = 1\nbinding_max_connections = 1", True),
        ('[[domain]]\nmatch = "b.test"\nhost_max_connections = 1', True),
        ('[[provider]]\nname = "p"\ndomains = ["b.test", "c.test"]\nprovider_max_connections = 1', False),
        ('[[domain]]\nmatch = "b.test"\nsuspend_delivery = true', False),
    ],
)
def test_a_place_moves_to_a_sibling_if_its_limits_allow(text: str, may: bool) -> None:
    world = World(text)
    giver, taker, third = world.path("a.test"), world.path("b.test"), world.path("c.test")
    if "provider" in text:
        assert third.open() == 0
    assert giver.open() == 0 and giver.host_open("192.0.2.1")
    assert taker.inherit(giver, "192.0.2.1") is may
    assert (giver.connections, taker.connections) == ((0, 1) if may else (1, 0))
    (taker if may else giver).closed()
    (taker if may else giver).host_closed("192.0.2.1")
    if "provider" in text:
        third.closed()
    assert [gate.open for path in (giver, taker, third) for gate in path.gates if gate.open] == []


def test_a_place_that_another_waits_for_does_not_move() -> None:
    world = World("[delivery]\nserver_max_connections = 1")
    giver, taker, waiting = world.path("a.test"), world.path("b.test"), world.path("c.test")
    assert giver.open() == 0 and giver.host_open("192.0.2.1")
    assert waiting.open() == inf
    assert not taker.inherit(giver, "192.0.2.1")
    waiting.release()
    assert taker.inherit(giver, "192.0.2.1")


def test_a_place_at_a_host_that_another_waits_for_does_not_move() -> None:
    world = World("[delivery]\nhost_max_connections = 1")
    giver, taker, waiting = world.path("a.test"), world.path("b.test"), world.path("c.test")
    assert giver.open() == 0 and giver.host_open("192.0.2.1")
    waiting.host_wait("192.0.2.1")
    assert not taker.inherit(giver, "192.0.2.1")


def test_the_places_that_a_sibling_left_are_handed_out() -> None:
    world = World('[[domain]]\nmatch = "a.test"\nmax_connections = 1')
    giver, taker = world.path("a.test"), world.path("b.test")
    assert giver.open() == 0 and giver.host_open("192.0.2.1") and giver.open() == inf
    assert taker.inherit(giver, "192.0.2.1")
    assert world.told == [giver.key] and giver.open() == 0


def test_a_reserve_for_paths_without_a_connection() -> None:
    world = World("[delivery]\nserver_max_connections = 20\nserver_reserved_connections = 200")
    big = world.path("big.test")
    assert [big.open() for _ in range(20)].count(0) == 18  # a tenth is kept
    assert world.path("one.test").open() == 0 and world.path("two.test").open() == 0
    assert world.path("three.test").open() == inf
    world.path("one.test").closed()
    assert world.told == [("default", "three.test")]  # and not big.test, which asked before


def test_a_freed_place_goes_to_who_waits_longest() -> None:
    world = World("[delivery]\nserver_max_connections = 1")
    first, second, third, greedy = (world.path(f"{name}.test") for name in ("first", "second", "third", "greedy"))
    assert first.open() == 0
    assert second.open() == third.open() == inf
    first.closed()
    assert world.told == [("default", "second.test")]
    assert greedy.open() == inf and third.open() == inf  # the place is kept
    assert second.open() == 0
    second.closed()
    assert world.told[1:] == [("default", "third.test")]
    third.decline()
    assert world.told[2:] == [("default", "greedy.test")]
    greedy.decline()
    assert third.open() == 0  # nobody waits, so the place is anybody's


def test_who_waits_for_something_else_does_not_hold_up_the_line() -> None:
    world = World("[delivery]\nserver_max_connections = 2\nmax_connections = 1")
    busy, other, third = world.path("busy.test"), world.path("other.test"), world.path("third.test")
    assert busy.open() == other.open() == 0
    assert busy.open() == inf  # of its own limit
    assert third.open() == inf
    other.closed()
    assert world.told == [("default", "third.test")]
    busy.closed()
    assert world.told[1:] == [("default", "busy.test")]


def test_idle_connections_make_room() -> None:
    world = World("[delivery]\nserver_max_connections = 2")
    rich, poor = world.path("rich.test"), world.path("poor.test")
    assert rich.open() == rich.open() == 0
    assert rich.idle("one") is None
    assert poor.open() == inf
    assert poor.spare() == "one"
    assert poor.spare() is None  # it is on its way
    assert rich.idle("two") == "two"  # at once, for somebody waits
    rich.closed()
    assert world.told == [("default", "poor.test")]


def test_only_idle_connections_that_help_are_closed() -> None:
    world = World('[[provider]]\nname = "p"\ndomains = ["x.test", "y.test"]\nprovider_max_connections = 1')
    x, y, z = world.path("x.test"), world.path("y.test"), world.path("z.test")
    assert z.open() == x.open() == 0
    assert z.idle("z") is None
    assert y.open() == inf
    assert y.spare() is None
    assert x.idle("x") == "x"


def test_a_path_does_not_close_its_own_idle_connection_for_itself() -> None:
    world = World("[delivery]\nserver_max_connections = 1")
    path = world.path("a.test")
    assert path.open() == 0 and path.open() == inf
    assert path.idle("one") is None


def test_rates_of_connections_and_messages() -> None:
    world = World('[delivery]\nmessage_rate = "2/m"\npath_message_rate = "1/m"\nconnection_rate = "1/s"')
    a, b, c = world.path("a.test"), world.path("b.test"), world.path("c.test")
    assert a.open() == 0 and b.open() == 1
    assert a.message() == 0 and a.message() > 50
    assert b.message() == pytest.approx(24)  # paced
    world.now += 24
    assert b.message() == 0 and b.message() > 20
    assert c.message() == pytest.approx(36)
    world.now += 37
    assert c.message() == 0


def test_a_message_that_was_not_sent_does_not_count() -> None:
    world = World('[delivery]\nmessage_rate = "1/m"')
    path = world.path("a.test")
    for _ in range(3):
        assert path.message() == 0
        path.unsent()
    assert path.message() == 0 and path.message() > 0


def test_a_refused_connection_uses_up_no_rate() -> None:
    world = World('[delivery]\nserver_max_connections = 1\nconnection_rate = "2/m"')
    a, b = world.path("a.test"), world.path("b.test")
    assert a.open() == 0
    world.now += 30
    for _ in range(5):
        assert b.open() == inf
    a.closed()
    assert b.open() == 0


def test_suspended() -> None:
    world = World('[[domain]]\nmatch = "a.test"\nsuspend_delivery = true')
    path = world.path("a.test")
    assert path.open() == inf and path.message() == inf and path.spare() is None
    assert world.path("b.test").open() == 0
    world.limits.reconfigure(config(""))
    assert ("default", "a.test") in world.told and path.open() == 0 and path.message() == 0


def test_the_default_binding_may_be_suspended() -> None:
    world = World('[delivery]\ndefault_binding = "suspended"\n[[binding]]\nname = "b"')
    assert world.path("a.test").open() == inf
    assert world.path("a.test", "b").open() == 0


ROLLED = '[[provider]]\nname = "p"\nmx_suffixes = ["p.test"]\nrollup = true\nmax_connections = 3\n'


def test_a_domain_joins_its_provider_when_its_hosts_are_known() -> None:
    world = World(ROLLED)
    a, b = world.path("a.test"), world.path("b.test")
    assert a.open() == a.open() == b.open() == b.open() == 0
    a.located(["mx1.p.test"])
    b.located(["mx2.p.test"])
    assert (a.most, b.most) == (3, 3)
    assert a.open() == inf
    a.closed()
    assert a.open() == inf  # there were four
    b.closed()
    assert a.open() == 0 and b.open() == inf
    assert world.limits.provider("a.test") == "p"
    other = world.path("c.test", "other")
    world.path("c.test").located(["mx1.p.test"])
    other.located(["mx1.p.test"])  # which is known by now, but not to this path
    assert other.most == 3
    a.located(["mx.elsewhere.test"])
    assert a.most == 32 and b.open() == 0


def test_a_new_configuration_counts_what_is_open_and_what_was_sent() -> None:
    text = ROLLED + 'path_message_rate = "2/h"\n'
    world = World(text)
    a, b = world.path("a.test"), world.path("b.test")
    for path in (a, b):
        path.located(["mx.p.test"])
    assert a.open() == b.open() == a.message() == 0
    for changed in (text, '[[provider]]\nname = "q"\ndomains = ["c.test"]\n' + text, text.replace('"2/h"', '"3/h"')):
        world.limits.reconfigure(config(changed))
        assert a.open() == 0 and a.open() == inf
        a.closed()
    assert b.message() > 60
    world.now += 2000
    assert [b.message(), a.message()] == [0, pytest.approx(840)]
    world.limits.reconfigure(config(text.replace("= 3", "= 1")))
    assert world.limits.excess([(a, "a1"), (b, "b1")]) == ["a1"]
    assert world.limits.excess([(b, "b1")]) == ["b1"]  # until one is closed
    a.closed()
    assert world.limits.excess([(b, "b1")]) == []


def test_a_path_that_is_forgotten_leaves_nothing_but_its_rate() -> None:
    world = World('[delivery]\npath_message_rate = "1/h"')
    path = world.path("a.test")
    assert path.open() == 0 and path.message() == 0
    path.closed()
    path.release()
    assert world.limits._gates == {} and world.limits._allowances == {}
    assert world.path("a.test").message() > 3000


@pytest.mark.parametrize(
    ("four", "six", "ipv4", "ipv6"),
    [
        ("", "", True, True),
        ("192.0.2.1", "", True, False),
        ("", "2001:db8::1", False, True),
        ("192.0.2.1", "2001:db8::1", True, True),
    ],
)
def test_a_binding_uses_the_families_it_has_addresses_of(four: str, six: str, ipv4: bool, ipv6: bool) -> None:
    binding = Binding("b", four, six)
    assert (binding.ipv4, binding.ipv6) == (ipv4, ipv6)
    assert binding.source("198.51.100.1") == four
    assert binding.source("2001:db8::9") == six


# --- in all orders ----------------------------------------------------------------------------------------------------

CONFIGS = [
    """
[delivery]
server_max_connections = 12
max_connections = 3
binding_max_connections = 6
domain_max_connections = 5
[[binding]]
name = "a"
[[binding]]
name = "b"
[[provider]]
name = "p"
domains = ["x.test", "y.test"]
rollup = true
provider_max_connections = 4
""",
    """
[delivery]
server_max_connections = 8
max_connections = 2
[[binding]]
name = "a"
binding_max_connections = 3
[[binding]]
name = "b"
[[provider]]
name = "q"
domains = ["z.test", "y.test"]
provider_max_connections = 3
""",
]
PATHS = [(binding, domain) for binding in ("a", "b") for domain in ("x.test", "y.test", "z.test", "w.test")]
steps = st.lists(
    st.tuples(st.sampled_from(["open", "open", "close", "idle", "reload"]), st.integers(0, 7)), max_size=120
)


@settings(max_examples=150)
@given(steps)
def test_no_limit_is_exceeded_and_nobody_waits_for_a_free_place(moves: list[tuple[str, int]]) -> None:
    world = World(CONFIGS[0])
    number = 0
    open_: Counter[tuple[str, str]] = Counter()
    wanting: dict[tuple[str, str], None] = {}
    lowered = False

    def ask(key: tuple[str, str]) -> None:
        if world.path(key[1], key[0]).open() == 0:
            open_[key] += 1
            wanting.pop(key, None)
        else:
            wanting[key] = None

    def answer() -> None:
        """Who is told asks, if it still wants one."""
        while world.told:
            key = world.told.pop(0)
            if key in wanting:
                ask(key)
            else:
                world.path(key[1], key[0]).decline()

    for move, which in moves:
        key = PATHS[which]
        if move == "open":
            ask(key)
        elif move == "close" and open_[key]:
            open_[key] -= 1
            world.path(key[1], key[0]).closed()
        elif move == "idle":
            wanting.pop(key, None)  # its queue is empty
        elif move == "reload":
            number = 1 - number
            world.limits.reconfigure(config(CONFIGS[number]))
            lowered = True
        answer()
        gates = {id(gate): gate for each in PATHS for gate in world.path(each[1], each[0]).gates}.values()
        assert all(gate.offered == 0 for gate in gates)
        if not lowered:
            assert [gate for gate in gates if gate.open > gate.most] == []
        for gate in gates:
            members = [each for each in PATHS if gate in world.path(each[1], each[0]).gates]
            assert gate.open == sum(open_[each] for each in members)
        # Everybody who was refused and still wants a place is refused for a reason that holds now.
        assert [each for each in wanting if world.path(each[1], each[0]).full() is None] == []
