"""How many connections a path may have, and when: what deliver asks before it opens one or hands it a message."""

from __future__ import annotations

from math import exp, inf
from typing import Protocol

from postroad.config.schema import DeliveryOptions

# Active messages at which a path wants 63 % of its connections; fits the published curve (momentum.md 4.2).
_GROWTH = 107.0


class Limits(Protocol):
    """The seam between deliver and shaping. Every call is made on the event loop; none blocks."""

    def goal(self, binding: str, domain: str, waiting: int) -> int:
        """How many connections this path should have while `waiting` messages are due. At least 1."""

    def most(self, binding: str, domain: str) -> int:
        """The largest goal, whatever waits."""

    def open(self, binding: str, domain: str) -> float:
        """Ask for one connection. 0: granted, and `closed` is called for it once. More: seconds until it is worth
        asking again; inf: only when some connection has closed."""

    def closed(self, binding: str, domain: str) -> None:
        """A granted connection is gone (or was never made)."""

    def message(self, binding: str, domain: str) -> float:
        """Ask to send one message. 0: granted. More: seconds until it is worth asking again."""


class FixedLimits:
    """max_connections a path, server_max_connections in all, no rates."""

    def __init__(self, options: DeliveryOptions) -> None:
        self._path_max = options.max_connections
        self._server_max = options.server_max_connections
        self._open = 0

    def goal(self, binding: str, domain: str, waiting: int) -> int:
        return max(1, round(self._path_max * (1.0 - exp(-waiting / _GROWTH))))

    def most(self, binding: str, domain: str) -> int:
        return self._path_max

    def open(self, binding: str, domain: str) -> float:
        if self._open >= self._server_max:
            return inf
        self._open += 1
        return 0.0

    def closed(self, binding: str, domain: str) -> None:
        self._open -= 1

    def message(self, binding: str, domain: str) -> float:
        return 0.0
