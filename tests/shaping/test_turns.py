"""Paths that share a throttle take turns."""

from __future__ import annotations

import heapq
from collections import Counter
from random import Random

import pytest

from postroad.config import parse_rate
from postroad.shaping.throttle import Throttle
from postroad.shaping.turns import Turns


def play(
    rate: str, paths: int, seconds: float, *, leaving: int = 0, busy: bool = False, late: float = 0.0
) -> tuple[Counter[int], list[float], int]:
    """Paths that ask whenever their wait is over, and again at once when they were granted. leaving: the first so many
    never come back after their third asking. busy: path 0 also asks every millisecond. late: seconds by which a wake-up
    is late at the most. Returns grants by path, their times, and how often was asked."""
    rng = Random(1)
    turns = Turns(Throttle(parse_rate(rate)))
    events = [(0.0, path) for path in range(paths)]
    if busy:
        events += [(n / 1000, 0) for n in range(int(seconds * 1000))]
    heapq.heapify(events)
    granted: Counter[int] = Counter()
    asked: Counter[int] = Counter()
    times: list[float] = []
    while events and events[0][0] < seconds:
        now, path = heapq.heappop(events)
        if path < leaving and asked[path] >= 3:
            continue
        asked[path] += 1
        wait = turns.wait(path, now)
        if not wait:
            turns.take(path, now)
            granted[path] += 1
            times.append(now)
        if not busy or path:
            heapq.heappush(events, (now + max(wait, 1e-6) + rng.random() * late, path))
    return granted, times, sum(asked.values())


@pytest.mark.parametrize(
    ("rate", "paths"), [("100/s", 1), ("100/s", 7), ("100/s", 500), ("3/s", 50), ("50/s, 1000/m", 20)]
)
def test_equal_shares_of_the_whole_rate(rate: str, paths: int) -> None:
    seconds = 120.0
    granted, times, _ = play(rate, paths, seconds)
    most = min(count * (seconds // window + 1) for count, window in parse_rate(rate))
    assert 0.97 * most * seconds / (seconds + 60) <= len(times) <= most
    assert max(granted.values()) - min(granted[path] for path in range(paths)) <= 2 + len(times) // paths // 50
    for count, window in parse_rate(rate):
        assert all(last >= first + window for first, last in zip(times, times[count:], strict=False))


def test_each_is_woken_for_its_own_turn_alone() -> None:
    _, times, asked = play("100/s", 500, 60)
    assert len(times) > 5900 and asked < 4 * len(times)


def test_who_asks_all_the_time_gets_no_more() -> None:
    granted, times, _ = play("100/s", 10, 60, busy=True)
    assert granted[0] <= len(times) / 10 + 15


def test_late_wake_ups_cost_nothing() -> None:
    _, times, _ = play("100/s", 20, 60, late=0.02)
    assert len(times) > 5800


def test_who_does_not_come_back_delays_nobody_for_long() -> None:
    granted, times, _ = play("100/s", 200, 60, leaving=150)
    assert len(times) > 5400
    assert min(granted[path] for path in range(150, 200)) > 95


def test_one_alone_is_never_asked_to_wait_for_anybody() -> None:
    turns = Turns(Throttle(parse_rate("100/s")))
    for _ in range(11):
        assert turns.wait("a", 0.0) == 0
        turns.take("a", 0.0)
    assert turns.wait("a", 0.0) == pytest.approx(0.01)
    assert turns.wait("b", 0.0) == pytest.approx(0.02)
    turns.leave("a")
    assert turns.wait("c", 0.0) == pytest.approx(0.03)
    assert turns.wait("b", 0.02) == 0
