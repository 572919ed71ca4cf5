"""What we remember of hosts that failed: for each (source address, host address), until when to leave it alone.

It is shared by all paths of an engine, so that one path's failure spares the others theirs. A host that fails again
when it is tried again is left alone twice as long, up to a limit (momentum.md 4.3, host_failure_retry).
"""

from __future__ import annotations

from typing import NamedTuple

from postroad.message import Reply

# Sessions in a row that end without a reply to any message before the host counts as failed. One is no proof: a filter
# may hang up on a single message.
STRIKES = 5
_LIMIT = 100_000


class Failure(NamedTuple):
    """until: loop time. reply: what was said or seen when it failed last. times: in a row, each after its wait."""

    until: float
    reply: Reply
    times: int = 1


class Health:
    """retry: seconds that a host is avoided that failed for the first time, where nothing else is said."""

    def __init__(self, retry: float, limit: int = _LIMIT) -> None:
        self._retry = retry
        self._limit = limit
        self._failures: dict[tuple[str, str], Failure] = {}
        self._strikes: dict[tuple[str, str], int] = {}

    def failed(
        self, source: str, address: str, reply: Reply, now: float, retry: float | None = None, most: float = 0.0
    ) -> None:
        """most: the longest that it is avoided; less than `retry`: always that."""
        key = (source, address)
        self._strikes.pop(key, None)
        retry = self._retry if retry is None else retry
        most = max(retry, most)
        # Taken out first, so that the dictionary stays in the order of the last failures.
        before = self._failures.pop(key, None)
        times, until = 1, now
        if before is not None and now < before.until:
            # Another path tried it at the same time: that is the same failure.
            times, until = before.times, before.until
        elif before is not None and now < before.until + most:
            times = before.times + 1
        until = max(until, now + min(retry * 2.0 ** min(times - 1, 30), most))
        self._failures[key] = Failure(until, reply, times)
        while len(self._failures) > self._limit or next(iter(self._failures.values())).until + most <= now:
            del self._failures[next(iter(self._failures))]
            if not self._failures:
                break

    def strike(
        self, source: str, address: str, reply: Reply, now: float, retry: float | None = None, most: float = 0.0
    ) -> None:
        """A session ended before any message got a reply."""
        key = (source, address)
        count = self._strikes.pop(key, 0) + 1
        if count >= STRIKES:
            self.failed(source, address, reply, now, retry, most)
            return
        self._strikes[key] = count
        if len(self._strikes) > self._limit:
            del self._strikes[next(iter(self._strikes))]

    def works(self, source: str, address: str) -> None:
        """The host answers."""
        self._failures.pop((source, address), None)

    def serves(self, source: str, address: str) -> None:
        """The host answers messages."""
        self._strikes.pop((source, address), None)

    def failure(self, source: str, address: str, now: float) -> Failure | None:
        """Why the host is avoided, or None when it is not."""
        found = self._failures.get((source, address))
        return found if found is not None and found.until > now else None

    def avoided(self, now: float) -> int:
        """How many hosts are left alone, each counted once for every source."""
        return sum(failure.until > now for failure in self._failures.values())
