"""What an option is, what its value is, and which line of the file says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from postroad.config.generation import Generation, Origin
from postroad.config.load import suggestion
from postroad.config.options import REQUIRED, Form, Option, options, value_text
from postroad.config.schema import Config, Section

_INDEX = re.compile(r"\[(\d+)\]")


class UnknownOption(ValueError):
    """No option has this name. The message offers the nearest one."""


class Explained(NamedTuple):
    """name: dotted, with list indexes. text: the value as the file would write it. origin: None for a default."""

    name: str
    value: object
    text: str
    unit: str
    description: str
    origin: Origin | None
    option: Option


class Change(NamedTuple):
    """An option whose value differs between two generations; "" where it is absent in one."""

    name: str
    before: str
    after: str


def effective(generation: Generation) -> Iterator[Explained]:
    """Every option with its value, in the order of the schema."""
    return _walk(generation, generation.config, "")


def explain(generation: Generation, name: str) -> list[Explained]:
    """The options that `name` means: one, or all of a section. Raises UnknownOption.

    Indexes may be left out ("listener.max_sessions": of each listener) or written as names ("listener.0.relay").
    """
    wanted = _parts(name)
    found = [item for item in effective(generation) if _matches(wanted, _parts(item.name))]
    if found:
        return found
    # The option may belong to a list that the file leaves empty.
    defaults = [item for item in _declared(Config, "") if _matches(wanted, _parts(item.name))]
    if defaults:
        return defaults
    plain = ".".join(part for part in wanted if not part.isdigit())
    known = {item.name for item in _declared(Config, "")}
    known |= {prefix.rpartition(".")[0] for prefix in known}
    if plain in known:
        raise UnknownOption(f"{name}: the file has no entry of this number")
    close = suggestion(plain, known)
    if not close:
        ends = [whole for whole in sorted(known) if whole.rpartition(".")[2] == plain.rpartition(".")[2]]
        close = f"; did you mean {' or '.join(ends)}?" if ends else ""
    raise UnknownOption(f"there is no option {name}{close}")


def difference(old: Generation, new: Generation) -> list[Change]:
    """What a reload changes, by name."""
    before = {item.name: item.text for item in effective(old)}
    after = {item.name: item.text for item in effective(new)}
    return [
        Change(name, before.get(name, ""), after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _walk(generation: Generation, section: Struct, prefix: str) -> Iterator[Explained]:
    assert isinstance(section, Section)
    for option in options(type(section)).values():
        value = getattr(section, option.name)
        name = f"{prefix}{option.name}"
        if option.form is Form.TABLE:
            yield from _walk(generation, value, f"{name}.")
        elif option.form is Form.TABLES:
            for index, item in enumerate(value):
                yield from _walk(generation, item, f"{name}[{index}].")
        else:
            yield _explained(option, name, value, generation.origins.get(name))


def _declared(section: type[Section], prefix: str) -> Iterator[Explained]:
    for option in options(section).values():
        name = f"{prefix}{option.name}"
        if option.section is not None:
            yield from _declared(option.section, f"{name}.")
        else:
            yield _explained(option, name, option.default, None)


def _explained(option: Option, name: str, value: object, origin: Origin | None) -> Explained:
    text = "(must be set)" if value is REQUIRED else value_text(option, value)
    shown = None if value is REQUIRED else value
    return Explained(name, shown, text, option.unit, option.description, origin, option)


def _parts(name: str) -> list[str]:
    return [part for part in _INDEX.sub(r".\1", name).split(".") if part]


def _matches(wanted: list[str], whole: list[str]) -> bool:
    """Is `wanted` the beginning of `whole`, when indexes left out stand for any?"""
    rest = iter(whole)
    for part in wanted:
        for other in rest:
            if other == part:
                break
            if not other.isdigit() or part.isdigit():
                return False
        else:
            return False
    return True
