"""From a TOML file to an immutable generation of options, or to a list of everything that is wrong with it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from postroad.config.generation import ConfigError, Generation, Origin, Problem
from postroad.config.locate import Path as Names
from postroad.config.options import REQUIRED, Form, Option, options, toml_text, value_text
from postroad.config.replyrules import reply_findings
from postroad.config.rules import findings
from postroad.config.schema import Config, Duration, Section, Size
from postroad.config.scoperules import scope_findings
from postroad.config.sources import Place, read_document, read_text
from postroad.config.values import parse_duration, parse_rate, parse_size

S = TypeVar("S", bound=Section)


def load(path: Path, number: int = 1) -> Generation:
    """Read a file and what it includes. Raises ConfigError, and FileNotFoundError when there is none."""
    return parse(read_text(path), str(path), number)


def parse(text: str, file: str = "postroad.toml", number: int = 1) -> Generation:
    """Read the text of a file. file: its path, for messages and for relative paths in it. Raises ConfigError."""
    document = read_document(text, file)
    reader = _Reader(file, document.places)
    config = reader.section(Config, document.data, ())
    if reader.problems or config is None:
        raise ConfigError(reader.problems)
    warnings: list[Problem] = []
    for finding in (*findings(config), *scope_findings(config), *reply_findings(config)):
        problem = reader.problem(finding.path, finding.text)
        (reader.problems if finding.fatal else warnings).append(problem)
    if reader.problems:
        raise ConfigError(reader.problems)
    origins = MappingProxyType(reader.origins)
    return Generation(number, Path(file), document.digest, config, origins, tuple(warnings), document.files)


def dotted(path: Names) -> str:
    """("listener", 0, "relay") -> "listener[0].relay"."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or nothing."""
    close = get_close_matches(name, list(known), 1, 0.6)
    return f"; did you mean {close[0]}?" if close else ""


class _Reader:
    """Walks the decoded file beside the schema and collects problems instead of stopping at the first."""

    def __init__(self, file: str, places: dict[Names, Place]) -> None:
        self._file = file
        self._places = places
        self.problems: list[Problem] = []
        self.origins: dict[str, Origin] = {}

    def problem(self, path: Names, text: str) -> Problem:
        """A problem at the nearest enclosing place that the file names."""
        for length in range(len(path), 0, -1):
            if (place := self._places.get(path[:length])) is not None:
                return Problem(*place, dotted(path), text)
        return Problem(self._file, 0, 0, dotted(path), text)

    def section(self, cls: type[S], data: object, path: Names) -> S | None:
        """The struct, or None when some of it is wrong."""
        if not isinstance(data, dict):
            self._wrong(path, f"must be {Form.TABLE.value}, not {_shown(data)}")
            return None
        before = len(self.problems)
        known = options(cls)
        for name in data:
            if name not in known:
                self._wrong((*path, name), _unknown(name, known))
        values = {}
        for name, option in known.items():
            if name in data:
                values[name] = self._value(option, data[name], (*path, name))
            elif option.default is REQUIRED:
                self._wrong(path, f"{name} is missing")
        return cls(**values) if len(self.problems) == before else None

    def _value(self, option: Option, data: object, path: Names) -> Any:
        """The value in its type. What is returned for a wrong one does not matter: its section is not made."""
        if option.section is not None:
            if option.form is Form.TABLE:
                return self.section(option.section, data, path)
            return self._tables(option.section, data, path)
        place = self._places.get(path)
        self.origins[dotted(path)] = Origin(place.file, place.line) if place else Origin(self._file, 0)
        try:
            value = _read(option, data)
            _bounded(option, value)
        except ValueError as error:
            self._wrong(path, str(error))
            return None
        return value

    def _tables(self, section: type[Section], data: object, path: Names) -> list[Section | None]:
        if not isinstance(data, list):
            self._wrong(path, f"must be {Form.TABLES.value}, not {_shown(data)}: write [[{_header(path)}]]")
            return []
        return [self.section(section, item, (*path, index)) for index, item in enumerate(data)]

    def _wrong(self, path: Names, text: str) -> None:
        self.problems.append(self.problem(path, text))


def _header(path: Names) -> str:
    return ".".join(part for part in path if isinstance(part, str))


def _unknown(name: str, known: Mapping[str, Option]) -> str:
    text = "there is no such option"
    if close := suggestion(name, known):
        return text + close
    places = sorted(place for place, section in _sections(Config, ()) if name in options(section))
    return f"{text} here; it belongs to {' or '.join(places)}" if places else text


def _sections(section: type[Section], path: Names) -> Iterable[tuple[str, type[Section]]]:
    """All sections with the header each is written under."""
    for option in options(section).values():
        if option.section is not None:
            inner = (*path, option.name)
            header = _header(inner)
            yield f"[[{header}]]" if option.form is Form.TABLES else f"[{header}]", option.section
            yield from _sections(option.section, inner)


def _read(option: Option, data: object) -> object:
    """The value in the option's type. Raises ValueError that says what is expected."""
    match option.form, data:
        case Form.FLAG, bool():
            return data
        case _, bool():
            pass  # in Python a bool is a number; in a configuration it is not
        case Form.TEXT, str():
            return data
        case Form.WHOLE, int():
            return data
        case Form.NUMBER, int() | float() if _is_finite(data):
            return float(data)
        case Form.DURATION, int() | float() if _is_finite(data):
            return Duration(data)
        case Form.DURATION, str():
            return parse_duration(data)
        case Form.SIZE, int():
            return Size(data)
        case Form.SIZE, str():
            return parse_size(data)
        case Form.RATE, str():
            return parse_rate(data)
        case Form.TEXTS, list() if all(isinstance(item, str) for item in data):
            return data
        case Form.WORDS, dict() if all(isinstance(item, str) for item in data.values()):
            return data
        case Form.FREE, dict():
            return data
        case _:
            pass
    raise ValueError(f"must be {option.form.value}, not {_shown(data)}")


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond every float
        return False


def _bounded(option: Option, value: object) -> None:
    if isinstance(value, (int, float)):
        if option.least is not None and value < option.least:
            raise ValueError(f"must be {value_text(option, option.least)} or more, not {value_text(option, value)}")
        if option.most is not None and value > option.most:
            raise ValueError(f"must be {value_text(option, option.most)} or less, not {value_text(option, value)}")
    if isinstance(value, str):
        if option.choices and value not in option.choices:
            allowed = ", ".join(map(toml_text, option.choices))
            raise ValueError(f"must be one of {allowed}, not {_shown(value)}{suggestion(value, option.choices)}")
        if option.pattern is not None and not re.search(option.pattern, value):
            # The text itself is not shown: the place of a key's hash may hold the key.
            raise ValueError(f"does not have the form {option.pattern}")


def _shown(data: object) -> str:
    if isinstance(data, dict):
        return "a table"
    if isinstance(data, list):
        return "a list" if data else "an empty list"
    text = toml_text(data) if isinstance(data, (str, int, float)) else str(data)
    return text if len(text) <= 60 else text[:57] + "..."
