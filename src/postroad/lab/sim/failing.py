"""The engine's disk in a scenario, and the ways it fails for a while."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from random import Random

from postroad.lab.disks import WRITING, FaultyDisk


class FailingDisk(FaultyDisk):
    """troubled: it has failed at some time since it was made."""

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.troubled = False
        self._draw = rng

    def killed(self) -> None:
        """A process died, the machine did not: what was written stays, and locks are free."""
        self.locks.clear()

    async def trouble(self, say: Callable[[str], None]) -> None:
        """Some kind of it, for some simulated seconds."""
        rng = self._draw
        self.troubled = True
        kind = rng.choice(("full", "read-only", "writes fail", "syncs fail", "reads fail"))
        often = rng.choice((0.1, 0.5, 1.0))
        say(f"the disk: {kind}, {often:.0%} of the time")
        if kind == "full":
            self.capacity = self.used + rng.choice((0, 0, 100_000))
        elif kind == "read-only":
            self.read_only = True
        else:
            hit = {"writes fail": WRITING, "syncs fail": {"sync"}, "reads fail": {"read"}}[kind]
            self.fault = lambda operation, path: errno.EIO if operation in hit and rng.random() < often else 0
        await asyncio.sleep(rng.random() * rng.choice((0.1, 5.0, 100.0)))
        say("the disk is well again")
        self.mend()

    def mend(self) -> None:
        self.capacity = None
        self.read_only = False
        self.fault = lambda operation, path: 0
