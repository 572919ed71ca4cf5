"""What a transaction changed, for those who must know: engines, by the catalog."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from postroad.store.database import SEQ
from postroad.store.tables.changes import changes


async def changed(tx: AsyncConnection, kind: str, subaccount: int, *keys: str) -> None:
    """Say in the same transaction that these objects were made, changed or removed.

    What engines see of an object is read from its table when the transaction is through (kinds.py), so the order of
    statements within the transaction does not matter.
    """
    await changed_all(tx, ((kind, subaccount, key) for key in keys))


async def changed_all(tx: AsyncConnection, objects: Iterable[tuple[str, int, str]]) -> None:
    """As `changed`, for objects (kind, subaccount, key) of several kinds or subaccounts."""
    now = time.time_ns() // 1_000_000
    rows = [{"kind": kind, "subaccount": subaccount, "key": key, "at": now} for kind, subaccount, key in objects]
    if len(rows) > 1:
        await tx.execute(insert(changes), rows[:-1])
    if rows:
        # Of the last one alone the number is asked: numbers only go up.
        result = await tx.execute(insert(changes).returning(changes.c.seq), rows[-1])
        tx.info[SEQ] = result.scalar_one()
