"""Ending the attempt of all messages of a path at once, when there is no way to deliver any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from postroad.message import Message, Outcome, Supply

# Messages settled without a break: a few milliseconds' work.
_SLICE = 200


class Sweep:
    """Takes and settles what waits at the start; what comes later gets its own attempt.

    counted: called for each message settled. handed_back: how one is settled that nothing could be done for.
    done: called once, at the end, whatever ended it.
    """

    def __init__(
        self,
        supply: Supply,
        binding: str,
        domain: str,
        outcome: Outcome,
        *,
        handed_back: Outcome,
        counted: Callable[[], None],
        done: Callable[[], None],
    ) -> None:
        self._supply = supply
        self._key = (binding, domain)
        self._outcome = outcome
        self._handed_back = handed_back
        self._counted = counted
        self._stopped = False
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(supply.waiting(binding, domain)))
        self._task.add_done_callback(lambda task: done())

    def stop(self) -> None:
        """Leave the rest. A message that is being loaded is still settled."""
        self._stopped = True

    def abort(self) -> None:
        """Do not even wait for that."""
        self._task.cancel()

    async def _run(self, left: int) -> None:
        while left and not self._stopped:
            message = self._supply.take(*self._key)
            if message is None:
                return
            left -= 1
            # What is told of a message is in its envelope, so it must be there. One load at a time: a queue of a
            # million that nobody can deliver must not come into memory at once.
            if message.body is not None or await self._load(message):
                self._counted()
                self._supply.settle(message, self._outcome)
            if not left % _SLICE:
                await asyncio.sleep(0)

    async def _load(self, message: Message) -> bool:
        try:
            return await self._supply.load(message)
        except BaseException as error:
            self._supply.settle(message, self._handed_back)
            if not isinstance(error, Exception):
                raise
            self._loop.call_exception_handler({"message": "loading a message failed", "exception": error})
            self._stopped = True
            return False
