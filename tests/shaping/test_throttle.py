"""Rates hold exactly, in all windows at once, and are reached."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.config import parse_rate
from postroad.config.schema import Rate
from postroad.shaping.throttle import GRAIN, Throttle

windows = st.dictionaries(
    st.sampled_from([1.0, 2.0, 10.0, 60.0, 3600.0]), st.integers(1, 40), min_size=1, max_size=3
).map(lambda found: Rate((found[seconds], seconds) for seconds in sorted(found)))
pauses = st.lists(st.one_of(st.just(0.0), st.floats(0, 0.3), st.floats(0, 30)), max_size=300)


def exceeded(rate: Rate, grants: list[float]) -> list[str]:
    """The obvious model: of any N + 1 grants, the last comes a window or more after the first."""
    return [
        f"{most}/{seconds}: {most + 1} from {grants[at]} to {grants[at + most]}"
        for most, seconds in rate
        for at in range(len(grants) - most)
        if grants[at + most] < grants[at] + seconds
    ]


@given(windows, pauses)
def test_never_more_than_the_rate_in_any_window(rate: Rate, waits: list[float]) -> None:
    throttle = Throttle(rate)
    now = 1000.0
    grants: list[float] = []
    for wait in waits:
        now += wait
        if throttle.ask(now) == 0:
            grants.append(now)
    assert exceeded(rate, grants) == []


@given(windows, st.floats(0, 1e9), st.integers(1, 400))
def test_who_asks_when_the_wait_is_over_is_granted(rate: Rate, now: float, count: int) -> None:
    throttle = Throttle(rate)
    grants = []
    for _ in range(count):
        asked = 0
        while wait := throttle.ask(now):
            asked += 1
            assert wait > 0 and asked <= 3  # rounding may make a wait an instant too short
            now = max(now + wait, now + 1e-6)
        grants.append(now)
    assert exceeded(rate, grants) == []
    elapsed = grants[-1] - grants[0]
    slowest = max((len(grants) - 1) / most * seconds for most, seconds in rate)
    longest = max(seconds for _, seconds in rate)
    # No window loses anything in the long run; at the start and at the end up to one window may be in the air.
    assert elapsed <= slowest + sum(seconds for _, seconds in rate) + longest + count * 4e-6


@given(windows, pauses, st.data())
def test_a_refusal_changes_nothing(rate: Rate, waits: list[float], data: st.DataObject) -> None:
    plain, nagged = Throttle(rate), Throttle(rate)
    now = 0.0
    for wait in waits:
        before, now = now, now + wait
        if (refusal := nagged.wait(before)) > 0:
            at = before + data.draw(st.floats(0, 0.9)) * min(refusal, wait)
            assert nagged.ask(at) > 0
        assert plain.ask(now) == nagged.ask(now)


@given(windows, st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=100))
def test_what_is_given_back_was_never_taken(rate: Rate, steps: list[tuple[float, bool]]) -> None:
    plain, other = Throttle(rate), Throttle(rate)
    now = 0.0
    for pause, returns in steps:
        now += pause
        if returns:
            if other.ask(now) == 0:
                other.give_back()
        else:
            mine, theirs = plain.ask(now), other.ask(now)
            assert mine == pytest.approx(theirs, abs=1e-6)
            if (mine == 0) != (theirs == 0):
                return  # a float's width apart; from here on they differ by that


@pytest.mark.parametrize("most", [GRAIN - 1, GRAIN, GRAIN + 1, 4 * GRAIN, 300_000])
def test_large_windows_are_exact_above_and_grainy_below(most: int) -> None:
    """Asked all the time, in a rhythm of its own: never above, and at most 1/GRAIN below."""
    seconds = 3600.0
    throttle = Throttle(Rate([(most, seconds)]))
    now = 0.0
    grants: list[float] = []
    while len(grants) < 3 * most and now < 5 * seconds:
        wait = throttle.ask(now)
        if wait:
            now = max(now + wait, now + 1e-6)
        else:
            grants.append(now)
    assert exceeded(Rate([(most, seconds)]), grants) == []
    assert len(grants) == 3 * most
    assert grants[-1] <= 3 * seconds * (1 + 2 / GRAIN)
    assert len(throttle.windows[0]._runs) <= 2 * GRAIN + 2 or most <= GRAIN


def test_the_shortest_window_is_paced_and_the_longer_ones_are_quotas() -> None:
    throttle = Throttle(parse_rate("100/s, 1000/h"))
    assert sum(throttle.ask(0.0) == 0 for _ in range(100)) == 11  # a tenth at once, and the one that is due
    now, grants = 0.0, 11
    while grants < 1000:
        wait = throttle.ask(now)
        grants += not wait
        now += wait
    assert now == pytest.approx(9.9, abs=0.05)  # at 100/s
    assert throttle.ask(now) == pytest.approx(3600 - now, abs=3600 / GRAIN)


def test_who_was_late_catches_up() -> None:
    """Each wait is overslept by 3 ms, as a busy event loop does; the rate is reached all the same."""
    throttle = Throttle(parse_rate("200/s"))
    now, grants = 0.0, 0
    while now < 20:
        wait = throttle.ask(now)
        if wait:
            now += wait + 0.003
        else:
            grants += 1
    assert 3980 <= grants <= 4000


def test_a_new_rate_counts_what_was_granted_under_the_old_one() -> None:
    throttle = Throttle(parse_rate("1000/s, 50/h"))
    assert sum(throttle.ask(i / 10) == 0 for i in range(100)) == 50
    throttle.set_rate(parse_rate("1000/s, 60/h"))
    assert sum(throttle.ask(10 + i / 10) == 0 for i in range(100)) == 10
    throttle.set_rate(parse_rate("1000/s, 5/h"))
    assert throttle.ask(20.0) > 3580
    # The 60 come back by and by; the fifth but last of them leaves room for one.
    assert throttle.ask(20.0) == pytest.approx(3600 + 10.5 - 20)


def test_forgotten_when_nothing_is_left_of_it() -> None:
    throttle = Throttle(parse_rate("10/s, 100/m"))
    assert throttle.forgotten(0.0)
    throttle.ask(0.0)
    assert not throttle.forgotten(59.9)
    assert throttle.forgotten(60.0)


def test_a_throttle_without_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        Throttle(Rate())


@settings(max_examples=300)
@given(st.text(max_size=30))
def test_any_text_is_a_rate_or_is_refused(text: str) -> None:
    try:
        rate = parse_rate(text)
    except ValueError:
        return
    assert all(most >= 1 and seconds >= 1 for most, seconds in rate)
