"""The values that go into the journal and come out of it.

place: where a mail record stands, `segment << 32 | offset`; 0 is no place. cursor: the same packing in the event
stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

# Flags of an event. Plain integers: they are tested for every event, and IntFlag is ten times slower.
ACCEPTED = 1  # the injection event of a message: exactly one for each recipient of each mail record
TERMINAL = 2  # the message is over; writing this event is what removes it
STATE = 4  # attempts and next_attempt_ms are the message's new state
# Beside ACCEPTED: the message came from the journal of another engine, where it was accepted. Beside TERMINAL: it went
# to one. Such an event is bookkeeping, without a payload.
HOMED = 8
# Beside STATE: how far a job is (see Progress). It counts whatever its place, and of several the furthest, since jobs
# only go on. Beside ACCEPTED: next_attempt_ms is the number of the job that the message was made by; a job's own event
# names the job itself.
JOB = 16

JOB_MARK = b"J"  # how the meta of a job's record begins; no envelope does: those are MessagePack arrays
JOB_SLICE = 24  # recipients of a job that are made at a time
MAX_JOB = (1 << 20) - 1  # recipients of a job

_OFFSET_BITS = 32
_OFFSET_MASK = (1 << _OFFSET_BITS) - 1


def pack_place(segment: int, offset: int) -> int:
    return segment << _OFFSET_BITS | offset


def split_place(place: int) -> tuple[int, int]:
    """(segment, offset)"""
    return place >> _OFFSET_BITS, place & _OFFSET_MASK


class Progress(NamedTuple):
    """How far a job is. It is kept where messages keep next_attempt_ms, in 64 bits.

    base: so many recipients from the first are done, a multiple of JOB_SLICE. mask: bit i: recipient base + i is done.
    failed: of those done, how many could not be made.
    """

    base: int = 0
    mask: int = 0
    failed: int = 0

    @classmethod
    def unpack(cls, packed: int) -> Progress:
        return cls(packed >> 44, packed >> 20 & (1 << JOB_SLICE) - 1, packed & MAX_JOB)

    @classmethod
    def of(cls, at: int) -> Progress:
        """That this one recipient is done."""
        return cls(at // JOB_SLICE * JOB_SLICE, 1 << at % JOB_SLICE)

    def pack(self) -> int:
        return self.base << 44 | self.mask << 20 | self.failed

    def covers(self, at: int) -> bool:
        return at < self.base or (at < self.base + JOB_SLICE and bool(self.mask >> at - self.base & 1))

    def joined(self, other: Progress) -> Progress:
        """What is done when both are true."""
        if self.base != other.base:
            further = max(self, other)
            return further._replace(failed=max(self.failed, other.failed))
        return Progress(self.base, self.mask | other.mask, max(self.failed, other.failed))


class Event:
    """One event about one message (or, with place 0, about none).

    kind: its type, 0..255, opaque here (events/kinds.py). flags: ACCEPTED, TERMINAL, STATE. attempts: 0..65535, larger
    values are kept as 65535. place, index: the mail record and the recipient in it; the journal fills in the place of
    ACCEPTED events. time_ms: Unix milliseconds, 0 for "when it is committed".
    payload: the JSON object that consumers will see, byte for byte. b"" is bookkeeping that no consumer sees.
    """

    __slots__ = ("attempts", "flags", "index", "kind", "message_id", "next_attempt_ms", "payload", "place", "time_ms")

    def __init__(
        self,
        message_id: int,
        kind: int,
        payload: bytes,
        *,
        flags: int = 0,
        attempts: int = 0,
        next_attempt_ms: int = 0,
        place: int = 0,
        index: int = 0,
        time_ms: int = 0,
    ) -> None:
        self.message_id = message_id
        self.kind = kind
        self.payload = payload
        self.flags = flags
        self.attempts = attempts
        self.next_attempt_ms = next_attempt_ms
        self.place = place
        self.index = index
        self.time_ms = time_ms


class Mail:
    """One transaction: a body and what is known of its recipients.

    ids: the message id of each recipient, in order. received_ms: Unix milliseconds. meta: opaque here (see
    queue/stored.py).
    """

    __slots__ = ("content", "ids", "meta", "received_ms", "trace")

    def __init__(self, ids: list[int], received_ms: int, meta: bytes, trace: bytes, content: bytes) -> None:
        self.ids = ids
        self.received_ms = received_ms
        self.meta = meta
        self.trace = trace
        self.content = content


class StoredMail(NamedTuple):
    """A mail record read back. indexes: the recipients' numbers in the original transaction; compaction leaves out
    those that are done, so they need not be 0, 1, 2 ..."""

    ids: list[int]
    indexes: list[int]
    received_ms: int
    meta: bytes
    trace: bytes
    content: bytes


class HoseEvent(NamedTuple):
    """An event as consumers see it. cursor: its own; next: the cursor just behind it, what a consumer acknowledges."""

    cursor: int
    next: int
    message_id: int
    kind: int
    flags: int
    time_ms: int
    payload: bytes


class LiveRecipient(NamedTuple):
    """A message that recovery found not done, and its last state (0, 0: never tried)."""

    message_id: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody misses
    attempts: int
    next_attempt_ms: int


class Rewrite(NamedTuple):
    """Messages of the record at place that shall have another meta, and their state. change: the record's meta -> the
    new one."""

    place: int
    live: list[LiveRecipient]
    change: Callable[[bytes], bytes]


class LiveMail(NamedTuple):
    """A mail record with at least one message that is not done. size: octets of trace and content. carried: it is a
    copy made by compaction: what was to be written with its original was written long ago."""

    place: int
    received_ms: int
    size: int
    meta: bytes
    live: list[LiveRecipient]
    carried: bool = False


class Damage(NamedTuple):
    """Bytes that are not as they were written. stream: "mail" or "event".

    ids, indexes: accepted messages that are lost with the bytes, from the record's header or, where that is lost too,
    from the events; the reader of this ends them with a TERMINAL event (place is theirs). length is 0 when there are
    not even bytes: the file is gone or was cut short.
    """

    stream: str
    segment: int
    offset: int
    length: int
    reason: str
    place: int = 0
    ids: tuple[int, ...] = ()
    indexes: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.stream} segment {self.segment}, offset {self.offset}, {self.length} bytes: {self.reason}"
