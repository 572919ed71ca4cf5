"""The bytes of the journal, version 3; earlier ones are read as well (1 lacks HOMED and what counts it, 2 lacks JOB).
The written description is docs/reference/journal-format.md.

All integers are little-endian; every record begins at a multiple of 8. A header's check is keyed with the journal's
salt and the record's own position, so that bytes which a sender put into a message can't pass for a record, even when
damage makes a reader search for the next one.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from xxhash import xxh3_64, xxh3_64_intdigest

from postroad.journal.errors import JournalDamaged, JournalError
from postroad.journal.records import Event, LiveRecipient, Mail

VERSION = 3
OLDEST_VERSION = 1
MAIL, EVENT = 1, 2
STREAM_NAMES = {MAIL: "mail", EVENT: "event"}

FILE_MAGIC = b"POSTROAD"
MAIL_MAGIC = 0x4C49414D  # "MAIL"
EVENT_MAGIC = 0x544E5645  # "EVNT"
VOID_MAGIC = 0x44494F56  # "VOID"
MAGIC_BYTES = {MAIL: MAIL_MAGIC.to_bytes(4, "little"), EVENT: EVENT_MAGIC.to_bytes(4, "little")}

# magic, version, stream, spare, engine, segment, previous, previous_end, created_ms, salt,
# accepted, terminal, accepted_place, accepted_index, low, high, spare, last_id, homed_in, homed_out, spare, check
FILE_HEADER = Struct("<8sHBxIIIQQQQQQIII4xQQQ8xQ")
FILE_HEADER_SIZE = FILE_HEADER.size
_FILE_CHECKED = FILE_HEADER_SIZE - 8

# magic, kind, flags, index, length, attempts, spare, message_id, place, next_attempt_ms, time_ms, payload_hash, check
EVENT_HEADER = Struct("<IBBHIH2xQQQQQQ")
_EVENT_HEAD = Struct("<IBBHIH2xQQQQQ")
_CHECK = Struct("<Q")
# magic, flags, spare, count, meta, trace, origin, content, received_ms, meta_hash, body_hash, entries_check, check
MAIL_HEADER = Struct("<IB3xIIIIQQQQII")
_MAIL_HEAD = Struct("<IB3xIIIIQQQQI")
_MAIL_CHECK = Struct("<I")
HEADER_SIZE = 64
EVENT_CHECKED = 56
_MAIL_CHECKED = 60
_U32 = 0xFFFFFFFF
# Flags of a mail record.
MOVED = 1  # a copy made by compaction
HOMED_MAIL = 2  # it came from the journal of another engine
_STATED = MOVED | HOMED_MAIL  # its entries carry the messages' state
_MOVED_ENTRY = Struct("<QHH4xQ")  # id, index, attempts, next_attempt_ms

MAX_ATTEMPTS = 0xFFFF
MAX_RECORD = 1 << 31
_PADDING = (b"", b"\0" * 7, b"\0" * 6, b"\0" * 5, b"\0" * 4, b"\0" * 3, b"\0" * 2, b"\0")

Buffers = list[bytes]


class FileHeader(NamedTuple):
    """How a segment file begins. What it says about the stream is as of this segment's begin.

    previous, previous_end: the segment before it and the offset behind that one's last kept record: bytes from there on
    were never acknowledged. low, high: lowest and highest mail segment that events of the previous segment refer to
    (0, 0: none). accepted, terminal: ACCEPTED and TERMINAL events ever written. accepted_place, accepted_index: of the
    one with the highest place. last_id: highest message id. homed_in, homed_out: how many of the ACCEPTED and TERMINAL
    events are HOMED. From accepted on they are 0 in mail segments.
    """

    stream: int
    engine: int
    segment: int
    previous: int
    previous_end: int
    created_ms: int
    salt: int
    accepted: int = 0
    terminal: int = 0
    accepted_place: int = 0
    accepted_index: int = 0
    low: int = 0
    high: int = 0
    last_id: int = 0
    homed_in: int = 0
    homed_out: int = 0

    def pack(self) -> bytes:
        head = FILE_HEADER.pack(FILE_MAGIC, VERSION, *self, 0)[:_FILE_CHECKED]
        return head + _CHECK.pack(xxh3_64_intdigest(head))


def read_file_header(data: bytes) -> FileHeader:
    """data: the first FILE_HEADER_SIZE bytes or more. Raises JournalDamaged, and JournalError for another version."""
    if len(data) < FILE_HEADER_SIZE or data[: len(FILE_MAGIC)] != FILE_MAGIC:
        raise JournalDamaged("no segment header")
    _, version, *fields, check = FILE_HEADER.unpack_from(data)
    # Every version keeps magic, version and check where they are, so damage is not mistaken for another version.
    if check != xxh3_64_intdigest(data[:_FILE_CHECKED]):
        raise JournalDamaged("the segment header's check does not match")
    if not OLDEST_VERSION <= version <= VERSION:
        known = f"versions {OLDEST_VERSION} to {VERSION}"
        raise JournalError(f"written in format version {version}; this program reads {known}")
    return FileHeader(*fields)


def aligned(size: int) -> int:
    return size + 7 & ~7


def event_size(event: Event) -> int:
    return HEADER_SIZE + (len(event.payload) + 7 & ~7)


def pack_event(event: Event, place: int, salt: int) -> Buffers:
    """place: where the record will stand."""
    payload = event.payload
    attempts = event.attempts
    head = _EVENT_HEAD.pack(
        EVENT_MAGIC,
        event.kind,
        event.flags,
        event.index,
        len(payload),
        attempts if attempts < MAX_ATTEMPTS else MAX_ATTEMPTS,
        event.message_id,
        event.place,
        event.next_attempt_ms,
        event.time_ms,
        xxh3_64_intdigest(payload),
    )
    # One small buffer is cheaper than four in a pwritev.
    check = _CHECK.pack(xxh3_64_intdigest(head, salt ^ place))
    return [head + check + payload + _PADDING[len(payload) & 7]]


# magic, spare, length of the whole record, spare, check: what recovery writes over bytes that it found not to be kept,
# so that they are reported once.
_VOID_HEAD = Struct("<I4xQ40x")


def pack_void(length: int, place: int, salt: int) -> bytes:
    """The header of a void record of this length (64 or more, a multiple of 8)."""
    head = _VOID_HEAD.pack(VOID_MAGIC, length)
    return head + _CHECK.pack(xxh3_64_intdigest(head, salt ^ place))


def void_size(data: bytes, at: int, key: int) -> int:
    """Length of the void record at data[at:]; 0 when there is none. key: salt ^ place."""
    magic, length = _VOID_HEAD.unpack_from(data, at)
    checked = at + EVENT_CHECKED
    if magic != VOID_MAGIC or data[checked : checked + 8] != _CHECK.pack(xxh3_64_intdigest(data[at:checked], key)):
        return 0
    return int(length)


class MovedMail:
    """Messages of one record that are not done, with their state. flags: MOVED, what compaction writes; origin is the
    old segment. Or HOMED_MAIL, what comes from another journal; origin is 0."""

    __slots__ = ("flags", "live", "mail", "origin")

    def __init__(self, mail: Mail, live: list[LiveRecipient], origin: int, flags: int = MOVED) -> None:
        self.mail = mail
        self.live = live
        self.origin = origin
        self.flags = flags


def mail_size(record: Mail | MovedMail) -> int:
    if isinstance(record, MovedMail):
        mail, entries = record.mail, len(record.live) * _MOVED_ENTRY.size
    else:
        mail, entries = record, len(record.ids) * 8
    return HEADER_SIZE + entries + (len(mail.meta) + len(mail.trace) + len(mail.content) + 7 & ~7)


def pack_mail(record: Mail | MovedMail, place: int, salt: int) -> Buffers:
    """The record as separate buffers: content is not copied. place: where it will stand."""
    if isinstance(record, MovedMail):
        mail, flags, origin, count = record.mail, record.flags, record.origin, len(record.live)
        entries = b"".join(
            _MOVED_ENTRY.pack(entry.message_id, entry.index, min(entry.attempts, MAX_ATTEMPTS), entry.next_attempt_ms)
            for entry in record.live
        )
    else:
        mail, flags, origin, count = record, 0, 0, len(record.ids)
        entries = Struct(f"<{count}Q").pack(*record.ids) if count != 1 else _CHECK.pack(record.ids[0])
    meta, trace, content = mail.meta, mail.trace, mail.content
    head = _MAIL_HEAD.pack(
        MAIL_MAGIC,
        flags,
        count,
        len(meta),
        len(trace),
        origin,
        len(content),
        mail.received_ms,
        xxh3_64_intdigest(meta),
        body_hash(trace, content),
        xxh3_64_intdigest(entries, salt ^ place) & _U32,
    )
    check = _MAIL_CHECK.pack(xxh3_64_intdigest(head, salt ^ place) & _U32)
    front = head + check + entries + meta + trace
    padding = _PADDING[len(meta) + len(trace) + len(content) & 7]
    return [front, content, padding] if padding else [front, content]


def body_hash(trace: bytes, content: bytes | memoryview) -> int:
    if not trace:
        return xxh3_64_intdigest(content)
    state = xxh3_64(trace)
    state.update(content)
    return state.intdigest()


class MailHead(NamedTuple):
    """The fixed front of a mail record; see Mail. origin: the segment that compaction copied it from, else 0."""

    flags: int
    recipients: int
    meta_length: int
    trace_length: int
    origin: int
    content_length: int
    received_ms: int
    meta_hash: int
    body_hash: int
    entries_check: int

    @property
    def front_size(self) -> int:
        """Octets before the meta: header and entries."""
        return HEADER_SIZE + self.recipients * (_MOVED_ENTRY.size if self.flags & _STATED else 8)

    @property
    def record_size(self) -> int:
        return self.front_size + aligned(self.meta_length + self.trace_length + self.content_length)


def read_mail_head(data: bytes, at: int, key: int) -> MailHead | None:
    """What stands at data[at:], or None when no mail record begins there. key: salt ^ place."""
    magic, *fields, check = MAIL_HEADER.unpack_from(data, at)
    if magic != MAIL_MAGIC or check != xxh3_64_intdigest(data[at : at + _MAIL_CHECKED], key) & _U32:
        return None
    return MailHead._make(fields)


def read_mail_entries(data: bytes, at: int, head: MailHead, key: int) -> list[LiveRecipient] | None:
    """The messages of the record at data[at:], or None when they are damaged. key: salt ^ place."""
    entries = data[at + HEADER_SIZE : at + head.front_size]
    if head.entries_check != xxh3_64_intdigest(entries, key) & _U32:
        return None
    if head.flags & _STATED:
        return [LiveRecipient._make(fields) for fields in _MOVED_ENTRY.iter_unpack(entries)]
    if head.recipients == 1:
        return [LiveRecipient(int.from_bytes(entries, "little"), 0, 0, 0)]
    return [LiveRecipient(fields[0], index, 0, 0) for index, fields in enumerate(_CHECK.iter_unpack(entries))]
