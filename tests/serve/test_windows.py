"""What rates granted is remembered over orderly ends, crashes, clocks that are set, and new starts of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.config import parse_rate
from postroad.serve.windows import Windows
from postroad.shaping import Throttle
from postroad.shaping.leases import RateTerms
from tests.shaping.test_throttle import exceeded

RATE = parse_rate("10/s, 60/h")
_STEP = 0.0625  # seconds, exact in binary, so that no sum is rounded
KEY = "delivery/message_rate"


class Machine:
    """Its two clocks, the file, and one throttle. grants: in true seconds."""

    def __init__(self, path: Path) -> None:
        self.path = path / "rates.json"
        self.true = 0.0
        self.monotonic = 5000.0  # less `true`
        self.wall = 1e9  # less `true`
        self.boot = "one"
        self.grants: list[float] = []
        self.start()

    def start(self) -> None:
        self.windows = Windows(self.path, lambda: self.true + self.monotonic, lambda: self.true + self.wall, self.boot)
        throttle = self.throttle = self.windows.throttle(RateTerms(KEY, RATE))
        self.windows.throttles = lambda: {KEY: throttle}

    def ask(self) -> bool:
        now = self.true + self.monotonic
        if self.throttle.wait(now):
            return False
        self.windows.cover()
        self.throttle.take(now)
        self.grants.append(self.true)
        return True

    def drain(self, seconds: float) -> int:
        """Ask all the time."""
        end = self.true + seconds
        granted = 0
        while self.true < end:
            granted += self.ask()
            self.true += _STEP
        return granted

    def reboot(self) -> None:
        self.boot += "+"
        self.monotonic = -self.true + 3.0


@pytest.mark.parametrize("reboots", [False, True])
def test_an_orderly_restart_changes_nothing(tmp_path: Path, reboots: bool) -> None:
    machine = Machine(tmp_path)
    machine.drain(3)
    machine.windows.close()
    if reboots:
        machine.reboot()
    machine.start()
    assert machine.drain(20) == 60 - len([at for at in machine.grants if at < 3])
    machine.true = 3601
    assert machine.drain(20) >= 30
    assert exceeded(RATE, machine.grants) == []


def test_after_a_crash_what_could_have_been_granted_counts(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.drain(1.9)
    before = len(machine.grants)
    machine.start()
    left = machine.drain(30)
    # Two seconds' worth, and what may go at once.
    assert 60 - before - 10 - 22 <= left <= 60 - before
    assert exceeded(RATE, machine.grants) == []


def test_a_throttle_nobody_asked_for_meanwhile_is_kept_over_two_restarts(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.drain(10)
    assert len(machine.grants) == 60
    machine.windows.close()
    other = Windows(machine.path, lambda: machine.true + machine.monotonic, lambda: machine.true, machine.boot)
    other.cover()
    other.close()
    machine.start()
    assert machine.drain(20) == 0


@pytest.mark.parametrize("jump", [-1e6, -5.0, 5.0, 1e6])
def test_a_clock_that_was_set_changes_nothing(tmp_path: Path, jump: float) -> None:
    machine = Machine(tmp_path)
    assert machine.drain(10) == 60
    machine.windows.close()
    machine.wall += jump
    machine.start()
    assert machine.drain(20) == 0


def test_a_clock_that_went_back_while_the_machine_was_down(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.drain(10) == 60
    machine.windows.close()
    machine.wall -= 1e6
    machine.reboot()
    machine.start()
    assert machine.drain(3000) == 0
    assert exceeded(RATE, machine.grants) == []


def test_a_file_that_is_damaged_is_no_reason_not_to_start(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.drain(1)
    for damage in (b"", b"{", b'{"boot": 1}', machine.path.read_bytes()[:-3], b"\xff\xfe"):
        machine.path.write_bytes(damage)
        machine.start()
        assert machine.ask()
        machine.true += 1


def test_another_rate_counts_windows_of_the_same_length_on(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.drain(10)
    machine.windows.close()
    windows = Windows(machine.path, lambda: machine.true + machine.monotonic, lambda: 0.0, machine.boot)
    throttle: Throttle = windows.throttle(RateTerms(KEY, parse_rate("100/s, 70/h, 1000/d")))
    assert [window.held(machine.true + machine.monotonic) for window in throttle.windows] == [0, 60, 0]


@given(
    st.lists(
        st.tuples(st.sampled_from(["run", "crash", "end", "reboot"]), st.integers(0, 40), st.booleans()), max_size=12
    )
)
def test_no_restart_makes_room_for_one_more(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, bool]]
) -> None:
    machine = Machine(tmp_path_factory.mktemp("rates"))
    for what, seconds, asks in steps:
        if what == "end":
            machine.windows.close()
        if what == "reboot":
            machine.windows.close()
            machine.reboot()
        if what != "run":
            machine.start()
        if asks:
            machine.drain(min(seconds, 8))
        else:
            machine.true += seconds * 100
    assert exceeded(RATE, machine.grants) == []
