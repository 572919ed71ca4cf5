"""Looking at a journal from outside: stat, check, dump, compact. All of it blocks.

stat, check and dump read only and need no lock, so an engine may run meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from postroad.config.schema import JournalOptions
from postroad.journal.catalog import Catalog, Segment, read_catalog
from postroad.journal.disk import Disk, OsDisk
from postroad.journal.errors import JournalError
from postroad.journal.format import FILE_HEADER_SIZE, STREAM_NAMES, VERSION
from postroad.journal.journal import Journal
from postroad.journal.reader import MailReader
from postroad.journal.records import Damage, Event, LiveMail, pack_place
from postroad.journal.scan import EventRow, EventScanner, MailRow, MailScanner, Window, payload, row_is_whole
from postroad.journal.survey import count_events, gap_damage, header_balance
from postroad.journal.tail import Balance
from postroad.net import SystemClock

_ATTEMPTS = 2


@dataclass(frozen=True)
class StreamStat:
    """first, last: segment numbers. octets: of all files. created_ms: of the oldest segment, Unix milliseconds."""

    segments: int
    first: int
    last: int
    octets: int
    created_ms: int


@dataclass(frozen=True)
class Stat:
    """accepted, terminal: messages since the journal began. begin, end: cursors of the kept events. homed_in,
    homed_out: messages that came from the journals of other engines, and went there."""

    version: int
    engine: int
    mail: StreamStat
    events: StreamStat
    accepted: int
    terminal: int
    begin: int
    end: int
    homed_in: int = 0
    homed_out: int = 0

    @property
    def queued(self) -> int:
        return self.accepted + self.homed_in - self.terminal - self.homed_out


def stat(directory: Path, disk: Disk | None = None) -> Stat:
    """Reads the file headers and the last event segment."""
    disk = disk if disk is not None else OsDisk()
    catalog = read_catalog(disk, directory)
    balance, end = Balance(), 0
    for segment in catalog.events[-1:]:
        if segment.header is not None:
            balance = header_balance(segment.header)
        scanner = EventScanner(disk.open(directory / segment.name), segment.number, catalog.salt or 0, segment.end)
        for window in scanner.windows(stop=True):
            balance, _, _ = count_events(window.rows, balance, 0, 0)
        end = pack_place(segment.number, scanner.end)
    begin = pack_place(catalog.events[0].number, FILE_HEADER_SIZE) if catalog.events else 0
    engine = next((s.header.engine for s in (*catalog.mail, *catalog.events) if s.header is not None), 0)
    return Stat(
        VERSION,
        engine,
        _stream_stat(catalog.mail),
        _stream_stat(catalog.events),
        balance.accepted - balance.homed_in,
        balance.terminal - balance.homed_out,
        begin,
        end,
        balance.homed_in,
        balance.homed_out,
    )


def _stream_stat(segments: list[Segment]) -> StreamStat:
    if not segments:
        return StreamStat(0, 0, 0, 0, 0)
    header = segments[0].header
    return StreamStat(
        len(segments),
        segments[0].number,
        segments[-1].number,
        sum(segment.size for segment in segments),
        header.created_ms if header is not None else 0,
    )


@dataclass
class Check:
    """findings: all damage, with its place. mail, events: good records. octets: read and checked."""

    mail: int = 0
    events: int = 0
    octets: int = 0
    findings: list[Damage] = field(default_factory=list)


def check(directory: Path, disk: Disk | None = None) -> Check:
    """Reads everything and compares every check there is. The unfinished end of a stream is not judged: an engine may
    be writing there, or a crash has left half a record. That is what stands behind the last record, the last event when
    its payload is not whole, and mail that is not whole and was never announced. The next start cuts or voids it, and
    `audit` passes over it.
    """
    disk = disk if disk is not None else OsDisk()
    for _ in range(_ATTEMPTS):
        result = _check(directory, disk)
        if not result.findings:
            break
        # An engine may have written while we read. What is truly damaged is so again the next time.
    return result


def _check(directory: Path, disk: Disk) -> Check:
    catalog = read_catalog(disk, directory)
    result = Check()
    for stream, number, reason in catalog.problems:
        result.findings.append(Damage(STREAM_NAMES[stream], number, 0, FILE_HEADER_SIZE, reason))
    unfinished: list[Damage] = []
    for segment in catalog.mail:
        _check_mail(directory, disk, catalog, segment, result, unfinished)
    balance: Balance | None = None
    for segment in catalog.events:
        balance = _check_events(directory, disk, catalog, segment, balance, result)
    result.findings += [one for one in unfinished if balance is None or one.place <= balance.accepted_place]
    result.findings.sort(key=lambda damage: (damage.stream, damage.segment, damage.offset))
    return result


def _check_mail(
    directory: Path, disk: Disk, catalog: Catalog, segment: Segment, result: Check, unfinished: list[Damage]
) -> None:
    """unfinished: gets what counts as damage only if it was announced."""
    try:
        file = disk.open(directory / segment.name)
    except FileNotFoundError:
        return  # its messages ended while we looked
    origins = {other.number for other in catalog.mail}
    scanner = MailScanner(file, segment.number, catalog.salt or 0, segment.end)
    for row in scanner.rows():
        reason = ""
        if row.entries is None:
            reason = "the message ids are damaged"
        elif row.meta is None:
            reason = "the message's envelope is damaged"
        elif not row_is_whole(file, row):
            reason = "the message's content is damaged"
        if reason:
            # Without its original, a copy was complete for sure.
            sure = segment.sealed or (row.moved and row.head.origin not in origins)
            (result.findings if sure else unfinished).append(_mail_damage(segment, row, reason))
        else:
            result.mail += 1
            result.octets += row.size
    _check_gaps(segment, scanner, result)


def _mail_damage(segment: Segment, row: MailRow, reason: str) -> Damage:
    entries = row.entries or []
    return Damage(
        "mail",
        segment.number,
        row.offset,
        row.size,
        reason,
        pack_place(segment.number, row.offset),
        tuple(entry.message_id for entry in entries),
        tuple(entry.index for entry in entries),
    )


def _check_events(
    directory: Path, disk: Disk, catalog: Catalog, segment: Segment, balance: Balance | None, result: Check
) -> Balance | None:
    """balance: as of the segment's begin, as counted; None when it isn't known. Returns the one as of its end."""
    try:
        file = disk.open(directory / segment.name)
    except FileNotFoundError:
        return None  # its time ran out while we looked
    header = segment.header
    if header is not None:
        said = header_balance(header)
        if balance is not None and (said.accepted, said.terminal) != (balance.accepted, balance.terminal):
            reason = (
                f"the header says {said.accepted} accepted and {said.terminal} ended before it; "
                f"the segments before it hold {balance.accepted} and {balance.terminal}"
            )
            result.findings.append(Damage("event", segment.number, 0, FILE_HEADER_SIZE, reason))
        balance = said
    scanner = EventScanner(file, segment.number, catalog.salt or 0, segment.end)
    torn: list[EventRow] = []
    for window in scanner.windows():
        rows = []
        for row in window.rows:
            whole = payload(window, row) is not None
            if whole:
                result.events += 1
                result.octets += row.size
            else:
                torn.append(row)
            if whole or segment.sealed:
                rows.append(row)
        if balance is not None:
            balance, _, _ = count_events(rows, balance, 0, 0)
    if torn and not segment.sealed and torn[-1].offset + torn[-1].size == scanner.end:
        torn.pop()
    for row in torn:
        reason = "the event's payload is damaged"
        result.findings.append(Damage("event", segment.number, row.offset, row.size, reason))
    # Events that a gap took are missed in the next header's counts: that is no second finding.
    return None if _check_gaps(segment, scanner, result) else balance


def _check_gaps(segment: Segment, scanner: MailScanner | EventScanner, result: Check) -> bool:
    """Were there any?"""
    found = [gap for gap in scanner.gaps if gap.offset < scanner.end or (segment.sealed and not gap.zeros)]
    result.findings += [gap_damage(segment, gap) for gap in found]
    return bool(found)


@dataclass(frozen=True)
class Dumped:
    """One record, fit for JSON. fields: as docs/reference/journal-format.md names them; octets as Latin-1 text."""

    stream: str
    segment: int
    offset: int
    size: int
    fields: dict[str, object]


def dump(
    directory: Path, *, stream: str = "", message_id: int | None = None, content: bool = False, disk: Disk | None = None
) -> Iterator[Dumped]:
    """The records, mail first, each stream in order. stream: "mail" or "event" alone. message_id: records about this
    message alone. content: the mails' trace and content too."""
    disk = disk if disk is not None else OsDisk()
    catalog = read_catalog(disk, directory)
    salt = catalog.salt or 0
    if stream in ("", "mail"):
        reader = MailReader(disk, directory, salt)
        for segment in catalog.mail:
            scanner = MailScanner(disk.open(directory / segment.name), segment.number, salt, segment.end)
            for row in scanner.rows():
                entries = row.entries or []
                if message_id is None or any(entry.message_id == message_id for entry in entries):
                    yield _dump_mail(segment, row, reader if content else None)
    if stream in ("", "event"):
        for segment in catalog.events:
            events = EventScanner(disk.open(directory / segment.name), segment.number, salt, segment.end)
            for window in events.windows():
                for event in window.rows:
                    if message_id is None or event.message_id == message_id:
                        yield _dump_event(segment, window, event)


