"""A rate limit with several windows at once. Pure: time is given, in seconds that never go back.

What is promised, for each window of N in W seconds:
- Never more than N in W: of any N + 1 grants, the last comes W seconds or more after the first. No burst goes above.
- The rate is reached: who asks whenever a wait is over gets N/W in the long run, less at most 1 part in `GRAIN`.
- A refusal consumes nothing, in any window.
The shortest window is also paced: grants come evenly, with at most a tenth of N at once (momentum's and KumoMTA's
buckets let all of it go in the first moment). Longer windows are quotas: they may be used up at the pace of the
shortest, and then stop.
"""

from __future__ import annotations

from collections import deque
from math import inf

from postroad.config.schema import Rate

# Grants of a window are remembered in about so many runs at the most; what a run holds comes back together, when the
# last of it is W seconds old. Up to so many a window, each grant is a run of its own, and the limit has no grain.
GRAIN = 500
_AT_ONCE = 0.1  # share of the shortest window that may go at once, for who was late to ask


class _Run:
    """count grants made from `begin` on; they come back at `end`."""

    __slots__ = ("begin", "count", "end")

    def __init__(self, begin: float, end: float) -> None:
        self.begin = begin
        self.end = end
        self.count = 1


class Window:
    """At most `most` grants in any `seconds`."""

    __slots__ = ("_held", "_runs", "most", "seconds")

    def __init__(self, most: int, seconds: float) -> None:
        self.most = most
        self.seconds = seconds
        self._runs: deque[_Run] = deque()
        self._held = 0

    def free_at(self, now: float, lent: int = 0) -> float:
        """When one more is possible: -inf for now. lent: so many may be granted at any moment by whom they are lent to;
        what they hold can't be back within the window's length."""
        runs = self._runs
        while runs and runs[0].end <= now:
            self._held -= runs.popleft().count
        if self._held + lent < self.most:
            return -inf
        # After a reload `most` may be smaller than what is held.
        over = self._held + lent - self.most
        for run in runs:
            over -= run.count
            if over < 0:
                return run.end
        return now + self.seconds

    def held(self, now: float) -> int:
        """Grants that count now."""
        self.free_at(now)
        return self._held

    def take(self, now: float) -> None:
        runs = self._runs
        end = now + self.seconds
        self._held += 1
        if runs:
            last = runs[-1]
            if now == last.begin or (self.most > GRAIN and now - last.begin < self.seconds / GRAIN):
                last.count += 1
                last.end = end
                return
        runs.append(_Run(now, end))

    def give_back(self) -> None:
        """The last grant was not used."""
        if self._runs:
            self._held -= 1
            last = self._runs[-1]
            last.count -= 1
            if not last.count:
                self._runs.pop()

    def empty(self, now: float) -> bool:
        return not self._runs or self._runs[-1].end <= now

    def runs(self, now: float) -> list[tuple[float, int]]:
        """What counts now: when it is over, and how many; the first to end first."""
        self.free_at(now)
        return [(run.end, run.count) for run in self._runs]

    def remember(self, runs: list[tuple[float, int]]) -> None:
        """What `runs` told, of an earlier life; before the first `take`."""
        for end, count in runs:
            run = _Run(end - self.seconds, end)
            run.count = count
            self._runs.append(run)
            self._held += count


class Throttle:
    """`ask` grants one thing, or says how long to wait. set_rate may change the rate at any time; what was granted
    before counts on in windows of the same length. gap: seconds from one grant to the next at the pace of the shortest
    window. lent: grants that somebody else may make at any moment (see `lend`)."""

    __slots__ = ("_due", "_slack", "gap", "lent", "rate", "windows")

    def __init__(self, rate: Rate) -> None:
        self._due = -inf  # when the next grant comes, were they spread evenly
        self.lent = 0
        self.rate = Rate()
        self.windows: tuple[Window, ...] = ()
        self.set_rate(rate)

    def set_rate(self, rate: Rate) -> None:
        """Raises ValueError for a rate without a window."""
        if not rate:
            raise ValueError("a throttle needs a window")
        kept = {window.seconds: window for window in self.windows}
        windows = []
        for most, seconds in rate:
            window = kept.get(seconds) or Window(most, seconds)
            window.most = most
            windows.append(window)
        most, seconds = rate[0]
        self.rate = rate
        self.windows = tuple(windows)
        self.gap = seconds / most
        self._slack = seconds * _AT_ONCE

    def ask(self, now: float) -> float:
        """0: granted. More: seconds until it is worth asking again; nothing was consumed."""
        wait = self.wait(now)
        if not wait:
            self.take(now)
        return wait

    def wait(self, now: float) -> float:
        """What `ask` would say, without taking anything."""
        at = self._due - self._slack
        for window in self.windows:
            free = window.free_at(now, self.lent)
            if free > at:
                at = free
        return at - now if at > now else 0.0

    def take(self, now: float) -> None:
        """Only when `wait` says 0."""
        self._due = max(self._due, now) + self.gap
        for window in self.windows:
            window.take(now)

    def give_back(self) -> None:
        """The last grant was not used, and nothing was granted since."""
        self._due -= self.gap
        for window in self.windows:
            window.give_back()

    def lend(self, now: float) -> None:
        """Only when `wait` says 0: somebody else may make this grant, whenever he likes. It fills every window until
        `spent` or `returned` is called for it."""
        self._due = max(self._due, now) + self.gap
        self.lent += 1

    def spent(self, now: float) -> None:
        """A grant that was lent has been made, now at the latest: from now on its windows run."""
        self.lent -= 1
        for window in self.windows:
            window.take(now)

    def returned(self) -> None:
        """A grant that was lent will not be made."""
        self.lent -= 1
        self._due -= self.gap

    def forgotten(self, now: float) -> bool:
        """Would a new one behave the same?"""
        return not self.lent and self._due <= now and all(window.empty(now) for window in self.windows)
