"""A/B tests of templates (api.md 7): versions of a test, how it stands, and which template a recipient gets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from postroad.store.changes import changed
from postroad.store.kind import Id, Kind
from postroad.store.seen import AB_TEST as KIND
from postroad.store.seen import Plan
from postroad.store.sharing import visible
from postroad.store.tables.abtests import ab_tests
from postroad.store.upsert import upsert

Status = Literal["draft", "scheduled", "running", "completed", "cancelled"]
_table = ab_tests


class AbTest(NamedTuple):
    """One version. settings: what the client said, as JSON. Times in milliseconds since 1970; starts, ends and
    completes (ends, and the time that engagement gets after it) are None in drafts alone."""

    subaccount: int
    id: str
    version: int
    draft: bool
    cancelled: bool
    settings: dict[str, Any]
    starts: int | None
    ends: int | None
    completes: int | None
    created: int
    updated: int

    def status(self, now: int) -> Status:
        """now: milliseconds since 1970."""
        if self.draft or self.starts is None or self.completes is None:
            return "draft"
        if self.cancelled:
            return "cancelled"
        if now < self.starts:
            return "scheduled"
        return "running" if now < self.completes else "completed"


async def find_ab_test(
    connection: AsyncConnection, only: int | None, key: str, version: int | None = None
) -> AbTest | None:
    """version None: the latest."""
    query = sa.select(_table).where(_table.c.id == key, visible(_table, only))
    if version is not None:
        query = query.where(_table.c.version == version)
    query = query.order_by(_table.c.subaccount, _table.c.version.desc()).limit(1)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _test(row)


async def list_ab_tests(connection: AsyncConnection, only: int | None) -> list[AbTest]:
    """The latest version of each."""
    query = sa.select(_table).where(visible(_table, only))
    found: dict[Id, AbTest] = {}
    for row in await connection.execute(query.order_by(_table.c.subaccount, _table.c.id, _table.c.version)):
        found[row.subaccount, row.id] = _test(row)
    return list(found.values())


async def create_ab_test(tx: AsyncConnection, test: AbTest) -> None:
    """A new test, or a new version of one. Raises Conflict (at the end of the transaction or before) when there is one
    already."""
    await tx.execute(sa.insert(_table).values(_values(test)))
    await changed(tx, KIND, test.subaccount, test.id)


async def write_ab_test(tx: AsyncConnection, test: AbTest) -> None:
    """In the place of this version."""
    await upsert(tx, _table, [_values(test)])
    await changed(tx, KIND, test.subaccount, test.id)


async def delete_ab_test(tx: AsyncConnection, subaccount: int, key: str) -> None:
    """All its versions."""
    await tx.execute(sa.delete(_table).where(_table.c.subaccount == subaccount, _table.c.id == key))
    await changed(tx, KIND, subaccount, key)


def plan(test: AbTest) -> Plan:
    """test: no draft."""
    weight = test.settings["audience_selection"]
    default = test.settings["default_template"]
    shares = [(each["template_id"], float(each.get(weight) or 0)) for each in (default, *test.settings["variants"])]
    ends = 0 if test.cancelled else test.ends or 0
    return Plan(test.version, default["template_id"], shares, test.starts or 0, ends)


def _values(test: AbTest) -> dict[str, Any]:
    return {**test._asdict(), "settings": msgspec.json.encode(test.settings).decode()}


def _test(row: Row[Any]) -> AbTest:
    return AbTest(**{**row._mapping, "settings": msgspec.json.decode(row.settings)})


async def _load(connection: AsyncConnection, ids: Sequence[Id]) -> Mapping[Id, Any]:
    query = sa.select(_table).where(sa.tuple_(_table.c.subaccount, _table.c.id).in_(ids), sa.not_(_table.c.draft))
    rows = await connection.execute(query.order_by(_table.c.version))
    return {(row.subaccount, row.id): plan(_test(row)) for row in rows}


async def _everything(connection: AsyncConnection) -> AsyncIterator[tuple[Id, Any]]:
    query = sa.select(_table.c.subaccount, _table.c.id).distinct()
    ids: list[Id] = [(row.subaccount, row.id) for row in await connection.execute(query)]
    for start in range(0, len(ids), 100):
        for key, value in (await _load(connection, ids[start : start + 100])).items():
            yield key, value


AB_TESTS = Kind(KIND, _load, _everything)
