"""Whose objects a question is about: an account's own, and what the primary account shares with all (api.md 1.9)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Row, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from postroad.store.tables.base import MASTER


def visible(table: Table, only: int | None) -> ColumnElement[bool]:
    """only: the account that asks; None: the primary account, about everybody's. A table without a column `shared` has
    objects that are never shared."""
    if only is None:
        return sa.true()
    own: ColumnElement[bool] = table.c.subaccount == only
    if only == MASTER or "shared" not in table.c:
        return own
    return sa.or_(own, sa.and_(table.c.subaccount == MASTER, table.c.shared))


async def find(connection: AsyncConnection, table: Table, only: int | None, key: str) -> Row[Any] | None:
    """The row with this id that `only` means: its own before a shared one; of everybody's, the primary account's."""
    whose = table.c.subaccount
    query = sa.select(table).where(table.c.id == key, visible(table, only))
    order = whose if only is None else whose.desc()
    return (await connection.execute(query.order_by(order).limit(1))).one_or_none()
