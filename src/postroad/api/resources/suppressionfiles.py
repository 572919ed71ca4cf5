"""/suppression-list/import and /suppression-list/export: the list as a file. No address is called import or export."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from postroad.api.office import Office
from postroad.api.resources.suppressionlist import SuppressionSearch, search_of
from postroad.api.route import Answer, Ask, Nothing, Results, Route
from postroad.api.suppressionfile import (
    COLUMNS,
    MEDIA_TYPES,
    BadRow,
    FileError,
    Format,
    Rules,
    head,
    read,
    split,
    written,
)
from postroad.inject.http import Code, Failure, fault
from postroad.store.suppressionlist import Suppression, all_pages, put

MAX_FILE = 100 << 20  # octets, unpacked
MAX_ENTRIES = 500_000  # they are written before the answer, for which nobody waits longer than two minutes
_CHUNK = 5000  # entries of a transaction
_TURN = 500  # rows between two looks at the event loop
_TOLD = 50  # bad rows that are named

_Form = Annotated[Literal["csv", "jsonl"], Meta(description="csv: with a head line; jsonl: a JSON object a line.")]


class SuppressionExport(SuppressionSearch):
    """What to export, and how. cursor, page and their like have no meaning here."""

    format: _Form = "csv"


class SuppressionImport(Struct):
    """How to take the file."""

    dry_run: Annotated[bool, Meta(description="Only look at it.")] = False
    skip_invalid: Annotated[bool, Meta(description="Take the good rows when some are bad.")] = False


class BadLine(Struct):
    """A row that was passed over."""

    line: int
    message: str


class SuppressionImported(Struct):
    """What became of a file."""

    entries: Annotated[int, Meta(description="Good ones; a row of both types makes two.")]
    written: Annotated[int, Meta(description="Made or changed. Entries for compliance stay as they were.")]
    expired: Annotated[int, Meta(description="Rows that have ended already, and were passed over.")]
    invalid: Annotated[int, Meta(description="Rows that were passed over because they are wrong.")]
    errors: Annotated[list[BadLine], Meta(description=f"The first {_TOLD} of these.")]
    dry_run: bool


def routes(office: Office) -> list[Route[Any, Any]]:
    def now() -> int:
        return round(office.clock.wall() * 1000)

    async def export(ask: Ask[Nothing, SuppressionExport]) -> Answer:
        form: Format = ask.query.format
        wanted = search_of(ask.query, ask.caller)

        async def content() -> AsyncIterator[bytes]:
            yield head(form)
            async for rows in all_pages(office.database, wanted, now()):
                yield written(rows, form)

        disposition = f'attachment; filename="suppression-list.{form}"'
        return Answer(content(), headers={"Content-Disposition": disposition}, media_type=MEDIA_TYPES[form])

    async def take(ask: Ask[Nothing, SuppressionImport]) -> Results[SuppressionImported]:
        form = _form(ask.headers.get("content-type", ""))
        octets = await ask.octets()
        rules = Rules(now(), ask.caller.subaccount, _may(office, ask))
        done = SuppressionImported(0, 0, 0, 0, [], ask.query.dry_run)
        # All of it is looked at before any of it counts.
        async for chunk in _chunks(octets, form, rules, done):
            done.entries += len(chunk)
            if done.entries > MAX_ENTRIES:
                raise Failure(Code.INVALID_FORMAT, f"a file is limited to {MAX_ENTRIES} entries; send it in parts")
        if done.invalid and not ask.query.skip_invalid:
            faults = [fault(Code.INVALID_FORMAT, f"line {bad.line}: {bad.message}") for bad in done.errors]
            raise Failure(Code.INVALID_FORMAT, faults=faults)
        if not ask.query.dry_run:
            again = SuppressionImported(0, 0, 0, 0, [], False)
            async for chunk in _chunks(octets, form, rules, again):
                async with office.database.begin() as tx:
                    done.written += await put(tx, chunk, rules.now)
        return Results(done)

    return [
        Route(
            method="GET",
            path="/suppression-list/export",
            handler=export,
            summary="Export the suppression list",
            description=f"A file with {', '.join(COLUMNS)}, that can be imported; the last changed last.",
            query=SuppressionExport,
            answers=str,
            media_type=MEDIA_TYPES["csv"],
            refuses=(Code.INVALID_PARAMS,),
        ),
        Route(
            method="POST",
            path="/suppression-list/import",
            handler=take,
            summary="Import entries from a file",
            description=(
                "CSV (text/csv) with a head line that names the columns, or JSON lines (application/x-ndjson). Columns "
                "as an export has them; recipient and type are needed. A file with bad rows is refused whole, with the "
                f"lines. At most {MAX_ENTRIES} entries, written 5000 at a time: after a 503 or a broken connection "
                "send the file again."
            ),
            query=SuppressionImport,
            answers=Results[SuppressionImported],
            raw=True,
            takes="text/csv",
            max_body=MAX_FILE,
            refuses=(Code.INVALID_FORMAT, Code.UNSUPPORTED_TYPE),
            example="recipient,type,description\r\nann@example.com,non_transactional,asked by phone\r\n",
        ),
    ]


def _form(kind: str) -> Format:
    wanted = kind.partition(";")[0].strip().lower()
    for form, media_type in MEDIA_TYPES.items():
        if wanted == media_type:
            return form
    raise Failure(Code.UNSUPPORTED_TYPE, f"Content-Type must be one of: {', '.join(MEDIA_TYPES.values())}")


def _may(office: Office, ask: Ask[Any, Any]) -> Callable[[int], bool]:
    """A key of the primary account, where no X-MSYS-SUBACCOUNT narrows it, may write for all that there are."""
    wide = not ask.caller.bound and "x-msys-subaccount" not in ask.headers

    def may(number: int) -> bool:
        return wide and office.subaccounts.status(number) is not None

    return may


async def _chunks(
    octets: bytes | bytearray, form: Format, rules: Rules, done: SuppressionImported
) -> AsyncIterator[list[Suppression]]:
    """The entries, and in `done` the rows that are none. Raises Failure."""
    chunk: list[Suppression] = []
    for number, row in enumerate(_rows(octets, form, rules), 1):
        if isinstance(row, BadRow):
            done.invalid += 1
            if len(done.errors) < _TOLD:
                done.errors.append(BadLine(row.line, row.text))
        elif not row:
            done.expired += 1
        else:
            chunk += row
        if number % _TURN == 0:
            await asyncio.sleep(0)
        if len(chunk) >= _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _rows(octets: bytes | bytearray, form: Format, rules: Rules) -> Iterator[list[Suppression] | BadRow]:
    try:
        yield from read(split(octets), form, rules)
    except FileError as error:
        raise Failure(Code.INVALID_FORMAT, str(error)) from None
