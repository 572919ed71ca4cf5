from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad.store.database import Database, sqlite_url
from postroad.store.schema import upgrade
from tests.api.harness import Served, serving
from tests.api.office import Open, opened


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as found:
        yield found


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncIterator[Database]:
    """A database with the newest schema."""
    database = await Database.open(sqlite_url(tmp_path / "postroad.db"))
    await upgrade(database)
    yield database
    await database.close()


@pytest.fixture
async def management(stored: Database, tmp_path: Path) -> AsyncIterator[Open]:
    """The whole management API."""
    async with opened(stored, tmp_path) as found:
        yield found
