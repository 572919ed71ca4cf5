"""Limits of a key: the bucket itself, and what a client sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.api.callers import Caller
from postroad.api.rates import Buckets
from postroad.auth import Key
from postroad.config.schema import ApiKey, Config, HttpOptions
from postroad.inject.http import Failure
from postroad.store.database import Database
from tests.api.harness import DIGEST, serving, simple
from tests.api.office import MASTER_KEY, opened


def caller(label: str = "k", rate: float = 0.0) -> Caller:
    return Caller(0, None, Key(label, rate=rate), "")


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_and_then_the_rate() -> None:
    time = Time()
    buckets = Buckets(time, lambda: (2.0, 4))
    assert [buckets.admit(caller())["X-RateLimit-Remaining"] for _ in range(4)] == ["3", "2", "1", "0"]
    with pytest.raises(Failure) as refused:
        buckets.admit(caller())
    assert refused.value.code.status == 429
    assert refused.value.headers == {
        "Retry-After": "1",
        "X-RateLimit-Limit": "4",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "2",
    }
    assert buckets.admit(caller("other"))
    time.now += 0.5
    assert buckets.admit(caller())
    with pytest.raises(Failure):
        buckets.admit(caller())
    time.now += 100
    assert buckets.admit(caller())["X-RateLimit-Remaining"] == "3"


def test_a_key_of_its_own_rate_and_no_limit() -> None:
    buckets = Buckets(Time(), lambda: (0.0, 1))
    assert [buckets.admit(caller()) for _ in range(10)] == [{}] * 10
    assert buckets.admit(caller(rate=1.0))
    with pytest.raises(Failure):
        buckets.admit(caller(rate=1.0))


@given(st.lists(st.floats(0, 3), max_size=60), st.floats(0.1, 50), st.integers(1, 20))
def test_never_more_than_burst_and_rate(waits: list[float], rate: float, burst: int) -> None:
    time = Time()
    buckets = Buckets(time, lambda: (rate, burst))
    admitted = 0
    for wait in waits:
        time.now += wait
        try:
            left = int(buckets.admit(caller())["X-RateLimit-Remaining"])
        except Failure:
            continue
        assert 0 <= left < burst
        admitted += 1
    assert admitted <= burst + (time.now - 1000) * rate + 1e-6


async def test_transmissions_are_limited_on_their_own() -> None:
    keys = [ApiKey(label="test", sha256=DIGEST)]
    async with serving(transmission_rate=0.001, rate_burst=2, keys=keys) as served:
        answers = [await served.client.post(simple()) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[1].headers["x-ratelimit-remaining"] == "0"
    assert answers[2].body["errors"][0]["message"] == "Too many requests"
    assert 0 < int(answers[2].headers["retry-after"]) <= 1000
    assert len(served.acceptor.kept) == 2


async def test_management_is_limited(database: Database, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = Config(http=HttpOptions(rate=0.001, rate_burst=2))
    async with opened(database, tmp_path_factory.mktemp("s"), config=config) as office:
        assert [(await office.api("GET", "/account")).status for _ in range(3)] == [200, 200, 429]
        assert (await office.api.of(7)("GET", "/usage")).status == 501  # another key, another bucket
        assert office.api.key == MASTER_KEY
