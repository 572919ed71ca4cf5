"""What became of the messages of a load run."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from postroad.lab.load.plan import Item

_REASON = 120


@dataclass
class LoadResult:
    """accepted + refused + failed = the messages of the plan.

    refused: by the reply that said so. failed: no reply came; by reason. latencies: seconds from the first command (or
    the request) to the final reply of each accepted message. domains: accepted messages by recipient domain.
    """

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    domains: Counter[str] = field(default_factory=Counter)
    accepted_ids: list[tuple[str, str]] = field(default_factory=list)
    """(key, recipient) of each accepted message, when the plan says keep_ids."""
    seconds: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))

    @property
    def rate(self) -> float:
        """Accepted messages a second."""
        return self.accepted / self.seconds if self.seconds else 0.0

    def percentile(self, percent: float) -> float:
        """Latency in seconds that this share of the accepted messages did not exceed; 0.0 when there are none."""
        if not self.latencies:
            return 0.0
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Tally:
    """Hands the items of a run out, each once, and takes their fates."""

    def __init__(self, items: Iterator[Item], count: int, *, keep_ids: bool) -> None:
        """count: how many of the items this tally gives out."""
        self._items = items
        self._left = count
        self._keep_ids = keep_ids
        self.result = LoadResult()

    @property
    def left(self) -> int:
        """Items nobody took yet."""
        return self._left

    def take(self) -> Item | None:
        """The next item, or None when all are taken. Each taken one must be settled by a call of the three below."""
        if not self._left:
            return None
        self._left -= 1
        return next(self._items)

    def accepted(self, item: Item, seconds: float) -> None:
        result = self.result
        result.accepted += 1
        result.latencies.append(seconds)
        result.domains[item.recipient.rpartition("@")[2]] += 1
        if self._keep_ids:
            result.accepted_ids.append((item.key, item.recipient))

    def refused(self, reply: str) -> None:
        self.result.refused[reply[:_REASON]] += 1

    def failed(self, reason: str) -> None:
        self.result.failed[reason[:_REASON]] += 1

    def abandon(self, reason: str) -> None:
        """What was not taken will not be sent."""
        if self._left:
            self.result.failed[reason] += self._left
            self._left = 0
