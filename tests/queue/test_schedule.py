from random import Random

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
