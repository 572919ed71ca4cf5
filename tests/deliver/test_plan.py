from collections import Counter
from random import Random

import pytest

from postroad.config.schema import NOT_PUBLIC
from postroad.deliver.plan import MAX_TARGETS, Screen, Target, Unroutable, before_us, literal_address, order
from postroad.message import Verdict
from postroad.net import MxHost


def planned(
    targets: list[Target], seed: int = 1, avoided: set[str] | None = None, tried: tuple[str, ...] = ()
) -> list[str]:
    return [
        t.address
        for t in order(targets, Random(seed), avoided=(avoided or set()).__contains__, load=lambda _: 0, tried=tried)
    ]


A1 = Target(10, "a", "192.0.2.1")
A2 = Target(10, "a", "192.0.2.2")
B = Target(10, "b", "192.0.2.3")
C = Target(20, "c", "192.0.2.4")


def test_preference_comes_first_whatever_the_order_given() -> None:
    for seed in range(20):
        assert planned([C, A1, B], seed)[-1] == C.address


def test_equal_hosts_take_turns() -> None:
    firsts = Counter(planned([A1, B], seed)[0] for seed in range(400))
    assert set(firsts) == {A1.address, B.address}
    assert min(firsts.values()) > 140  # 200 expected, deviation 10; the seeds are fixed


def test_hosts_share_by_host_and_not_by_address() -> None:
    firsts = Counter(planned([A1, A2, B], seed)[0] for seed in range(400))
    assert 140 < firsts[B.address] < 260


def test_the_less_loaded_host_comes_first() -> None:
    for seed in range(20):
        found = order([A1, A2, B], Random(seed), avoided=lambda _: False, load=lambda address: address == B.address)
        assert [t.address for t in found][-1] == B.address


def test_avoided_and_tried_ones_are_left_out() -> None:
    assert planned([A1, B, C], avoided={A1.address, B.address}) == [C.address]
    assert planned([A1, B, C], tried=(C.address, A1.address)) == [B.address]
    assert planned([A1], avoided={A1.address}) == []


def test_the_families_of_a_host_stay_in_the_order_given() -> None:
    six = Target(10, "a", "2001:db8::1")
    for seed in range(20):
        assert planned([six, A1, A2], seed)[0] == six.address
        assert planned([A1, A2, six], seed)[-1] == six.address
    assert len({tuple(planned([six, A1, A2], seed)) for seed in range(20)}) == 2


def test_a_plan_is_bounded() -> None:
    assert len(planned([Target(10, f"h{i}", f"192.0.2.{i}") for i in range(200)])) == MAX_TARGETS


@pytest.mark.parametrize(
    ("hosts", "left"),
    [
        ([MxHost(10, "a"), MxHost(20, "b")], ["a", "b"]),
        ([MxHost(10, "a"), MxHost(20, "us.example")], ["a"]),
        ([MxHost(10, "a"), MxHost(20, "us.example"), MxHost(20, "b"), MxHost(30, "c")], ["a"]),
    ],
)
def test_only_hosts_before_us(hosts: list[MxHost], left: list[str]) -> None:
    assert [mx.name for mx in before_us("example.net", hosts, {"us.example"})] == left


@pytest.mark.parametrize("hosts", [[MxHost(0, "us.example")], [MxHost(10, "us.example"), MxHost(10, "a")]])
def test_mail_does_not_go_round_in_circles(hosts: list[MxHost]) -> None:
    with pytest.raises(Unroutable) as caught:
        before_us("example.net", hosts, {"us.example"})
    assert caught.value.result.verdict is Verdict.FAILED
    assert caught.value.result.reply.text.startswith("5.4.6 ")


PUBLIC4 = "8.8.4.4"
PUBLIC6 = "2a00:1450::1"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "192.168.1.1",
        "0.0.0.0",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "::ffff:10.0.0.1",  # the same hosts behind other writings
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "::ffff:0:10.0.0.1",
        "2001:0:102:304::f5ff:fffe",  # Teredo: the client 10.0.0.1, each bit turned
        "fec0::1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "not an address",
    ],
)
def test_by_default_no_mail_goes_to_networks_that_are_not_public(address: str) -> None:
    screen = Screen(NOT_PUBLIC, use_ipv6=True)
    with pytest.raises(Unroutable) as caught:
        screen.targets("example.net", [(MxHost(10, "a"), [address])])
    result = caught.value.result
    assert (result.verdict, result.reply.code, result.reply.text[:5]) == (Verdict.FAILED, 550, "5.4.6")
    # Beside a public one, it is only left out.
    found = screen.targets("example.net", [(MxHost(10, "a"), [address, PUBLIC4]), (MxHost(20, "b"), [PUBLIC6])])
    assert found == [Target(10, "a", PUBLIC4), Target(20, "b", PUBLIC6)]


@pytest.mark.parametrize(
    "address", [PUBLIC4, PUBLIC6, "::ffff:8.8.4.4", "64:ff9b::808:404", "2001:0:102:304::f7f7:fbfb"]
)
def test_public_addresses_pass(address: str) -> None:
    assert Screen(NOT_PUBLIC, use_ipv6=True).targets("x", [(MxHost(1, "a"), [address])]) == [Target(1, "a", address)]


@pytest.mark.parametrize(
    ("use_ipv6", "ipv4", "ipv6", "expected"),
    [
        (True, True, True, [PUBLIC6, PUBLIC4]),
        (False, True, True, [PUBLIC4]),
        (True, True, False, [PUBLIC4]),
        (True, False, True, [PUBLIC6]),
        (False, False, True, None),
    ],
)
def test_families(use_ipv6: bool, ipv4: bool, ipv6: bool, expected: list[str] | None) -> None:
    screen = Screen((), use_ipv6=use_ipv6)
    found = [(MxHost(10, "a"), [PUBLIC6, PUBLIC4])]
    if expected is None:
        with pytest.raises(Unroutable) as caught:
            screen.targets("example.net", found, ipv4=ipv4, ipv6=ipv6)
        assert caught.value.result.reply.text.startswith("4.4.4 ")
    else:
        assert [t.address for t in screen.targets("example.net", found, ipv4=ipv4, ipv6=ipv6)] == expected


@pytest.mark.parametrize(
    ("domain", "address"),
    [("[192.0.2.1]", "192.0.2.1"), ("[ipv6:2001:db8::1]", "2001:db8::1"), ("example.net", None)],
)
def test_domain_literals(domain: str, address: str | None) -> None:
    assert literal_address(domain) == address
