"""The journal on one disk, without faults: what is kept, read back, followed and recovered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postroad.journal import (
    STATE,
    Event,
    EventReader,
    Journal,
    JournalDamaged,
    JournalError,
    JournalLocked,
    Mail,
    audit,
    check,
)
from postroad.lab.disks import MemoryDisk
from tests.journal.kit import (
    DIRECTORY,
    Wall,
    all_events,
    delayed,
    ended,
    injection_payload,
    open_journal,
    options,
    put,
    recovered,
    tell,
)


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


def opened(disk: MemoryDisk, **named: int) -> Journal:
    return open_journal(disk, asyncio.get_running_loop(), opts=options(**named))


async def reopened(journal: Journal, disk: MemoryDisk) -> Journal:
    await journal.close()
    return opened(disk)


async def test_mail_is_read_back_as_it_came(disk: MemoryDisk) -> None:
    journal = opened(disk)
    content = bytes(range(256)) * 200
    place = await put(journal, [5, 6], content, meta=b"envelope")
    stored = journal.read_mail(place)
    assert stored == ([5, 6], [0, 1], 1_700_000_000_000, b"envelope", b"Received: us\r\n", content)
    await journal.close()


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 16_384, 16_385, 200_000])
async def test_any_size_of_mail(disk: MemoryDisk, size: int) -> None:
    journal = opened(disk)
    places = [await put(journal, [1], b"a" * size), await put(journal, [2], b"b" * size)]
    assert [journal.read_mail(place).content for place in places] == [b"a" * size, b"b" * size]
    journal = await reopened(journal, disk)
    assert sorted((mail.place, mail.size - 14) for mail in recovered(journal)) == [(p, size) for p in places]
    await journal.close()


async def test_a_place_that_holds_no_mail(disk: MemoryDisk) -> None:
    journal = opened(disk)
    place = await put(journal, [1])
    with pytest.raises(JournalDamaged, match="offset 136"):
        journal.read_mail(place + 8)
    with pytest.raises(JournalError, match="can't be read"):
        journal.read_mail(99 << 32 | 128)
    await journal.close()


async def test_recovery_knows_what_ended_and_the_last_state(disk: MemoryDisk) -> None:
    journal = opened(disk)
    place = await put(journal, [1, 2, 3], meta=b"three")
    other = await put(journal, [4], meta=b"one")
    await tell(journal, ended(2, place, 1))
    await tell(journal, delayed(3, place, 1, 111, 2))
    await tell(journal, delayed(3, place, 2, 222, 2))
    await tell(journal, ended(4, other))
    journal = await reopened(journal, disk)
    (mail,) = recovered(journal)
    assert (mail.place, mail.meta) == (place, b"three")
    assert mail.live == [(1, 0, 0, 0), (3, 2, 2, 222)]
    assert journal.last_id == 4
    assert audit(DIRECTORY, disk).clean
    await journal.close()


async def test_new_mail_is_served_during_recovery(disk: MemoryDisk) -> None:
    journal = opened(disk)
    for number in range(1, 31):
        await put(journal, [number])
    journal = await reopened(journal, disk)
    found = []
    for number, batch in enumerate(journal.recover(batch=5), 1000):
        found += [entry.message_id for mail in batch for entry in mail.live]
        place = await put(journal, [number])
        if batch:
            await tell(journal, ended(batch[0].live[0].message_id, batch[0].place, 0))
        assert journal.read_mail(place).ids == [number]
    assert sorted(found) == list(range(1, 31))
    assert audit(DIRECTORY, disk).clean
    assert list(journal.recover()) == []
    await journal.close()


async def test_events_are_read_by_cursor_in_order(disk: MemoryDisk) -> None:
    journal = opened(disk, segment_size=2048)
    seen = []
    for number in range(1, 60):
        place = await put(journal, [number])
        await tell(journal, ended(number, place))
    begin = cursor = journal.begin_cursor()
    while True:
        some, following = journal.read_events(cursor, limit=7)
        assert following >= cursor
        if not some:
            break
        assert some[0].cursor >= cursor and some[-1].next <= following
        assert [one.cursor for one in some] == sorted(one.cursor for one in some)
        seen += some
        cursor = following
    assert cursor == journal.end_cursor()
    payloads = [one.payload for one in seen]
    assert len(payloads) == 2 * 59 and payloads[0] == injection_payload(1)
    # From the middle, and again: the same events.
    middle = seen[40].next
    assert [one.payload for one in journal.read_events(middle, 10)[0]] == payloads[41:51]
    assert journal.read_events(begin, 3)[0] == seen[:3]
    # Any cursor of an event leads to that event.
    for one in seen:
        assert journal.read_events(one.cursor, 1)[0] == [one]
    await journal.close()


async def test_bytes_bound_a_read_but_one_event_always_comes(disk: MemoryDisk) -> None:
    journal = opened(disk)
    for number in range(1, 6):
        await tell(journal, Event(number, 9, b"x" * 1000))
    some, cursor = journal.read_events(journal.begin_cursor(), 100, max_bytes=2500)
    assert [one.message_id for one in some] == [1, 2]
    some, cursor = journal.read_events(cursor, 100, max_bytes=10)
    assert [one.message_id for one in some] == [3]
    assert [one.message_id for one in journal.read_events(cursor, 100)[0]] == [4, 5]
    await journal.close()


async def test_cursors_out_of_range(disk: MemoryDisk) -> None:
    journal = opened(disk)
    await tell(journal, Event(1, 9, b"{}"))
    end = journal.end_cursor()
    assert journal.read_events(end) == ([], end)
    assert journal.read_events(end + 800) == ([], end + 800)
    assert [one.message_id for one in journal.read_events(0)[0]] == [1]
    await journal.close()


async def test_bookkeeping_events_are_kept_but_not_shown(disk: MemoryDisk) -> None:
    journal = opened(disk)
    place = await put(journal, [1])
    await tell(journal, Event(1, 3, b"", flags=STATE, attempts=4, next_attempt_ms=44, place=place))
    assert [one.kind for one in all_events(journal)] == [1]
    journal = await reopened(journal, disk)
    assert recovered(journal)[0].live == [(1, 0, 4, 44)]
    await journal.close()


async def test_events_are_found_by_time(disk: MemoryDisk) -> None:
    loop = asyncio.get_running_loop()
    clock = Wall(loop)
    journal = open_journal(disk, loop, opts=options(1024), clock=clock)
    moments = []
    for number in range(1, 40):
        clock.start += 60
        moments.append(clock.wall())
        await tell(journal, Event(number, 9, b"{}"))
    for number, moment in enumerate(moments, 1):
        assert journal.read_events(journal.cursor_at(moment), 1)[0][0].message_id == number
    assert journal.cursor_at(0) == journal.read_events(0, 1)[0][0].cursor
    assert journal.cursor_at(clock.wall() + 60) == journal.end_cursor()
    await journal.close()


async def test_listeners_hear_of_each_commit_until_they_leave(disk: MemoryDisk) -> None:
    journal = opened(disk)
    heard: list[int] = []
    leave = journal.on_commit(lambda: heard.append(journal.end_cursor()))
    await tell(journal, Event(1, 9, b"{}"))
    await tell(journal, Event(2, 9, b"{}"))
    assert heard == sorted(set(heard)) and len(heard) == 2 and heard[-1] == journal.end_cursor()
    leave()
    await tell(journal, Event(3, 9, b"{}"))
    assert len(heard) == 2
    await journal.close()


async def test_a_callback_that_raises_does_not_keep_others_from_hearing(disk: MemoryDisk) -> None:
    journal = opened(disk)
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context["exception"]))

    def bad(result: object) -> None:
        raise RuntimeError("bad")

    journal.append_mail(Mail([1], 0, b"", b"", b""), [], bad)
    assert await put(journal, [2]) > 0
    assert [str(error) for error in errors] == ["bad"]
    asyncio.get_running_loop().set_exception_handler(None)
    await journal.close()


async def test_another_reader_follows_the_files_of_a_running_journal(disk: MemoryDisk) -> None:
    journal = opened(disk, segment_size=1024)
    reader = EventReader(DIRECTORY, disk)
    cursor = reader.begin()
    followed = []
    for number in range(1, 80):
        await tell(journal, Event(number, 9, b"%d" % number))
        if number % 3 == 0:
            some, cursor = reader.read(cursor, limit=2)
            followed += some
    while True:
        some, cursor = reader.read(cursor)
        if not some:
            break
        followed += some
    assert [one.message_id for one in followed] == list(range(1, 80))
    assert reader.end() == journal.end_cursor() == cursor
    assert reader.begin() == journal.begin_cursor()
    assert reader.at(0) == followed[0].cursor
    await journal.close()


async def test_an_empty_folder_has_no_events(disk: MemoryDisk) -> None:
    disk.make_dir(DIRECTORY)
    reader = EventReader(DIRECTORY, disk)
    assert (reader.begin(), reader.end(), reader.read(0)) == (0, 0, ([], 0))


async def test_one_journal_one_process(disk: MemoryDisk) -> None:
    journal = opened(disk)
    with pytest.raises(JournalLocked):
        opened(disk)
    await journal.close()
    await opened(disk).close()


async def test_a_closed_journal_takes_nothing(disk: MemoryDisk) -> None:
    journal = opened(disk)
    await journal.close()
    await journal.close()
    with pytest.raises(JournalError, match="closed"):
        await put(journal, [1])
    with pytest.raises(JournalError, match="closed"):
        await tell(journal, Event(1, 9, b"{}"))


async def test_close_commits_what_waits(disk: MemoryDisk) -> None:
    journal = opened(disk)
    tasks = [asyncio.ensure_future(put(journal, [number])) for number in range(1, 20)]
    await asyncio.sleep(0)
    await journal.close()
    places = [await task for task in tasks]
    assert len(set(places)) == 19
    journal = opened(disk)
    assert len(recovered(journal)) == 19
    await journal.close()


async def test_restarts_of_an_idle_engine_leave_no_trail(disk: MemoryDisk) -> None:
    journal = opened(disk)
    await tell(journal, Event(1, 9, b"{}"))
    journal = await reopened(journal, disk)
    names = sorted(disk.list(DIRECTORY))
    for _ in range(5):
        journal = await reopened(journal, disk)
        assert len(recovered(journal)) == 0
    assert sorted(disk.list(DIRECTORY)) == names
    assert [one.message_id for one in all_events(journal)] == [1]
    await journal.close()


async def test_memory_durability_acknowledges_before_the_write(disk: MemoryDisk) -> None:
    loop = asyncio.get_running_loop()
    journal = open_journal(disk, loop, durability="memory", latency=lambda: 0.2)
    place = await asyncio.wait_for(put(journal, [1], b"content"), 0.15)
    assert journal.stats().committed_mail == 0
    assert journal.read_mail(place).content == b"content"
    await tell(journal, ended(1, place))
    assert journal.stats().committed_mail == 1
    assert audit(DIRECTORY, disk).clean
    await journal.close()


async def test_a_message_too_large_for_any_segment_is_refused(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroad.journal.journal.MAX_RECORD", 1000)
    journal = opened(disk)
    with pytest.raises(JournalError, match="larger than 1000 bytes"):
        await put(journal, [1], b"x" * 1000)
    await put(journal, [2])
    await journal.close()


async def test_one_commit_serves_all_that_wait(disk: MemoryDisk) -> None:
    journal = opened(disk, segment_size=1 << 20)
    await asyncio.gather(*(put(journal, [number]) for number in range(1, 201)))
    stats = journal.stats()
    assert (stats.committed_mail, stats.committed_events, stats.messages, stats.accepted) == (200, 200, 200, 200)
    assert stats.commits <= 2
    assert check(DIRECTORY, disk).findings == []
    await journal.close()


async def test_a_real_disk(tmp_path: Path) -> None:
    """The production committer and disk together."""
    from postroad.net import SystemClock

    directory = tmp_path / "data" / "journal"
    journal = Journal.open(directory, options(1 << 16), clock=SystemClock())
    assert recovered(journal) == []
    places = await asyncio.gather(*(put(journal, [number], b"x" * 3000) for number in range(1, 101)))
    await asyncio.gather(*(tell(journal, ended(n, p)) for n, p in zip(range(1, 51), places, strict=False)))
    loop = asyncio.get_running_loop()
    assert (await loop.run_in_executor(None, journal.read_mail, places[60])).ids == [61]
    assert len(await loop.run_in_executor(None, all_events, journal)) == 150
    with pytest.raises(JournalLocked, match=r"in use by process \d+"):
        Journal.open(directory, options(), clock=SystemClock())
    await journal.close()
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    assert audit(directory).clean and check(directory).findings == []
    journal = Journal.open(directory, options(1 << 16), clock=SystemClock())
    assert len(recovered(journal)) == 50
    await journal.close()
