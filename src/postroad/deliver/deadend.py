"""What happens to the messages of a path when none of them can be delivered: they are settled, or put off together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf

from postroad.deliver.carried import Carried, CarriedMessages
from postroad.deliver.means import Means
from postroad.deliver.outcomes import UNTOUCHED, outcome_of
from postroad.deliver.sweep import BULK, Sweep
from postroad.message import Outcome, Reply, Stage, Verdict

# What mail for a blackhole comes to (momentum.md 6).
_BLACKHOLED = Reply(551, "5.7.1 the configuration sends mail of this kind nowhere (blackhole)")


class DeadEnd:
    """key: the path's. carried: its messages between two connections. swept: called when a sweep has ended; quiet: when
    there may be nothing left to do."""

    def __init__(
        self,
        means: Means,
        key: tuple[str, str],
        carried: CarriedMessages,
        *,
        swept: Callable[[bool], None],
        quiet: Callable[[], None],
    ) -> None:
        self._means = means
        self._key = key
        self._carried = carried
        self._swept = swept
        self._quiet = quiet
        self._sweep: Sweep | None = None
        self.sweeping = False  # a plain attribute: it is asked for every message
        self._stopping = False

    def settle(self, outcome: Outcome, counted: Callable[[], None] | None = None) -> None:
        """So ends the attempt of all that waits now, or of the first BULK when they are deferred. What is carried ends
        as it went on its last connection."""
        self.settle_all_carried()
        if not self._stopping and self._sweep is None:
            self.sweeping = True
            self._sweep = Sweep(
                self._means.supply,
                *self._key,
                outcome,
                most=BULK if outcome.verdict is Verdict.DEFERRED else inf,
                handed_back=outcome_of(UNTOUCHED, counts=False),
                counted=counted or partial(self.count, outcome.verdict),
                done=self._on_swept,
            )
        self._quiet()

    def swallow(self, silent: bool) -> None:
        """Mail for a blackhole ends without having gone anywhere. silent: its senders are not told."""
        outcome = Outcome(Verdict.FAILED, _BLACKHOLED, Stage.NOT_CONNECTED, internal=True, silent=silent)
        self.settle(outcome, self._count_swallowed)

    def _count_swallowed(self) -> None:
        self.count(Verdict.FAILED)
        self._means.counts.blackholed += 1

    def _on_swept(self) -> None:
        left = self._sweep is not None and self._sweep.cut
        self._sweep = None
        self.sweeping = False
        self._swept(left)

    def settle_all_carried(self) -> None:
        for carried in self._carried.clear():
            self.settle_carried(carried)

    def settle_carried(self, carried: Carried) -> None:
        """It finds no other connection: it ends as it went on the last one, and is handed back if there was none."""
        if carried.result is UNTOUCHED:
            self._means.supply.settle(carried.message, outcome_of(UNTOUCHED, counts=False))
            return
        self.count(carried.result.verdict)
        outcome = outcome_of(carried.result, carried.host, carried.peer, carried.source)
        self._means.supply.settle(carried.message, outcome)

    def count(self, verdict: Verdict) -> None:
        self._means.counts.verdicts[verdict] += 1

    # --- the end ------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin nothing more; what is carried is handed back."""
        self._stopping = True
        if self._sweep is not None:
            self._sweep.stop()
        for carried in self._carried.clear():
            self._means.supply.settle(carried.message, outcome_of(UNTOUCHED, counts=False))

    def abort(self) -> None:
        if self._sweep is not None:
            self._sweep.abort()
