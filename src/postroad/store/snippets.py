"""Snippets (api.md 6)."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from postroad.store.changes import changed
from postroad.store.seen import SNIPPET as KIND
from postroad.store.sharing import find, visible
from postroad.store.tablekind import table_kind
from postroad.store.tables.snippets import snippets
from postroad.store.upsert import upsert


class Snippet(NamedTuple):
    """content: the parts by name. created, updated: milliseconds since 1970."""

    subaccount: int
    id: str
    name: str
    shared: bool
    content: dict[str, str]
    created: int
    updated: int


async def find_snippet(connection: AsyncConnection, only: int | None, key: str) -> Snippet | None:
    row = await find(connection, snippets, only, key)
    return None if row is None else _snippet(row)


async def list_snippets(connection: AsyncConnection, only: int | None, shared: bool | None) -> list[Snippet]:
    query = sa.select(snippets).where(visible(snippets, only)).order_by(snippets.c.subaccount, snippets.c.id)
    if shared is not None:
        query = query.where(snippets.c.shared == shared)
    return [_snippet(row) for row in await connection.execute(query)]


async def create_snippet(tx: AsyncConnection, snippet: Snippet) -> None:
    """Raises Conflict (at the end of the transaction or before) when there is one."""
    await tx.execute(sa.insert(snippets).values(_values(snippet)))
    await changed(tx, KIND, snippet.subaccount, snippet.id)


async def write_snippet(tx: AsyncConnection, snippet: Snippet) -> None:
    await upsert(tx, snippets, [_values(snippet)], keep=("created",))
    await changed(tx, KIND, snippet.subaccount, snippet.id)


async def delete_snippet(tx: AsyncConnection, subaccount: int, key: str) -> bool:
    """False: there is none."""
    done = await tx.execute(sa.delete(snippets).where(snippets.c.subaccount == subaccount, snippets.c.id == key))
    await changed(tx, KIND, subaccount, key)
    return done.rowcount > 0


def _values(snippet: Snippet) -> dict[str, Any]:
    return {**snippet._asdict(), "content": msgspec.json.encode(snippet.content).decode()}


def _snippet(row: Row[Any]) -> Snippet:
    values = {**row._mapping, "content": msgspec.json.decode(row.content)}
    return Snippet(**values)


def _seen(row: Row[Any]) -> dict[str, Any]:
    return {"shared": row.shared, "content": msgspec.json.decode(row.content)}


SNIPPETS = table_kind(KIND, snippets, _seen)
