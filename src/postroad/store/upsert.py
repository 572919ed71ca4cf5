"""INSERT ... ON CONFLICT, which both databases have and SQLAlchemy's common language has not."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


async def upsert(tx: AsyncConnection, table: Table, rows: list[dict[str, Any]], *, keep: tuple[str, ...] = ()) -> None:
    """Insert the rows (all with the same columns); where a row with that primary key is there, it gets the new values,
    but for the columns in `keep`. Of two rows with one key in the same call PostgreSQL wants only one."""
    if not rows:
        return
    dialect = sqlite if tx.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table)
    key = [column.name for column in table.primary_key]
    new = {name: statement.excluded[name] for name in rows[0] if name not in key and name not in keep}
    if new:
        await tx.execute(statement.on_conflict_do_update(index_elements=key, set_=new), rows)
    else:
        await tx.execute(statement.on_conflict_do_nothing(index_elements=key), rows)
