"""The order in which a path's active messages go out: who is ahead of whom, in which shares, and how long at most."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from postroad.message import PRIORITY, id_time
from postroad.queue.order import FRESH_PER_RETRY, PATIENCE, URGENT_AHEAD, Order, flow_number

URGENT = {PRIORITY: "1"}
AN_ID = 1 << 60
NOW = id_time(AN_ID)
YOUNG, OLD = NOW, NOW + PATIENCE + 1


def drain(order: Order, now: float = YOUNG) -> list[int]:
    found = []
    while (number := order.pop(lambda: now)) is not None:
        found.append(number)
    return found


def filled(*flows: tuple[int, range], retry: bool = False) -> Order:
    order = Order()
    for flow, numbers in flows:
        for number in numbers:
            order.append(AN_ID + number, flow, retry=retry)
    return order


def offsets(numbers: list[int]) -> list[int]:
    return [number - AN_ID for number in numbers]


def test_a_flow_is_priority_subaccount_and_campaign() -> None:
    assert flow_number({}, None, None) == 0 and flow_number(URGENT, None, "") == 1
    spring = flow_number({}, None, "spring")
    assert spring & 1 == 0 and spring == flow_number({PRIORITY: "0"}, "", "spring")
    assert flow_number(URGENT, None, "spring") == spring + 1
    others = {flow_number({}, sub, name) for sub, name in itertools.product((None, "1", "12"), ("", "spring", "2"))}
    assert len(others) == 9 and max(others) < 1 << 32


def test_one_flow_is_first_in_first_out() -> None:
    assert offsets(drain(filled((0, range(5))))) == [0, 1, 2, 3, 4]


def test_flows_take_turns() -> None:
    order = filled((2, range(6)), (4, range(10, 12)))
    assert offsets(drain(order)) == [0, 10, 1, 11, 2, 3, 4, 5]


def test_a_campaign_does_not_delay_ten_messages_that_come_later() -> None:
    order = filled((2, range(100_000)))
    for number in range(200_000, 200_010):
        order.append(AN_ID + number, 0, retry=False)
    assert [n for n in offsets([order.pop(lambda: NOW) or 0 for _ in range(20)]) if n >= 200_000] == [
        *range(200_000, 200_010)
    ]


def test_first_attempts_go_ahead_but_do_not_starve_retries() -> None:
    order = filled((0, range(100, 200)))
    for number in range(3):
        order.append(AN_ID + number, 0, retry=True)
    found = offsets(drain(order))
    assert found[: FRESH_PER_RETRY + 1] == [100, 101, 102, 103, 0]
    assert [place for place, number in enumerate(found) if number < 100] == [4, 9, 14]


def test_urgent_messages_go_ahead_of_all_others() -> None:
    order = filled((0, range(3)), (2, range(10, 12)), (1, range(20, 22)), (3, range(30, 31)))
    assert offsets(drain(order)) == [20, 30, 21, 0, 10, 1, 11, 2]


def test_what_waits_long_gets_a_share_beside_urgent_messages() -> None:
    order = filled((0, range(4)), (1, range(100, 200)))
    found = offsets(drain(order, OLD))
    assert [place for place, number in enumerate(found) if number < 100] == [4, 9, 14, 19]
    assert URGENT_AHEAD == 4


def test_the_share_lasts_until_nothing_plain_waits() -> None:
    """A young message at the head must not take from those behind it what they have waited for."""
    order = filled((0, range(1)), (1, range(100, 200)))
    young = AN_ID + (int(PATIENCE * 1000) << 22)
    order.append(young, 0, retry=False)
    order.append(AN_ID + 1, 2, retry=False)
    found = [order.pop(lambda: OLD) for _ in range(15)]
    assert found[4] == AN_ID and found[9] == AN_ID + 1 and found[14] == young
    # It is over now: the next one has to be patient again.
    order.append(young + 1, 0, retry=False)
    assert young + 1 not in [order.pop(lambda: OLD) for _ in range(20)]


def test_what_was_given_out_for_nothing_is_next() -> None:
    order = filled((2, range(3)), (4, range(10, 13)))
    first = order.pop(lambda: NOW)
    assert first == AN_ID
    order.put_back(first, 2, retry=False)
    assert offsets(drain(order)) == [0, 10, 1, 11, 2, 12]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 60))
def test_flows_that_wait_get_equal_shares(sizes: list[int], taken: int) -> None:
    """At any moment, no flow is more than one message ahead of another one that still waits."""
    order = filled(*((2 * flow, range(100 * flow, 100 * flow + size)) for flow, size in enumerate(sizes)))
    served: Counter[int] = Counter()
    for _ in range(min(taken, sum(sizes))):
        number = order.pop(lambda: NOW)
        assert number is not None
        served[(number - AN_ID) // 100] += 1
    waiting = [flow for flow, size in enumerate(sizes) if served[flow] < size]
    assert all(served[other] <= served[flow] + 1 for flow in waiting for other in range(len(sizes)))


class Sent(NamedTuple):
    number: int
    flow: int
    retry: bool


flows = st.tuples(st.sampled_from((0, 1, 2, 3, 4)), st.booleans())


@given(st.lists(flows, max_size=60), st.integers(0, 30), st.sampled_from((YOUNG, OLD)))
def test_the_position_told_is_the_place_in_the_line(what: list[tuple[int, bool]], taken: int, now: float) -> None:
    order = Order()
    for number, (flow, retry) in enumerate(what):
        order.append(AN_ID + number, flow, retry=retry)
    for _ in range(taken):
        order.pop(lambda: now)
    told = {number: order.ahead(number, now) for number in order}
    shown = list(order.in_order(now))
    assert order.ahead(AN_ID - 1, now) is None and len(shown) == len(order)  # looking changes nothing
    assert shown == drain(order, now) and told == {number: place for place, number in enumerate(shown)}


class OrderAgainstModel(RuleBasedStateMachine):
    """Whatever comes in: each message goes out once, in order within its flow and lane, and within the bound stated."""

    def __init__(self) -> None:
        super().__init__()
        self.order = Order()
        self.waiting: dict[int, Sent] = {}
        self.passed: dict[int, int] = {}  # how many were given out since it came
        self.bound: dict[int, int] = {}
        self.flows: set[int] = set()
        self.next = AN_ID

    @rule(flow=st.sampled_from((0, 1, 2, 3, 4, 5)), retry=st.booleans(), count=st.integers(1, 6))
    def arrive(self, flow: int, retry: bool, count: int) -> None:
        for _ in range(count):
            one = Sent(self.next, flow, retry)
            self.order.append(*one[:2], retry=retry)
            ahead = sum(other[1:] == one[1:] for other in self.waiting.values())
            self.waiting[one.number] = one
            self.passed[one.number] = 0
            # Three flows of each urgency; then the lanes, then the bands.
            turns = 3 * (ahead + 1) * (FRESH_PER_RETRY + 1)
            self.bound[one.number] = turns * (URGENT_AHEAD + 1)
            self.next += 1

    @precondition(lambda self: self.waiting)
    @rule(count=st.integers(1, 8))
    def give_out(self, count: int) -> None:
        for _ in range(min(count, len(self.waiting))):
            number = self.order.pop(lambda: OLD)
            assert number is not None
            one = self.waiting.pop(number)
            assert not any(other[1:] == one[1:] and other.number < number for other in self.waiting.values())
            for other in self.waiting:
                self.passed[other] += 1

    @invariant()
    def nobody_starves(self) -> None:
        assert all(self.passed[number] <= self.bound[number] for number in self.waiting)
        assert len(self.order) == len(self.waiting) and set(self.order) == set(self.waiting)


TestOrderAgainstModel = OrderAgainstModel.TestCase
TestOrderAgainstModel.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
