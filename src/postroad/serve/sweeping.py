"""Control takes away what has expired in the store. Engines hold when an entry ends, so nothing waits for this."""

from __future__ import annotations

import asyncio

import structlog

from postroad.net import Clock
from postroad.store.database import Database
from postroad.store.errors import StoreError
from postroad.store.suppressionlist import sweep_all

log = structlog.get_logger()

EVERY = 600.0  # seconds
_MOST = 10_000  # rows of a transaction


class Sweeper:
    """every: seconds between two looks; the first is at once."""

    def __init__(self, database: Database, clock: Clock, *, every: float = EVERY, most: int = _MOST) -> None:
        self._database = database
        self._clock = clock
        self._every = every
        self._most = most

    async def run(self) -> None:
        """Until it is cancelled. What the store can't do now is tried again."""
        while True:
            try:
                gone = await sweep_all(self._database, round(self._clock.wall() * 1000), self._most)
            except StoreError as error:
                log.warning("sweep", problem=str(error))
            else:
                if gone:
                    log.info("sweep", kind="suppression", gone=gone)
            await asyncio.sleep(self._every)
