from math import inf

import pytest

from postroad.config.schema import DeliveryOptions
from postroad.shaping import Binding, FixedLimits


@pytest.mark.parametrize(
    ("waiting", "goal"), [(0, 1), (1, 1), (50, 12), (100, 19), (200, 27), (400, 31), (5000, 32), (10**9, 32)]
)
def test_the_goal_grows_with_the_queue(waiting: int, goal: int) -> None:
    """The curve published for 32 connections (momentum.md 4.2)."""
    assert FixedLimits(DeliveryOptions(max_connections=32)).goal("b", "d", waiting) == goal


def test_the_server_has_so_many_connections_and_no_more() -> None:
    limits = FixedLimits(DeliveryOptions(server_max_connections=2))
    assert limits.open("b", "one") == 0
    assert limits.open("b", "two") == 0
    assert limits.open("b", "three") == inf
    limits.closed("b", "one")
    assert limits.open("b", "three") == 0


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
