from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from postroad.config.schema import Duration, QueueOptions
from postroad.queue.schedule import next_attempt, retry_wait

PLAIN = QueueOptions(retry_jitter=0.0)


def test_the_default_schedule_in_minutes() -> None:
    minutes = [retry_wait(n, PLAIN, Random(1)) / 60 for n in range(1, 9)]
    assert minutes == [20, 40, 80, 160, 320, 640, 720, 720]


def test_a_fixed_interval() -> None:
    options = QueueOptions(retry_interval=Duration(600), max_retry_interval=Duration(600), retry_jitter=0.0)
    assert {retry_wait(n, options, Random(1)) for n in range(1, 100)} == {600}


@given(st.integers(1, 10**6), st.floats(0, 1), st.integers())
def test_jitter_stays_within_its_share(attempts: int, jitter: float, seed: int) -> None:
    options = QueueOptions(retry_jitter=jitter)
    plain = retry_wait(attempts, PLAIN, Random(seed))
    assert plain * (1 - jitter) <= retry_wait(attempts, options, Random(seed)) <= plain * (1 + jitter)


def test_jitter_really_spreads() -> None:
    rng = Random(7)
    waits = {retry_wait(1, QueueOptions(), rng) for _ in range(100)}
    assert len(waits) == 100 and min(waits) < 1180 and max(waits) > 1220


def test_the_last_try_is_made_at_the_expiry_and_none_after_it() -> None:
    assert next_attempt(1000.0, 1, 1500.0, None, PLAIN, Random(1)) == 1500.0
    assert next_attempt(1500.0, 2, 1500.0, None, PLAIN, Random(1)) is None


def test_the_receivers_wish_replaces_the_schedule() -> None:
    assert next_attempt(1000.0, 1, 9000.0, 30.0, PLAIN, Random(1)) == 1030.0
    assert next_attempt(1000.0, 1, 9000.0, -5.0, PLAIN, Random(1)) == 1000.0


def hinted(hint: float, attempts: int = 1, **options: Any) -> float | None:
    return next_attempt(1000.0, attempts, 1e9, None, QueueOptions(retry_jitter=0.0, **options), Random(1), hint)


def test_a_hosts_wish_hastens_the_next_try_within_bounds() -> None:
    assert hinted(300.0) == 1300.0
    assert hinted(1.0) == 1030.0
    assert hinted(1e9) == 1000.0 + 14400
    assert hinted(300.0, retry_hint_min=Duration(600)) == 1600.0
    assert hinted(300.0, retry_hint_max=Duration(0)) == 2200.0


def test_a_host_that_hints_for_ever_is_tried_by_the_schedule_in_the_end() -> None:
    assert [hinted(60.0, attempts) for attempts in (1, 5, 6)] == [1060.0, 1060.0, 1000.0 + 1200 * 2**5]
    assert hinted(14400.0, 6, max_retry_interval=Duration(1200)) == 1000.0 + 14400


@given(st.floats(30, 14400), st.integers())
def test_nobody_comes_back_before_the_time_he_was_told(hint: float, seed: int) -> None:
    due = next_attempt(0.0, 1, 1e9, None, QueueOptions(), Random(seed), hint)
    assert due is not None and hint <= due <= hint * 1.1 + 1e-6


def test_a_rule_counts_more_than_a_hint() -> None:
    assert next_attempt(1000.0, 1, 1e9, 50.0, PLAIN, Random(1), 300.0) == 1050.0
