"""python -m tests.store.full_disk SCENE FOLDER: on a small file system, until it is full, and after."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import sqlalchemy as sa

from postroad.store.builder import Builder
from postroad.store.changes import changed
from postroad.store.database import Database, sqlite_url
from postroad.store.errors import SchemaError, StoreError, StoreFull
from postroad.store.schema import check, current, steps, upgrade


def _fill(folder: Path) -> Path:
    path = folder / "stranger"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return path


async def _tell(seq: int) -> None:
    """Nobody listens."""


async def commits(folder: Path) -> None:
    """Nothing that was told is lost, what fails is said to be full, and with room again it goes on."""
    database = await Database.open(sqlite_url(folder / "postroad.db"))
    await upgrade(database)
    builder = Builder(folder / "catalog", database, _tell)
    await builder.settle()
    database.on_commit = builder.committed
    kept: list[str] = []
    errors: list[StoreError] = []
    stranger = None
    while len(errors) < 4:
        key = f"{len(kept)} {len(errors)} {'x' * 20_000}"
        try:
            async with database.begin() as tx:
                await changed(tx, "k", 0, key)
            kept.append(key)
        except StoreError as error:
            errors.append(error)
        if len(kept) == 3 and stranger is None:
            stranger = _fill(folder)
    assert len(kept) >= 3 and stranger is not None
    assert any(isinstance(error, StoreFull) for error in errors), errors
    assert all(error.retry_after > 0 for error in errors)
    stranger.unlink()
    async with database.begin() as tx:
        await changed(tx, "k", 0, "after")
    async with database.read() as connection:
        there = set((await connection.execute(sa.text("SELECT key FROM changes"))).scalars())
    assert there >= {*kept, "after"}
    assert await check(database) == []
    await builder.close()
    await database.close()


async def copy(folder: Path) -> None:
    """Without room for a copy the schema is left alone."""
    database = await Database.open(sqlite_url(folder / "postroad.db"))
    await upgrade(database, steps()[0])
    stranger = _fill(folder)
    try:
        await upgrade(database)
    except SchemaError as error:
        assert "left alone" in str(error), error
    else:
        raise AssertionError("there was room")
    assert await current(database) == steps()[0]
    stranger.unlink()
    done = await upgrade(database)
    assert done.before == steps()[0] and done.after == steps()[-1]
    assert done.backup is not None and done.backup.stat().st_size > 0
    assert not any("partial" in name for name in os.listdir(folder))
    await database.close()


if __name__ == "__main__":
    asyncio.run({"commits": commits, "copy": copy}[sys.argv[1]](Path(sys.argv[2])))
    print("as it should be")
