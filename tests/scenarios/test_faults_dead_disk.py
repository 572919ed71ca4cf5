"""A disk that fails under a running engine: nothing is acknowledged that is not kept, and what was kept arrives."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from postroad.journal import audit
from postroad.lab.disks import WRITING, FaultyDisk
from postroad.lab.rules import Rule
from tests.scenarios.far_end import FarEnd
from tests.scenarios.inside import Inside, soon

CLOSED = Rule(name="closed", step="mail", reply="451 4.3.2 Not now")

Fault = Callable[[str, Path], int]


def failing(code: int, *operations: str) -> Fault:
    return lambda operation, path: code if operation in operations else 0


FAULTS = {
    "write": failing(errno.EIO, "write"),
    "sync": failing(errno.EIO, "write", "sync"),
    "all": failing(errno.EIO, *WRITING),
    "read-only": failing(errno.EROFS, *WRITING),
    "full": failing(errno.ENOSPC, "write", "create", "preallocate"),
}


def balanced(folder: Path, disk: FaultyDisk) -> None:
    report = audit(folder / "journal", disk)
    assert report.clean and report.queued == 0, report


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("end", ["repaired", "crash"])
async def test_writes_fail(tmp_path: Path, fault: str, end: str) -> None:
    disk = FaultyDisk(Random(1))
    with FarEnd([CLOSED]) as far:
        inside = Inside(tmp_path, far.port, disk)
        await inside.start()
        await inside.send(30)
        assert len(inside.promises.kept) == 30
        disk.fault = FAULTS[fault]
        await inside.send(10)
        assert inside.promises.refused == {452: 10}
        assert len(inside.promises.kept) == 30
        assert inside.alarms == ["disk_full" if fault == "full" else "disk_failed"]
        if end == "crash":
            await inside.crash()
            disk.crash(Random(2))
            disk.fault = failing(0)
            await inside.start()
        else:
            disk.fault = failing(0)
            await soon(lambda: inside.engine.queue.refusal() is None, "mail is welcome again")
            assert inside.alarms[1:] == ["disk_recovered"]
        far.behave()
        await inside.send(10)
        assert len(inside.promises.kept) == 40
        await inside.engine.recovered()
        await soon(lambda: inside.live == 0, "the queue is empty")
        await inside.engine.stop()
    # No delivery was under way at the crash.
    assert far.copies() == dict.fromkeys(inside.promises.kept, 1)
    balanced(tmp_path, disk)


@pytest.mark.parametrize("fault", ["sync", "all", "full"])
async def test_writes_fail_while_mail_goes_out(tmp_path: Path, fault: str) -> None:
    """The journal can't write how deliveries end, so none is begun until it can; those that were under way are not
    made twice."""
    disk = FaultyDisk(Random(1))
    with FarEnd([CLOSED]) as far:
        inside = Inside(tmp_path, far.port, disk)
        await inside.start()
        await inside.send(60)
        far.behave(Rule(name="slow to answer", step="message", delay=0.02))
        await soon(lambda: len(far.taken) >= 10, "mail goes out")
        disk.fault = FAULTS[fault]
        await soon(lambda: inside.engine.journal.holding() and not inside.engine.queue.in_flight, "no more goes out")
        under_way = len(far.taken)
        await inside.send(1)
        assert inside.promises.refused == {452: 1}
        assert len(far.taken) == under_way < 60
        disk.fault = failing(0)
        await soon(lambda: inside.live == 0, "the queue is empty", 60)
        await inside.engine.stop()
    assert far.copies() == dict.fromkeys(inside.promises.kept, 1)
    assert len(inside.promises.kept) == 60
    balanced(tmp_path, disk)


@pytest.mark.parametrize("fault", ["sync", "all", "full"])
async def test_stopped_while_the_disk_is_dead(tmp_path: Path, fault: str) -> None:
    """The stop does not wait for the disk. What was delivered and could not be written down is sent again, nothing
    else is, and nothing is lost."""
    disk = FaultyDisk(Random(1))
    with FarEnd([CLOSED]) as far:
        inside = Inside(tmp_path, far.port, disk)
        await inside.start()
        await inside.send(60)
        far.behave(Rule(name="slow to answer", step="message", delay=0.02))
        await soon(lambda: len(far.taken) >= 10, "mail goes out")
        disk.fault = FAULTS[fault]
        await soon(lambda: inside.engine.journal.holding() and not inside.engine.queue.in_flight, "no more goes out")
        unwritten = len(far.taken) - inside.engine.stats().journal.terminal
        await inside.engine.stop()
        disk.fault = failing(0)
        disk.crash(Random(2))
        far.behave()
        await inside.start()
        await inside.engine.recovered()
        await soon(lambda: inside.live == 0, "the queue is empty")
        await inside.engine.stop()
        copies = far.copies()
    assert copies.keys() == inside.promises.kept
    assert len(inside.promises.kept) == 60
    assert copies.total() - 60 <= unwritten
    balanced(tmp_path, disk)


def put_off(inside: Inside) -> bool:
    """Does every message wait for longer than the schedule of retries would make it?"""
    (path,) = inside.engine.paths()
    return path.delayed == inside.live and path.next_due is not None and path.next_due > inside.clock.wall() + 1


async def test_reads_fail(tmp_path: Path) -> None:
    """What can't be read now is not lost: it waits until it can be read."""
    disk = FaultyDisk(Random(1))
    with FarEnd([CLOSED]) as far:
        inside = Inside(tmp_path, far.port, disk, memory_goal=0)
        await inside.start()
        await inside.send(30)
        disk.fault = failing(errno.EIO, "read", "open")
        far.behave()
        await soon(lambda: put_off(inside), "each was tried")
        disk.fault = failing(0)
        await soon(lambda: inside.live == 0, "the queue is empty")
        await inside.engine.stop()
    assert far.copies() == dict.fromkeys(inside.promises.kept, 1)
    balanced(tmp_path, disk)
