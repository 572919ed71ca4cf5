"""Ending the attempt of all messages of a path at once, when there is no way to deliver any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from postroad.message import Outcome, Supply

# Messages settled without a break: a few milliseconds' work.
_SLICE = 200


class Sweep:
    """Takes and settles what waits at the start, a slice at a time; what comes later gets its own attempt.

    counted(n): that many were settled. done: called once, at the end, unless `stop` was.
    """

    def __init__(
        self,
        supply: Supply,
        binding: str,
        domain: str,
        outcome: Outcome,
        *,
        counted: Callable[[int], None],
        done: Callable[[], None],
    ) -> None:
        self._supply = supply
        self._key = (binding, domain)
        self._outcome = outcome
        self._counted = counted
        self._done = done
        self._left = supply.waiting(binding, domain)
        self._stopped = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Leave the rest. A message that is being loaded is still settled."""
        self._stopped = True

    async def _run(self) -> None:
        try:
            while self._left and not self._stopped:
                message = self._supply.take(*self._key)
                if message is None:
                    break
                self._left -= 1
                # What is told of a message is in its envelope. One load at a time: a queue of a million that nobody
                # can deliver must not come into memory at once.
                if message.body is not None or await self._supply.load(message):
                    self._counted(1)
                    self._supply.settle(message, self._outcome)
                if not self._left % _SLICE:
                    await asyncio.sleep(0)
        finally:
            if not self._stopped:
                self._done()
