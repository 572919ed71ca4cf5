"""Keys and subaccounts in their tables, and as an engine holds them, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from postroad.auth import ApiKeys, AuthFailure, Key
from postroad.auth.smtpauth import SmtpUsers
from postroad.config.schema import ApiKey
from postroad.store.access import Access, engine_catalog
from postroad.store.builder import Builder
from postroad.store.database import Database
from postroad.store.keys import create_key, list_keys, revoke_key
from postroad.store.subaccounts import (
    Listing,
    Status,
    count_subaccounts,
    create_subaccount,
    list_subaccounts,
    read_subaccount,
    update_subaccount,
)
from postroad.store.tables.keys import keys as table

HERE = "192.0.2.1"


class Engine:
    """The store of a control process, and what an engine knows of it."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.catalog = engine_catalog(folder)
        self.builder = Builder(folder / "catalog", database, self._tell)
        database.on_commit = self.builder.committed
        self.access = Access(self.catalog)
        self.keys = ApiKeys([], self.access.key)
        self.users = SmtpUsers((), self.keys, self.access.active)

    async def _tell(self, seq: int) -> None:
        await self.catalog.catch_up()

    async def key(
        self, *grants: str, subaccount: int = 0, networks: tuple[str, ...] = (), rate: float = 0.0
    ) -> tuple[str, str]:
        """(the key, its id)."""
        async with self.database.begin() as tx:
            secret, row = await create_key(
                tx, "a label", grants, now=1, subaccount=subaccount, networks=networks, rate=rate
            )
        return secret, row.id

    def known(self, secret: str, peer: str = HERE) -> Key | AuthFailure:
        return self.keys.authenticate(secret.encode(), peer)


@pytest.fixture
async def engine(database: Database, tmp_path: Path) -> AsyncIterator[Engine]:
    made = Engine(database, tmp_path)
    yield made
    await made.builder.close()


async def test_a_key(engine: Engine) -> None:
    secret, identifier = await engine.key("templates/view", "transmissions/modify", rate=2.5)
    assert engine.known(secret) == Key(
        "a label", frozenset(("templates/view", "transmissions/modify")), subaccount=None, rate=2.5
    )
    assert engine.known(secret.upper()) is AuthFailure.UNAUTHORIZED
    async with engine.database.read() as connection:
        (row,) = await list_keys(connection)
        everything = str((await connection.execute(sa.select(table))).all())
    assert (row.id, row.short_key, row.subaccount) == (identifier, secret[:4], 0)
    assert secret not in everything and secret[4:] not in everything
    async with engine.database.begin() as tx:
        assert await revoke_key(tx, identifier) == row
    assert engine.known(secret) is AuthFailure.UNAUTHORIZED
    async with engine.database.begin() as tx:
        assert await revoke_key(tx, identifier) is None


async def test_keys_are_not_alike(engine: Engine) -> None:
    made = {await engine.key("transmissions/view") for _ in range(20)}
    assert len({secret for secret, _ in made}) == len({identifier for _, identifier in made}) == 20
    assert all(len(secret) == 40 and set(secret) <= set("0123456789abcdef") for secret, _ in made)


async def test_networks(engine: Engine) -> None:
    secret, _ = await engine.key("transmissions/view", networks=("192.0.2.7/24", "2001:db8::1"))
    assert isinstance(engine.known(secret), Key)
    assert isinstance(engine.known(secret, "2001:db8::1"), Key)
    assert engine.known(secret, "198.51.100.1") is AuthFailure.FORBIDDEN
    assert engine.known(secret, "2001:db8::2") is AuthFailure.FORBIDDEN
    for wrong in ("192.0.2.0/33", "example.com", "", "192.0.2.1\r\n"):
        with pytest.raises(ValueError, match="no address"):
            await engine.key("transmissions/view", networks=(wrong,))


