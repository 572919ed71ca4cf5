"""What we remember of hosts that failed: for each (source address, host address), until when to leave it alone."""

from __future__ import annotations

from typing import NamedTuple

from postroad.message import Reply

# Sessions in a row that end without a reply to any message before the host counts as failed. One is no proof: a filter
# may hang up on a single message.
STRIKES = 5
_LIMIT = 100_000


class Failure(NamedTuple):
    """until: loop time. reply: what was said or seen when it failed last."""

    until: float
    reply: Reply


class Health:
    """retry: seconds that a failed host is avoided, where nothing else is said."""

    def __init__(self, retry: float, limit: int = _LIMIT) -> None:
        self._retry = retry
        self._limit = limit
        self._failures: dict[tuple[str, str], Failure] = {}
        self._strikes: dict[tuple[str, str], int] = {}

    def failed(self, source: str, address: str, reply: Reply, now: float, retry: float | None = None) -> None:
        key = (source, address)
        self._strikes.pop(key, None)
        # Taken out first, so that the dictionary stays in the order of expiry (as far as all have the same `retry`).
        self._failures.pop(key, None)
        self._failures[key] = Failure(now + (self._retry if retry is None else retry), reply)
        while len(self._failures) > self._limit or next(iter(self._failures.values())).until <= now:
            del self._failures[next(iter(self._failures))]
            if not self._failures:
                break

    def strike(self, source: str, address: str, reply: Reply, now: float, retry: float | None = None) -> None:
        """A session ended before any message got a reply."""
        key = (source, address)
        count = self._strikes.pop(key, 0) + 1
        if count >= STRIKES:
            self.failed(source, address, reply, now, retry)
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
