from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad.store.database import Database
from tests.api.harness import Served, serving
from tests.api.office import Open, opened
from tests.store.conftest import cluster, database, empty_url

__all__ = ["cluster", "database", "empty_url"]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as found:
        yield found


@pytest.fixture
async def management(database: Database, tmp_path: Path) -> AsyncIterator[Open]:
    """The whole management API, on SQLite and on PostgreSQL."""
    async with opened(database, tmp_path) as found:
        yield found
