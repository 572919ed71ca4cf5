"""The catalog: what engines see of the store, whatever happens to the file or to whoever writes it."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from postroad.store.builder import Builder
from postroad.store.catalog import Catalog
from postroad.store.catalogfile import HEAD_SIZE, records
from postroad.store.changes import changed
from postroad.store.database import Database
from postroad.store.errors import StoreFull, Untold
from postroad.store.kind import Id, Kind
from postroad.store.suppressions import KIND as SUPPRESSION
from postroad.store.suppressions import Suppressions, entry_key, packed
from postroad.store.tables.changes import changes
from postroad.store.views import Placed

# A table of the tests' own, so that they say nothing about any noun.
_things = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("kind", sa.String(40), primary_key=True),
    sa.Column("subaccount", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Integer),
)


def _kind(name: str, **options: Any) -> Kind:
    async def load(connection: AsyncConnection, ids: Sequence[Id]) -> dict[Id, Any]:
        query = sa.select(_things).where(_things.c.kind == name, _things.c.key.in_([key for _, key in ids]))
        rows = {(row.subaccount, row.key): row.value for row in await connection.execute(query)}
        return {one: rows[one] for one in ids if one in rows}

    async def everything(connection: AsyncConnection) -> AsyncIterator[tuple[Id, Any]]:
        for row in await connection.execute(sa.select(_things).where(_things.c.kind == name)):
            yield (row.subaccount, row.key), row.value

    return Kind(name, load, everything, **options)


KINDS = (_kind("thing"), _kind("large"), _kind(SUPPRESSION, packed=packed))


class Scene:
    """A store, its builder, and an engine's catalog."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.path = folder / "catalog"
        self.told: list[int] = []
        self.engine = self.reader()
        self.builder = self.build()

    def reader(self) -> Catalog:
        return Catalog(self.path, {SUPPRESSION: Suppressions, "large": Placed})

    def build(self, growth: int = 4 << 20) -> Builder:
        async def tell(seq: int) -> None:
            assert await self.engine.catch_up() >= seq
            self.told.append(seq)

        return Builder(self.path, self.database, tell, KINDS, growth=growth)

    async def put(self, key: str, value: int, subaccount: int = 0, kind: str = "thing") -> None:
        async with self.database.begin() as tx:
            await self._delete(tx, kind, subaccount, key)
            await tx.execute(sa.insert(_things).values(kind=kind, subaccount=subaccount, key=key, value=value))
            await changed(tx, kind, subaccount, key)

    async def drop(self, key: str, subaccount: int = 0, kind: str = "thing") -> None:
        async with self.database.begin() as tx:
            await self._delete(tx, kind, subaccount, key)
            await changed(tx, kind, subaccount, key)

    async def _delete(self, tx: AsyncConnection, kind: str, subaccount: int, key: str) -> None:
        where = _things.c.kind == kind, _things.c.subaccount == subaccount, _things.c.key == key
        await tx.execute(sa.delete(_things).where(*where))

    def seen(self, kind: str = "thing") -> dict[Id, int]:
        """By the engine that ran all the time."""
        return _seen(self.engine, kind)

    def fresh(self, kind: str = "thing") -> dict[Id, int]:
        """By an engine that starts now."""
        reader = self.reader()
        reader.load()
        return _seen(reader, kind)

    async def agrees(self) -> bool:
        """Does an engine see exactly what the table holds?"""
        async with self.database.read() as connection:
            rows = (await connection.execute(sa.select(_things))).all()
        return all(
            {(row.subaccount, row.key): row.value for row in rows if row.kind == kind}
            == self.seen(kind)
            == self.fresh(kind)
            for kind in ("thing", "large")
        )


def _seen(catalog: Catalog, kind: str) -> dict[Id, int]:
    view = catalog.placed(kind) if kind == "large" else catalog.values(kind)
    keys = view.keys()
    return {one: view.get(*one) for one in keys}


@pytest.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    async with database.begin() as tx:
        await tx.run_sync(_things.metadata.create_all)
    made = Scene(database, tmp_path)
    yield made
    await made.builder.close()


