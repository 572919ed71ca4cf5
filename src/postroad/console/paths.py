"""The paths as an operator lists them: domains that are delivered together are one line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from postroad.console import arguments as given
from postroad.console.parts import Parts
from postroad.console.watch import Watch
from postroad.queue import Path, PathCount, Rollup

MEMBERS = 100  # domains of one path that are named; there may be a hundred thousand


def summary(parts: Parts, watch: Watch, wanted: given.Paths) -> dict[str, Any]:
    """Lines of the summary, the fullest first. A domain that is asked for by its name has a line of its own always."""
    queue = parts.queue
    rows: list[dict[str, Any]] = []
    shared: dict[Rollup, list[PathCount]] = {}
    for count in queue.summary():
        if wanted.binding not in ("", count.binding):
            continue
        path = queue.path(count.binding, count.domain)
        rollup = None if path is None else path.rollup
        if rollup is not None and wanted.domain in ("", rollup.name):
            shared.setdefault(rollup, []).append(count)
        elif wanted.domain in ("", count.domain):
            rows.append(_alone(parts, watch, count, rollup))
    rows += [_together(parts, watch, rollup, some) for rollup, some in shared.items()]
    rows.sort(key=lambda row: -(row["active"] + row["delayed"] + row["in_flight"]))
    return {"total": len(rows), "paths": rows[: wanted.limit]}


def _alone(parts: Parts, watch: Watch, count: PathCount, rollup: Rollup | None) -> dict[str, Any]:
    path = parts.queue.path(count.binding, count.domain)
    return count._asdict() | {
        "rate": None if path is None else watch.rate(count.binding, count.domain, path.settled, parts.now()),
        "suspended": _held(parts, count),
        "rollup": "" if rollup is None else rollup.name,
        "domains": [count.domain],
    }


def _together(parts: Parts, watch: Watch, rollup: Rollup, counts: list[PathCount]) -> dict[str, Any]:
    """counts: of its domains that have mail, the fullest first."""
    due = [count.next_due for count in counts if count.next_due is not None]
    return {
        "binding": rollup.binding,
        "domain": rollup.name,
        "active": sum(count.active for count in counts),
        "delayed": sum(count.delayed for count in counts),
        "in_flight": sum(count.in_flight for count in counts),
        "next_due": min(due, default=None),
        "rate": rate_of(watch, rollup.members, parts.now()),
        "suspended": all(_held(parts, count) for count in counts),
        "rollup": rollup.name,
        "domains": [count.domain for count in counts[:MEMBERS]],
    }


def rate_of(watch: Watch, paths: Iterable[Path], now: float) -> float | None:
    """Attempts a second that ended on these lately."""
    rates = [watch.rate(path.binding, path.domain, path.settled, now) for path in paths]
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def _held(parts: Parts, count: PathCount) -> bool:
    return parts.queue.suspensions.holding(count.binding, count.domain) is not None


def members(rollup: Rollup) -> list[str]:
    """Its domains that have mail, by name, not more than MEMBERS."""
    return sorted(path.domain for path in rollup.members)[:MEMBERS]
