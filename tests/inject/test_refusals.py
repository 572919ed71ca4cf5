"""A client that is refused without end makes few events, and none of its refusals is left out of the count."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

from postroad.inject import refusals
from postroad.inject.refusals import WINDOW, Refusals
from postroad.lab.sim import SimLoop
from postroad.message import Rejection, Reply

REPLY = Reply(550, "5.7.1 Relaying denied")


def rejection(remote: str, recipient: str = "") -> Rejection:
    return Rejection(REPLY, "", recipient, remote, "esmtp", {})


def play(scene: Callable[[Refusals, list[Rejection]], object], most: int = 3, wait: float = WINDOW) -> list[Rejection]:
    """What was told by the end of the window (or after `wait` seconds)."""
    loop = SimLoop(Random(1))
    told: list[Rejection] = []

    async def whole() -> None:
        scene(Refusals(told.append, most), told)
        await asyncio.sleep(wait + 1)

    try:
        loop.run_until_complete(whole())
    finally:
        loop.close()
    return told


def test_the_first_are_told_one_by_one_and_the_rest_as_a_count() -> None:
    def scene(bound: Refusals, told: list[Rejection]) -> None:
        for number in range(1000):
            bound.rejected(rejection("192.0.2.1", f"{number}@x"))
        assert [each.recipient for each in told] == ["0@x", "1@x", "2@x"]

    told = play(scene)
    assert [(each.recipient, each.times) for each in told[3:]] == [("999@x", 997)]


def test_clients_have_a_window_each_and_networks_of_ipv6_are_one() -> None:
    def scene(bound: Refusals, told: list[Rejection]) -> None:
        for number in range(10):
            bound.rejected(rejection("192.0.2.1"))
            bound.rejected(rejection("192.0.2.2"))
            bound.rejected(rejection(f"2001:db8::{number}"))

    told = play(scene)
    assert Counter(each.remote.partition("::")[0] for each in told) == {"192.0.2.1": 4, "192.0.2.2": 4, "2001:db8": 4}
    assert sum(each.times for each in told) == 30


def test_the_next_window_begins_anew() -> None:
    def scene(bound: Refusals, told: list[Rejection]) -> None:
        for _ in range(5):
            bound.rejected(rejection("192.0.2.1"))
        bound.flush()
        assert [each.times for each in told] == [1, 1, 1, 2]
        bound.rejected(rejection("192.0.2.1"))
        assert told[-1].times == 1

    assert len(play(scene)) == 5


def test_memory_is_bounded_whoever_comes() -> None:
    def scene(bound: Refusals, told: list[Rejection]) -> None:
        for number in range(refusals._CLIENTS + 100):
            bound.rejected(rejection(f"c{number}"))
        assert len(bound._clients) == refusals._CLIENTS + 1

    told = play(scene)
    assert sum(each.times for each in told) == refusals._CLIENTS + 100


def test_without_a_limit_all_are_told() -> None:
    def scene(bound: Refusals, told: list[Rejection]) -> None:
        for _ in range(1000):
            bound.rejected(rejection("192.0.2.1"))

    assert len(play(scene, most=0)) == 1000
