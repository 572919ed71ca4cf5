"""The suppression list in its table: its rows, how they are found, and what engines see of them (api.md 8).

A row counts until it expires; from then on it is as if it were not there, and `sweep` takes it away.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from postroad.store.changes import changed_all
from postroad.store.database import Database
from postroad.store.kind import Id, Kind
from postroad.store.suppressions import KIND, entry_key, packed
from postroad.store.tables.suppressions import suppressions as table
from postroad.store.upsert import upsert

COMPLIANCE = "Compliance"  # rows that nobody may change
MANUAL = "Manually Added"
SOURCES = {
    "Spam Complaint": "spam_complaint",
    "List Unsubscribe": "list_unsubscribe",
    "Bounce Rule": "bounce_rule",
    "Unsubscribe Link": "unsubscribe_link",
    MANUAL: "manually_added",
    COMPLIANCE: "compliance",
}
_CHUNK = 400  # rows of one statement


class Suppression(NamedTuple):
    """recipient: as suppressions.fold makes it. created, updated, expires: milliseconds; expires None: never."""

    subaccount: int
    recipient: str
    transactional: bool
    list_id: str = ""
    source: str = MANUAL
    description: str = ""
    evidence: dict[str, Any] | None = None
    created: int = 0
    updated: int = 0
    expires: int | None = None

    @property
    def key(self) -> str:
        """What the catalog calls it."""
        return entry_key(self.recipient, "transactional" if self.transactional else "non_transactional", self.list_id)


class Search(NamedTuple):
    """only: of this subaccount; None: of all. since, until: milliseconds, of the last change. words: any of them stands
    in the description; phrase: it stands there as it is. list_id None: of whatever list."""

    only: int | None
    since: int | None = None
    until: int | None = None
    domain: str = ""
    sources: Sequence[str] = ()
    transactional: bool | None = None
    words: Sequence[str] = ()
    phrase: str = ""
    list_id: str | None = None
    ascending: bool = False


class Found(NamedTuple):
    """cursor: of the next page; "": this is the last."""

    rows: list[Suppression]
    total: int
    cursor: str


class CursorError(ValueError):
    """It is none of ours."""


async def put(tx: AsyncConnection, rows: Sequence[Suppression], now: int) -> int:
    """Make these rows, or give those that are there the new values; rows for compliance stay as they are. Of two with
    the same key the first counts. Returns how many were written. now: milliseconds."""
    unique = {row[:4]: row for row in reversed(rows)}
    kept = await _compliance(tx, {(row.subaccount, row.recipient) for row in rows})
    wanted = [row for key, row in unique.items() if key not in kept]
    for at in range(0, len(wanted), _CHUNK):
        chunk = wanted[at : at + _CHUNK]
        values = [
            {
                **row._asdict(),
                "domain": row.recipient.rpartition("@")[2],
                "created": row.created or now,
                "updated": row.updated or now,
            }
            for row in chunk
        ]
        await upsert(tx, table, values, keep=("created",))
        await changed_all(tx, [(KIND, row.subaccount, row.key) for row in chunk])
    return len(wanted)


async def _compliance(tx: AsyncConnection, ids: set[Id]) -> set[tuple[int, str, bool, str]]:
    """Keys of the rows of these recipients that nobody may change."""
    found: set[tuple[int, str, bool, str]] = set()
    columns = (table.c.subaccount, table.c.recipient, table.c.transactional, table.c.list_id)
    for chunk in _chunks(sorted(ids)):
        query = sa.select(*columns).where(table.c.source == COMPLIANCE, _any_of(chunk))
        found.update(tuple(row) for row in await tx.execute(query))
    return found


async def of_recipient(connection: AsyncConnection, only: int | None, recipient: str, now: int) -> list[Suppression]:
    query = sa.select(table).where(table.c.recipient == recipient, _valid(now))
    if only is not None:
        query = query.where(table.c.subaccount == only)
    query = query.order_by(table.c.subaccount, table.c.list_id, table.c.transactional)
    return [_row(row) for row in await connection.execute(query)]


async def remove(
    tx: AsyncConnection,
    subaccount: int,
    recipient: str,
    *,
    transactional: bool | None = None,
    list_id: str | None = None,
) -> int:
    """Take rows away, of both types and all lists where nothing else is said; how many. Those for compliance too:
    whether that may be is the caller's to know."""
    condition = [table.c.subaccount == subaccount, table.c.recipient == recipient]
    if transactional is not None:
        condition.append(table.c.transactional == transactional)
    if list_id is not None:
        condition.append(table.c.list_id == list_id)
    rows = [_row(row) for row in await tx.execute(sa.select(table).where(*condition))]
    if rows:
        await tx.execute(sa.delete(table).where(*condition))
        await changed_all(tx, [(KIND, row.subaccount, row.key) for row in rows])
    return len(rows)


async def search(
    connection: AsyncConnection, wanted: Search, now: int, *, limit: int, cursor: str = "", offset: int = 0
) -> Found:
    """The last changed first, or last. Raises CursorError."""
    condition = _condition(wanted, now)
    total = (await connection.execute(sa.select(sa.func.count()).select_from(table).where(condition))).scalar_one()
    rows, following = await page(connection, wanted, now, limit=limit, cursor=cursor, offset=offset)
    return Found(rows, total, following)


