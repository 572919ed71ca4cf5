"""What an option is, what its value is, and which line of the file says so."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from postroad.config.generation import Generation, Origin
from postroad.config.load import suggestion
from postroad.config.options import REQUIRED, Form, Option, options, value_text
from postroad.config.schema import Config, Section

_SALT = secrets.token_bytes(16)  # of this process
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
    """An option whose value differs between two generations, as the file would write it; "" where there is none."""

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
    """What a reload changes. Entries of lists go by their names ("binding[a].port"), not their numbers, which move
    when one is put in between. Of an entry that comes or goes, only what the file sets."""
    before = {item.name: item for item in _walk(old, old.config, "", "")}
    after = {item.name: item for item in _walk(new, new.config, "", "")}
    changes = []
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was is not None and now is not None:
            if was.text != now.text:
                changes.append(Change(name, was.text, now.text))
        elif (only := was or now) is not None and only.origin is not None:
            changes.append(Change(name, was.text if was else "", now.text if now else ""))
    return changes


# What tells the entries of a list apart, where they have it.
_KEYS = ("name", "match", "label", "network", "address", "binding")


def _walk(generation: Generation, section: Struct, place: str, label: str | None = None) -> Iterator[Explained]:
    """place: dotted prefix, with numbers. label: the same with the names of entries, by which the items are then
    called; None: they are called by numbers."""
    assert isinstance(section, Section)
    for option in options(type(section)).values():
        value = getattr(section, option.name)
        name = f"{place}{option.name}"
        shown = None if label is None else f"{label}{option.name}"
        if option.form is Form.TABLE:
            yield from _walk(generation, value, f"{name}.", None if shown is None else f"{shown}.")
        elif option.form is Form.TABLES:
            entries = _entry_names(value)
            for index, item in enumerate(value):
                inner = None if shown is None else f"{shown}[{entries[index]}]."
                yield from _walk(generation, item, f"{name}[{index}].", inner)
        else:
            yield _explained(option, shown or name, value, generation.origins.get(name))


def _entry_names(entries: Sequence[Struct]) -> list[str]:
    names = [next((str(value) for key in _KEYS if (value := getattr(entry, key, ""))), "") for entry in entries]
    return names if len(set(names)) == len(names) else [str(index) for index in range(len(names))]


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
    if option.secret and value != option.default:
        # Two that differ look different, and nobody can try out what they may be.
        shown = text = f"(not shown: {hashlib.blake2s(text.encode(), key=_SALT, digest_size=4).hexdigest()})"
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
