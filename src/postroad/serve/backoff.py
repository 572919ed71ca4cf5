"""How soon a process that fell is started again. Pure."""

from __future__ import annotations

_FIRST = 0.1  # seconds
_LONGEST = 30.0
_HEALTH = 60.0  # a process that ran so long had no fault that the next one will have at once


class Backoff:
    """Waits of 0.1 s, doubling up to 30 s; from the beginning after a minute of health."""

    def __init__(self) -> None:
        self._next = _FIRST

    def fell(self, lived: float) -> float:
        """lived: seconds it was there. Returns seconds to wait."""
        if lived >= _HEALTH:
            self._next = _FIRST
        wait = self._next
        self._next = min(_LONGEST, 2 * wait)
        return wait
