"""What has expired is taken away, and engines are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad.serve.sweeping import Sweeper
from postroad.store.database import Database, sqlite_url
from postroad.store.schema import upgrade
from postroad.store.suppressionlist import Search, Suppression, put, search


class At:
    """A clock that stands still."""

    def __init__(self, wall: float) -> None:
        self.now = wall

    def wall(self) -> float:
        return self.now


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    store = await Database.open(sqlite_url(tmp_path / "postroad.db"))
    await upgrade(store)
    yield store
    await store.close()


async def left(database: Database) -> list[str]:
    async with database.read() as connection:
        return sorted(row.recipient for row in (await search(connection, Search(None), 1, limit=100)).rows)


async def test_what_has_expired_goes_in_small_steps(database: Database) -> None:
    rows = [Suppression(n % 3, f"{n}@x.test", bool(n % 2), expires=1_000 if n < 25 else 9_000) for n in range(30)]
    rows.append(Suppression(0, "always@x.test", True))
    async with database.begin() as tx:
        await put(tx, rows, 1)
    changes: list[int] = []
    swept = asyncio.Event()

    async def committed(seq: int) -> None:
        changes.append(seq)
        if seq == 31 + 25:
            swept.set()

    database.on_commit = committed
    clock = At(0.999)
    task = asyncio.ensure_future(Sweeper(database, clock, every=0, most=10).run())
    clock.now = 1.0
    await swept.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await left(database) == sorted([*(f"{n}@x.test" for n in range(25, 30)), "always@x.test"])
    assert changes == [41, 51, 56]  # so others get their turns
