"""A plug-in of pytest. In the conftest.py of your tests: `pytest_plugins = ["postroad.policy.fixtures"]`; it needs
pytest-asyncio. Nothing but tests imports this module."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import pytest_asyncio

from postroad.policy.kit import Policy, load


class Loader(Protocol):
    """As `postroad.policy.kit.load`."""

    def __call__(self, file: str, **settings: object) -> Policy: ...


@pytest_asyncio.fixture
async def load_policy() -> AsyncIterator[Loader]:
    """load_policy("my_policy.py", options={...}): a policy, closed when the test is over."""
    loaded: list[Policy] = []

    def loader(file: str, **settings: object) -> Policy:
        policy = load(file, **settings)  # type: ignore[arg-type]
        loaded.append(policy)
        return policy

    yield loader
    for policy in reversed(loaded):
        await policy.close()
