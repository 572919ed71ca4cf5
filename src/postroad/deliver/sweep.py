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
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._some)

    def stop(self) -> None:
        """Leave the rest. No message is in between: each is settled as it is taken."""
        self._stopped = True

    def _some(self) -> None:
        if self._stopped:
            return
        settled = 0
        while settled < min(self._left, _SLICE):
            message = self._supply.take(*self._key)
            if message is None:
                self._left = settled
                break
            self._supply.settle(message, self._outcome)
            settled += 1
        self._left -= settled
        self._counted(settled)
        if self._left:
            self._loop.call_soon(self._some)
        else:
            self._done()
