"""API keys in their table. A key is shown once, when it is made; what is kept is its SHA-256."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from postroad.auth.keys import new_key
from postroad.store.changes import changed
from postroad.store.kind import Id, Kind
from postroad.store.tables.keys import keys as table

KIND = "key"  # in the catalog its key is the SHA-256


class StoredKey(NamedTuple):
    """subaccount: 0 is the primary account. short_key: its first 4 digits. rate: HTTP requests a second; 0: what the
    server allows. created: milliseconds since 1970."""

    id: str
    subaccount: int
    short_key: str
    label: str
    grants: list[str]
    networks: list[str]
    rate: float
    created: int


def checked_networks(networks: Sequence[str]) -> list[str]:
    """Raises ValueError that names the one that is none."""
    found = []
    for network in networks:
        try:
            found.append(str(ipaddress.ip_network(network, strict=False)))
        except ValueError:
            raise ValueError(f"{network[:60]!r} is no address and no network") from None
    return found


async def create_key(
    tx: AsyncConnection,
    label: str,
    grants: Sequence[str],
    *,
    now: int,
    subaccount: int = 0,
    networks: Sequence[str] = (),
    rate: float = 0.0,
) -> tuple[str, StoredKey]:
    """(the key itself, which nobody can be told again, its row). now: milliseconds. Raises ValueError on a network that
    is none."""
    secret, digest = new_key()
    row = StoredKey(
        secrets.token_hex(6),
        subaccount,
        secret[:4],
        label,
        sorted(set(grants)),
        checked_networks(networks),
        rate,
        now,
    )
    await tx.execute(sa.insert(table).values(sha256=digest, **row._asdict()))
    await changed(tx, KIND, subaccount, digest)
    return secret, row


async def list_keys(connection: AsyncConnection, only: int | None = None) -> list[StoredKey]:
    """In the order they were made. only: of this subaccount; None: all."""
    query = sa.select(table).order_by(table.c.created, table.c.id)
    if only is not None:
        query = query.where(table.c.subaccount == only)
    return [_row(row) for row in await connection.execute(query)]


async def revoke_key(tx: AsyncConnection, identifier: str, only: int | None = None) -> StoredKey | None:
    """The key is dead when the transaction is through and engines have caught up. None: there is no such key."""
    where = [table.c.id == identifier]
    if only is not None:
        where.append(table.c.subaccount == only)
    row = (await tx.execute(sa.delete(table).where(*where).returning(table))).one_or_none()
    if row is None:
        return None
    await changed(tx, KIND, row.subaccount, row.sha256)
    return _row(row)


def _row(row: Any) -> StoredKey:
    return StoredKey(**{name: getattr(row, name) for name in StoredKey._fields})


# --- what engines see -------------------------------------------------------------------------------------------------


def _value(row: Any) -> dict[str, Any]:
    return {"label": row.label, "grants": row.grants, "networks": row.networks, "rate": row.rate}


async def _load(connection: AsyncConnection, ids: Sequence[Id]) -> Mapping[Id, Any]:
    query = sa.select(table).where(table.c.sha256.in_([digest for _, digest in ids]))
    return {(row.subaccount, row.sha256): _value(row) for row in await connection.execute(query)}


async def _everything(connection: AsyncConnection) -> AsyncIterator[tuple[Id, Any]]:
    for row in await connection.execute(sa.select(table)):
        yield (row.subaccount, row.sha256), _value(row)


SEEN = Kind(KIND, _load, _everything)