async def test_what_is_settled_is_seen(scene: Scene) -> None:
    await scene.put("a", 1)
    await scene.put("a", 2, subaccount=7)
    await scene.put("b", 3, kind="large")
    seq = await scene.builder.settle()
    assert scene.seen() == {(0, "a"): 1, (7, "a"): 2} and scene.seen("large") == {(0, "b"): 3}
    await scene.put("a", 4)
    await scene.drop("a", subaccount=7)
    assert scene.seen() == {(0, "a"): 1, (7, "a"): 2}  # not before it is settled
    assert await scene.builder.settle() > seq
    assert scene.seen() == {(0, "a"): 4}
    assert await scene.agrees()
    told = list(scene.told)
    await scene.builder.settle()
    assert scene.told == told  # nothing new, nobody is asked


async def test_a_writer_waits_for_the_engines(scene: Scene) -> None:
    scene.database.on_commit = scene.builder.committed
    for value in range(3):
        await scene.put("a", value)
        assert scene.seen() == {(0, "a"): value}


async def test_of_many_changes_one_record(scene: Scene) -> None:
    await scene.builder.settle()
    for value in range(10):
        await scene.put("a", value)
    await scene.builder.settle()
    fd = os.open(scene.path, os.O_RDONLY)
    assert [record.key for record, _ in records(fd, HEAD_SIZE)] == ["a"]
    os.close(fd)
    assert scene.seen() == {(0, "a"): 9}


async def test_a_builder_that_was_killed(scene: Scene) -> None:
    """Between commit and append: the next one goes on."""
    await scene.put("a", 1)
    await scene.builder.settle()
    await scene.put("b", 2)
    again = scene.build()
    await again.settle()
    assert scene.seen() == {(0, "a"): 1, (0, "b"): 2} and await scene.agrees()
    await again.close()


@pytest.mark.parametrize("left", [1, 7, 8, 20])
async def test_a_torn_end(scene: Scene, left: int) -> None:
    await scene.put("a", 1)
    await scene.builder.settle()
    await scene.put("b", 2)
    whole = scene.path.stat().st_size
    await scene.builder.settle()
    os.truncate(scene.path, whole + left)
    assert scene.fresh() == {(0, "a"): 1}
    again = scene.build()
    await again.settle()
    assert scene.fresh() == {(0, "a"): 1, (0, "b"): 2} and await scene.agrees()
    await again.close()


async def test_every_octet_may_be_damaged(scene: Scene) -> None:
    """An engine believes nothing that is damaged, and control mends it."""
    for number in range(3):
        await scene.put(f"key{number}", number)
    await scene.builder.settle()
    await scene.put("last", 9)
    await scene.builder.settle()
    whole = scene.path.read_bytes()
    async with scene.database.read() as connection:
        kept = (await connection.execute(sa.select(changes))).all()
    for at in range(0, len(whole), 3):
        scene.path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        found = scene.fresh()
        assert found.items() <= {(0, "key0"): 0, (0, "key1"): 1, (0, "key2"): 2, (0, "last"): 9}.items(), at
        again = scene.build()
        await again.settle()
        assert await scene.agrees(), at
        await again.close()
    assert kept


@pytest.mark.parametrize("content", [b"", b"postroad", os.urandom(200)])
async def test_a_file_that_is_none(scene: Scene, content: bytes) -> None:
    await scene.put("a", 1)
    scene.path.write_bytes(content)
    assert scene.fresh() == {}
    await scene.builder.settle()
    assert scene.seen() == {(0, "a"): 1} and await scene.agrees()


async def test_a_file_that_is_gone(scene: Scene) -> None:
    await scene.put("a", 1)
    await scene.builder.settle()
    scene.path.unlink()
    await scene.engine.catch_up()
    assert scene.seen() == {(0, "a"): 1}  # what is known stays
    await scene.put("b", 2)
    await scene.builder.settle()
    assert scene.seen() == {(0, "a"): 1, (0, "b"): 2} and await scene.agrees()


async def test_an_older_copy_of_the_database(scene: Scene) -> None:
    """The numbers are the same again, but for other changes."""
    await scene.put("a", 1)
    await scene.put("b", 2)
    await scene.builder.settle()
    async with scene.database.begin() as tx:
        await tx.execute(sa.delete(_things).where(_things.c.key == "b"))
        await tx.execute(sa.update(changes).values(at=changes.c.at - 1000))
    again = scene.build()
    await again.settle()
    assert scene.seen() == {(0, "a"): 1} and await scene.agrees()
    await again.close()


