"""Sending domains (api.md 9). Engines see those whose key stands in DNS: they sign with it."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from postroad.store.changes import changed
from postroad.store.seen import SENDING_DOMAIN as KIND
from postroad.store.sharing import find, visible
from postroad.store.tablekind import table_kind
from postroad.store.tables.sendingdomains import sending_domains

UNVERIFIED = "unverified"
VALID = "valid"
INVALID = "invalid"


class DomainKey(NamedTuple):
    """The key of a domain. selector "": there is none. public: base64. sealed: see auth.dkim.seal."""

    selector: str = ""
    signing_domain: str = ""
    headers: str = ""
    public: str = ""
    sealed: str = ""

    def __bool__(self) -> bool:
        return bool(self.selector)

    @property
    def record(self) -> str:
        """The name at which DNS shows the public half."""
        return f"{self.selector}._domainkey.{self.signing_domain}"


class SendingDomain(NamedTuple):
    """id: the domain, as A-labels in lower case. created, updated: milliseconds since 1970."""

    subaccount: int
    id: str
    shared: bool
    key: DomainKey
    created: int
    updated: int
    dkim_status: str = UNVERIFIED
    cname_status: str = UNVERIFIED
    mx_status: str = UNVERIFIED

    @property
    def owned(self) -> bool:
        """Has something in its DNS shown that it is theirs (api.md 9.2)?"""
        return VALID in (self.dkim_status, self.cname_status, self.mx_status)


async def find_domain(connection: AsyncConnection, only: int | None, domain: str) -> SendingDomain | None:
    row = await find(connection, sending_domains, only, domain)
    return None if row is None else _domain(row)


async def list_domains(connection: AsyncConnection, only: int | None) -> list[SendingDomain]:
    query = sa.select(sending_domains).where(visible(sending_domains, only)).order_by(sending_domains.c.id)
    return [_domain(row) for row in await connection.execute(query)]


async def create_domain(tx: AsyncConnection, domain: SendingDomain) -> None:
    """Raises Conflict (at the end of the transaction or before) when anybody has it."""
    await tx.execute(sa.insert(sending_domains).values(_values(domain)))
    await changed(tx, KIND, domain.subaccount, domain.id)


async def write_domain(tx: AsyncConnection, domain: SendingDomain) -> None:
    mine = sending_domains.c.subaccount == domain.subaccount, sending_domains.c.id == domain.id
    await tx.execute(sa.update(sending_domains).where(*mine).values(_values(domain)))
    await changed(tx, KIND, domain.subaccount, domain.id)


async def delete_domain(tx: AsyncConnection, subaccount: int, domain: str) -> None:
    mine = sending_domains.c.subaccount == subaccount, sending_domains.c.id == domain
    await tx.execute(sa.delete(sending_domains).where(*mine))
    await changed(tx, KIND, subaccount, domain)


def _values(domain: SendingDomain) -> dict[str, Any]:
    values = domain._asdict()
    del values["key"]
    return {**values, **domain.key._asdict()}


def _domain(row: Row[Any]) -> SendingDomain:
    values = dict(row._mapping)
    key = DomainKey(**{name: values.pop(name) for name in DomainKey._fields})
    return SendingDomain(**values, key=key)


def _seen(row: Row[Any]) -> dict[str, Any]:
    return {"shared": row.shared, "selector": row.selector, "domain": row.signing_domain, "key": row.sealed}


# A key that DNS does not show would make receivers see a broken signature: engines are not told of it.
SENDING_DOMAINS = table_kind(KIND, sending_domains, _seen, sending_domains.c.dkim_status == VALID)
