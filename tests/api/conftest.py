from collections.abc import AsyncIterator

import pytest

from tests.api.harness import Served, serving


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as found:
        yield found
