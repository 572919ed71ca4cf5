"""What became of every message, counted from the events in a data folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import msgspec

from postroad.events import Kind
from postroad.events import tail as read
from postroad.journal import TERMINAL, EventReader, journal_folders


@dataclass(slots=True)
class Fate:
    """Counts of messages. accepted = delivered + bounced + queued; deferred: those that had to be tried again."""

    accepted: int = 0
    delivered: int = 0
    bounced: int = 0
    deferred: int = 0

    @property
    def queued(self) -> int:
        return self.accepted - self.delivered - self.bounced


@dataclass
class Outcomes:
    """By recipient domain, in the order of first appearance. first, last: Unix seconds of the first acceptance and the
    last delivery."""

    domains: dict[str, Fate] = field(default_factory=dict)
    first: float = 0.0
    last: float = 0.0

    @property
    def total(self) -> Fate:
        fates = self.domains.values()
        return Fate(
            sum(fate.accepted for fate in fates),
            sum(fate.delivered for fate in fates),
            sum(fate.bounced for fate in fates),
            sum(fate.deferred for fate in fates),
        )


class _Event(msgspec.Struct):
    recipient_domain: str = ""


def outcomes(data_dir: Path) -> Outcomes:
    """Folds all events that are kept, whether a server runs there or not. Raises JournalError, OSError."""
    found = Outcomes()
    for folder in journal_folders(data_dir).values():
        _fold(folder, found)
    return found


def _fold(folder: Path, found: Outcomes) -> None:
    """The events of one journal."""
    decode = msgspec.json.Decoder(_Event).decode
    deferred: set[int] = set()
    reader = EventReader(folder)
    for event in read(reader, reader.begin()):
        if event.kind not in (Kind.INJECTION, Kind.DELIVERY, Kind.DELAY, Kind.BOUNCE):
            continue
        fate = found.domains.setdefault(decode(event.payload).recipient_domain, Fate())
        if event.kind == Kind.INJECTION:
            fate.accepted += 1
            found.first = min(found.first or inf, event.time_ms / 1000)
        elif event.kind == Kind.DELAY:
            if event.message_id not in deferred:
                deferred.add(event.message_id)
                fate.deferred += 1
        elif event.flags & TERMINAL:
            if event.kind == Kind.DELIVERY:
                fate.delivered += 1
                found.last = max(found.last, event.time_ms / 1000)
            else:
                fate.bounced += 1
