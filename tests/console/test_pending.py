"""The second step: once, in time, by the same operator, for the same act."""

from __future__ import annotations

from array import array
from itertools import count

import pytest

from postroad.console.pending import LIFE, PendingError, Pendings


def pendings() -> Pendings:
    numbers = count()
    return Pendings(lambda: f"token{next(numbers)}")


def test_a_token_works_once() -> None:
    kept = pendings()
    token = kept.keep("fail", "ann", {"domain": "x"}, array("Q", [1, 2]), 0.0)
    found = kept.take(token, "fail", "ann", 1.0)
    assert list(found.meant) == [1, 2] and found.asked == {"domain": "x"}
    with pytest.raises(PendingError, match="not known"):
        kept.take(token, "fail", "ann", 1.0)


@pytest.mark.parametrize(
    ("verb", "who", "now"), [("fail", "bob", 1.0), ("delay", "ann", 1.0), ("fail", "ann", LIFE), ("fail", "ann", 1e9)]
)
def test_it_is_good_for_nothing_else(verb: str, who: str, now: float) -> None:
    kept = pendings()
    token = kept.keep("fail", "ann", {}, array("Q", [1]), 0.0)
    with pytest.raises(PendingError):
        kept.take(token, verb, who, now)
    if now < LIFE:
        assert list(kept.take(token, "fail", "ann", now).meant) == [1]  # the owner's is not spoilt by others


def test_selections_in_memory_are_bounded_and_the_oldest_goes() -> None:
    kept = pendings()
    tokens = [kept.keep("fail", "ann", {}, array("Q", [n]), float(n)) for n in range(20)]
    alive: list[int] = []
    for token in tokens:
        try:
            alive += kept.take(token, "fail", "ann", 20.0).meant
        except PendingError:
            continue
    assert alive == list(range(12, 20))
