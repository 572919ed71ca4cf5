"""Which segment files there are, and what their headers say about them and about each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from postroad.journal.disk import Disk, File
from postroad.journal.errors import JournalDamaged, JournalError
from postroad.journal.format import EVENT, FILE_HEADER_SIZE, MAIL, STREAM_NAMES, FileHeader, read_file_header
from postroad.journal.scan import EventScanner, MailScanner, is_zero

_NAME = re.compile(r"(mail|event)-(\d{8,10})\.seg\Z")
_STREAMS = {name: stream for stream, name in STREAM_NAMES.items()}


def segment_name(stream: int, number: int) -> str:
    return f"{STREAM_NAMES[stream]}-{number:08d}.seg"


def segment_numbers(disk: Disk, directory: Path, stream: int) -> list[int]:
    """Numbers of the stream's files, spares included, rising."""
    matches = (_NAME.match(name) for name in disk.list(directory))
    return sorted(int(match[2]) for match in matches if match is not None and _STREAMS[match[1]] == stream)


class Segment(NamedTuple):
    """A segment file. header is None when it is damaged. end: where its records end for sure: what the next segment's
    header says, else the file's size. sealed: a later segment exists, so nothing is written here any more.

    low, high: mail segments that its events refer to (0, 0: none; None: not known).
    """

    stream: int
    number: int
    header: FileHeader | None
    size: int
    end: int
    sealed: bool
    low: int | None = None
    high: int | None = None

    @property
    def name(self) -> str:
        return segment_name(self.stream, self.number)


class Catalog(NamedTuple):
    """mail, events: by rising number. spares: names of preallocated files that were never begun.

    salt: of this journal; None when there is no readable segment. highest: highest number in use, by stream.
    problems: (stream, segment, what is wrong with its file header).
    """

    mail: list[Segment]
    events: list[Segment]
    spares: list[str]
    salt: int | None
    highest: dict[int, int]
    problems: list[tuple[int, int, str]]


def read_catalog(disk: Disk, directory: Path) -> Catalog:
    """Raises JournalError when a file is of another format version, OSError when the disk can't be read."""
    mail = read_stream(disk, directory, MAIL)
    events = read_stream(disk, directory, EVENT)
    salt = mail.salt if mail.salt is not None else events.salt
    mail, events = _without_begun(disk, directory, mail, salt), _without_begun(disk, directory, events, salt)
    return Catalog(
        mail.segments,
        events.segments,
        mail.spares + events.spares,
        salt,
        {MAIL: _highest(mail), EVENT: _highest(events)},
        mail.problems + events.problems,
    )


class Stream(NamedTuple):
    """One stream's part of the catalog."""

    segments: list[Segment]
    spares: list[str]
    salt: int | None
    problems: list[tuple[int, int, str]]


def read_stream(disk: Disk, directory: Path, stream: int, known: dict[int, FileHeader] | None = None) -> Stream:
    """known: headers read before, by segment number; those read now are added."""
    known = {} if known is None else known
    sizes: dict[int, int] = {}
    spares: list[str] = []
    problems: list[tuple[int, int, str]] = []
    for number in segment_numbers(disk, directory, stream):
        name = segment_name(stream, number)
        try:
            file = disk.open(directory / name)
        except FileNotFoundError:
            continue  # removed by the running engine since it was listed
        if number not in known:
            try:
                known[number] = _header(file, name, stream, number)
            except JournalDamaged as error:
                # A spare is a file without anything in it. One that lost only its header still holds records.
                if is_zero(file, 0, file.size()):
                    spares.append(name)
                    continue
                problems.append((stream, number, str(error)))
        sizes[number] = file.size()
    numbers = sorted(sizes)
    followers = {known[number].previous: known[number] for number in numbers if number in known}
    segments = [
        _segment(stream, number, known.get(number), sizes[number], followers.get(number), number != numbers[-1])
        for number in numbers
    ]
    salt = next((known[number].salt for number in numbers if number in known), None)
    return Stream(segments, spares, salt, problems)


def _header(file: File, name: str, stream: int, number: int) -> FileHeader:
    try:
        header = read_file_header(file.read(0, FILE_HEADER_SIZE))
    except JournalDamaged:
        raise
    except JournalError as error:
        raise JournalError(f"{name}: {error}") from None
    if (header.stream, header.segment) != (stream, number):
        raise JournalDamaged(
            f"the header is that of {STREAM_NAMES.get(header.stream, header.stream)} segment {header.segment}"
        )
    return header


def _segment(
    stream: int, number: int, header: FileHeader | None, size: int, follower: FileHeader | None, sealed: bool
) -> Segment:
    if follower is None:
        return Segment(stream, number, header, size, size, sealed)
    end = min(size, follower.previous_end)
    if stream == MAIL:
        return Segment(stream, number, header, size, end, sealed)
    return Segment(stream, number, header, size, end, sealed, follower.low, follower.high)


def _without_begun(disk: Disk, directory: Path, stream: Stream, salt: int | None) -> Stream:
    """Last files with a damaged header and no record were being begun when the disk or the power failed: they count as
    spares."""
    segments, spares = list(stream.segments), list(stream.spares)
    while segments and segments[-1].header is None and not _has_record(disk, directory, segments[-1], salt):
        spares.append(segments.pop().name)
    if segments and len(segments) < len(stream.segments):
        segments[-1] = segments[-1]._replace(sealed=False)
    numbers = {segment.number for segment in segments}
    problems = [problem for problem in stream.problems if problem[1] in numbers]
    return Stream(segments, spares, stream.salt, problems)


def _has_record(disk: Disk, directory: Path, segment: Segment, salt: int | None) -> bool:
    file = disk.open(directory / segment.name)
    scanner = (MailScanner if segment.stream == MAIL else EventScanner)(file, segment.number, salt or 0, segment.end)
    return any(True for _ in scanner.rows())


def _highest(stream: Stream) -> int:
    return stream.segments[-1].number if stream.segments else 0
