"""The store and its catalog through kill -9 and full disks: what was told counts, and the two agree."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from postroad.store.access import KEYS, StoredKeys, engine_catalog
from postroad.store.builder import Builder
from postroad.store.database import Database, sqlite_url
from postroad.store.schema import check
from postroad.store.tables.keys import keys
from tests.scenarios.small_disk import SmallDisk


async def _tell(seq: int) -> None:
    """Nobody listens."""


async def _in_tables(database: Database) -> set[bytes]:
    async with database.read() as connection:
        return {bytes.fromhex(row[0]) for row in await connection.execute(sa.select(keys.c.sha256))}


def _in_catalog(folder: Path, known: set[bytes]) -> set[bytes]:
    """Those of `known` that an engine which starts now lets in, when it lets in no others."""
    catalog = engine_catalog(folder)
    catalog.load()
    view = catalog.view(KEYS)
    assert isinstance(view, StoredKeys)
    found = {digest for digest in known if view.get(digest) is not None}
    assert len(view) == len(found)
    return found


def _life(folder: Path, seed: int, believed: dict[bytes, bool]) -> int:
    """The writer runs until it is killed in the middle of something; how many of its acts were told."""
    lines = random.Random(seed).choice((0, 1, 3, 20, 60))
    command = [sys.executable, "-m", "tests.store.writer", str(folder), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "READY\n"
        told = sum(_hear(writer.stdout.readline(), believed) for _ in range(lines))
        writer.kill()
        return told + sum(_hear(line, believed) for line in writer.stdout)


async def _round(folder: Path, seed: int, believed: dict[bytes, bool]) -> int:
    """One life, and what it left. believed: what was told in all lives."""
    told = _life(folder, seed, believed)
    database = await Database.open(sqlite_url(folder / "postroad.db"))
    there = await _in_tables(database)
    # At most the act under way was done and not told.
    missing = {digest for digest, lives in believed.items() if lives} - there
    extra = there - {digest for digest, lives in believed.items() if lives}
    assert len(missing) + len(extra) <= 1
    for digest in missing:
        believed[digest] = False
    for digest in extra:
        assert digest not in believed
        believed[digest] = True
    # An engine that starts before control does must know what was told.
    early = _in_catalog(folder, there | missing)
    assert early in (there, (there | missing) - extra)
    builder = Builder(folder / "catalog", database, _tell)
    await builder.settle()
    assert _in_catalog(folder, there) == there
    assert await check(database) == []
    await builder.close()
    await database.close()
    return told


def _hear(line: str, believed: dict[bytes, bool]) -> int:
    word, _, digest = line.strip().partition(" ")
    if len(digest) != 64:  # cut by the kill
        return 0
    believed[bytes.fromhex(digest)] = word == "KEY"
    return 1


async def test_kills(tmp_path: Path) -> None:
    believed: dict[bytes, bool] = {}
    assert sum([await _round(tmp_path, seed, believed) for seed in (2, 5, 7, 11)]) > 0


@pytest.mark.soak
async def test_many_kills(tmp_path: Path) -> None:
    believed: dict[bytes, bool] = {}
    assert sum([await _round(tmp_path, seed, believed) for seed in range(300)]) > 3000


@pytest.mark.parametrize("scene", ["commits", "copy"])
def test_a_full_disk(tmp_path: Path, scene: str) -> None:
    """What happens stands in full_disk.py, which runs where the disk is: SQLite does not take a way through /proc."""
    with SmallDisk(tmp_path, 1 << 20) as disk:
        command = [*disk.enter(), sys.executable, "-m", "tests.store.full_disk", scene, str(disk.inside)]
        # Entering leaves the working folder behind.
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        assert done.returncode == 0 and done.stdout.endswith("as it should be\n"), done.stdout + done.stderr
        assert (disk.path / "postroad.db").exists()
