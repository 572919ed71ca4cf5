"""What the console keeps on disk."""

from __future__ import annotations

import os
from math import inf
from pathlib import Path

import pytest

from postroad.console.holds import Holds, HoldsError
from postroad.console.trail import Trail
from postroad.queue import Suspension

RULES = [Suspension("b", "d.example"), Suspension("", "x.example", 1_800_000_000.5, "abuse desk, ticket 7")]


def test_suspensions_come_back_as_they_were(tmp_path: Path) -> None:
    holds = Holds(tmp_path / "suspensions.json")
    assert holds.read() == []
    holds.write(RULES)
    assert holds.read() == RULES and RULES[0].until == inf
    holds.write([])
    assert holds.read() == []
    assert os.listdir(tmp_path) == ["suspensions.json"]


@pytest.mark.parametrize("content", [b"", b"{}", b'[{"binding": 5}]', b"\xff"])
def test_a_damaged_file_is_not_taken_for_no_suspensions(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "suspensions.json"
    path.write_bytes(content)
    with pytest.raises(HoldsError, match=r"suspensions\.json"):
        Holds(path).read()


def test_the_trail_is_read_back_newest_last_and_survives_a_torn_line(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "console.log")
    assert trail.read(10) == []
    for number in range(5):
        trail.write(1000.0 + number, "user ann", "fail", "begin", {"count": number})
    with trail._path.open("ab") as file:
        file.write(b'{"time": 1, "wh')
    assert [entry["count"] for entry in trail.read(3)] == [3, 4]
    assert trail.read(100)[0] == {"time": 1000.0, "who": "user ann", "verb": "fail", "phase": "begin", "count": 0}
    assert (tmp_path / "console.log").stat().st_mode & 0o777 == 0o600


def test_no_act_is_begun_that_the_trail_can_not_tell_of(tmp_path: Path) -> None:
    (tmp_path / "console.log").mkdir()
    with pytest.raises(OSError):
        Trail(tmp_path / "console.log").write(0.0, "x", "fail", "begin", {})
