"""How an engine is, in numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from postroad.console.parts import Parts


def overview(parts: Parts) -> dict[str, Any]:
    queue = parts.queue
    refusal = queue.refusal()
    return {
        "messages": len(queue),
        "in_flight": queue.in_flight,
        "paths": len(queue.paths()),
        "recovered": parts.recovered(),
        "refusal": None if refusal is None else str(refusal),
        "sessions": parts.sessions(),
        "refused": queue.refused,
        "rejections": queue.rejections,
        "suspensions": len(queue.suspensions.rules),
        "resident_octets": queue.resident,
        "delivery": parts.deliverer.stats()._asdict(),
        "journal": asdict(parts.journal.stats()),
    }


async def lags(parts: Parts) -> dict[str, float]:
    """Seconds that each consumer of events is behind: the age of the first event it has not acknowledged."""
    return await parts.off_loop(_lags, parts, parts.clock.wall())  # type: ignore[no-any-return]


def _lags(parts: Parts, wall: float) -> dict[str, float]:
    """Blocking."""
    found = {}
    for name, cursor in parts.hose.standing().items():
        events, _ = parts.journal.read_events(cursor, 1)
        found[name] = max(0.0, wall - events[0].time_ms / 1000) if events else 0.0
    return found
