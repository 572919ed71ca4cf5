"""Where in a TOML text each name stands. `tomllib` gives the values but no positions.

Only for text that `tomllib` has accepted: this scanner follows the structure (TOML 1.0) and checks nothing.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import NamedTuple

Path = tuple[str | int, ...]


class Position(NamedTuple):
    """Counted from 1, the column in characters."""

    line: int
    column: int


_SKIP = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\[\s\S])*?"{3,5}'
    r"|'''[\s\S]*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def locate(text: str) -> dict[Path, Position]:
    """Positions of all keys, tables and list items, by path: ("listener", 0, "peers", 1, "network")."""
    return _Scanner(text.replace("\r\n", "\n")).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._found: dict[Path, Position] = {}
        self._lengths: dict[Path, int] = {}  # of arrays of tables
        self._lines = [0] + [match.end() for match in re.finditer("\n", text)]

    def scan(self) -> dict[Path, Position]:
        table: Path = ()
        self._skip(_SKIP)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_SKIP)
        return self._found

    def _header(self) -> Path:
        start = self._at
        array = self._text.startswith("[[", start)
        self._at += 2 if array else 1
        path: Path = ()
        names = self._key()
        for name in names[:-1]:
            path = self._inside((*path, name))
        path = (*path, names[-1])
        self._note(path, start)
        if array:
            index = self._lengths.get(path, 0)
            self._lengths[path] = index + 1
            path = (*path, index)
            self._note(path, start)
        self._at += 2 if array else 1
        return path

    def _inside(self, path: Path) -> Path:
        """A header names the last element of an array of tables without its index."""
        length = self._lengths.get(path)
        return path if length is None else (*path, length - 1)

    def _pair(self, table: Path) -> None:
        start = self._at
        path = table
        for name in self._key():
            path = (*path, name)
            self._note(path, start)
        self._at += 1  # the equals sign
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip(_BLANK)
        match self._text[self._at]:
            case "[":
                self._items(path, "]")
            case "{":
                self._items(path, "}")
            case "'" | '"':
                self._skip(_STRING)
            case _:
                self._skip(_SCALAR)

    def _items(self, path: Path, close: str) -> None:
        """An array or an inline table."""
        self._at += 1
        index = 0
        while True:
            self._skip(_SKIP)
            if self._text[self._at] == ",":
                self._at += 1
            elif self._text[self._at] == close:
                self._at += 1
                return
            elif close == "}":
                self._pair(path)
            else:
                self._note((*path, index), self._at)
                self._value((*path, index))
                index += 1

    def _key(self) -> list[str]:
        """A dotted key; leaves off at what follows it."""
        names = []
        while True:
            self._skip(_BLANK)
            start = self._at
            if self._text[start] in "'\"":
                self._skip(_STRING)
                names.append(tomllib.loads("key = " + self._text[start : self._at])["key"])
            else:
                self._skip(_BARE_KEY)
                names.append(self._text[start : self._at])
            self._skip(_BLANK)
            if self._text[self._at] != ".":
                return names
            self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()

    def _note(self, path: Path, at: int) -> None:
        line = bisect_right(self._lines, at)
        self._found.setdefault(path, Position(line, at - self._lines[line - 1] + 1))
