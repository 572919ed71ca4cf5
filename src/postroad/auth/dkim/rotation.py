"""Which key signs when: keys follow each other, each published before it signs and after it has signed.

Signatures are checked days after they were made, and resolvers remember that a name was not there; so a record must
stand before `active_from` and stay after `active_until`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from postroad.auth.dkim.keys import Algorithm

# A negative answer may be kept for hours (RFC 2308 5), and secondaries need their time.
PUBLISH_AHEAD = 2 * 86400.0
# Mail waits in queues for up to five days, then in mailboxes.
KEEP_AFTER = 7 * 86400.0


class Slot(NamedTuple):
    """A key's time. active_from, active_until: seconds since 1970, the end not included; None is without end."""

    domain: str
    selector: str
    algorithm: Algorithm
    active_from: float | None = None
    active_until: float | None = None


def _active(slot: Slot, now: float) -> bool:
    begun = slot.active_from is None or slot.active_from <= now
    return begun and (slot.active_until is None or now < slot.active_until)


def signing(slots: Iterable[Slot], domain: str, now: float) -> list[Slot]:
    """The keys that sign for the domain now: of each algorithm the one that began last, so that a newcomer takes over
    at once while its predecessor's time still runs. In the order of `Algorithm`."""
    chosen: dict[Algorithm, Slot] = {}
    for slot in slots:
        if slot.domain == domain and _active(slot, now):
            best = chosen.get(slot.algorithm)
            if best is None or _began(slot) > _began(best):
                chosen[slot.algorithm] = slot
    return [chosen[algorithm] for algorithm in Algorithm if algorithm in chosen]


def _began(slot: Slot) -> float:
    return float("-inf") if slot.active_from is None else slot.active_from


def published(
    slots: Iterable[Slot], now: float, *, ahead: float = PUBLISH_AHEAD, after: float = KEEP_AFTER
) -> list[Slot]:
    """The keys whose records must stand in DNS now."""
    return [
        slot
        for slot in slots
        if (slot.active_from is None or slot.active_from - ahead <= now)
        and (slot.active_until is None or now < slot.active_until + after)
    ]


def due(slots: Iterable[Slot], now: float, *, after: float = KEEP_AFTER) -> list[Slot]:
    """The keys whose records may be revoked (p= empty) and whose private halves may go."""
    return [slot for slot in slots if slot.active_until is not None and slot.active_until + after <= now]
