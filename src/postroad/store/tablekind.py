"""A kind of the catalog that is one row of one table, with the key `id`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Row, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from postroad.store.kind import Id, Kind


def table_kind(
    name: str, table: Table, value: Callable[[Row[Any]], Any], where: ColumnElement[bool] | None = None
) -> Kind:
    """value: what engines see of a row. where: rows of which they see nothing are left out by it."""
    chosen = sa.select(table) if where is None else sa.select(table).where(where)

    async def load(connection: AsyncConnection, ids: Sequence[Id]) -> Mapping[Id, Any]:
        # Row by row: a list may be tens of megabytes.
        found: dict[Id, Any] = {}
        query = chosen.where(sa.tuple_(table.c.subaccount, table.c.id).in_(ids))
        for row in await connection.execute(query):
            found[row.subaccount, row.id] = value(row)
        return found

    async def everything(connection: AsyncConnection) -> AsyncIterator[tuple[Id, Any]]:
        async with connection.stream(chosen) as rows:
            async for row in rows:
                yield (row.subaccount, row.id), value(row)

    return Kind(name, load, everything)
