"""What a data folder says of its messages, read from the files while no server, or a killed one, owns them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from postroad.events import Kind
from postroad.journal import TERMINAL, EventReader, HoseEvent, audit_all, journal_folders
from tests.scenarios.server import Server


class Ends(NamedTuple):
    """ends: recipient address -> kind of its terminal event. most: terminal events written in the same millisecond, at
    the most: the events of one commit have one time stamp."""

    ends: dict[str, Kind]
    most: int


def ends(data: Path) -> Ends:
    """From the events that are still kept. The tests give each message an address of its own, the DSNs aside."""
    found: dict[str, Kind] = {}
    together: Counter[int] = Counter()
    for event in _kept(data):
        if event.flags & TERMINAL:
            found[json.loads(event.payload).get("rcpt_to", "")] = Kind(event.kind)
            together[event.time_ms] += 1
    return Ends(found, max(together.values(), default=0))


def events(data: Path) -> list[dict[str, Any]]:
    """All events that are still kept, decoded."""
    return [json.loads(event.payload) for event in _kept(data)]


def audit(server: Server) -> dict[str, Any]:
    """`postroad audit --json`, as the operator calls it. Neither it nor a look at each journal finds anything wrong."""
    total, each = audit_all(server.data)
    assert total.clean and all(one.clean for one in each.values()), each
    assert total.homed_in == total.homed_out, each
    done = server.command("audit", "--json", "--config", str(server.config))
    assert done.returncode == 0, f"postroad audit: {done.stdout}{done.stderr}"
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["accepted"] == result["terminal"] + result["queued"] + result["transmissions"] or not result["clean"]
    # Messages: the transmissions that are kept are told of by themselves.
    return {**result, "accepted": result["accepted"] - result["transmissions"]}


def _kept(data: Path) -> Iterator[HoseEvent]:
    for folder in journal_folders(data).values():
        yield from _kept_in(folder)


def _kept_in(folder: Path) -> Iterator[HoseEvent]:
    reader = EventReader(folder)
    cursor = reader.begin()
    while True:
        some, cursor = reader.read(cursor)
        if not some:
            return
        yield from some
