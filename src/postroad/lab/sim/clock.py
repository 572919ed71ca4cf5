"""Wall time of a simulated world. It can be wrong, and it can jump, as clocks of real machines do."""

from __future__ import annotations

from postroad.lab.sim.loop import START, SimLoop

EPOCH = 1_750_000_000.0  # 2025-06-15: the wall time at which worlds begin


class SimClock:
    """A net.Clock: `base` at the start of the loop, going at its rate, plus all jumps so far."""

    def __init__(self, loop: SimLoop, base: float = EPOCH) -> None:
        self._loop = loop
        self._offset = base - START

    def wall(self) -> float:
        return self._loop.time() + self._offset

    def jump(self, seconds: float) -> None:
        """Set forward, or back when negative."""
        self._loop.trace.note("clock", f"{seconds:+.3f}")
        self._offset += seconds
