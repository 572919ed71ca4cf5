"""One state of the configuration, and what keeps a file from becoming one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from postroad.config.schema import Config


class Problem(NamedTuple):
    """Something wrong in a file. line, column: from 1; 0 where no place can be named. name: dotted, or ""."""

    file: str
    line: int
    column: int
    name: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.name}: {self.text}" if self.name else f"{place}: {self.text}"


class ConfigError(Exception):
    """The file can't be used. problems: all that was found, file by file, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        found = list(problems)
        files = {file: number for number, file in enumerate(dict.fromkeys(problem.file for problem in found))}
        self.problems = sorted(found, key=lambda problem: (files[problem.file], problem.line, problem.column))
        super().__init__("\n".join(map(str, self.problems)))


class Origin(NamedTuple):
    """The file and line that set an option."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Generation:
    """One accepted state of the configuration; a reload makes another. Nothing in it changes.

    digest: SHA-256 of the files, hexadecimal. origins: by dotted name, only of options that a file sets; the others
    have their defaults. warnings: what is allowed but doubtful. files: all that were read, the main one first.
    """

    number: int
    path: Path
    digest: str
    config: Config
    origins: Mapping[str, Origin]
    warnings: tuple[Problem, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def data_dir(self) -> Path:
        """server.data_dir, absolute: a relative one is taken from the file's folder."""
        return (self.path.parent / self.config.server.data_dir).absolute()