async def test_a_key_of_a_subaccount(engine: Engine) -> None:
    async with engine.database.begin() as tx:
        number = await create_subaccount(tx, "Shop", now=5)
        other = await create_subaccount(tx, "Other", now=6)
    secret, identifier = await engine.key("smtp/inject", subaccount=number)
    found = engine.known(secret)
    assert isinstance(found, Key) and found.subaccount == number
    async with engine.database.begin() as tx:
        assert await revoke_key(tx, identifier, only=other) is None  # not another one's to revoke
        assert await list_keys(tx, only=other) == []
    assert engine.known(secret) == found


@pytest.mark.parametrize("status", ["suspended", "terminated"])
async def test_who_may_log_in_by_smtp(engine: Engine, status: Status) -> None:
    async with engine.database.begin() as tx:
        number = await create_subaccount(tx, "Shop", now=5)
    sends, _ = await engine.key("smtp/inject")
    bound, _ = await engine.key("smtp/inject", subaccount=number)
    reads, _ = await engine.key("transmissions/modify")

    def login(secret: str) -> object:
        return engine.users.quickly("SMTP_Injection", secret, HERE)

    account = engine.users.quickly("SMTP_Injection", bound, HERE)
    assert account and account.subaccount == number
    assert login(sends) and not login(reads)
    async with engine.database.begin() as tx:
        assert await update_subaccount(tx, number, now=6, status=status)
    assert login(bound) is False and login(sends)
    async with engine.database.begin() as tx:
        assert await update_subaccount(tx, number, now=6, status="active")
    assert login(bound)


async def test_keys_of_the_configuration_come_first(engine: Engine) -> None:
    secret, _ = await engine.key("transmissions/view")
    async with engine.database.read() as connection:
        digest = (await connection.execute(sa.select(table.c.sha256))).scalar_one()
    keys = ApiKeys([ApiKey(label="file", sha256=digest)], engine.access.key)
    found = keys.authenticate(secret.encode(), HERE)
    assert isinstance(found, Key) and found.label == "file"


async def test_subaccounts(engine: Engine) -> None:
    async with engine.database.begin() as tx:
        numbers = [await create_subaccount(tx, f"Shop {n}", now=n, ip_pool="p" if n % 2 else "") for n in range(1, 6)]
    assert numbers == [1, 2, 3, 4, 5]
    assert engine.access.status(3) == "active" and engine.access.status(6) is None
    async with engine.database.begin() as tx:
        assert await update_subaccount(tx, 3, now=10, name="Laden 100%", options={"deliverability": True})
        assert await update_subaccount(tx, 3, now=11, options={"other": 1}, status="suspended")
        assert not await update_subaccount(tx, 9, now=11, name="none")
        found = await read_subaccount(tx, 3)
        assert found is not None and (found.name, found.status, found.ip_pool) == ("Laden 100%", "suspended", "p")
        assert found.options == {"deliverability": True, "other": 1} and (found.created, found.updated) == (3, 11)
        assert await read_subaccount(tx, 9) is None
        assert await count_subaccounts(tx) == 5

        async def listed(wanted: Listing, limit: int | None = None, offset: int = 0) -> tuple[list[int], int]:
            rows, total = await list_subaccounts(tx, wanted, limit=limit, offset=offset)
            return [row.subaccount for row in rows], total

        assert await listed(Listing()) == ([5, 4, 3, 2, 1], 5)
        assert await listed(Listing(ascending=True), 2, 2) == ([3, 4], 5)
        assert await listed(Listing("updated_at")) == ([3, 5, 4, 2, 1], 5)
        assert await listed(Listing("name", ascending=True)) == ([3, 1, 2, 4, 5], 5)
        assert await listed(Listing("id", ip_pool="p")) == ([5, 3, 1], 3)
        assert await listed(Listing(status="suspended")) == ([3], 1)
        assert await listed(Listing(name="laden")) == ([3], 1)
        assert await listed(Listing(name="100%")) == ([3], 1) and await listed(Listing(name="%")) == ([3], 1)
        assert await listed(Listing(ids=[2, 9])) == ([2], 1)
    assert engine.access.status(3) == "suspended" and not engine.access.active(3)
    assert engine.access.active(None) and engine.access.active(0) and not engine.access.active(9)
