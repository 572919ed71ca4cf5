"""Where consumers have got to, on disk: one small file a consumer, replaced as a whole."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_NEW = "~new"  # no consumer's name ends so: what a crash left half written is never read


class ConsumerError(Exception):
    """A consumer can't be opened or can't go where it is asked to. The message says why."""


class CursorFiles:
    """The folder `cursors/`. All calls block; `put` returns when the cursor survives a power cut."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> list[str]:
        try:
            return sorted(entry.name for entry in self._directory.iterdir() if _NAME.match(entry.name))
        except FileNotFoundError:
            return []

    def get(self, name: str) -> int | None:
        """The acknowledged cursor; None for a new consumer. Raises ConsumerError when the file can't be trusted: to
        begin anew by itself would repeat or lose a consumer's events in silence."""
        path = self._path(name)
        try:
            content = json.loads(path.read_bytes())
            cursor = content["cursor"]
            if type(cursor) is not int or cursor < 0:
                raise ValueError("the cursor is not a number")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConsumerError(f"{path}: the cursor can't be read ({error}); delete the file to begin anew") from error
        return cursor

    def put(self, name: str, cursor: int) -> None:
        """Raises OSError; then the old cursor stands."""
        path = self._path(name)
        self._directory.mkdir(parents=True, exist_ok=True)
        new = path.with_name(name + _NEW)
        with open(new, "wb") as file:
            file.write(json.dumps({"cursor": cursor}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def drop(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        if not _NAME.match(name):
            raise ConsumerError(
                f"{name[:80]!r} is no name for a consumer: letters, digits, '.', '_' and '-', 64 at most"
            )
        return self._directory / name
