"""The suppression list in a file: CSV with a head line, or one JSON object a line. What is exported can be imported.

Rows are read and written one by one, so a file of any length costs the memory of a row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from postroad.api.suppressionrows import (
    TYPES,
    EntryError,
    check_list_id,
    check_text,
    folded,
    moment,
    moment_text,
    types_of,
)
from postroad.message.address import AddressError
from postroad.store.suppressionlist import COMPLIANCE, MANUAL, SOURCES, Suppression

Format = Literal["csv", "jsonl"]
MEDIA_TYPES: dict[Format, str] = {"csv": "text/csv", "jsonl": "application/x-ndjson"}
EVIDENCE = ("event_id", "reply", "rule")
COLUMNS = (
    *("recipient", "type", "list_id", "source", "description", "created", "updated", "expires", "subaccount_id"),
    *EVIDENCE,
)
_PROSE = ("description", *EVIDENCE)
MAX_LINE = 65_536  # octets; a row of CSV may have several lines
_MAX_EVIDENCE = 4096  # characters
_BOM = b"\xef\xbb\xbf"
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
# What spreadsheets would take for a formula, and run.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class BadRow(NamedTuple):
    """line: where in the file the row ends, from 1."""

    line: int
    text: str


class FileError(ValueError):
    """The file as a whole is none of ours: no head line, not UTF-8."""


class Rules(NamedTuple):
    """now: milliseconds since 1970. subaccount: of rows that name none. may(number): may a row be of this other one?
    compliance: may rows be for compliance, which nobody can take away by HTTP?"""

    now: int
    subaccount: int
    may: Callable[[int], bool]
    compliance: bool = False


def read(lines: Iterable[bytes], form: Format, rules: Rules) -> Iterator[list[Suppression] | BadRow]:
    """Of each row its entries: none when it has expired, two when it is of both types. Raises FileError."""
    values = _csv(lines) if form == "csv" else _jsonl(lines)
    for line, row in values:
        if isinstance(row, str):
            yield BadRow(line, row)
            continue
        try:
            yield _entries(row, rules)
        except EntryError as error:
            yield BadRow(line, str(error))


def split(octets: bytes | bytearray) -> Iterator[bytes]:
    """Its lines, without a second copy of all of it. A line that is too long comes in pieces that are too long, too."""
    start = 0
    while start < len(octets):
        found = octets.find(b"\n", start)
        stop = len(octets) if found < 0 else found + 1
        yield bytes(octets[start:stop])
        start = stop


def head(form: Format) -> bytes:
    """What stands before the rows."""
    return _line(COLUMNS) if form == "csv" else b""


def written(rows: Iterable[Suppression], form: Format) -> bytes:
    if form == "jsonl":
        return b"".join(
            msgspec.json.encode({name: value for name, value in shown(row).items() if value}) + b"\n" for row in rows
        )
    return b"".join(_line([_quoted(value) for value in shown(row).values()]) for row in rows)


def shown(row: Suppression) -> dict[str, str]:
    evidence = row.evidence or {}
    return {
        "recipient": row.recipient,
        "type": TYPES[0] if row.transactional else TYPES[1],
        "list_id": row.list_id,
        "source": row.source,
        "description": row.description,
        "created": moment_text(row.created),
        "updated": moment_text(row.updated),
        "expires": "" if row.expires is None else moment_text(row.expires),
        "subaccount_id": str(row.subaccount) if row.subaccount else "",
        **{name: str(evidence.get(name, "")) for name in EVIDENCE},
    }


def _line(cells: Iterable[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)  # RFC 4180
    return out.getvalue().encode()


def _quoted(cell: str) -> str:
    """A cell begins with ' where a spreadsheet would run it, or where it began with one anyway."""
    return f"'{cell}" if cell.startswith((*_FORMULA, "'")) else cell


def _unquoted(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*_FORMULA, "'")) else cell


def _csv(lines: Iterable[bytes]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    reader = csv.reader(_texts(lines), strict=True)
    columns: list[str] = []
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield reader.line_num, f"it is no row of CSV: {error}"
            continue
        if cells is None:
            return
        if not any(cells):
            continue
        if not columns:
            columns = [cell.strip().lower() for cell in cells]
            if not {"recipient", "email"} & set(columns):
                raise FileError("the first line must name the columns; one of them is recipient")
        elif len(cells) > len(columns):
            yield reader.line_num, f"it has {len(cells)} cells, the first line {len(columns)}"
        else:
            row: dict[str, Any] = {
                name: _unquoted(cell if name in _PROSE else cell.strip())
                for name, cell in zip(columns, cells, strict=False)
                if cell.strip()
            }
            for name in TYPES:
                if name in row:
                    row[name] = _BOOLEANS.get(row[name].lower(), row[name])
            yield reader.line_num, row


def _texts(lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) > MAX_LINE:
            raise FileError(f"line {number} is longer than {MAX_LINE} octets")
        try:
            yield line.decode()
        except UnicodeDecodeError:
            raise FileError(f"line {number} is not UTF-8") from None


def _jsonl(lines: Iterable[bytes]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    for number, line in enumerate(_texts(lines), 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError):
            yield number, "it is no JSON object"
            continue
        yield number, {name: value for name, value in row.items() if value is not None}


def _entries(row: Mapping[str, Any], rules: Rules) -> list[Suppression]:
    """Raises EntryError."""
    address = _text(row, "recipient") or _text(row, "email")
    try:
        recipient = folded(address)
    except AddressError as error:
        raise EntryError(f"{address[:320]!r} is no address: {error}") from None
    types = types_of(_text(row, "type") or None, _flag(row, TYPES[0]), _flag(row, TYPES[1]))
    list_id, description = _text(row, "list_id"), _text(row, "description")
    check_list_id(list_id)
    check_text("description", description)
    source = _text(row, "source") or MANUAL
    if source not in SOURCES:
        raise EntryError(f"source must be of: {', '.join(SOURCES)}")
    if source == COMPLIANCE and not rules.compliance:
        raise EntryError("entries for compliance are made by `postroad suppression` alone")
    evidence = {name: text for name in EVIDENCE if (text := _text(row, name))}
    for name, text in evidence.items():
        check_text(name, text, _MAX_EVIDENCE)
    created = _moment(row, "created")
    expires = _moment(row, "expires")
    subaccount = _subaccount(row, rules)
    if expires is not None and expires <= rules.now:
        return []
    return [
        Suppression(
            subaccount,
            recipient,
            kind,
            list_id,
            source,
            description,
            evidence or None,
            created=min(created or 0, rules.now),
            expires=expires,
        )
        for kind in types
    ]


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name, "")
    if not isinstance(value, str):
        raise EntryError(f"{name} must be a string")
    return value


def _flag(row: Mapping[str, Any], name: str) -> bool | None:
    value = row.get(name)
    if value is not None and not isinstance(value, bool):
        raise EntryError(f"{name} must be true or false")
    return value


def _moment(row: Mapping[str, Any], name: str) -> int | None:
    text = _text(row, name)
    return moment(name, text) if text else None


def _subaccount(row: Mapping[str, Any], rules: Rules) -> int:
    given = row.get("subaccount_id", "")
    if given == "" or isinstance(given, bool):
        return rules.subaccount
    text = str(given)
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 11 else -1
    if number != rules.subaccount and (number < 0 or not rules.may(number)):
        raise EntryError(f"subaccount_id {text[:20]!r} is none, or not yours")
    return number
