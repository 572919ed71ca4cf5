"""Bytes that are not as they were written: the rest is served, nothing is made up, and all of it is reported."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from postroad.journal import TERMINAL, Event, Journal, JournalDamaged, JournalError, Mail, audit, check, dump
from postroad.journal.format import EVENT, FILE_HEADER_SIZE, MAIL, pack_event, pack_mail
from postroad.journal.survey import QUARANTINE
from postroad.lab.disks import MemoryDisk
from tests.journal.kit import (
    DIRECTORY,
    all_events,
    ended,
    injection_payload,
    open_journal,
    options,
    put,
    recovered,
    tell,
)

MAIL_FILE = DIRECTORY / "mail-00000001.seg"
EVENT_FILE = DIRECTORY / "event-00000001.seg"


def opened(disk: MemoryDisk, segment_size: int = 8192) -> Journal:
    return open_journal(disk, asyncio.get_running_loop(), opts=options(segment_size))


async def filled(mails: int = 6, segment_size: int = 8192) -> tuple[MemoryDisk, list[int]]:
    """A closed journal with mails of 1..n and an event each; the places."""
    disk = MemoryDisk()
    journal = opened(disk, segment_size)
    places = [await put(journal, [one], b"content %d" % one * 10, b"meta") for one in range(1, mails + 1)]
    await journal.close()
    return disk, places


def copy(disk: MemoryDisk) -> MemoryDisk:
    new = MemoryDisk()
    new.make_dir(DIRECTORY)
    for name in disk.list(DIRECTORY):
        data = disk.bytes_of(DIRECTORY / name)
        new.create(DIRECTORY / name, 0).write([data], 0, sync=True)
    new.sync_dir(DIRECTORY)
    return new


def cut(disk: MemoryDisk, path: Path, size: int) -> None:
    disk.open(path, write=True).truncate(size)


async def test_a_mail_torn_at_any_byte_is_cut_and_the_rest_served() -> None:
    disk, places = await filled()
    whole = disk.bytes_of(MAIL_FILE)
    last_events = disk.bytes_of(EVENT_FILE)
    event_size = (len(last_events) - FILE_HEADER_SIZE) // len(places)
    for size in range(places[-1] & 0xFFFFFFFF, len(whole), 3):
        torn = copy(disk)
        # Its injection event is written after it, so that can't be there.
        cut(torn, MAIL_FILE, size)
        cut(torn, EVENT_FILE, len(last_events) - event_size)
        journal = opened(torn)
        assert [mail.live[0].message_id for mail in recovered(journal)] == [1, 2, 3, 4, 5]
        assert not any(damage.ids for damage in journal.damage)
        place = await put(journal, [7], b"new")
        await journal.close()
        assert audit(DIRECTORY, torn).clean and check(DIRECTORY, torn).findings == []
        journal = opened(torn)
        assert place in [mail.place for mail in recovered(journal)]
        assert audit(DIRECTORY, torn).queued == 6
        await journal.close()


async def test_events_torn_at_any_byte_are_made_again() -> None:
    disk, places = await filled()
    whole = disk.bytes_of(EVENT_FILE)
    for size in range(FILE_HEADER_SIZE, len(whole), 7):
        torn = copy(disk)
        cut(torn, EVENT_FILE, size)
        journal = opened(torn)
        assert len(recovered(journal)) == len(places)
        assert [one.payload for one in all_events(journal)] == [injection_payload(n) for n in range(1, 7)]
        await journal.close()
        assert audit(DIRECTORY, torn).clean and check(DIRECTORY, torn).findings == []


async def test_events_lost_in_the_middle_of_the_last_commit_are_made_again() -> None:
    """Sectors reach the disk in any order: zeros, then valid records."""
    disk, places = await filled()
    size = (len(disk.bytes_of(EVENT_FILE)) - FILE_HEADER_SIZE) // len(places)
    disk.damage(EVENT_FILE, FILE_HEADER_SIZE + 2 * size, bytes(2 * size))
    journal = opened(disk)
    assert len(recovered(journal)) == len(places)
    assert sorted(one.payload for one in all_events(journal)) == [injection_payload(n) for n in range(1, 7)]
    assert journal.damage == []
    await journal.close()
    assert audit(DIRECTORY, disk).clean and check(DIRECTORY, disk).findings == []


@pytest.mark.parametrize("kept", [0, 1, 2])
async def test_a_crash_while_lost_events_are_made_again(kept: int) -> None:
    """They come behind those of later mail, which are not to be made twice."""
    disk, places = await filled()
    size = (len(disk.bytes_of(EVENT_FILE)) - FILE_HEADER_SIZE) // len(places)
    disk.damage(EVENT_FILE, FILE_HEADER_SIZE + 2 * size, bytes(2 * size))
    opened(disk).abandon()
    cut(disk, DIRECTORY / "event-00000002.seg", FILE_HEADER_SIZE + kept * size)
    report = audit(DIRECTORY, disk)
    assert report.clean and (report.accepted, report.queued, report.unannounced) == (6, 6, 2 - kept)
    for _ in range(3):
        journal = opened(disk)
        assert len(recovered(journal)) == len(places)
        assert sorted(one.payload for one in all_events(journal)) == [injection_payload(n) for n in range(1, 7)]
        journal.abandon()
    for number in (7, 8):
        journal = opened(disk)
        list(journal.recover())
        await put(journal, [number])
        await tell(journal, Event(1000, 5, b"{}"))  # a commit behind that of the injection event
        journal.abandon()
        report = audit(DIRECTORY, disk)
        assert report.clean and (report.accepted, report.unannounced) == (number, 0)
    journal = opened(disk)
    assert len(recovered(journal)) == 8
    seen = [one.payload for one in all_events(journal) if one.kind == 1]
    assert sorted(seen) == [injection_payload(n) for n in range(1, 9)]
    await journal.close()
    assert audit(DIRECTORY, disk).clean and check(DIRECTORY, disk).findings == []


@pytest.mark.parametrize("path, stream", [(MAIL_FILE, MAIL), (EVENT_FILE, EVENT)])
async def test_any_flipped_byte_is_found_and_costs_one_record_at_most(path: Path, stream: int) -> None:
    disk, places = await filled()
    journal = opened(disk)  # begins a new segment: the first one is sealed
    list(journal.recover())
    await put(journal, [100])
    await journal.close()
    size = len(disk.bytes_of(path))
    rng = Random(1)
    for offset in range(FILE_HEADER_SIZE, size):
        bad = copy(disk)
        old = bad.bytes_of(path)[offset]
        bad.damage(path, offset, bytes([old ^ 1 << rng.randrange(8)]))
        findings = check(DIRECTORY, bad).findings
        assert len(findings) <= 1, (offset, findings)  # padding may differ unseen, see below
        journal = opened(bad)
        live = recovered(journal)
        readable = 0
        for mail in live:
            try:
                readable += journal.read_mail(mail.place).ids == [mail.live[0].message_id]
            except JournalDamaged:
                assert stream == MAIL
        assert readable >= len(places) if stream == MAIL else readable == len(places) + 1
        assert len(all_events(journal)) >= len(places)
        await journal.close()


async def test_only_padding_may_differ_unseen() -> None:
    disk, _ = await filled(3)
    journal = opened(disk)
    list(journal.recover())
    await put(journal, [100])
    await journal.close()
    for path in (MAIL_FILE, EVENT_FILE):
        data = disk.bytes_of(path)
        for offset in range(len(data)):
            bad = copy(disk)
            bad.damage(path, offset, bytes([data[offset] ^ 0x10]))
            if not check(DIRECTORY, bad).findings:
                assert data[offset] == 0, f"{path.name} at {offset}"


async def test_lost_mail_is_reported_with_its_ids_and_can_be_ended() -> None:
    disk, places = await filled()
    journal = opened(disk)
    list(journal.recover())
    await put(journal, [100])
    await journal.close()
    offset = places[2] & 0xFFFFFFFF
    disk.damage(MAIL_FILE, offset + 64 + 8, b"XX")  # the meta of message 3
    journal = opened(disk)
    alarms: list[tuple[str, str]] = []
    journal.on_alarm = lambda name, text: alarms.append((name, text))
    assert 3 not in [mail.live[0].message_id for mail in recovered(journal)]
    (damage,) = journal.damage
    assert (damage.stream, damage.segment, damage.offset, damage.ids, damage.place) == (
        "mail",
        1,
        offset,
        (3,),
        places[2],
    )
    assert [name for name, _ in alarms] == ["damage"]
    assert disk.list(DIRECTORY / QUARANTINE) == [f"mail-00000001-{offset:010d}.bin"]
    await tell(journal, ended(3, damage.place, damage.indexes[0]))
    await journal.close()
    journal = opened(disk)
    list(journal.recover())
    assert journal.damage == []
    assert audit(DIRECTORY, disk).clean
    await journal.close()


async def test_a_damaged_header_loses_one_record_and_the_next_ones_are_found() -> None:
    disk, places = await filled()
    journal = opened(disk)
    list(journal.recover())
    await put(journal, [100])
    await journal.close()
    disk.damage(MAIL_FILE, places[1] & 0xFFFFFFFF, b"\xff" * 16)
    journal = opened(disk)
    assert sorted(mail.live[0].message_id for mail in recovered(journal)) == [1, 3, 4, 5, 6, 100]
    (damage,) = journal.damage
    assert damage.offset == places[1] & 0xFFFFFFFF and damage.length == places[2] - places[1]
    assert (damage.place, damage.ids, damage.indexes) == (places[1], (2,), (0,))
    report = audit(DIRECTORY, disk)
    assert (report.lost, report.difference) == ([2], 1)
    assert not report.clean
    await journal.close()


async def test_a_sender_can_not_plant_records_in_a_message() -> None:
    """Content full of records, valid under any salt but the journal's, is not taken for records when the header of the
    message around it is damaged."""
    disk = MemoryDisk()
    journal = opened(disk, 65_536)
    place = await put(journal, [1])
    forged = b""
    for offset in range(128, 1024, 8):
        at = 1 << 32 | offset
        event = b"".join(pack_event(Event(1, 2, b"{}", flags=2, place=place), at, 0))
        mail = b"".join(pack_mail(Mail([666], 0, b"", b"", b"forged"), at, 0))
        forged += event + mail
    forged_place = await put(journal, [2], forged)
    await put(journal, [3])
    await journal.close()
    disk.damage(MAIL_FILE, forged_place & 0xFFFFFFFF, b"\xff")
    journal = opened(disk, 65_536)
    assert sorted(mail.live[0].message_id for mail in recovered(journal)) == [1, 3]
    await journal.close()


@pytest.mark.parametrize("path", [MAIL_FILE, EVENT_FILE])
async def test_a_damaged_file_header_costs_nothing_but_a_finding(path: Path) -> None:
    disk, places = await filled()
    journal = opened(disk)
    list(journal.recover())
    await put(journal, [100])
    await journal.close()
    disk.damage(path, 3, b"???")
    (finding,) = check(DIRECTORY, disk).findings
    assert finding.offset == 0 and "header" in finding.reason
    journal = opened(disk)
    assert len(recovered(journal)) == len(places) + 1
    assert len(all_events(journal)) == len(places) + 1
    await put(journal, [101])
    await journal.close()


async def test_a_damaged_last_file_header_costs_nothing_either() -> None:
    disk, places = await filled()
    for path in (MAIL_FILE, EVENT_FILE):
        bad = copy(disk)
        bad.damage(path, 30, b"???")
        journal = opened(bad)
        assert len(recovered(journal)) == len(places)
        assert len(all_events(journal)) == len(places)
        await put(journal, [100])
        await journal.close()


async def test_files_of_a_later_version_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroad.journal.format.VERSION", 4)
    disk, _ = await filled()
    monkeypatch.undo()
    with pytest.raises(
        JournalError, match=r"event-00000001.seg|mail-00000001.seg.*version 4; this program reads versions 1 to 3"
    ):
        opened(disk)
    # The failed try has left the lock alone.
    monkeypatch.setattr("postroad.journal.format.VERSION", 4)
    await opened(disk).close()


async def test_foreign_files_are_left_alone() -> None:
    disk, places = await filled()
    for name in ("notes.txt", "mail-1.seg", "mail-00000009.seg.bak", "core"):
        disk.create(DIRECTORY / name, 10)
    journal = opened(disk)
    assert len(recovered(journal)) == len(places)
    await journal.close()
    assert {"notes.txt", "mail-1.seg", "mail-00000009.seg.bak", "core"} <= set(disk.list(DIRECTORY))


def lost(journal: Journal) -> list[tuple[int, int, int]]:
    """(message id, index, place) of the messages that the damage found by recovery names."""
    return sorted(
        (one, index, damage.place)
        for damage in journal.damage
        for one, index in zip(damage.ids, damage.indexes, strict=True)
    )


async def all_ended(disk: MemoryDisk, expected: list[tuple[int, int, int]]) -> None:
    """Each start names these messages as lost, until they are ended; then all is well."""
    for _ in range(2):
        journal = opened(disk)
        live = {entry.message_id for mail in recovered(journal) for entry in mail.live}
        assert lost(journal) == expected
        assert not live & {one for one, _, _ in expected}
        journal.abandon()  # before anybody could end them
    journal = opened(disk)
    list(journal.recover())
    place = await put(journal, [1000])
    assert place not in [one for _, _, one in expected]
    for one, index, place in lost(journal):
        await tell(journal, ended(one, place, index))
    await journal.close()
    assert audit(DIRECTORY, disk).clean
    journal = opened(disk)
    assert 1000 in [mail.live[0].message_id for mail in recovered(journal)]
    assert lost(journal) == []
    await journal.close()
    assert audit(DIRECTORY, disk).clean


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("at, octets", [(8, 1), (20, 1), (66, 1), (0, 200)])
async def test_messages_whose_ids_are_damaged_are_known_from_the_events(sealed: bool, at: int, octets: int) -> None:
    disk = MemoryDisk()
    journal = opened(disk)
    await put(journal, [1])
    place = await put(journal, [2, 3, 4], b"x" * 300)
    await put(journal, [5])
    await tell(journal, ended(3, place, 1))
    await journal.close()
    if sealed:
        journal = opened(disk)
        list(journal.recover())
        await put(journal, [6])
        await journal.close()
    disk.damage(MAIL_FILE, (place & 0xFFFFFFFF) + at, b"\xee" * octets)
    await all_ended(disk, [(2, 0, place), (4, 2, place)])


async def test_records_lost_at_the_end_are_known_from_the_events() -> None:
    """A disk that lied about its syncs: the mail is gone, the later events are not."""
    disk, places = await filled()
    cut(disk, MAIL_FILE, (places[3] & 0xFFFFFFFF) + 30)
    await all_ended(disk, [(number, 0, places[number - 1]) for number in (4, 5, 6)])


async def test_a_segment_that_lost_all_records_is_not_filled_again() -> None:
    """The new mail would stand at places that events told of before."""
    disk, places = await filled(3)
    cut(disk, MAIL_FILE, FILE_HEADER_SIZE)
    await all_ended(disk, [(number, 0, places[number - 1]) for number in (1, 2, 3)])


async def test_messages_of_a_file_that_is_gone_are_known_from_the_events() -> None:
    disk = MemoryDisk()
    journal = opened(disk, 2048)
    places = {number: await put(journal, [number], b"x" * 500) for number in range(1, 12)}
    gone = [number for number, place in places.items() if place >> 32 == 2]
    await tell(journal, ended(gone[0], places[gone[0]]))
    await journal.close()
    disk.unlink(DIRECTORY / "mail-00000002.seg")
    assert len(gone) > 1
    await all_ended(disk, [(number, 0, places[number]) for number in gone[1:]])


async def test_a_damaged_copy_of_a_message_is_known_from_the_events() -> None:
    """Its place in the injection event is gone with the segment that compaction emptied."""
    disk = MemoryDisk()
    journal = opened(disk, 4096)
    list(journal.recover())
    journal.state_of = lambda message_id: None
    moved: dict[int, int] = {}
    journal.on_moved = lambda message_id, old, new: moved.update({message_id: new})
    places = {number: await put(journal, [number], b"x" * 500) for number in range(1, 14)}
    for number in (1, 3, 4, 5, 6):
        await tell(journal, ended(number, places[number]))
    assert await journal.compact(0.5) == 1 and moved.keys() == {2}
    await tell(journal, ended(13, places[13]))  # a commit, in which the emptied segment goes
    await journal.close()
    assert "mail-00000001.seg" not in disk.list(DIRECTORY)
    segment, offset = moved[2] >> 32, moved[2] & 0xFFFFFFFF
    disk.damage(DIRECTORY / f"mail-{segment:08d}.seg", offset + 20, b"\xee")
    await all_ended(disk, [(2, 0, places[2])])


async def test_a_message_whose_end_is_damaged_is_not_called_lost() -> None:
    """Its mail is gone because it was delivered."""
    disk = MemoryDisk()
    journal = opened(disk, 2048)
    list(journal.recover())
    places = {number: await put(journal, [number], b"x" * 500) for number in range(1, 9)}
    for number, place in places.items():
        if place >> 32 == 1:
            await tell(journal, ended(number, place))
    cursor = journal.end_cursor()
    last = await put(journal, [100])
    await journal.close()
    for number in range(101, 104):
        journal = opened(disk, 2048)
        list(journal.recover())
        await put(journal, [number])
        await journal.close()
    assert "mail-00000001.seg" not in disk.list(DIRECTORY)
    ends = [one for one in dump(DIRECTORY, stream="event", disk=disk) if one.fields["flags"] == TERMINAL]
    assert ends[-1].segment == cursor >> 32 < max(one.segment for one in dump(DIRECTORY, stream="event", disk=disk))
    disk.damage(DIRECTORY / f"event-{ends[-1].segment:08d}.seg", ends[-1].offset + 20, b"\xee")
    journal = opened(disk)
    list(journal.recover())
    assert lost(journal) == []
    assert [damage.stream for damage in journal.damage] == ["event"]
    await journal.close()
    # Not even when there is one to be called so.
    disk.damage(DIRECTORY / f"mail-{last >> 32:08d}.seg", (last & 0xFFFFFFFF) + 20, b"\xee")
    journal = opened(disk)
    list(journal.recover())
    assert lost(journal) == [(100, 0, last)]
    await journal.close()