def _dump_mail(segment: Segment, row: MailRow, reader: MailReader | None) -> Dumped:
    fields: dict[str, object] = {
        "moved": row.moved,
        "homed": row.homed,
        "received_ms": row.head.received_ms,
        "messages": [entry._asdict() for entry in row.entries or []],
        "meta_octets": row.head.meta_length,
        "trace_octets": row.head.trace_length,
        "content_octets": row.head.content_length,
    }
    if row.moved:
        fields["origin"] = row.head.origin
    if row.entries is None or row.meta is None:
        fields["damaged"] = True
    if reader is not None:
        try:
            stored = reader.read(pack_place(segment.number, row.offset))
        except JournalError as error:
            fields["damaged"] = str(error)
        else:
            fields["trace"] = stored.trace.decode("latin-1")
            fields["content"] = stored.content.decode("latin-1")
    return Dumped("mail", segment.number, row.offset, row.size, fields)


def _dump_event(segment: Segment, window: Window[EventRow], row: EventRow) -> Dumped:
    data = payload(window, row)
    fields: dict[str, object] = {
        "message_id": row.message_id,
        "kind": row.kind,
        "flags": row.flags,
        "place": row.place,
        "index": row.index,
        "attempts": row.attempts,
        "next_attempt_ms": row.next_attempt_ms,
        "time_ms": row.time_ms,
        "payload": data.decode("latin-1") if data is not None else None,
    }
    if data is None:
        fields["damaged"] = True
    return Dumped("event", segment.number, row.offset, row.size, fields)


