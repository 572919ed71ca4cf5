"""The database fixture: every test that takes it runs on SQLite and on PostgreSQL.

In another folder: `from tests.store.conftest import cluster, database, empty_url` in its conftest.py.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from postroad.store.database import Database, sqlite_url
from postroad.store.schema import upgrade
from tests.store.postgres import Cluster

_numbers = itertools.count()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "postroad.db")
        return
    server: Cluster = request.getfixturevalue("cluster")
    name = f"test{next(_numbers)}"
    yield server.create(name)
    server.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def database(empty_url: str) -> AsyncIterator[Database]:
    """A store at the newest step of the schema."""
    store = await Database.open(empty_url)
    await upgrade(store)
    yield store
    await store.close()
