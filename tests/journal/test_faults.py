"""Disks that are full, dead or read-only: what was acknowledged stays, what can't be kept is refused, messages end."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest

from postroad.journal import Event, EventReader, Journal, JournalError, JournalFull, audit, check
from postroad.lab.disks import WRITING, FaultyDisk
from postroad.lab.sim import SimLoop
from tests.journal.kit import (
    DIRECTORY,
    Model,
    all_events,
    delayed,
    ended,
    no_fault,
    open_journal,
    options,
    put,
    recovered,
    tell,
)

Scenario = Callable[[Journal, FaultyDisk], Coroutine[Any, Any, None]]


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """In simulated time: the journal looks at a failing disk once a second."""
    loop = SimLoop(Random(1), max_time=100_000)
    try:
        loop.run_until_complete(scenario())
    finally:
        loop.close()


def opened(disk: FaultyDisk, segment_size: int = 8192, min_free: int = 0) -> Journal:
    return open_journal(disk, asyncio.get_running_loop(), opts=options(segment_size, min_free=min_free))


def fail(disk: FaultyDisk, code: int, *operations: str, name: str = "", times: int = 1 << 60) -> None:
    """Operations on files whose name starts so fail from now on, so many times."""
    left = [times]

    def fault(operation: str, path: Path) -> int:
        if operation in operations and path.name.startswith(name) and left[0] > 0:
            left[0] -= 1
            return code
        return 0

    disk.fault = fault


@pytest.mark.parametrize("operation", ["write", "sync"])
@pytest.mark.parametrize("name", ["mail", "event"])
def test_one_failure_goes_unnoticed(operation: str, name: str) -> None:
    """The records go to a new segment; the old file is never synced again."""

    async def scenario() -> None:
        disk = FaultyDisk(Random(2))
        journal = opened(disk)
        first = await put(journal, [1])
        fail(disk, errno.EIO, operation, name=name, times=1)
        second = await put(journal, [2], b"x" * 2000)
        await tell(journal, ended(1, first))
        disk.fault = no_fault
        third = await put(journal, [3])
        await tell(journal, delayed(3, third, 1, 5))
        assert journal.refusal() is None and not journal.holding()
        assert (second >> 32 > first >> 32) == (name == "mail")
        journal.abandon()
        disk.crash(Random(3))
        journal = opened(disk)
        assert sorted(mail.live[0].message_id for mail in recovered(journal)) == [2, 3]
        assert len(all_events(journal)) == 5
        assert audit(DIRECTORY, disk).clean and check(DIRECTORY, disk).findings == []
        await journal.close()

    run(scenario)


@pytest.mark.parametrize(
    "code, word", [(errno.ENOSPC, "full"), (errno.EDQUOT, "full"), (errno.EROFS, "read-only"), (errno.EIO, "fails")]
)
def test_a_disk_that_takes_nothing_refuses_mail_and_keeps_events_waiting(code: int, word: str) -> None:
    async def scenario() -> None:
        disk = FaultyDisk(Random(2))
        journal = opened(disk)
        alarms: list[str] = []
        journal.on_alarm = lambda name, text: alarms.append(name)
        place = await put(journal, [1])
        fail(disk, code, *WRITING)
        with pytest.raises(JournalError, match=word) as raised:
            await put(journal, [2])
        assert isinstance(raised.value, JournalFull) == (word == "full")
        assert word in (journal.refusal() or "")
        telling = asyncio.ensure_future(tell(journal, ended(1, place)))
        await asyncio.sleep(30)
        assert not telling.done() and journal.holding()
        with pytest.raises(JournalError, match=word):
            await put(journal, [3])
        assert journal.read_mail(place).ids == [1]
        disk.fault = no_fault
        await telling
        assert journal.refusal() is None and not journal.holding()
        await put(journal, [4])
        assert alarms == ["disk_full" if word == "full" else "disk_failed", "disk_recovered"]
        await journal.close()
        assert audit(DIRECTORY, disk).clean
        journal = opened(disk)
        assert [mail.live[0].message_id for mail in recovered(journal)] == [4]
        await journal.close()

    run(scenario)


def test_messages_can_end_on_a_full_disk() -> None:
    """The spare event segment is there for that."""

    async def scenario() -> None:
        disk = FaultyDisk(Random(2), capacity=8 * 8192)
        journal = opened(disk)
        places: dict[int, int] = {}
        number = 0
        with pytest.raises(JournalFull):
            while True:
                number += 1
                places[number] = await put(journal, [number], b"x" * 1000)
        assert len(places) > 10 and "full" in (journal.refusal() or "")
        for one, place in places.items():
            await asyncio.wait_for(tell(journal, ended(one, place)), 10)
        # Their segments go, and with the room mail is welcome again.
        await asyncio.sleep(3)
        assert journal.refusal() is None
        await put(journal, [1000])
        await journal.close()
        assert audit(DIRECTORY, disk).clean

    run(scenario)


def test_mail_is_refused_before_the_disk_is_full() -> None:
    async def scenario() -> None:
        disk = FaultyDisk(Random(2), capacity=20 * 8192)
        journal = opened(disk, min_free=10 * 8192)
        assert journal.refusal() is None
        disk.used += 12 * 8192  # somebody else's files
        await asyncio.sleep(15)
        assert "min_free" in (journal.refusal() or "")
        assert not journal.holding()
        disk.used -= 12 * 8192
        await asyncio.sleep(3)
        assert journal.refusal() is None
        await journal.close()

    run(scenario)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_opening_on_a_disk_that_takes_nothing(code: int) -> None:
    """What is there can be recovered and read; mail is refused until the disk works again."""

    async def scenario() -> None:
        disk = FaultyDisk(Random(2))
        journal = opened(disk)
        place = await put(journal, [1])
        await journal.close()
        fail(disk, code, *WRITING)
        journal = opened(disk)
        assert journal.refusal() is not None
        assert [mail.place for mail in recovered(journal)] == [place]
        assert journal.read_mail(place).ids == [1]
        assert len(all_events(journal)) == 1
        telling = asyncio.ensure_future(tell(journal, ended(1, place)))
        await asyncio.sleep(5)
        assert not telling.done()
        disk.fault = no_fault
        await telling
        assert journal.refusal() is None
        await journal.close()
        assert audit(DIRECTORY, disk).clean

    run(scenario)


def test_injection_events_that_a_dead_disk_did_not_take_are_made_at_the_next_start() -> None:
    async def scenario() -> None:
        disk = FaultyDisk(Random(2))
        journal = opened(disk)
        fail(disk, errno.EIO, *WRITING, name="event")
        place = await put(journal, [1, 2])  # the mail is kept, so it is acknowledged
        await asyncio.sleep(2)
        assert journal.holding() and journal.refusal() is not None
        telling = asyncio.ensure_future(tell(journal, ended(1, place)))
        await asyncio.sleep(0)
        await asyncio.wait_for(journal.close(), 30)
        with pytest.raises(JournalError, match="fails"):
            await telling
        disk.fault = no_fault
        report = audit(DIRECTORY, disk)
        assert report.clean and report.queued == 2
        journal = opened(disk)
        (mail,) = recovered(journal)
        assert [entry.message_id for entry in mail.live] == [1, 2]
        assert sorted(one.message_id for one in all_events(journal)) == [1, 2]
        await journal.close()
        assert audit(DIRECTORY, disk).clean

    run(scenario)


def test_events_about_no_message_do_not_pile_up_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroad.journal.cycle._MAX_LOOSE", 5)

    async def scenario() -> None:
        disk = FaultyDisk(Random(2))
        journal = opened(disk)
        place = await put(journal, [1])
        fail(disk, errno.EIO, *WRITING)
        telling = [asyncio.ensure_future(tell(journal, ended(1, place)))]
        await asyncio.sleep(0.1)
        telling += [asyncio.ensure_future(tell(journal, Event(n, 5, b"{}"))) for n in range(100, 200)]
        await asyncio.sleep(5)
        refused = [task for task in telling if task.done()]
        assert len(refused) >= 90
        assert all(isinstance(task.exception(), JournalFull) for task in refused)
        disk.fault = no_fault
        await asyncio.gather(*(task for task in telling if not task.done()))
        assert len(all_events(journal)) == 2 + 100 - len(refused)
        await journal.close()

    run(scenario)


def _operations_of_a_life() -> int:
    """How many times a small life asks the disk for something that can fail."""
    disk = FaultyDisk(Random(2))

    async def scenario() -> None:
        await _small_life(disk, lambda: None)

    run(scenario)
    return sum(operation in WRITING for operation, _ in disk.operations)


async def _small_life(disk: FaultyDisk, heal: Callable[[], None]) -> dict[int, int]:
    """Inject, end, close. Returns what was acknowledged and not ended."""
    journal = opened(disk, 2048)
    kept: dict[int, int] = {}
    ends: list[asyncio.Future[None]] = []
    for number in range(1, 25):
        try:
            kept[number] = await put(journal, [number], b"x" * 400)
        except JournalError:
            continue
        if number % 2:
            ends.append(asyncio.ensure_future(tell(journal, ended(number, kept.pop(number)))))
    heal()
    await asyncio.sleep(3)
    await asyncio.gather(*ends)
    await journal.close()
    return kept


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failure_at_each_single_operation(code: int) -> None:
    count = _operations_of_a_life()
    assert count > 50
    for at in range(count):
        disk = FaultyDisk(Random(at))
        left = [at]

        def fault(operation: str, path: Path, left: list[int] = left) -> int:
            if operation in WRITING:
                left[0] -= 1
            return code if operation in WRITING and left[0] == -1 else 0

        disk.fault = fault

        async def scenario(disk: FaultyDisk = disk, at: int = at) -> None:
            kept = await _small_life(disk, lambda: setattr(disk, "fault", no_fault))
            report = audit(DIRECTORY, disk)
            assert report.clean and report.queued == len(kept), (at, report)
            assert check(DIRECTORY, disk).findings == [], at
            journal = opened(disk, 2048)
            assert sorted(mail.live[0].message_id for mail in recovered(journal)) == sorted(kept), at
            await journal.close()

        run(scenario)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failure_from_each_operation_on(code: int) -> None:
    """The disk dies and comes back later."""
    for at in range(0, _operations_of_a_life(), 2):
        disk = FaultyDisk(Random(at))
        left = [at]

        def fault(operation: str, path: Path, left: list[int] = left) -> int:
            if operation in WRITING:
                left[0] -= 1
            return code if operation in WRITING and left[0] < 0 else 0

        disk.fault = fault

        async def scenario(disk: FaultyDisk = disk, at: int = at) -> None:
            kept = await _small_life(disk, lambda: setattr(disk, "fault", no_fault))
            report = audit(DIRECTORY, disk)
            assert report.clean and report.queued == len(kept), (at, report)
            journal = opened(disk, 2048)
            assert sorted(mail.live[0].message_id for mail in recovered(journal)) == sorted(kept), at
            await journal.close()

        run(scenario)


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("power", [True, False])
def test_faults_and_crashes_at_random(block: int, power: bool) -> None:
    refused = 0
    for seed in range(block * 12, block * 12 + 12):
        model = Model(seed, faults=True, power=power)
        for _ in range(6):
            model.live(60, model.rng.randrange(5, 200))
        model.live(0)
        assert not model.errors, (seed, model.errors[:3])
        refused += model.alarms.count("disk_full") + model.alarms.count("disk_failed")
    assert refused


def test_memory_durability_on_a_failing_disk() -> None:
    """What was acknowledged before its write is written when the disk works again, and its place is told anew."""
    for seed in range(25):
        model = Model(seed, durability="memory", faults=True, power=False, lossy=True)
        for _ in range(5):
            model.live(60)
        model.live(0)
        assert not model.errors, (seed, model.errors[:3])


def test_memory_durability_moves_places() -> None:
    async def scenario() -> None:
        disk = FaultyDisk(Random(2))
        journal = open_journal(disk, asyncio.get_running_loop(), durability="memory")
        moved: dict[int, tuple[int, int]] = {}
        journal.on_moved = lambda message_id, old, new: moved.update({message_id: (old, new)})
        fail(disk, errno.EIO, *WRITING)
        place = await put(journal, [1], b"content")
        await asyncio.sleep(2)
        assert journal.refusal() is not None and journal.holding()
        assert journal.read_mail(place).content == b"content"
        telling = asyncio.ensure_future(tell(journal, delayed(1, place, 1, 77)))
        await asyncio.sleep(2)
        disk.fault = no_fault
        await telling
        assert moved[1][0] == place and moved[1][1] != place
        assert journal.read_mail(moved[1][1]).content == b"content"
        await journal.close()
        assert audit(DIRECTORY, disk).clean
        journal = opened(disk)
        (mail,) = recovered(journal)
        assert (mail.place, mail.live) == (moved[1][1], [(1, 0, 1, 77)])
        await journal.close()

    run(scenario)


@pytest.mark.parametrize("latency", [0.3, 0.7, 1.4])
def test_no_work_begins_while_the_journal_closes(latency: float) -> None:
    """The look at a failing disk comes once a second, and closing takes longer than that."""

    async def scenario() -> None:
        disk = FaultyDisk(Random(2), capacity=20 * 8192)
        loop = asyncio.get_running_loop()
        committed: list[float] = []
        journal = open_journal(disk, loop, opts=options(min_free=10 * 8192), latency=lambda: latency)
        journal.on_commit(lambda: committed.append(loop.time()))
        await put(journal, [1])
        disk.used += 12 * 8192  # somebody else's files
        await asyncio.sleep(12)
        assert "min_free" in (journal.refusal() or "")
        await asyncio.wait_for(journal.close(), 3 * latency)
        waiting = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        assert waiting == []
        done = len(disk.operations)
        await asyncio.sleep(10)
        assert len(disk.operations) == done and len(committed) == 1
        assert audit(DIRECTORY, disk).clean

    run(scenario)


def test_closing_gives_events_a_last_try() -> None:
    """The disk works again, and the next look at it would be after the end."""

    async def scenario() -> None:
        disk = FaultyDisk(Random(2))
        journal = opened(disk)
        place = await put(journal, [1])
        fail(disk, errno.EIO, *WRITING)
        telling = asyncio.ensure_future(tell(journal, ended(1, place)))
        await asyncio.sleep(2.5)
        assert journal.holding()
        disk.fault = no_fault
        await journal.close()
        await telling
        report = audit(DIRECTORY, disk)
        assert report.clean and report.queued == 0

    run(scenario)


@pytest.mark.parametrize("again", [1, 3])
def test_events_behind_the_end_of_an_abandoned_segment_are_not_read(again: int) -> None:
    """The sync fails, and nothing can be cut: whole events stand there, and once more in the next segment."""

    async def scenario() -> None:
        disk = FaultyDisk(Random(2))
        journal = opened(disk)
        outside = EventReader(DIRECTORY, disk)
        place = await put(journal, [1, 2])
        await tell(journal, delayed(1, place, 1, 5))
        seen, cursor = journal.read_events(0)
        seen_outside, cursor_outside = outside.read(0)
        assert len(seen) == len(seen_outside) == 3
        failing = [again]

        def fault(operation: str, path: Path) -> int:
            if operation == "sync" and path.name.startswith("event"):
                failing[0] -= 1
                return errno.EIO if failing[0] >= 0 else 0
            return errno.EIO if operation in ("truncate", "unlink") else 0

        disk.fault = fault
        await asyncio.gather(tell(journal, delayed(1, place, 2, 6)), tell(journal, ended(2, place, 1)))
        assert journal.end_cursor() >> 32 > cursor >> 32
        for some in (journal.read_events(cursor)[0], outside.read(cursor_outside)[0]):
            assert [event.kind for event in some] == [3, 2]
        assert len(all_events(journal)) == 5
        await journal.close()
        disk.fault = no_fault
        journal = opened(disk)
        assert [mail.live for mail in recovered(journal)] == [[(1, 0, 2, 6)]]
        assert len(all_events(journal)) == 5
        await journal.close()
        assert audit(DIRECTORY, disk).clean and check(DIRECTORY, disk).findings == []

    run(scenario)
