"""What happened in a simulated world, line by line: a running hash to compare two runs, and the last lines to read."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable


class Trace:
    """Lines of (simulated time, kind, details). `digest` covers all of them, `tail` shows the last `keep`."""

    def __init__(self, now: Callable[[], float], keep: int = 400) -> None:
        self._now = now
        self._hash = hashlib.blake2b(digest_size=16)
        self._lines: deque[str] = deque(maxlen=keep)
        self.count = 0
        self._alarm_at = 0
        self._alarm: Callable[[], None] = lambda: None

    def note(self, kind: str, *details: object) -> None:
        """Details go in by their str(): never hand over an object whose text holds its memory address."""
        line = f"{self._now():.6f} {kind} {' '.join(map(str, details))}"
        self._hash.update(line.encode("utf-8", "backslashreplace"))
        self._lines.append(line)
        self.count += 1
        if self.count == self._alarm_at:
            self._alarm()

    def alarm(self, after: int, call: Callable[[], None]) -> None:
        """Call once, when this many more lines have been noted, in the middle of whatever notes the last one.
        0: never; it replaces an alarm set before."""
        self._alarm_at = self.count + after if after else 0
        self._alarm = call

    def digest(self) -> str:
        return self._hash.hexdigest()

    def tail(self, lines: int = 60) -> str:
        return "\n".join(list(self._lines)[-lines:])
