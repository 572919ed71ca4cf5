"""How long things are kept: retention of events, pins of consumers, compaction of mail, what goes when all ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from postroad.journal import Event, Journal, audit, check
from postroad.journal.retention import EventSegment, Retention
from postroad.lab.disks import MemoryDisk
from postroad.lab.sim import SimLoop
from tests.journal.kit import DIRECTORY, all_events, delayed, ended, open_journal, options, put, recovered, tell


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop = SimLoop(Random(1))
    try:
        loop.run_until_complete(scenario())
    finally:
        loop.close()


def opened(disk: MemoryDisk, **named: float) -> Journal:
    journal = open_journal(disk, asyncio.get_running_loop(), opts=options(**named))  # type: ignore[arg-type]
    list(journal.recover())
    return journal


def names(disk: MemoryDisk, stream: str) -> list[int]:
    return [int(name[-12:-4]) for name in disk.list(DIRECTORY) if name.startswith(stream)]


def test_a_mail_segment_goes_when_its_last_message_ended() -> None:
    async def scenario() -> None:
        disk = MemoryDisk()
        journal = opened(disk, segment_size=2048)
        places = {number: await put(journal, [number], b"x" * 300) for number in range(1, 31)}
        for number in range(1, 30):
            await tell(journal, ended(number, places[number]))
        await asyncio.sleep(2)
        # The last message's segment, the one being filled, and the spare.
        assert names(disk, "mail")[0] == places[30] >> 32
        assert len(names(disk, "mail")) <= 3
        assert journal.read_mail(places[30]).ids == [30]
        assert journal.stats().messages == 1
        await journal.close()
        assert audit(DIRECTORY, disk).clean

    run(scenario)


def test_events_go_when_their_time_is_over_and_no_mail_needs_them() -> None:
    async def scenario() -> None:
        disk = MemoryDisk()
        journal = opened(disk, segment_size=2048, retention=100)
        old = await put(journal, [1])
        for number in range(2, 60):
            place = await put(journal, [number])
            await tell(journal, ended(number, place))
        await asyncio.sleep(50)
        assert journal.begin_cursor() >> 32 == 1
        await asyncio.sleep(100)
        # Message 1 still waits: recovery needs every event that tells of its mail segment, not the others.
        kept = names(disk, "event")
        assert kept[0] == 1
        await tell(journal, ended(1, old))
        await asyncio.sleep(3)
        assert names(disk, "event")[0] == journal.begin_cursor() >> 32 > 1
        assert journal.read_events(0)[0] == all_events(journal)
        await journal.close()
        report = audit(DIRECTORY, disk)
        assert report.clean and (report.accepted, report.terminal, report.queued) == (59, 59, 0)
        assert check(DIRECTORY, disk).findings == []
        journal = opened(disk, segment_size=2048, retention=100)
        assert journal.last_id == 59
        await journal.close()

    run(scenario)


def test_a_pin_holds_events_beyond_their_time_but_not_beyond_the_size_limit() -> None:
    async def scenario() -> None:
        disk = MemoryDisk()
        journal = opened(disk, segment_size=2048, retention=10, retention_size=20_000)
        alarms: list[tuple[str, str]] = []
        journal.on_alarm = lambda name, text: alarms.append((name, text))
        journal.pin("slow", journal.begin_cursor())
        for number in range(1, 80):
            await tell(journal, Event(number, 9, b"x" * 100))
        await asyncio.sleep(60)
        assert journal.read_events(journal.begin_cursor(), 1)[0][0].message_id == 1
        assert alarms == []
        for number in range(80, 115):
            await tell(journal, Event(number, 9, b"x" * 100))
        await asyncio.sleep(2)
        assert [name for name, _ in alarms] == ["consumer_lag"] and "slow" in alarms[0][1]
        for number in range(115, 200):
            await tell(journal, Event(number, 9, b"x" * 100))
        await asyncio.sleep(2)
        assert {name for name, _ in alarms} == {"consumer_lag", "events_dropped"}
        first = journal.read_events(journal.begin_cursor(), 1)[0][0]
        assert 1 < first.message_id < 130
        journal.unpin("slow")
        await asyncio.sleep(20)
        await tell(journal, Event(200, 9, b"{}"))
        await asyncio.sleep(2)
        assert journal.begin_cursor() >> 32 == journal.end_cursor() >> 32
        await journal.close()

    run(scenario)


def test_what_retention_drops() -> None:
    retention = Retention(keep_ms=1000, keep_bytes=1000)
    retention.segments = [
        EventSegment(1, 100, 5_000, 1, 3),
        EventSegment(2, 100, 6_000, 0, 0),
        EventSegment(3, 100, 7_000, 4, 4),
        EventSegment(4, 100, 9_000, None, None),
    ]
    assert retention.outdated(5_500, []) == []
    assert retention.outdated(9_500, []) == [1, 2, 3]
    assert retention.outdated(9_500, [9]) == [1, 2, 3]
    assert retention.outdated(9_500, [2]) == []
    assert retention.outdated(9_500, [4]) == [1, 2]
    assert retention.outdated(99_999, []) == [1, 2, 3, 4]
    assert retention.outdated(99_999, [7]) == [1, 2, 3]
    retention.pins["one"] = 2 << 32 | 500
    assert retention.outdated(99_999, []) == [1]
    retention.segments[0] = EventSegment(1, 950, 5_000, 1, 3)
    assert retention.outdated(0, []) == [1]
    assert retention.outdated(0, [1]) == []
    assert retention.lagging() == []
    retention.pins["two"] = 1 << 32
    assert retention.lagging() == ["two"]
    assert retention.removed(1) == ["two"]


def test_compaction_carries_messages_and_their_state_over() -> None:
    async def scenario() -> None:
        disk = MemoryDisk()
        journal = opened(disk, segment_size=4096, retention=1)
        states: dict[int, tuple[int, int]] = {}
        places: dict[int, int] = {}
        moves: dict[int, int] = {}

        def moved(message_id: int, old: int, new: int) -> None:
            assert places[message_id] == old
            places[message_id] = moves[message_id] = new

        journal.on_moved = moved
        for number in range(1, 60, 3):
            place = await put(journal, [number, number + 1, number + 2], b"%d " % number * 50, meta=b"m%d" % number)
            places.update({number: place, number + 1: place, number + 2: place})
        for number in range(1, 61):
            if number % 20 == 2:
                states[number] = number, number * 1000
                await tell(journal, delayed(number, places[number], number, number * 1000, (number - 1) % 3))
            elif number % 20 != 7:
                await tell(journal, ended(number, places.pop(number), (number - 1) % 3))
        before = names(disk, "mail")
        assert await journal.compact(0.9) == 0  # nobody says what the states are
        journal.state_of = states.get
        assert await journal.compact(0.9) > 0
        await asyncio.sleep(3)
        assert sorted(moves) == sorted(places) == [2, 7, 22, 27, 42, 47]
        assert names(disk, "mail")[0] > before[-3]
        # Events about the old places are not needed any more: they go, and the state is still known.
        assert names(disk, "event")[0] > 1
        await tell(journal, ended(22, places.pop(22), 0))
        await journal.close()
        assert audit(DIRECTORY, disk).clean and check(DIRECTORY, disk).findings == []
        journal = opened(disk, segment_size=4096)
        await journal.close()
        journal = open_journal(disk, asyncio.get_running_loop(), opts=options(4096))
        live = {entry.message_id: (mail, entry) for mail in recovered(journal) for entry in mail.live}
        assert sorted(live) == [2, 7, 27, 42, 47]
        for number, (mail, entry) in live.items():
            first = number - (number - 1) % 3
            assert mail.place == places[number] and mail.meta == b"m%d" % first
            assert entry.index == (number - 1) % 3
            assert (entry.attempts, entry.next_attempt_ms) == states.get(number, (0, 0))
            stored = journal.read_mail(mail.place)
            assert stored.content == b"%d " % first * 50
            assert stored.indexes[stored.ids.index(number)] == (number - 1) % 3
        await journal.close()

    run(scenario)


def test_compaction_runs_by_itself_and_events_follow_their_message() -> None:
    """Outcomes are told all the while, with whatever place their message is at."""

    async def scenario() -> None:
        disk = MemoryDisk()
        rng = Random(4)
        journal = open_journal(
            disk, asyncio.get_running_loop(), opts=options(4096), latency=lambda: rng.random() * 0.01
        )
        list(journal.recover())
        places: dict[int, int] = {}
        journal.on_moved = lambda message_id, old, new: places.update({message_id: new})
        journal.state_of = lambda message_id: None
        moved = 0
        for number in range(1, 400):
            places[number] = await put(journal, [number], b"x" * 200)
            if len(places) > 40:
                # Mostly the younger ones end, so that old segments are pinned by a few.
                victim = sorted(places)[rng.choice((0, 20, 25, 30, 35))]
                place = places.pop(victim)
                journal.append_event(ended(victim, place))
            if number % 20 == 0:
                moved += await journal.compact(0.8)
            if rng.random() < 0.05:
                await asyncio.sleep(1.2)
        assert moved > 5
        await asyncio.sleep(3)
        await journal.close()
        report = audit(DIRECTORY, disk)
        assert report.clean and report.queued == len(places)
        journal = opened(disk, segment_size=4096)
        for number, place in places.items():
            assert number in journal.read_mail(place).ids
        await journal.close()

    run(scenario)


def test_two_compactions_at_once_copy_nothing_twice() -> None:
    async def scenario() -> None:
        disk = MemoryDisk()
        journal = opened(disk, segment_size=4096)
        places = {number: await put(journal, [number], b"x" * 200) for number in range(1, 60)}
        moved: list[tuple[int, int]] = []
        journal.on_moved = lambda message_id, old, new: moved.append((message_id, old))
        journal.state_of = lambda message_id: None
        for number in range(1, 60):
            if number % 5:
                await tell(journal, ended(number, places[number]))
        # One that is given up midway leaves its copies under way.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(journal.compact(0.9), 0.002)
        rewritten = await asyncio.gather(journal.compact(0.9), journal.compact(0.9))
        assert sum(rewritten) > 1
        assert len(moved) == len(set(moved)) > 5
        await asyncio.sleep(2)
        await journal.close()
        report = audit(DIRECTORY, disk)
        assert report.clean and report.queued == 11

    run(scenario)


def test_large_messages_are_not_copied_for_little_gain() -> None:
    async def scenario() -> None:
        disk = MemoryDisk()
        journal = opened(disk, segment_size=8192)
        journal.state_of = lambda message_id: None
        places = {number: await put(journal, [number], b"x") for number in range(1, 20)}
        large = await put(journal, [20], b"x" * 5000)
        await put(journal, [21], b"x" * 5000)
        for number, place in places.items():
            await tell(journal, ended(number, place))
        assert await journal.compact(0.25) == 0
        assert journal.read_mail(large).ids == [20]
        assert journal.stats().committed_mail == 21
        await journal.close()

    run(scenario)
