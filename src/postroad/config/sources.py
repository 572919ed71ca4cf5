"""From files to one document: the main file and those it includes, joined, with the place of every name."""

from __future__ import annotations

import glob
import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from postroad.config.generation import ConfigError, Problem
from postroad.config.locate import Path as Names
from postroad.config.locate import Position, locate

_SYNTAX_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_MAX_FILES = 1000


class Place(NamedTuple):
    """Where a name stands. line, column: from 1."""

    file: str
    line: int
    column: int


class Document(NamedTuple):
    """data: as tomllib gives it. places: by path, of what the files name. digest: SHA-256 of the texts in order,
    hexadecimal. files: all that were read, the main one first."""

    data: dict[str, Any]
    places: dict[Names, Place]
    digest: str
    files: tuple[Path, ...]


def read_text(path: Path) -> str:
    """Raises ConfigError, and FileNotFoundError when there is none."""
    try:
        octets = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, 0, "", f"can't be read: {error.strerror or error}")]) from None
    try:
        return octets.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        column = error.start - octets.rfind(b"\n", 0, error.start)
        raise ConfigError([Problem(str(path), line, column, "", "is not UTF-8 text")]) from None


def read_document(text: str, file: str) -> Document:
    """The text of the main file, which stands in `file`, and what it includes. Raises ConfigError with all problems."""
    joiner = _Joiner()
    joiner.add(text, file, ())
    if joiner.problems:
        raise ConfigError(joiner.problems)
    return Document(joiner.data, joiner.places, joiner.digest.hexdigest(), tuple(joiner.files))


class _Joiner:
    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.places: dict[Names, Place] = {}
        self.problems: list[Problem] = []
        self.digest = hashlib.sha256()
        self.files: list[Path] = []

    def add(self, text: str, file: str, within: tuple[Path, ...]) -> None:
        """within: the files that include this one, the main one first."""
        try:
            data = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # ValueError: also a number of more digits than Python reads
            self.problems.append(_syntax_problem(text, file, error))
            return
        path = Path(file)
        self.files.append(path)
        self.digest.update(text.encode())
        positions = locate(text)
        shifts: dict[Names, int] = {}
        self._join(self.data, data, (), file, positions, shifts)
        for names, position in positions.items():
            self.places.setdefault(_shifted(names, shifts), Place(file, *position))
        for index, pattern in enumerate(_includes(data)):
            position = positions.get(("include", index), Position(0, 0))
            self._include(pattern, Place(file, *position), (*within, path))

    def _join(
        self,
        into: dict[str, Any],
        data: dict[str, Any],
        path: Names,
        file: str,
        positions: dict[Names, Position],
        shifts: dict[Names, int],
    ) -> None:
        """Put what one file has into the whole. shifts: filled with how far its entries of a list move down."""
        for name, value in data.items():
            inner = (*path, name)
            there = into.get(name)
            if there is None:
                into[name] = value
            elif isinstance(there, dict) and isinstance(value, dict):
                self._join(there, value, inner, file, positions, shifts)
            elif _are_tables(there) and _are_tables(value):
                shifts[inner] = len(there)
                into[name] = there + value
            elif inner != ("include",):
                at = self.places[inner]
                line, column = positions.get(inner, Position(0, 0))
                text = f"is set already in {at.file}:{at.line}"
                self.problems.append(Problem(file, line, column, ".".join(map(str, inner)), text))

    def _include(self, pattern: str, place: Place, within: tuple[Path, ...]) -> None:
        def wrong(text: str) -> None:
            self.problems.append(Problem(*place, "include", text))

        folder = within[-1].parent
        if glob.has_magic(pattern):
            # Sorted, so that what comes first does not depend on the disk.
            found = sorted(path for path in map(Path, glob.glob(str(folder / pattern))) if path.is_file())
        else:
            found = [folder / pattern]
        for path in found:
            if any(_same(path, outer) for outer in within):
                wrong(f"{path} includes itself")
            elif any(_same(path, other) for other in self.files):
                wrong(f"{path} is included already")
            elif len(self.files) >= _MAX_FILES:
                wrong(f"more than {_MAX_FILES} files")
                return
            else:
                try:
                    self.add(read_text(path), str(path), within)
                except FileNotFoundError:
                    wrong(f"there is no {path}")
                except ConfigError as error:
                    self.problems += error.problems


def _includes(data: dict[str, Any]) -> list[str]:
    """What is no list of texts is left to the check against the schema."""
    value = data.get("include")
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else []


def _are_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _shifted(names: Names, shifts: dict[Names, int]) -> Names:
    """A list grows as a whole, so only the first index of a path can move."""
    for at, name in enumerate(names):
        if isinstance(name, int):
            shift = shifts.get(names[:at])
            return (*names[:at], name + shift, *names[at + 1 :]) if shift else names
    return names


def _syntax_problem(text: str, file: str, error: Exception) -> Problem:
    if isinstance(error, RecursionError):
        return Problem(file, 0, 0, "", "is nested too deeply")
    message = str(error)
    place = _SYNTAX_PLACE.search(message)
    if place is None:
        return Problem(file, 0, 0, "", message)
    if place[1] is None:
        line = text.count("\n") + 1
        return Problem(
            file, line, len(text) - text.rfind("\n"), "", message[: place.start()] + " at the end of the file"
        )
    return Problem(file, int(place[1]), int(place[2]), "", message[: place.start()])
