"""Several paths take turns at one throttle. Without this, all of them would wake for each single message, and chance
would decide who gets it."""

from __future__ import annotations

from math import inf

from postroad.shaping.throttle import Throttle

_GRACE = 1.0  # seconds after its moment in which a path still has its turn
_ROUNDING = 1e-6  # who waits as long as it was told may come so much too early


class Turns:
    """key: names the throttle. Who must wait is promised a moment, one message's time after the one before it; who
    comes at its moment goes ahead of newcomers. A path that does not come delays nobody: its place is only forgotten.
    Pure, as Throttle is."""

    __slots__ = ("_again", "_last", "_line", "key", "throttle")

    def __init__(self, throttle: Throttle, key: str = "") -> None:
        self.key = key
        self.throttle = throttle
        self._line: dict[object, float] = {}  # what is promised to whom
        self._last = -inf  # the latest moment that was promised
        self._again = -inf  # the latest that was promised to who came at its moment in vain

    def wait(self, who: object, now: float) -> float:
        """0: go ahead. More: seconds until its turn."""
        line = self._line
        wait = self.throttle.wait(now)
        if not line and not wait:
            return 0.0
        while line and next(iter(line.values())) < now - _GRACE:
            del line[next(iter(line))]
        promised = line.get(who)
        if promised is None:
            at = now + wait
            if line:
                at = max(at, self._last + self.throttle.gap)
            if at <= now:
                return 0.0
            line[who] = self._last = at
            return at - now
        if now < promised - _ROUNDING:
            return promised - now
        if wait > _ROUNDING:
            # Those that find nothing at their moment keep their order, ahead of all newcomers.
            self._again = line[who] = max(now + wait, self._again + self.throttle.gap)
            self._last = max(self._last, self._again)
            return self._again - now
        return wait

    def take(self, who: object, now: float) -> None:
        """Only when `wait` says 0."""
        self._line.pop(who, None)
        self.throttle.take(now)

    def lend(self, who: object, now: float) -> None:
        """The same as `take`, for a grant that somebody else will make."""
        self._line.pop(who, None)
        self.throttle.lend(now)

    def anew(self) -> list[object]:
        """What is free has changed otherwise than by time: no promise holds. Who had one, in order, should ask now."""
        waiting = list(self._line)
        self._line.clear()
        self._last = self._again = -inf
        return waiting

    def leave(self, who: object) -> bool:
        """It does not wait any more. Did it?"""
        return self._line.pop(who, None) is not None
