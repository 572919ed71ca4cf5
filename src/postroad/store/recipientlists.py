"""Stored recipient lists (api.md 5). A list is of the account that made it and is never shared."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from postroad.store.changes import changed
from postroad.store.seen import RECIPIENT_LIST as KIND
from postroad.store.sharing import visible
from postroad.store.tablekind import table_kind
from postroad.store.tables.recipientlists import recipient_lists

_table = recipient_lists
_LIGHT = [column for column in recipient_lists.c if column.name != "recipients"]


class RecipientList(NamedTuple):
    """attributes: a JSON object. recipients: JSON text, None where it was not asked for; total: how many they are.
    updated: milliseconds since 1970."""

    subaccount: int
    id: str
    name: str
    description: str
    attributes: dict[str, Any]
    total: int
    updated: int
    recipients: str | None = None


async def find_list(
    connection: AsyncConnection, only: int | None, key: str, *, recipients: bool = False
) -> RecipientList | None:
    columns = _table.c if recipients else _LIGHT
    query = sa.select(*columns).where(_table.c.id == key, visible(_table, only))
    row = (await connection.execute(query.order_by(_table.c.subaccount).limit(1))).one_or_none()
    return None if row is None else _list(row)


async def list_lists(connection: AsyncConnection, only: int | None) -> list[RecipientList]:
    """Without recipients."""
    query = sa.select(*_LIGHT).where(visible(_table, only)).order_by(_table.c.subaccount, _table.c.id)
    return [_list(row) for row in await connection.execute(query)]


async def create_list(tx: AsyncConnection, made: RecipientList) -> None:
    """With recipients. Raises Conflict (at the end of the transaction or before) when there is one."""
    await tx.execute(
        sa.insert(_table).values({**made._asdict(), "attributes": msgspec.json.encode(made.attributes).decode()})
    )
    await changed(tx, KIND, made.subaccount, made.id)


async def write_list(tx: AsyncConnection, made: RecipientList) -> None:
    """recipients None: they stay."""
    values = {**made._asdict(), "attributes": msgspec.json.encode(made.attributes).decode()}
    if made.recipients is None:
        del values["recipients"], values["total"]
    await tx.execute(
        sa.update(_table).where(_table.c.subaccount == made.subaccount, _table.c.id == made.id).values(values)
    )
    await changed(tx, KIND, made.subaccount, made.id)


async def delete_list(tx: AsyncConnection, subaccount: int, key: str) -> bool:
    """False: there is none."""
    done = await tx.execute(sa.delete(_table).where(_table.c.subaccount == subaccount, _table.c.id == key))
    await changed(tx, KIND, subaccount, key)
    return done.rowcount > 0


def _list(row: Row[Any]) -> RecipientList:
    values = {**row._mapping, "attributes": msgspec.json.decode(row.attributes)}
    return RecipientList(**values)


def _seen(row: Row[Any]) -> dict[str, Any]:
    return {"total": row.total, "recipients": msgspec.json.decode(row.recipients)}


RECIPIENT_LISTS = table_kind(KIND, recipient_lists, _seen)
