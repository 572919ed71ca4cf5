"""stat, check, dump, compact and audit, on journals at rest and at work."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import msgspec
import pytest

from postroad.journal import (
    Audit,
    Event,
    Journal,
    JournalError,
    JournalLocked,
    Mail,
    audit,
    check,
    compact,
    dump,
    stat,
)
from postroad.lab.disks import MemoryDisk
from postroad.net import SystemClock
from tests.journal.kit import DIRECTORY, delayed, ended, injection_payload, open_journal, options, put, recovered, tell


async def small(disk: MemoryDisk) -> dict[int, int]:
    """Three recipients in one mail, one of them ended, one delayed; another mail, ended; a closed journal."""
    journal = open_journal(disk, asyncio.get_running_loop())
    place = await put(journal, [1, 2, 3], b"content", meta=b"meta")
    await tell(journal, ended(1, place, 0))
    await tell(journal, delayed(2, place, 4, 44, 1))
    other = await put(journal, [4], b"other")
    await tell(journal, ended(4, other))
    await tell(journal, Event(5, 5, b'{"type":"policy_rejection"}'))
    await journal.close()
    return {1: place, 4: other}


async def test_stat_says_what_the_headers_say() -> None:
    disk = MemoryDisk()
    await small(disk)
    result = stat(DIRECTORY, disk)
    assert (result.version, result.engine, result.accepted, result.terminal, result.queued) == (3, 0, 4, 2, 2)
    assert (result.mail.segments, result.mail.first, result.mail.last, result.events.segments) == (1, 1, 1, 1)
    assert result.begin < result.end and result.mail.created_ms > 1_600_000_000_000
    assert stat(DIRECTORY / "none", _with(disk, DIRECTORY / "none")).accepted == 0


def _with(disk: MemoryDisk, folder: Path) -> MemoryDisk:
    disk.make_dir(folder)
    return disk


async def test_audit_counts_by_kind() -> None:
    disk = MemoryDisk()
    await small(disk)
    result = audit(DIRECTORY, disk)
    assert result == Audit(accepted=4, terminal=2, queued=2, kinds={1: 4, 2: 2, 3: 1, 5: 1})
    assert result.clean and msgspec.json.encode(result)


async def test_audit_finds_a_message_that_ended_twice() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk, asyncio.get_running_loop())
    place = await put(journal, [1, 2])
    await tell(journal, ended(1, place))
    await tell(journal, ended(1, place))
    await journal.close()
    result = audit(DIRECTORY, disk)
    assert (result.twice, result.difference, result.clean) == ([1], -1, False)


async def test_audit_finds_a_message_accepted_twice() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk, asyncio.get_running_loop())
    await put(journal, [1])
    await put(journal, [1])
    await journal.close()
    result = audit(DIRECTORY, disk)
    assert (result.reaccepted, result.clean) == ([1], False)


async def test_audit_finds_mail_whose_file_is_gone() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk, asyncio.get_running_loop(), opts=options(2048))
    for number in range(1, 20):
        await put(journal, [number], b"x" * 500)
    await journal.close()
    lost = [
        entry["message_id"]
        for record in dump(DIRECTORY, stream="mail", disk=disk)
        if record.segment == 2
        for entry in record.fields["messages"]  # type: ignore[attr-defined]
    ]
    disk.unlink(DIRECTORY / "mail-00000002.seg")
    result = audit(DIRECTORY, disk)
    assert (result.lost, result.difference) == (lost, len(lost)) and lost


async def test_dump_shows_every_record() -> None:
    disk = MemoryDisk()
    places = await small(disk)
    records = list(dump(DIRECTORY, content=True, disk=disk))
    assert [record.stream for record in records] == ["mail"] * 2 + ["event"] * 8
    mail = records[0]
    assert (mail.segment << 32 | mail.offset) == places[1]
    assert mail.fields["content"] == "content" and mail.fields["meta_octets"] == 4
    assert [entry["message_id"] for entry in mail.fields["messages"]] == [1, 2, 3]  # type: ignore[attr-defined]
    assert records[2].fields["payload"] == injection_payload(1).decode()
    assert all(msgspec.json.encode(record) for record in records)
    about = list(dump(DIRECTORY, message_id=2, disk=disk))
    assert [(record.stream, record.fields.get("kind")) for record in about] == [
        ("mail", None),
        ("event", 1),
        ("event", 3),
    ]
    assert about[2].fields["attempts"] == 4 and about[2].fields["next_attempt_ms"] == 44
    assert len(list(dump(DIRECTORY, stream="event", disk=disk))) == 8
    assert "content" not in next(dump(DIRECTORY, disk=disk)).fields


async def test_dump_shows_damage() -> None:
    disk = MemoryDisk()
    places = await small(disk)
    offset = places[1] & 0xFFFFFFFF
    disk.damage(DIRECTORY / "mail-00000001.seg", offset + 64 + 24 + 4 + 14, b"X")
    disk.damage(DIRECTORY / "event-00000001.seg", 128 + 64, b"X")
    records = list(dump(DIRECTORY, content=True, disk=disk))
    assert "content is damaged" in str(records[0].fields["damaged"])
    assert records[2].fields["damaged"] is True and records[2].fields["payload"] is None
    findings = check(DIRECTORY, disk).findings
    assert [(finding.stream, finding.offset, finding.ids) for finding in findings] == [
        ("event", 128, ()),
        ("mail", offset, (1, 2, 3)),
    ]
    assert str(findings[1]).startswith("mail segment 1, offset 128, ")


def test_compact_at_rest(tmp_path: Path) -> None:
    opts = options(1 << 16)

    async def prepare() -> None:
        journal = Journal.open(tmp_path, opts, clock=SystemClock())
        places = [await put(journal, [number], b"x" * 5000) for number in range(1, 60)]
        for number, place in enumerate(places, 1):
            if number % 12:
                await tell(journal, ended(number, place))
            else:
                await tell(journal, delayed(number, place, number, number * 1000))
        with pytest.raises(JournalLocked):
            await asyncio.get_running_loop().run_in_executor(None, compact, tmp_path, opts)
        await journal.close()

    async def after() -> list[tuple[int, int]]:
        journal = Journal.open(tmp_path, opts, clock=SystemClock())
        live = [(entry.attempts, entry.next_attempt_ms) for mail in recovered(journal) for entry in mail.live]
        await journal.close()
        return live

    asyncio.run(prepare())
    result = compact(tmp_path, opts, below=0.5)
    assert result.rewritten >= 4 and result.octets_after < result.octets_before / 2
    assert audit(tmp_path).clean and check(tmp_path).findings == []
    assert sorted(asyncio.run(after())) == [(n, n * 1000) for n in (12, 24, 36, 48)]


def test_compact_leaves_a_crashed_journal_to_the_engine(tmp_path: Path) -> None:
    """Only the engine can make the injection events that the crash took."""

    async def prepare() -> None:
        journal = Journal.open(tmp_path, options(1 << 16), clock=SystemClock())
        kept = asyncio.get_running_loop().create_future()
        journal.append_mail(Mail([1], 0, b"", b"", b"content"), [], kept.set_result)
        await kept
        await journal.close()

    asyncio.run(prepare())
    assert audit(tmp_path).unannounced == 1
    with pytest.raises(JournalError, match="start the engine once"):
        compact(tmp_path, options(1 << 16))


def test_audit_and_check_beside_a_working_engine(tmp_path: Path) -> None:
    """They hold no lock, so the files change under them all the time."""
    opts = options(1 << 16, retention=0)
    working = threading.Event()
    enough = threading.Event()

    async def work() -> None:
        journal = Journal.open(tmp_path, opts, durability="process", clock=SystemClock())
        list(journal.recover())
        journal.state_of = lambda message_id: None
        places: dict[int, int] = {}
        journal.on_moved = lambda message_id, old, new: places.update({message_id: new})
        number = 0
        while not enough.is_set():
            first = number + 1
            number += 50
            ids = range(first, number + 1)
            places.update(zip(ids, await asyncio.gather(*(put(journal, [n], b"x" * 900) for n in ids)), strict=True))
            for one in [n for n in places if n % 50 or n < number - 1500]:
                journal.append_event(ended(one, places.pop(one)))
            if number % 1000 == 0:
                await journal.compact(0.9)
            working.set()
        await journal.close()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        assert working.wait(30)
        rounds = accepted = 0
        while rounds < 15 or accepted < 500:
            report = audit(tmp_path)
            assert report.clean, report
            assert check(tmp_path).findings == []
            assert stat(tmp_path).terminal >= report.terminal
            rounds, accepted = rounds + 1, report.accepted
    finally:
        enough.set()
        thread.join(30)
    report = audit(tmp_path)
    assert report.clean and report.accepted >= 500


@pytest.mark.parametrize("which", [0, 2, -1])
async def test_a_damaged_injection_event_counts_all_the_same(which: int) -> None:
    """The headers of later segments have counted it; in the last segment it will be made again."""
    disk = MemoryDisk()
    for number in (1, 11, 21):
        journal = open_journal(disk, asyncio.get_running_loop())
        list(journal.recover())
        await put(journal, [number, number + 1, number + 2])
        await journal.close()
    events = list(dump(DIRECTORY, stream="event", disk=disk))
    assert audit(DIRECTORY, disk) == Audit(accepted=9, queued=9, kinds={1: 9})
    hit = events[which]
    disk.damage(DIRECTORY / f"event-{hit.segment:08d}.seg", hit.offset + 20, b"\xee")
    report = audit(DIRECTORY, disk)
    assert report.clean and (report.accepted, report.queued) == (9, 9)
    assert report.unannounced == (1 if which == -1 else 0)
    journal = open_journal(disk, asyncio.get_running_loop())
    places = {entry.message_id: mail.place for mail in recovered(journal) for entry in mail.live}
    assert len(places) == 9
    for number, place in places.items():
        await tell(journal, ended(number, place, number % 10 - 1))
    await journal.close()
    assert audit(DIRECTORY, disk).clean
    assert audit(DIRECTORY, disk).terminal == 9


@pytest.mark.parametrize("stream", ["mail", "event"])
async def test_what_a_kill_cut_short_is_no_damage(stream: str) -> None:
    """A killed process leaves the front of its last write, up to some page. The next start voids it, audit passes over
    it, and check says no more."""
    disk = MemoryDisk()
    journal = open_journal(disk, asyncio.get_running_loop(), opts=options(1 << 16))
    await put(journal, [1])
    events = disk.bytes_of(DIRECTORY / "event-00000001.seg")
    place = await put(journal, [2], b"x" * 3000)
    await tell(journal, delayed(1, place, 1, 5))
    journal.abandon()
    whole = dump(DIRECTORY, stream=stream, disk=disk)
    *_, last = whole
    start, size = last.offset, last.size
    if stream == "mail":
        disk.damage(DIRECTORY / "event-00000001.seg", 0, events)  # nothing was told of it yet
    path = DIRECTORY / f"{stream}-00000001.seg"
    for kept in range(0, size - 8, 8):
        data = disk.bytes_of(path)[start : start + size]
        disk.damage(path, start + kept, bytes(size - kept))
        assert check(DIRECTORY, disk).findings == [], kept
        report = audit(DIRECTORY, disk)
        assert report.clean and report.queued == (1 if stream == "mail" else 2), kept
        disk.damage(path, start, data)


@pytest.mark.parametrize("announced", [True, False])
async def test_the_last_mail_is_judged_once_it_was_announced(announced: bool) -> None:
    disk = MemoryDisk()
    journal = open_journal(disk, asyncio.get_running_loop())
    await put(journal, [1])
    events = disk.bytes_of(DIRECTORY / "event-00000001.seg")
    place = await put(journal, [2], b"x" * 300)
    journal.abandon()
    if not announced:
        disk.damage(DIRECTORY / "event-00000001.seg", 0, events)
    disk.damage(DIRECTORY / "mail-00000001.seg", (place & 0xFFFFFFFF) + 200, b"?")
    assert [damage.ids for damage in check(DIRECTORY, disk).findings] == ([(2,)] if announced else [])
