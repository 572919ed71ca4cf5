"""The account of a whole engine at the end of a scenario: what its journal says, held against what its consumer heard
while it ran."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from postroad.events import check
from postroad.journal import Disk, EventReader, HoseEvent, Journal, JournalError, audit
from postroad.lab.sim.judge import End, worst

_ENDS = {"injection": End.QUEUED, "delay": End.QUEUED, "delivery": End.DELIVERED, "bounce": End.FAILED}


class Consumer:
    """Reads the hose while the engine runs, on from where it was when the engine went down, as a good consumer does."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._cursor = 0

    def attach(self, journal: Journal) -> None:
        """Listen to a journal just opened."""
        journal.on_commit(lambda: self._read(journal))

    def _read(self, journal: Journal) -> None:
        try:
            while True:
                events, self._cursor = journal.read_events(self._cursor)
                self.heard += [event.payload for event in events if event.payload]
                if not events:
                    return
        except (JournalError, OSError):
            return  # the disk fails; the next commit finds us here


class Account:
    """findings: what is wrong in the journal itself. ends: recipient address to end (see judge)."""

    def __init__(self, directory: Path, disk: Disk, consumer: Consumer) -> None:
        self.findings: list[str] = []
        self._ends: dict[str, tuple[str, End]] = {}
        payloads = [event.payload for event in _read_all(directory, disk) if event.payload]
        for payload in payloads:
            self._enter(json.loads(payload))
        self._find_doubles([json.loads(payload) for payload in payloads])
        heard = consumer.heard
        if heard != payloads[: len(heard)]:
            untold = [payload for payload in heard if payload not in set(payloads)]
            self.findings.append(
                f"the consumer heard {len(heard)} events, which aren't the first of the {len(payloads)} in the journal;"
                f" {len(untold)} of them are not there at all: {untold[:1]}"
            )
        report = audit(directory, disk)
        if not report.clean:
            self.findings.append(f"the audit is not clean: {report}")

    @property
    def ends(self) -> dict[str, End]:
        return worst(self._ends.values())

    def _enter(self, event: dict[str, object]) -> None:
        self.findings += [f"event {event.get('event_id')}: {problem}" for problem in check(event)]
        end = _ENDS.get(str(event["type"]))
        message = str(event.get("message_id"))
        known = self._ends.get(message)
        if end is not None and (known is None or known[1] is End.QUEUED):
            self._ends[message] = (str(event.get("rcpt_to")), end)

    def _find_doubles(self, events: list[dict[str, object]]) -> None:
        told = Counter(str(event["event_id"]) for event in events)
        ended = Counter(str(event.get("message_id")) for event in events if event["type"] in ("delivery", "bounce"))
        begun = Counter(str(event.get("message_id")) for event in events if event["type"] == "injection")
        for what, counter in (("event {} is told", told), ("message {} ends", ended), ("message {} begins", begun)):
            self.findings += [f"{what.format(key)} {count} times" for key, count in counter.items() if count > 1]


def _read_all(directory: Path, disk: Disk) -> list[HoseEvent]:
    reader = EventReader(directory, disk)
    found: list[HoseEvent] = []
    cursor = reader.begin()
    while True:
        events, cursor = reader.read(cursor)
        if not events:
            return found
        found += events
