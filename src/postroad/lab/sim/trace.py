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

    def note(self, kind: str, *details: object) -> None:
        """Details go in by their str(): never hand over an object whose text holds its memory address."""
        line = f"{self._now():.6f} {kind} {' '.join(map(str, details))}"
        self._hash.update(line.encode("utf-8", "backslashreplace"))
        self._lines.append(line)
        self.count += 1

    def digest(self) -> str:
        return self._hash.hexdigest()

    def tail(self, lines: int = 60) -> str:
        return "\n".join(list(self._lines)[-lines:])
