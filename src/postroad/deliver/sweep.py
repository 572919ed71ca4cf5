"""Ending the attempt of all messages of a path at once, when there is no way to deliver any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from postroad.message import Message, Outcome, Supply

# Messages settled without a break: a few milliseconds' work.
_SLICE = 200
# Messages that one look at dead hosts settles. Each is told of in an event, and read for that; of what waits beyond,
# the path itself says why it waits, until its hosts are tried again and the next ones have their turn.
BULK = 1000


class Sweep:
    """Takes and settles what waits at the start; what comes later gets its own attempt.

    most: no more than so many. cut: there were more. counted: called for each message settled. handed_back: how one
    is settled that nothing could be done for.
    done: called once, at the end, whatever ended it.
    """

    def __init__(
        self,
        supply: Supply,
        binding: str,
        domain: str,
        outcome: Outcome,
        *,
        most: float = inf,
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
        waiting = supply.waiting(binding, domain)
        self.cut = waiting > most
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(int(min(waiting, most))))
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
