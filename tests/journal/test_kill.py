"""A real process on a real disk, killed with SIGKILL at random moments, over and over in the same folder."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from postroad.config.schema import Durability
from postroad.journal import Journal, audit, check
from postroad.net import SystemClock
from tests.journal.kit import all_events, injection, options
from tests.journal.writer import content_of

ROOT = Path(__file__).parents[2]


class Promises:
    def __init__(self) -> None:
        self.acknowledged: set[int] = set()
        self.ended: set[int] = set()
        self.states: dict[int, int] = {}

    def take(self, output: bytes) -> None:
        # A line that the kill cut short was not said.
        for line in output.split(b"\n")[:-1]:
            match line.split():
                case [b"a", one]:
                    self.acknowledged.add(int(one))
                case [b"t", one]:
                    self.ended.add(int(one))
                case [b"s", one, number]:
                    self.states[int(one)] = int(number)


def one_life(directory: Path, first: int, durability: Durability, after: int) -> bytes:
    """Run the writer and kill it when it has said so many bytes. Returns all it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.journal.writer", str(directory), str(first), durability],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None and process.stderr is not None
    with process:
        output = b""
        while len(output) < after and (some := os.read(process.stdout.fileno(), 65536)):
            output += some
        process.kill()
        output += process.stdout.read()
        complaint = process.stderr.read().decode()
    assert not complaint, complaint
    return output


async def held_to(directory: Path, promises: Promises, durability: Durability) -> int:
    """Open what the killed process left and compare. Returns how many messages wait."""
    journal = Journal.open(directory, options(1 << 16), durability=durability, clock=SystemClock(), injection=injection)
    live = {}
    for mails in journal.recover():
        for mail in mails:
            assert journal.read_mail(mail.place).content == content_of(mail.live[0].message_id)
            live.update({entry.message_id: entry.attempts for entry in mail.live})
    assert journal.damage == []
    assert not promises.ended & live.keys()
    lost = promises.acknowledged - promises.ended - live.keys()
    ended = {
        event.message_id
        for event in all_events(journal, 5000)
        if event.kind == 2  # its end was written, but the kill kept it from saying so
    }
    assert lost <= ended
    assert all(live[one] >= number for one, number in promises.states.items() if one in live)
    await journal.close()
    promises.ended |= lost
    report = audit(directory)
    assert report.clean and report.queued == len(live), report
    assert check(directory).findings == []
    return len(live)


def rounds(directory: Path, durability: Durability, count: int, seed: int) -> None:
    rng = Random(seed)
    promises = Promises()
    said = 0
    for number in range(count):
        output = one_life(directory, 1 + number * 1_000_000, durability, rng.randrange(6, 20_000))
        assert output.startswith(b"ready\n")
        promises.take(output)
        said += len(output)
        asyncio.run(held_to(directory, promises, durability))
    assert len(promises.acknowledged) > 10 * count, said


@pytest.mark.parametrize("durability", ["power", "process"])
def test_killed_ten_times(tmp_path: Path, durability: Durability) -> None:
    rounds(tmp_path / "journal", durability, 10, 1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("durability", ["power", "process"])
def test_killed_many_times(tmp_path: Path, durability: Durability) -> None:
    rounds(tmp_path / "journal", durability, 300, 2)
