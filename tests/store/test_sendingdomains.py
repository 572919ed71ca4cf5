"""What engines see of sending domains: those whose key stands in DNS, the same one by one and all at once."""

from __future__ import annotations

import pytest

from postroad.store.database import Database
from postroad.store.errors import Conflict
from postroad.store.sendingdomains import (
    INVALID,
    SENDING_DOMAINS,
    VALID,
    DomainKey,
    SendingDomain,
    create_domain,
    delete_domain,
    find_domain,
    write_domain,
)
from tests.store.test_contentkinds import seen

KEY = DomainKey("s", "d.test", "from:to", "public", "sealed")


def domain(name: str, status: str, subaccount: int = 0) -> SendingDomain:
    return SendingDomain(subaccount, name, False, KEY, 1, 1, status)


async def test_engines_see_those_that_are_valid(database: Database) -> None:
    async with database.begin() as tx:
        await create_domain(tx, domain("a.test", VALID, 7))
        await create_domain(tx, domain("b.test", INVALID))
    value = {"shared": False, "selector": "s", "domain": "d.test", "key": "sealed"}
    assert await seen(database, SENDING_DOMAINS) == {(7, "a.test"): value}
    async with database.begin() as tx:
        await write_domain(tx, domain("a.test", INVALID, 7))
        await write_domain(tx, domain("b.test", VALID))
    assert await seen(database, SENDING_DOMAINS) == {(0, "b.test"): value}
    async with database.begin() as tx:
        await delete_domain(tx, 7, "b.test")  # not theirs
        assert await find_domain(tx, None, "b.test") == domain("b.test", VALID)
        await delete_domain(tx, 0, "b.test")
    assert await seen(database, SENDING_DOMAINS) == {}


async def test_a_domain_has_one_account(database: Database) -> None:
    async with database.begin() as tx:
        await create_domain(tx, domain("a.test", VALID, 7))
    with pytest.raises(Conflict):
        async with database.begin() as tx:
            await create_domain(tx, domain("a.test", VALID, 8))
    async with database.read() as connection:
        assert await find_domain(connection, 8, "a.test") is None
        found = await find_domain(connection, 7, "a.test")
    assert found is not None and found.owned and found.key.record == "s._domainkey.d.test"
