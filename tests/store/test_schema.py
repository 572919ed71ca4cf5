"""The schema's steps, on both databases: one line, each repeatable, and as the tables say."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, insert, select, text

from postroad.store import schema
from postroad.store.database import Database, sqlite_url
from postroad.store.errors import SchemaError
from postroad.store.schema import check, current, steps, upgrade
from postroad.store.tables import metadata
from postroad.store.tables.changes import changes, identity


def test_the_steps_form_one_line() -> None:
    found = steps()
    assert found[0] == "0001_base"
    numbers = [step.partition("_")[0] for step in found]
    assert numbers == sorted(set(numbers)) and all(len(number) == 4 for number in numbers)


async def test_upgrade(empty_url: str) -> None:
    database = await Database.open(empty_url)
    assert await current(database) is None
    assert len(await check(database)) == 1
    done = await upgrade(database)
    assert (done.before, done.after, done.backup) == (None, steps()[-1], None)
    assert await current(database) == steps()[-1]
    again = await upgrade(database)
    assert again.before == again.after and again.backup is None
    assert await check(database) == []
    await database.close()


async def test_the_steps_make_what_the_tables_say(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        found = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)
        return list(found)

    async with database.read() as connection:
        assert await connection.run_sync(differences) == []


@pytest.mark.parametrize("step", steps())
async def test_from_each_earlier_schema(empty_url: str, step: str) -> None:
    """What was there is there afterwards."""
    database = await Database.open(empty_url)
    await upgrade(database, step)
    async with database.begin() as tx:
        await tx.execute(insert(changes).values(kind="k", subaccount=7, key="old", at=1))
        before = (await tx.execute(select(identity.c.id))).scalar_one()
    done = await upgrade(database)
    assert (done.backup is not None) == (database.is_sqlite and step != steps()[-1])
    async with database.read() as connection:
        query = select(changes.c.kind, changes.c.subaccount, changes.c.key)
        assert ("k", 7, "old") in [tuple(row) for row in await connection.execute(query)]
        assert (await connection.execute(select(identity.c.id))).scalar_one() == before
    assert await check(database) == []
    await database.close()


async def test_a_newer_schema_is_refused(database: Database) -> None:
    async with database.begin() as tx:
        await tx.execute(text("UPDATE alembic_version SET version_num = '9999_later'"))
    with pytest.raises(SchemaError, match=r"newer Postroad.*9999_later"):
        await upgrade(database)
    assert await current(database) == "9999_later"


async def test_a_step_that_fails_changes_nothing(empty_url: str) -> None:
    database = await Database.open(empty_url)
    async with database.begin() as tx:
        await tx.execute(text("CREATE TABLE identity (x INTEGER)"))  # in the way of the first step, after others
    with pytest.raises(SchemaError, match="nothing was changed"):
        await upgrade(database)
    assert await current(database) is None
    with pytest.raises(Exception, match="changes"):
        async with database.read() as connection:
            await connection.execute(select(changes))
    await database.close()


async def test_a_copy_before_the_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "postroad.db"
    database = await Database.open(sqlite_url(path))
    await upgrade(database, "0001_base")
    async with database.begin() as tx:
        await tx.execute(insert(changes).values(kind="k", subaccount=0, key="kept", at=1))
    copy = schema._backup(path, "0001_base")
    assert copy.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT key FROM changes").fetchall() == [("kept",)]
    connection.close()
    with pytest.raises(SchemaError, match="left alone"):
        schema._backup(tmp_path / "absent" / "postroad.db", "0001_base")
    await database.close()
