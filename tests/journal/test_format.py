"""The bytes of records and headers: what goes in comes out, and nothing else passes for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.journal import Event, JournalDamaged, JournalError, LiveRecipient, Mail
from postroad.journal.format import (
    EVENT,
    FILE_HEADER_SIZE,
    MAIL,
    VERSION,
    FileHeader,
    MovedMail,
    aligned,
    event_size,
    mail_size,
    pack_event,
    pack_mail,
    pack_void,
    read_file_header,
    void_size,
)
from postroad.journal.scan import EventScanner, MailScanner, payload, row_is_whole
from postroad.lab.disks import MemoryDisk
from tests.journal.kit import DIRECTORY

U64 = st.integers(0, (1 << 64) - 1)
U48 = st.integers(0, (1 << 48) - 1)
U32 = st.integers(0, (1 << 32) - 1)
U16 = st.integers(0, 0xFFFF)
SEGMENT, SALT = 7, 0x0123_4567_89AB_CDEF
HERE = SEGMENT << 32


def file_of(buffers: list[list[bytes]]) -> tuple[MemoryDisk, int]:
    disk = MemoryDisk()
    data = bytes(FILE_HEADER_SIZE) + b"".join(b"".join(one) for one in buffers)
    disk.create(DIRECTORY / "file", 0).write([data], 0, sync=True)
    return disk, len(data)


events = st.builds(
    Event,
    U64,
    st.integers(0, 255),
    st.binary(max_size=300),
    flags=st.integers(0, 255),
    attempts=U16,
    next_attempt_ms=U48,
    place=U64,
    index=U16,
    time_ms=U48,
)
mails = st.builds(
    Mail,
    st.lists(U64, min_size=1, max_size=5),
    U48,
    st.binary(max_size=50),
    st.binary(max_size=20),
    st.binary(max_size=500),
)


@given(st.lists(events, max_size=6), st.sampled_from([64, 100, 1 << 20]))
def test_events_come_out_as_they_went_in(written: list[Event], window: int) -> None:
    at, buffers = FILE_HEADER_SIZE, []
    for event in written:
        buffers.append(pack_event(event, HERE | at, SALT))
        assert sum(map(len, buffers[-1])) == event_size(event)
        at += event_size(event)
    disk, end = file_of(buffers)
    scanner = EventScanner(disk.open(DIRECTORY / "file"), SEGMENT, SALT, end)
    read = [(row, payload(some, row)) for some in scanner.windows(window) for row in some.rows]
    assert [
        (r.message_id, r.kind, r.flags, r.attempts, r.next_attempt_ms, r.place, r.index, r.time_ms, data)
        for r, data in read
    ] == [
        (e.message_id, e.kind, e.flags, e.attempts, e.next_attempt_ms, e.place, e.index, e.time_ms, e.payload)
        for e in written
    ]
    assert scanner.end == end and not scanner.gaps


@given(st.lists(mails, max_size=4), st.booleans(), st.sampled_from([64, 200, 1 << 20]))
def test_mails_come_out_as_they_went_in(written: list[Mail], moved: bool, window: int) -> None:
    at, buffers = FILE_HEADER_SIZE, []
    expected = []
    for mail in written:
        entries = [LiveRecipient(one, 9 - i, i, i * 1000) for i, one in enumerate(mail.ids)]
        record: Mail | MovedMail = MovedMail(mail, entries, 3) if moved else mail
        expected.append(entries if moved else [LiveRecipient(one, i, 0, 0) for i, one in enumerate(mail.ids)])
        buffers.append(pack_mail(record, HERE | at, SALT))
        assert sum(map(len, buffers[-1])) == mail_size(record)
        at += mail_size(record)
    disk, end = file_of(buffers)
    file = disk.open(DIRECTORY / "file")
    scanner = MailScanner(file, SEGMENT, SALT, end)
    rows = list(scanner.rows(window))
    assert [row.entries for row in rows] == expected
    assert [(row.meta, row.head.received_ms, row.moved) for row in rows] == [
        (mail.meta, mail.received_ms, moved) for mail in written
    ]
    assert all(row_is_whole(file, row) for row in rows)
    assert scanner.end == end and not scanner.gaps


@pytest.mark.parametrize("salt, segment, shift", [(SALT + 1, SEGMENT, 0), (SALT, SEGMENT + 1, 0), (SALT, SEGMENT, 8)])
def test_a_record_is_valid_only_where_it_was_written(salt: int, segment: int, shift: int) -> None:
    event = pack_event(Event(1, 2, b"{}"), HERE | FILE_HEADER_SIZE, SALT)
    disk, end = file_of([[bytes(shift)], event])
    scanner = EventScanner(disk.open(DIRECTORY / "file"), segment, salt, end)
    assert list(scanner.rows()) == []
    assert [gap.length for gap in scanner.gaps] == [end - FILE_HEADER_SIZE]


def test_a_void_record_is_passed_over_in_silence() -> None:
    length = 200
    buffers = [[pack_void(length, HERE | FILE_HEADER_SIZE, SALT) + b"\xff" * (length - 64)]]
    buffers.append(pack_event(Event(1, 2, b"{}"), HERE | FILE_HEADER_SIZE + length, SALT))
    disk, end = file_of(buffers)
    scanner = EventScanner(disk.open(DIRECTORY / "file"), SEGMENT, SALT, end)
    assert [row.message_id for row in scanner.rows()] == [1]
    assert not scanner.gaps
    assert void_size(b"".join(buffers[0]), 0, SALT ^ (HERE | FILE_HEADER_SIZE) ^ 8) == 0


@given(st.sampled_from([MAIL, EVENT]), st.lists(U32, min_size=8, max_size=8), st.lists(U48, min_size=5, max_size=5))
def test_file_headers_come_out_as_they_went_in(stream: int, small: list[int], large: list[int]) -> None:
    header = FileHeader(
        stream,
        small[0],
        small[1],
        small[2],
        large[0],
        large[1],
        large[2],
        large[3],
        large[4],
        small[3],
        small[4],
        small[5],
        small[6],
        small[7],
    )
    assert read_file_header(header.pack()) == header


def test_every_flipped_bit_of_a_file_header_is_seen() -> None:
    good = FileHeader(MAIL, 0, 1, 0, 0, 1_700_000_000_000, SALT).pack()
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(JournalDamaged):
            read_file_header(bytes(bad))


def test_another_version_is_told_apart_from_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroad.journal.format.VERSION", VERSION + 1)
    later = FileHeader(MAIL, 0, 1, 0, 0, 1, SALT).pack()
    monkeypatch.undo()
    with pytest.raises(JournalError, match=f"version {VERSION + 1}; this program reads versions 1 to {VERSION}"):
        read_file_header(later)


@given(st.integers(0, 1 << 40))
def test_alignment(size: int) -> None:
    assert aligned(size) % 8 == 0 and 0 <= aligned(size) - size < 8
