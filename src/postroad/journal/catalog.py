"""Which segment files there are, and what their headers say about them and about each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from postroad.journal.disk import Disk, File
from postroad.journal.errors import JournalDamaged, JournalError
from postroad.journal.format import EVENT, FILE_HEADER_SIZE, MAIL, STREAM_NAMES, FileHeader, read_file_header
from postroad.journal.scan import is_zero

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
    headers: dict[tuple[int, int], FileHeader | None] = {}
    sizes: dict[tuple[int, int], int] = {}
    spares: list[str] = []
    problems: list[tuple[int, int, str]] = []
    highest = {MAIL: 0, EVENT: 0}
    for name in sorted(disk.list(directory)):
        match = _NAME.match(name)
        if match is None:
            continue
        stream, number = _STREAMS[match[1]], int(match[2])
        try:
            file = disk.open(directory / name)
        except FileNotFoundError:
            continue  # removed by the running engine since it was listed
        try:
            header = _header(file, name, stream, number)
        except JournalDamaged as error:
            # A spare is a file without anything in it. One that lost only its header still holds records.
            if is_zero(file, 0, file.size()):
                spares.append(name)
                continue
            header = None
            problems.append((stream, number, str(error)))
        highest[stream] = max(highest[stream], number)
        headers[stream, number] = header
        sizes[stream, number] = file.size()
    salt = next((header.salt for header in headers.values() if header is not None), None)
    mail = _segments(MAIL, headers, sizes)
    events = _segments(EVENT, headers, sizes)
    return Catalog(mail, events, spares, salt, highest, problems)


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


def _segments(
    stream: int, headers: dict[tuple[int, int], FileHeader | None], sizes: dict[tuple[int, int], int]
) -> list[Segment]:
    numbers = sorted(number for of, number in headers if of == stream)
    follower = {h.previous: h for (of, _), h in sorted(headers.items()) if of == stream and h is not None}
    segments = []
    for number in numbers:
        header, size = headers[stream, number], sizes[stream, number]
        after = follower.get(number)
        segments.append(
            Segment(
                stream,
                number,
                header,
                size,
                min(size, after.previous_end) if after is not None else size,
                number != numbers[-1],
                after.low if after is not None and stream == EVENT else None,
                after.high if after is not None and stream == EVENT else None,
            )
        )
    return segments
