"""Who did what: one JSON line for each act of an operator, appended before the act and after it."""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path
from typing import Any

_LAST = 10_000  # lines that are read back at the most


class Trail:
    """path: `console.log` in the data folder. Calls block for the time of a small write.

    A line is synced before its act begins, so that no act goes untold, whatever happens during it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, wall: float, who: str, verb: str, phase: str, about: dict[str, Any]) -> None:
        """phase: begin or end. Raises OSError: then the act must not be begun."""
        line = json.dumps({"time": round(wall, 3), "who": who, "verb": verb, "phase": phase, **about})
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line.encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, limit: int) -> list[dict[str, Any]]:
        """The last lines, oldest first. A line that a crash cut short is left out."""
        try:
            with self._path.open("rb") as file:
                lines = deque(file, maxlen=min(limit, _LAST))
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                found.append(entry)
        return found