@dataclass(frozen=True)
class Compacted:
    rewritten: int
    octets_before: int
    octets_after: int


def compact(
    directory: Path, options: JournalOptions, *, below: float | None = None, disk: Disk | None = None
) -> Compacted:
    """Rewrite mail segments whose live share is below this, while no engine runs.

    Raises JournalLocked; JournalError when the journal ended in a crash and the engine must be started first.
    """
    return asyncio.run(_compact(directory, options, below, disk if disk is not None else OsDisk()))


async def _compact(directory: Path, options: JournalOptions, below: float | None, disk: Disk) -> Compacted:
    def injection(message_id: int, index: int, mail: LiveMail) -> Event:
        # Only the engine can make the event that consumers are to see.
        raise JournalError("the journal ended in a crash; start the engine once, then compact")

    before = _octets(directory, disk)
    journal = Journal.open(directory, options, clock=SystemClock(), injection=injection, disk=disk)
    try:
        states: dict[int, tuple[int, int]] = {}
        for mails in journal.recover():
            for mail in mails:
                for entry in mail.live:
                    states[entry.message_id] = entry.attempts, entry.next_attempt_ms
        journal.state_of = states.get
        rewritten = await journal.compact(below)
    finally:
        await journal.close()
    return Compacted(rewritten, before, _octets(directory, disk))


def _octets(directory: Path, disk: Disk) -> int:
    catalog = read_catalog(disk, directory)
    return sum(segment.end for segment in catalog.mail)
