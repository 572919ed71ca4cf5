"""Subaccounts in their table (api.md 20.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from postroad.store.changes import changed
from postroad.store.kind import Id, Kind
from postroad.store.tables.subaccounts import subaccounts as table

KIND = "subaccount"  # in the catalog with an empty key
Status = Literal["active", "suspended", "terminated"]
STATUSES: tuple[Status, ...] = ("active", "suspended", "terminated")


class Subaccount(NamedTuple):
    """ip_pool "": none of its own. created, updated: milliseconds since 1970."""

    subaccount: int
    name: str
    status: Status
    ip_pool: str
    options: dict[str, Any]
    created: int
    updated: int


class Listing(NamedTuple):
    """Which subaccounts, in which order, from which on (api.md 20.1)."""

    sort_by: Literal["created_at", "updated_at", "id", "name"] = "created_at"
    ascending: bool = False
    ip_pool: str | None = None
    status: Status | None = None
    name: str = ""
    ids: Sequence[int] | None = None


async def create_subaccount(
    tx: AsyncConnection, name: str, *, now: int, ip_pool: str = "", options: Mapping[str, Any] | None = None
) -> int:
    """Its number: one more than the greatest so far; numbers are never used again."""
    last = (await tx.execute(sa.select(sa.func.max(table.c.subaccount)))).scalar() or 0
    values = Subaccount(last + 1, name, "active", ip_pool, dict(options or {}), now, now)
    await tx.execute(sa.insert(table).values(**values._asdict()))
    await changed(tx, KIND, last + 1, "")
    return last + 1


async def read_subaccount(connection: AsyncConnection, number: int) -> Subaccount | None:
    row = (await connection.execute(sa.select(table).where(table.c.subaccount == number))).one_or_none()
    return None if row is None else _row(row)


async def update_subaccount(
    tx: AsyncConnection,
    number: int,
    *,
    now: int,
    name: str | None = None,
    status: Status | None = None,
    ip_pool: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> bool:
    """None: as it was; options are laid over those there are. False: there is no such subaccount."""
    before = await read_subaccount(tx, number)
    if before is None:
        return False
    values: dict[str, Any] = {"updated": now}
    values |= {
        key: value for key, value in (("name", name), ("status", status), ("ip_pool", ip_pool)) if value is not None
    }
    if options is not None:
        values["options"] = {**before.options, **options}
    await tx.execute(sa.update(table).where(table.c.subaccount == number).values(**values))
    await changed(tx, KIND, number, "")
    return True


async def list_subaccounts(
    connection: AsyncConnection, wanted: Listing, *, limit: int | None = None, offset: int = 0
) -> tuple[list[Subaccount], int]:
    """(those from offset on, how many there are in all)."""
    where = []
    if wanted.ip_pool is not None:
        where.append(table.c.ip_pool == wanted.ip_pool)
    if wanted.status is not None:
        where.append(table.c.status == wanted.status)
    if wanted.name:
        where.append(table.c.name.icontains(wanted.name, autoescape=True))
    if wanted.ids is not None:
        where.append(table.c.subaccount.in_(wanted.ids))
    column = {
        "created_at": table.c.created,
        "updated_at": table.c.updated,
        "id": table.c.subaccount,
        "name": table.c.name,
    }[wanted.sort_by]
    order = (column, table.c.subaccount)
    query = (
        sa.select(table).where(*where).order_by(*(part.asc() if wanted.ascending else part.desc() for part in order))
    )
    total = (await connection.execute(sa.select(sa.func.count()).select_from(table).where(*where))).scalar_one()
    rows = await connection.execute(query.limit(limit).offset(offset))
    return [_row(row) for row in rows], total


async def count_subaccounts(connection: AsyncConnection) -> int:
    return (await connection.execute(sa.select(sa.func.count()).select_from(table))).scalar_one()


def _row(row: Any) -> Subaccount:
    return Subaccount(**{name: getattr(row, name) for name in Subaccount._fields})


# --- what engines see -------------------------------------------------------------------------------------------------


def _value(row: Any) -> dict[str, Any]:
    return {"status": row.status, "ip_pool": row.ip_pool, "options": row.options}


async def _load(connection: AsyncConnection, ids: Sequence[Id]) -> Mapping[Id, Any]:
    query = sa.select(table).where(table.c.subaccount.in_([number for number, _ in ids]))
    return {(row.subaccount, ""): _value(row) for row in await connection.execute(query)}


async def _everything(connection: AsyncConnection) -> AsyncIterator[tuple[Id, Any]]:
    for row in await connection.execute(sa.select(table)):
        yield (row.subaccount, ""), _value(row)


SEEN = Kind(KIND, _load, _everything)
