"""Rates and alarms from looks at given times."""

from __future__ import annotations

import pytest

from postroad.console.watch import ALARMS, PERIOD, Alarm, PathLook, Watch


def look(watch: Watch, now: float, active: int, settled: int, held: bool = False) -> None:
    watch.look([PathLook("b", "d", active, settled, held)], 1, active, now)


def names(alarms: list[Alarm]) -> list[str]:
    return [alarm.name for alarm in alarms]


def test_the_rate_is_that_of_the_last_minute() -> None:
    watch = Watch()
    assert watch.rate("b", "d", 5, 0.0) is None
    for turn in range(10):
        look(watch, turn * PERIOD, 100, turn * 30)
    assert watch.rate("b", "d", 300, 10 * PERIOD) == pytest.approx(2.0)
    # It slows down: after a minute only the new pace counts.
    for turn in range(10, 15):
        look(watch, turn * PERIOD, 100, 270 + (turn - 9) * 15)
    assert watch.rate("b", "d", 345, 14 * PERIOD) == pytest.approx(1.0)


def test_a_path_that_was_forgotten_and_came_back_has_no_negative_rate() -> None:
    watch = Watch()
    look(watch, 0.0, 5, 1000)
    look(watch, PERIOD, 5, 3)
    assert watch.rate("b", "d", 18, 2 * PERIOD) == pytest.approx(1.0)
    assert watch.rate("b", "d", 1, 2 * PERIOD) is None


@pytest.mark.parametrize(
    ("active", "held", "moving", "expected"),
    [(5, False, False, ["path_without_progress"]), (5, False, True, []), (5, True, False, []), (0, False, False, [])],
)
def test_a_path_without_progress(active: int, held: bool, moving: bool, expected: list[str]) -> None:
    watch = Watch()
    for turn in range(45):
        look(watch, turn * PERIOD, active, turn if moving else 7, held)
        if turn == 30:
            assert names(watch.alarms(turn * PERIOD, {}, None)) == []  # not before ten minutes have passed
    assert names(watch.alarms(45 * PERIOD, {}, None)) == expected


def test_the_journal_grows_with_the_queue() -> None:
    for growth, segments, expected in ((10, 1, ["journal_growing"]), (0, 1, []), (10, 0, [])):
        watch = Watch()
        for turn in range(30):
            watch.look([], 5 + turn * segments, turn * growth, turn * PERIOD)
        assert names(watch.alarms(30 * PERIOD, {}, None)) == expected


def test_lag_and_disk() -> None:
    alarms = Watch().alarms(0.0, {"slow": 900.0, "quick": 3.0}, "the disk is full")
    assert [(alarm.name, alarm.about) for alarm in alarms] == [("consumer_lag", "slow"), ("disk", "")]
    assert "15 min" in alarms[0].text and set(names(alarms)) <= set(ALARMS)
