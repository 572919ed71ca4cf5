"""The account's settings (api.md 21)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from postroad.store.changes import changed
from postroad.store.kind import Id, Kind
from postroad.store.seen import ACCOUNT
from postroad.store.tables.account import account
from postroad.store.tables.base import MASTER


class Account(NamedTuple):
    """options: those that were set, by name. created, updated: milliseconds since 1970; None: nothing was ever set."""

    company_name: str = ""
    options: dict[str, bool] = {}  # noqa: RUF012 - never changed
    created: int | None = None
    updated: int | None = None


async def read_account(connection: AsyncConnection) -> Account:
    row = (await connection.execute(sa.select(account).where(account.c.subaccount == MASTER))).one_or_none()
    return Account() if row is None else Account(row.company_name, row.options, row.created, row.updated)


async def write_account(tx: AsyncConnection, company_name: str | None, options: dict[str, bool], now: int) -> None:
    """None: the name stays. options: laid over those that were set before. now: milliseconds since 1970."""
    before = await read_account(tx)
    values = {
        "company_name": before.company_name if company_name is None else company_name,
        "options": {**before.options, **options},
        "updated": now,
    }
    if before.created is None:
        await tx.execute(sa.insert(account).values(subaccount=MASTER, created=now, **values))
    else:
        await tx.execute(sa.update(account).where(account.c.subaccount == MASTER).values(**values))
    await changed(tx, KIND, MASTER, "")


# --- what engines see: the options that were set, by name -------------------------------------------------------------

KIND = ACCOUNT


async def _load(connection: AsyncConnection, ids: Sequence[Id]) -> Mapping[Id, dict[str, bool]]:
    del ids  # there is one
    return {each: value async for each, value in _everything(connection)}


async def _everything(connection: AsyncConnection) -> AsyncIterator[tuple[Id, dict[str, bool]]]:
    found = await read_account(connection)
    if found.created is not None:
        yield (MASTER, ""), found.options


SEEN = Kind(KIND, _load, _everything)
