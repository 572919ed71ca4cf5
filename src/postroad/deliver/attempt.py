"""An attempt of a path to get a connection, and what it has in common with others that are made beside it: while one
waits for a host that says nothing, the next host is tried (in the manner of RFC 8305; the greeting of a mail host may
take five minutes, RFC 5321 4.5.3.2.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from postroad.deliver.connection import Connection
from postroad.deliver.dial import Failed
from postroad.deliver.plan import Target
from postroad.deliver.steps import Result
from postroad.message import Reply, Stage, Verdict


class Race:
    """What attempts that stand for one another share. met: targets that one of them is at, or was. failures: of all of
    them, in the order in which they showed."""

    __slots__ = ("attempts", "failures", "met")

    def __init__(self) -> None:
        self.attempts = 0
        self.met: dict[Target, None] = {}
        self.failures: list[Failed] = []


class Attempt:
    """One dial, with one place of the path's limits: it ends with one session or none. Each has its own place, so two
    sessions that are established at once count as two.

    target: where it is. made: the connections it made, the last one is the one that counts. unused: addresses that a
    place is kept at for it. terms: what it is made with, as in Connection. leaving: it was called off. unwanted: also a
    session that came of it a moment before must end. slow: it has been at this target for long. patience: seconds that
    make it slow; 0: never. told: called when it is.
    """

    def __init__(
        self, race: Race, target: Target, unused: dict[str, None], patience: float, told: Callable[[], None]
    ) -> None:
        self.race = race
        self.target = target
        self.unused = unused
        self.made: list[Connection] = []
        self.terms: object = None
        self.leaving = False
        self.unwanted = False
        self.slow = False
        self.task: asyncio.Task[bool] | None = None
        self._patience = patience
        self._told = told
        self._timer: asyncio.TimerHandle | None = None
        race.attempts += 1

    @property
    def established(self) -> bool:
        """Also when it was called off a moment too late."""
        return bool(self.made) and self.made[-1].established

    def goes_to(self, target: Target) -> None:
        self.race.met[target] = None
        self.unused.pop(target.address, None)
        self.target = target
        self._rest()
        if self._patience:
            self._timer = asyncio.get_running_loop().call_later(self._patience, self._on_slow)

    def _on_slow(self) -> None:
        self._timer = None
        self.slow = True
        self._told()

    def call_off(self) -> None:
        self.leaving = True
        self._rest()
        if self.task is not None:
            self.task.cancel()

    def end(self) -> None:
        """Its place is wanted back."""
        self.unwanted = True
        self.call_off()

    def over(self) -> None:
        """The dial has ended."""
        self._rest()

    def _rest(self) -> None:
        self.slow = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def beaten(self) -> Result:
        """What it comes to at a target that was slow, when another host was faster."""
        place = f"{self.target.host} ({self.target.address})"
        text = f"4.4.2 {place} began no session within {self._patience:g} s, and another host did"
        return Result(Verdict.DEFERRED, Reply(451, text), Stage.BANNER, internal=True)