async def page(
    connection: AsyncConnection, wanted: Search, now: int, *, limit: int, cursor: str = "", offset: int = 0
) -> tuple[list[Suppression], str]:
    """As `search`, without counting: the rows, and the cursor of the next page."""
    order = (table.c.updated, table.c.subaccount, table.c.recipient, table.c.transactional, table.c.list_id)
    query = sa.select(table).where(_condition(wanted, now))
    if cursor:
        place = sa.tuple_(*order)
        mark = sa.tuple_(*(sa.literal(part, column.type) for part, column in zip(_read(cursor), order, strict=True)))
        query = query.where(place > mark if wanted.ascending else place < mark)
    query = query.order_by(*(column.asc() if wanted.ascending else column.desc() for column in order))
    rows = [_row(row) for row in await connection.execute(query.limit(limit + 1).offset(offset))]
    more = rows[limit:]
    rows = rows[:limit]
    return rows, _written(rows[-1]) if more else ""


async def summary(connection: AsyncConnection, only: int | None, now: int) -> dict[str, int]:
    """Rows by source, under the names of the API, and in all."""
    query = sa.select(table.c.source, sa.func.count()).where(_valid(now)).group_by(table.c.source)
    if only is not None:
        query = query.where(table.c.subaccount == only)
    counts: dict[str, int] = {row[0]: row[1] for row in await connection.execute(query)}
    found = {name: counts.get(source, 0) for source, name in SOURCES.items()}
    return {**found, "total": sum(counts.values())}


async def sweep(tx: AsyncConnection, now: int, most: int = 10_000) -> int:
    """Take away what has expired; how many rows. To be called again until there are none."""
    rows = [_row(row) for row in await tx.execute(sa.select(table).where(table.c.expires <= now).limit(most))]
    for chunk in _chunks(sorted({(row.subaccount, row.recipient) for row in rows})):
        await tx.execute(sa.delete(table).where(table.c.expires <= now, _any_of(chunk)))
    for at in range(0, len(rows), _CHUNK):
        await changed_all(tx, [(KIND, row.subaccount, row.key) for row in rows[at : at + _CHUNK]])
    return len(rows)


async def all_pages(database: Database, wanted: Search, now: int, size: int = 2000) -> AsyncIterator[list[Suppression]]:
    """Every row, the last changed last, in memory only a page of them at once. Each page is read by itself, so that who
    reads slowly holds nobody up; a row that is changed meanwhile comes again."""
    cursor = ""
    while True:
        async with database.read() as connection:
            rows, cursor = await page(connection, wanted._replace(ascending=True), now, limit=size, cursor=cursor)
        yield rows
        if not cursor:
            return


async def sweep_all(database: Database, now: int, most: int = 10_000) -> int:
    """Take away all that has expired, `most` rows in a transaction, so that others get their turns; how many."""
    done = 0
    while True:
        async with database.begin() as tx:
            gone = await sweep(tx, now, most)
        done += gone
        if gone < most:
            return done


# --- what engines see -------------------------------------------------------------------------------------------------


def _until(row: Suppression) -> int:
    """Seconds since 1970; 0: for good."""
    return 0 if row.expires is None else -(-row.expires // 1000)


async def _load(connection: AsyncConnection, ids: Sequence[Id]) -> Mapping[Id, Any]:
    recipients = sorted({(subaccount, key.partition(" ")[2]) for subaccount, key in ids})
    rows = [
        _row(row)
        for chunk in _chunks(recipients)
        for row in await connection.execute(sa.select(table).where(_any_of(chunk)))
    ]
    wanted = set(ids)
    return {key: _until(row) for row in rows if (key := (row.subaccount, row.key)) in wanted}


async def _everything(connection: AsyncConnection) -> AsyncIterator[tuple[Id, Any]]:
    async for raw in await connection.stream(sa.select(table)):
        row = _row(raw)
        yield (row.subaccount, row.key), _until(row)


SEEN = Kind(KIND, _load, _everything, packed)


# --- parts of statements ----------------------------------------------------------------------------------------------


def _row(row: Any) -> Suppression:
    return Suppression(**{name: getattr(row, name) for name in Suppression._fields})


def _chunks(ids: Sequence[Id]) -> list[Sequence[Id]]:
    return [ids[at : at + _CHUNK] for at in range(0, len(ids), _CHUNK)]


def _any_of(ids: Sequence[Id]) -> sa.ColumnElement[bool]:
    return sa.tuple_(table.c.subaccount, table.c.recipient).in_(list(ids))


def _valid(now: int) -> sa.ColumnElement[bool]:
    return sa.or_(table.c.expires.is_(None), table.c.expires > now)


def _condition(wanted: Search, now: int) -> sa.ColumnElement[bool]:
    found = [_valid(now)]
    if wanted.only is not None:
        found.append(table.c.subaccount == wanted.only)
    if wanted.since is not None:
        found.append(table.c.updated >= wanted.since)
    if wanted.until is not None:
        found.append(table.c.updated <= wanted.until)
    if wanted.domain:
        found.append(table.c.domain == wanted.domain)
    if wanted.sources:
        found.append(table.c.source.in_(list(wanted.sources)))
    if wanted.transactional is not None:
        found.append(table.c.transactional == wanted.transactional)
    if wanted.words:
        found.append(sa.or_(*(table.c.description.icontains(word, autoescape=True) for word in wanted.words)))
    if wanted.phrase:
        found.append(table.c.description.icontains(wanted.phrase, autoescape=True))
    if wanted.list_id is not None:
        found.append(table.c.list_id == wanted.list_id)
    return sa.and_(*found)


_Mark = tuple[int, int, str, bool, str]


def _written(row: Suppression) -> str:
    mark = (row.updated, row.subaccount, row.recipient, row.transactional, row.list_id)
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(mark)).rstrip(b"=").decode()


def _read(cursor: str) -> _Mark:
    try:
        octets = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        mark: _Mark = msgspec.msgpack.decode(octets, type=_Mark)
    except (ValueError, msgspec.DecodeError) as error:
        raise CursorError("the cursor is none of ours") from error
    return mark
