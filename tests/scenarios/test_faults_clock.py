"""The wall clock jumps while mail is queued: nothing expires early, nothing hangs, and no id is given twice."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from postroad.events import Kind
from postroad.journal import ACCEPTED, TERMINAL, audit
from postroad.lab.disks import FaultyDisk
from postroad.lab.rules import Rule
from tests.scenarios.far_end import FarEnd
from tests.scenarios.inside import Inside, SetClock, soon

DAY = 86400.0
CLOSED = Rule(name="closed", step="mail", reply="451 4.3.2 Not now")


def ends(inside: Inside) -> tuple[list[int], set[int]]:
    """Ids of the messages accepted, in order, and the kinds of their ends."""
    journal = inside.engine.journal
    events, _ = journal.read_events(journal.begin_cursor(), 10_000)
    accepted = [event.message_id for event in events if event.flags & ACCEPTED]
    return accepted, {event.kind for event in events if event.flags & TERMINAL}


# A clock that is days ahead when the server starts is believed, and its queue expires (docs/explanation/durability.md).
@pytest.mark.parametrize(
    ("restart", "jumps"),
    [
        (False, (5 * DAY,)),
        (False, (-5 * DAY,)),
        (False, (400 * DAY, -800 * DAY, 400 * DAY)),
        (False, (-1.0, 2.0, -1.0)),
        (True, (-5 * DAY,)),
        (True, (-5 * DAY, -5 * DAY)),
        (True, (-1.0, 2.0, -1.0)),
    ],
)
async def test_the_clock_jumps(tmp_path: Path, jumps: tuple[float, ...], restart: bool) -> None:
    clock, disk = SetClock(), FaultyDisk(Random(1))
    with FarEnd([CLOSED]) as far:
        inside = Inside(tmp_path, far.port, disk, clock=clock)
        await inside.start()
        await inside.send(10)
        await soon(lambda: delayed(inside) == 10, "all are put off")
        for jump in jumps:
            clock.jump(jump)
            if restart:
                await inside.crash()
                await inside.start()
                await inside.engine.recovered()
            await inside.send(10)
        far.behave()
        await soon(lambda: inside.live == 0, "the queue is empty")
        ids, kinds = ends(inside)
        await inside.engine.stop()
    assert len(inside.promises.kept) == 10 + 10 * len(jumps)
    assert far.copies() == dict.fromkeys(inside.promises.kept, 1)
    assert ids == sorted(set(ids))
    assert kinds == {Kind.DELIVERY}
    report = audit(tmp_path / "journal", disk)
    assert report.clean and report.queued == 0, report


def delayed(inside: Inside) -> int:
    return sum(path.delayed for path in inside.engine.paths())
