"""How often a key may ask: a token bucket a key, in the process that answers.

Control answers all of the management API, so there the limit is exact. Transmissions are answered by each engine on its
own: N engines together let through N times the rate at most, and that only for a client that spreads its connections.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from postroad.api.callers import Caller
from postroad.auth import Key
from postroad.inject.http import Code, Failure

_MANY = 10_000  # buckets from which on those that are full again are forgotten


class Buckets:
    """now: a clock that never goes back, in seconds. limit: of a key that has none of its own: (requests a second, 0:
    no limit; how many may come at once)."""

    def __init__(self, now: Callable[[], float], limit: Callable[[], tuple[float, int]]) -> None:
        self._now = now
        self._limit = limit
        self._full_at: dict[Key, float] = {}  # when the bucket is full again

    def admit(self, caller: Caller) -> dict[str, str]:
        """Counts a request; header fields that tell how many are left. Raises Failure 429."""
        rate, burst = self._limit()
        rate = caller.key.rate or rate
        if rate <= 0:
            return {}
        burst = max(1, burst)
        now = self._now()
        if len(self._full_at) >= _MANY:
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        full_at = max(now, self._full_at.get(caller.key, now)) + 1 / rate
        wait = full_at - now - burst / rate
        if wait > 1e-9:
            raise Failure(
                Code.TOO_MANY_REQUESTS,
                f"the key may ask {rate:g} times a second",
                headers={"Retry-After": str(math.ceil(wait)), **_told(burst, 0, full_at - 1 / rate - now)},
            )
        self._full_at[caller.key] = full_at
        return _told(burst, math.floor(burst - (full_at - now) * rate + 1e-9), full_at - now)


def _told(burst: int, left: int, reset: float) -> dict[str, str]:
    """Limit: how many may come at once; Remaining: of these, now; Reset: seconds until all may come at once again."""
    return {
        "X-RateLimit-Limit": str(burst),
        "X-RateLimit-Remaining": str(max(0, left)),
        "X-RateLimit-Reset": str(math.ceil(reset)),
    }
