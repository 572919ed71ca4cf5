"""What memory holds of a queued message whose body and envelope only the journal has: 38 bytes in a `bytes` object.

A million Python objects with attributes cost four times as much and make each full garbage collection a pause of a
quarter of a second (proto.md 7); packed bytes are one flat allocation that the collector never looks at.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

_PACK = Struct("<QHHIIIIBBHI")
_LINE = Struct("<12xI8xIB")  # path, next_attempt and state of the same
_EXPIRES = Struct("<20xI")
_FLOW = Struct("<32xI")
_STATE_AT = 28
_U32 = 0xFFFFFFFF


class State(IntEnum):
    """Where a live message is. Every change is made by queue alone."""

    ACTIVE = 1
    DELAYED = 2
    IN_FLIGHT = 3
    SETTLING = 4  # its last event is being written


class Why(IntEnum):
    """Why a message waits, recorded each time it is put somewhere."""

    RECEIVED = 1
    DUE = 2
    RECOVERED = 3
    DEFERRED = 4
    HANDED_BACK = 5
    UNREAD = 6
    OPERATOR = 7


class Entry(NamedTuple):
    """place, slot: the journal's record, and which of its recipients. path: number of its queue. received, expires,
    next_attempt: Unix seconds. code: last SMTP reply code (0: none yet). attempts saturates at 65535.
    flow: whose turns it takes (order.py).
    """

    place: int
    slot: int
    attempts: int
    path: int
    received: int
    expires: int
    next_attempt: int
    state: State
    why: Why
    code: int
    flow: int = 0

    def pack(self) -> bytes:
        return _PACK.pack(
            self.place,
            self.slot,
            min(self.attempts, 0xFFFF),
            self.path,
            self.received & _U32,
            min(self.expires, _U32),
            min(self.next_attempt, _U32),
            self.state,
            self.why,
            self.code,
            self.flow,
        )


def unpack(packed: bytes) -> Entry:
    place, slot, attempts, path, received, expires, next_attempt, state, why, code, flow = _PACK.unpack(packed)
    return Entry(place, slot, attempts, path, received, expires, next_attempt, State(state), Why(why), code, flow)


def stands_in(packed: bytes) -> tuple[int, int, int]:
    """(path, next_attempt, state), a tenth of the work of unpack()."""
    return _LINE.unpack_from(packed)


def flow_of(packed: bytes) -> int:
    return int(_FLOW.unpack_from(packed)[0])


def expiry_of(packed: bytes) -> int:
    return int(_EXPIRES.unpack_from(packed)[0])


def made_active(packed: bytes, why: Why) -> bytes:
    """The same message, due now."""
    return packed[: _STATE_AT - 4] + bytes((0, 0, 0, 0, State.ACTIVE, why)) + packed[_STATE_AT + 2 :]