async def test_lines_that_were_trimmed_by_another_node(scene: Scene) -> None:
    await scene.put("a", 1)
    await scene.builder.settle()
    await scene.put("b", 2)
    await scene.put("c", 3)
    await scene.put("d", 4)
    async with scene.database.begin() as tx:
        last = sa.select(sa.func.max(changes.c.seq)).scalar_subquery()
        await tx.execute(sa.delete(changes).where(changes.c.seq < last))
    await scene.builder.settle()
    assert scene.seen() == {(0, "a"): 1, (0, "b"): 2, (0, "c"): 3, (0, "d"): 4} and await scene.agrees()


async def test_written_anew(scene: Scene) -> None:
    """It does not grow for ever; readers come over; large values are read from the new file."""
    builder = scene.build(growth=2000)
    await builder.settle()
    largest = 0
    for turn in range(200):
        await scene.put(f"key{turn % 5}", turn)
        await scene.put(f"key{turn % 3}", turn, kind="large")
        await builder.settle()
        await builder._shrink()
        largest = max(largest, scene.path.stat().st_size)
        assert scene.seen()[0, f"key{turn % 5}"] == turn
    assert largest < 8000 and await scene.agrees()
    async with scene.database.read() as connection:
        lines = (await connection.execute(sa.select(sa.func.count()).select_from(changes))).scalar_one()
    assert lines < 200 if scene.database.is_sqlite else lines == 400  # other nodes may need them
    assert [path.name for path in scene.path.parent.iterdir() if path.name.startswith("catalog")] == ["catalog"]
    await builder.close()


async def test_an_engine_that_does_not_answer(scene: Scene) -> None:
    reachable = False

    async def tell(seq: int) -> None:
        if not reachable:
            raise RuntimeError("engine 1 does not answer")
        await scene.engine.catch_up()

    builder = Builder(scene.path, scene.database, tell, KINDS)
    await scene.put("a", 1)
    with pytest.raises(Untold, match="engine 1"):
        await builder.settle()
    reachable = True
    await builder.settle()
    assert scene.seen() == {(0, "a"): 1}
    await builder.close()


async def test_no_room(scene: Scene, tmp_path: Path) -> None:
    await scene.put("a", 1)
    scene.path.mkdir()
    with pytest.raises(StoreFull):
        await scene.builder.settle()
    scene.path.rmdir()
    await scene.builder.settle()
    assert await scene.agrees()


async def test_suppressions(scene: Scene) -> None:
    """Record by record, and in the packed form of a file that was written anew."""
    now = time.time()
    later = int(now) + 1000
    rows = {
        (0, entry_key("a@x.test", "transactional")): 0,
        (0, entry_key("b@x.test", "non_transactional", "list.one")): 0,
        (5, entry_key("c@x.test", "non_transactional")): later,
        (5, entry_key("d@x.test", "non_transactional")): int(now) - 1,
    }
    for (subaccount, key), until in rows.items():
        await scene.put(key, until, subaccount, kind=SUPPRESSION)

    def check(found: Suppressions) -> None:
        def held(subaccount: int, address: str, transactional: bool, list_id: str = "", at: float = now) -> bool:
            return found.suppressed(subaccount, address, transactional=transactional, list_id=list_id, now=at)

        assert held(0, "a@x.test", True) and not held(0, "a@x.test", False)
        assert not held(5, "a@x.test", True)  # no inheritance
        assert held(0, "b@x.test", False, "list.one")
        assert not held(0, "b@x.test", False) and not held(0, "b@x.test", False, "list.two")
        assert held(5, "c@x.test", False) and not held(5, "c@x.test", False, at=later)
        assert not held(5, "d@x.test", False)
        assert held(0, "a@x.test", True, "any.list")  # a row of the account holds for all lists

    await scene.builder.settle()
    check(scene.engine.suppressions)
    scene.path.unlink()
    await scene.builder.settle()
    check(scene.engine.suppressions)
    assert len(scene.engine.suppressions) == 4
    # After the packed records single ones count again, and one entry may change its kind.
    await scene.drop(entry_key("a@x.test", "transactional"), kind=SUPPRESSION)
    await scene.put(entry_key("c@x.test", "non_transactional"), 0, 5, kind=SUPPRESSION)
    await scene.builder.settle()
    found = scene.engine.suppressions
    assert not found.suppressed(0, "a@x.test", transactional=True, now=now)
    assert found.suppressed(5, "c@x.test", transactional=False, now=later + 1)
    assert len(found) == 3
