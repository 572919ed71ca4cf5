"""Transactions, their errors, and the outbox, on both databases."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from postroad.store.changes import changed
from postroad.store.database import Database, parse_url, sqlite_url
from postroad.store.errors import Conflict, StoreAway, StoreBusy, StoreDamaged, StoreFull, Untold
from postroad.store.schema import upgrade
from postroad.store.tables.changes import changes, identity


async def _rows(database: Database) -> list[tuple[str, int, str]]:
    async with database.read() as connection:
        query = select(changes.c.kind, changes.c.subaccount, changes.c.key).order_by(changes.c.seq)
        return [tuple(row) for row in await connection.execute(query)]


async def test_commit_and_undo(database: Database) -> None:
    told: list[int] = []

    async def committed(seq: int) -> None:
        told.append(seq)

    database.on_commit = committed
    async with database.begin() as tx:
        await changed(tx, "template", 3, "a", "b")
    with pytest.raises(KeyError):
        async with database.begin() as tx:
            await changed(tx, "template", 3, "c")
            raise KeyError("no")
    async with database.begin() as tx:
        await tx.execute(select(identity))
    async with database.begin() as tx:
        await changed(tx, "key", 0, "d")
    assert await _rows(database) == [("template", 3, "a"), ("template", 3, "b"), ("key", 0, "d")]
    assert len(told) == 2 and told[0] < told[1]


async def test_whoever_hears_of_it_may_fail(database: Database) -> None:
    """What is written stays written, and the next writer gets in."""

    async def committed(seq: int) -> None:
        raise Untold("nobody there")

    database.on_commit = committed
    for key in ("a", "b"):
        with pytest.raises(Untold):
            async with database.begin() as tx:
                await changed(tx, "k", 0, key)
    assert [key for _, _, key in await _rows(database)] == ["a", "b"]


async def test_writers_take_turns(database: Database) -> None:
    async def add(number: int) -> None:
        async with database.begin() as tx:
            await changed(tx, "k", 0, f"{number}-first")
            await asyncio.sleep(0)
            await changed(tx, "k", 0, f"{number}-second")

    await asyncio.gather(*(add(number) for number in range(20)))
    keys = [key for _, _, key in await _rows(database)]
    assert sorted(keys) == sorted(f"{n}-{which}" for n in range(20) for which in ("first", "second"))
    for first, second in zip(keys[::2], keys[1::2], strict=True):
        assert first.split("-")[0] == second.split("-")[0]


async def test_two_processes_take_turns(database: Database, empty_url: str) -> None:
    """Numbers come in the order of commits, so nobody who has read up to one misses an earlier one."""
    other = await Database.open(empty_url)
    order: list[str] = []

    async def slow() -> None:
        async with database.begin() as tx:
            await changed(tx, "k", 0, "slow")
            waiting = asyncio.create_task(quick())
            for _ in range(50):
                await asyncio.sleep(0)
            order.append("slow")
        await waiting

    async def quick() -> None:
        async with other.begin() as tx:
            await changed(tx, "k", 0, "quick")
            order.append("quick")

    await slow()
    await other.close()
    assert order == ["slow", "quick"]
    assert [key for _, _, key in await _rows(database)] == ["slow", "quick"]


async def test_reads_see_one_state_and_cant_write(database: Database) -> None:
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(changes))).scalar() == 0
        async with database.begin() as tx:
            await changed(tx, "k", 0, "x")
        assert (await connection.execute(select(func.count()).select_from(changes))).scalar() == 0
    with pytest.raises((SQLAlchemyError, StoreAway)):
        async with database.read() as connection:
            await connection.execute(insert(identity).values(id="x"))
    assert len(await _rows(database)) == 1


async def test_conflict(database: Database) -> None:
    with pytest.raises(Conflict):
        async with database.begin() as tx:
            await tx.execute(insert(identity).values(id="x"))
            await tx.execute(insert(identity).values(id="x"))
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(identity))).scalar() == 1


async def test_a_wrong_statement_is_our_fault(database: Database) -> None:
    with pytest.raises(SQLAlchemyError):
        async with database.begin() as tx:
            await tx.execute(text("SELECT nothing FROM nowhere"))
    async with database.begin() as tx:
        await changed(tx, "k", 0, "x")


async def test_another_writer_is_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database = await Database.open(sqlite_url(path), timeout=0.05)
    await upgrade(database)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        async with database.begin():
            pass
    blocker.execute("ROLLBACK")
    blocker.close()
    async with database.begin() as tx:
        await changed(tx, "k", 0, "x")
    await database.close()


async def test_a_full_file(tmp_path: Path) -> None:
    """SQLite's own limit on pages says what a full disk says; the full disk itself is in test_faults.py."""
    database = await Database.open(sqlite_url(tmp_path / "a.db"))
    await upgrade(database)
    with pytest.raises(StoreFull) as raised:
        async with database.begin() as tx:
            await tx.execute(text("PRAGMA max_page_count = 1"))
            await changed(tx, "k", 0, "x" * 100_000)
    assert raised.value.retry_after >= 1
    assert await _rows(database) == []
    await database.close()


async def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    database = await Database.open(sqlite_url(tmp_path / "a.db"))
    await upgrade(database)
    modes = {name: os.stat(tmp_path / name).st_mode & 0o777 for name in os.listdir(tmp_path)}
    assert modes == {"a.db": 0o600, "a.db-shm": 0o600, "a.db-wal": 0o600}
    await database.close()


async def test_no_database(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"this is a letter" * 1000)
    database = await Database.open(sqlite_url(path))
    with pytest.raises(StoreDamaged):
        async with database.begin():
            pass
    await database.close()
    for url in (sqlite_url(tmp_path / "no" / "a.db"), f"postgresql://nobody@/x?host={tmp_path}"):
        database = await Database.open(url)
        with pytest.raises(StoreAway):
            async with database.begin():
                pass
        with pytest.raises(StoreAway):
            async with database.read():
                pass
        await database.close()


@pytest.mark.parametrize("url", ["mysql://h/d", "letter", "", "postgresql://u:secret@h:port/d"])
def test_urls(url: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse_url(url)
    assert "secret" not in str(raised.value)
