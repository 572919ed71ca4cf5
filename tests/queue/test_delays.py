"""How many notices of delay are due at which age."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.queue.delays import notices_due

HOUR = 3600.0


@pytest.mark.parametrize(
    ("hours", "notices"),
    [(0, 0), (2.99, 0), (3, 1), (8.99, 1), (9, 2), (21, 3), (44.9, 3), (45, 4), (68.9, 4), (69, 5), (93, 6), (117, 7)],
)
def test_the_published_example(hours: float, notices: int) -> None:
    """Three hours, doubling, never more than a day apart (momentum.md 3.6)."""
    assert notices_due(hours * HOUR, 3 * HOUR, 24 * HOUR) == notices


@given(st.floats(-1e6, 1e7), st.floats(60, 1e5), st.floats(60, 1e5))
def test_it_is_the_count_of_times_that_passed(age: float, interval: float, longest: float) -> None:
    times, at, wait = 0, interval, interval
    while at <= age and times < 3000:
        times += 1
        wait = wait if wait >= longest else min(wait * 2, longest)
        at += wait
    if times < 3000:
        assert abs(notices_due(age, interval, longest) - times) <= 1  # sums of floats may differ at the very moment
