"""docs/reference/journal-format.md says the truth: a reader made from its tables alone finds what was written."""

from __future__ import annotations

import re
from pathlib import Path

from xxhash import xxh3_64_intdigest

from postroad.journal import Event, LiveRecipient, Mail
from postroad.journal.format import EVENT, HOMED_MAIL, FileHeader, MovedMail, pack_event, pack_mail

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "journal-format.md"
PLACE, SALT = 3 << 32 | 4096, 0x1122_3344_5566_7788


def table(heading: str) -> dict[str, tuple[int, int]]:
    """Field: (offset, size), of the first table under the heading."""
    section = PAGE.read_text().split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\w+) \|", section, re.MULTILINE)
    assert rows
    return {name: (int(offset), int(size)) for offset, size, name in rows}


def read(data: bytes, heading: str) -> dict[str, int]:
    return {
        name: int.from_bytes(data[offset : offset + size], "little") for name, (offset, size) in table(heading).items()
    }


def text(number: int) -> bytes:
    return number.to_bytes(8, "little").rstrip(b"\0")


def test_file_header() -> None:
    header = FileHeader(EVENT, 5, 7, 6, 999, 1_700_000_000_123, SALT, 10, 8, PLACE, 2, 3, 4, 77, 5, 6)
    data = header.pack()
    fields = read(data, "File header, 128 bytes")
    assert len(data) == 128
    assert data[:8] == b"POSTROAD" == text(fields.pop("magic"))
    assert fields.pop("version") == 3
    assert fields.pop("check") == xxh3_64_intdigest(data[:120])
    assert fields == header._asdict()


def test_event_record() -> None:
    event = Event(
        123, 4, b'{"a":1}', flags=3, attempts=6, next_attempt_ms=7, place=PLACE - 8, index=9, time_ms=1_700_000_000_000
    )
    data = b"".join(pack_event(event, PLACE, SALT))
    fields = read(data, "Event record")
    assert text(fields.pop("magic")) == b"EVNT"
    assert fields.pop("check") == xxh3_64_intdigest(data[:56], SALT ^ PLACE)
    assert fields.pop("payload_hash") == xxh3_64_intdigest(event.payload)
    length = fields.pop("length")
    assert data[64 : 64 + length] == event.payload and data[64 + length :] == b"\0"
    assert fields == {name: getattr(event, name) for name in fields}
    assert len(fields) == 8


def test_mail_record() -> None:
    mail = Mail([11, 12], 1_700_000_000_000, b"meta", b"trace", b"content")
    live = [LiveRecipient(12, 1, 5, 600)]
    moved = Mail([12], mail.received_ms, mail.meta, mail.trace, mail.content)
    for record, entries, flags in (
        (mail, b"".join(one.to_bytes(8, "little") for one in mail.ids), 0),
        (
            MovedMail(moved, live, 2),
            (12).to_bytes(8, "little")
            + (1).to_bytes(2, "little")
            + (5).to_bytes(2, "little")
            + bytes(4)
            + (600).to_bytes(8, "little"),
            1,
        ),
        (
            MovedMail(moved, live, 0, HOMED_MAIL),
            (12).to_bytes(8, "little")
            + (1).to_bytes(2, "little")
            + (5).to_bytes(2, "little")
            + bytes(4)
            + (600).to_bytes(8, "little"),
            2,
        ),
    ):
        data = b"".join(pack_mail(record, PLACE, SALT))
        fields = read(data, "Mail record")
        assert text(fields["magic"]) == b"MAIL"
        assert fields["check"] == xxh3_64_intdigest(data[:60], SALT ^ PLACE) & 0xFFFFFFFF
        assert fields["entries_check"] == xxh3_64_intdigest(entries, SALT ^ PLACE) & 0xFFFFFFFF
        assert fields["meta_hash"] == xxh3_64_intdigest(b"meta")
        assert fields["body_hash"] == xxh3_64_intdigest(b"tracecontent")
        assert (fields["flags"], fields["recipients"], fields["origin"]) == (
            flags,
            1 if flags else 2,
            2 if flags == 1 else 0,
        )
        assert fields["received_ms"] == mail.received_ms
        assert (fields["meta_length"], fields["trace_length"], fields["content_length"]) == (4, 5, 7)
        assert data[64:].rstrip(b"\0") == entries + b"metatracecontent"
        assert len(data) % 8 == 0
