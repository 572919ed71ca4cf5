"""Curfews by the clocks of a time zone, over the days on which those are set."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import inf
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.config import ConfigError, parse
from postroad.config.curfew import Curfew, parse_window

BERLIN = "Europe/Berlin"
ZONES = (BERLIN, "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia")


def wall(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def until(now: float, *windows: str) -> float | None:
    return Curfew([parse_window(window) for window in windows]).until(now)


NIGHT = "22:00-07:00 Europe/Berlin"


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-11-24T21:59:59", None),
        ("2026-11-24T22:00", "2026-11-25T07:00"),
        ("2026-11-25T00:00", "2026-11-25T07:00"),
        ("2026-11-25T06:59:59", "2026-11-25T07:00"),
        ("2026-11-25T07:00", None),
        # The clocks are set: the night is an hour shorter, or longer.
        ("2026-03-28T23:00", "2026-03-29T07:00"),
        ("2026-10-24T23:00", "2026-10-25T07:00"),
    ],
)
def test_a_night(now: str, end: str | None) -> None:
    assert until(wall(now), NIGHT) == (None if end is None else wall(end))


def test_weekdays_are_those_on_which_a_window_begins() -> None:
    window = "Fri 22:00-06:00 UTC"
    assert until(wall("2026-11-27T23:00", "UTC"), window) == wall("2026-11-28T06:00", "UTC")
    assert until(wall("2026-11-28T05:00", "UTC"), window) == wall("2026-11-28T06:00", "UTC")
    assert until(wall("2026-11-28T23:00", "UTC"), window) is None


def test_windows_that_touch_are_one() -> None:
    windows = ("Sat,Sun 00:00-24:00 UTC", "Sun-Fri 20:00-06:00 UTC", "Mon 06:00-08:00 UTC")
    assert until(wall("2026-11-27T21:00", "UTC"), *windows) == wall("2026-11-30T08:00", "UTC")


def test_all_week_leaves_no_time() -> None:
    assert until(wall("2026-11-27T21:00"), "00:00-24:00 Europe/Berlin") == inf


@pytest.mark.parametrize(
    ("now", "window", "end"),
    [
        # 02:00 to 03:00 is not shown on 2026-03-29: what should end at 02:30 ends when 03:00 is shown.
        (wall("2026-03-29T01:30"), "01:00-02:30 Europe/Berlin", wall("2026-03-29T03:00")),
        (wall("2026-03-29T03:10"), "02:30-04:00 Europe/Berlin", wall("2026-03-29T04:00")),
        # 02:00 to 03:00 is shown twice on 2026-10-25: from the first time to the last.
        (wall("2026-10-25T02:45"), "01:00-02:30 Europe/Berlin", wall("2026-10-25T02:30", fold=1)),
        (wall("2026-10-25T02:10", fold=1), "02:30-04:00 Europe/Berlin", wall("2026-10-25T04:00")),
    ],
)
def test_times_that_the_clocks_leave_out_or_show_twice(now: float, window: str, end: float) -> None:
    assert until(now, window) == end


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),
    st.integers(0, 1439),
    st.integers(1, 1440),
    st.sampled_from(ZONES),
)
def test_who_is_held_is_held_to_the_end_and_then_goes(at: datetime, begin: int, length: int, zone: str) -> None:
    end = (begin + length) % 1440
    if end == begin:
        return
    curfew = Curfew([parse_window(f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02} {zone}")])
    now = at.replace(tzinfo=ZoneInfo("UTC")).timestamp()
    held = curfew.until(now)
    local = datetime.fromtimestamp(now, ZoneInfo(zone))
    minute = local.hour * 60 + local.minute
    inside = begin <= minute < end if begin < end else minute >= begin or minute < end
    if inside:
        assert held is not None  # what its clocks show is inside: then it is held, however the clocks are set
    if held is not None:
        assert now < held <= now + 27 * 3600
        assert curfew.until(held - 1) == held and curfew.until(held) is None
        # The same curfew asked afresh says the same: what it remembers changes no answer.
        assert Curfew(curfew._windows).until(held - 1) == held


def test_what_it_remembers_changes_no_answer() -> None:
    curfew = Curfew([parse_window(NIGHT), parse_window("Sat 12:00-13:00 UTC")])
    start = datetime(2026, 10, 20, tzinfo=ZoneInfo("UTC"))
    for step in range(0, 14 * 24 * 60, 7):
        now = (start + timedelta(minutes=step)).timestamp()
        assert curfew.until(now) == Curfew(curfew._windows).until(now)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("22-07", "must be times and a zone"),
        ("22:00-07:00", "must be times and a zone"),
        ("22:00-07:00 Europe/Bonn", "names a time zone that this system does not know: Europe/Bonn"),
        ("22:00-07:00 ../passwd", "must be times and a zone"),
        ("24:00-07:00 UTC", "begins and ends at the same time"),
        ("07:00-07:00 UTC", "begins and ends at the same time"),
        ("07:00-25:00 UTC", "has a time that no clock shows: 25:00"),
        ("07:60-08:00 UTC", "has a time that no clock shows: 07:60"),
        ("Mon-Foo 07:00-08:00 UTC", "has days other than"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f'[delivery]\ncurfew = ["{NIGHT}", "{text}"]\n', "p.toml")
    assert str(caught.value).startswith(f"p.toml:2:10: delivery.curfew[1]: {why}") or why in str(caught.value)
