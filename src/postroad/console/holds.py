"""The suspensions of an engine on disk, so that what was held stays held after a restart."""

from __future__ import annotations

import os
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import Any

import msgspec

from postroad.console.arguments import Resume, Suspend
from postroad.console.parts import ConsoleError
from postroad.queue import Suspension


class _Hold(msgspec.Struct):
    binding: str = ""
    domain: str = ""
    until: float | None = None
    note: str = ""


def rule_row(rule: Suspension) -> dict[str, Any]:
    """A suspension as answers show it."""
    return rule._asdict() | {"until": None if rule.until == inf else rule.until}


def rule_of(row: dict[str, Any]) -> Suspension:
    return Suspension(row["binding"], row["domain"], inf if row["until"] is None else row["until"], row["note"])


def one_or_all(wanted: Suspend | Resume) -> None:
    """Raises ConsoleError."""
    if wanted.all == bool(wanted.domain or wanted.binding):
        raise ConsoleError("name a domain, a binding or both; or say `all`, alone, for all mail")


class HoldsError(Exception):
    """The file can't be read. The message says why, and what to do."""


class Holds:
    """path: `suspensions.json` in the data folder, replaced as a whole. Calls block."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Suspension]:
        """Raises HoldsError: to begin without them would let go of what an operator held."""
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=list[_Hold])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.DecodeError) as error:
            raise HoldsError(f"{self._path}: {error}; mend the file, or remove it to hold nothing") from error
        return [Suspension(h.binding, h.domain, inf if h.until is None else h.until, h.note) for h in found]

    def write(self, rules: Iterable[Suspension]) -> None:
        """Returns when it survives a power cut. Raises OSError; then the old file stands."""
        holds = [_Hold(r.binding, r.domain, None if r.until == inf else r.until, r.note) for r in rules]
        new = self._path.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(holds), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
