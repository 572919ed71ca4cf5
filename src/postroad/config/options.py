"""The schema as a table: every option with its type, bounds, default and description, read from schema.py once."""

from __future__ import annotations

import inspect
import re
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Meta
from msgspec.structs import fields

from postroad.config.schema import (
    DeliveryOptions,
    Duration,
    ListenerOptions,
    PeerOptions,
    QueueOptions,
    Rate,
    ScopeOptions,
    Section,
    Size,
)
from postroad.config.values import duration_text, rate_text, size_text


class Form(Enum):
    """What an option holds, in the words of error messages and the reference."""

    TEXT = "text"
    FLAG = "true or false"
    WHOLE = "a whole number"
    NUMBER = "a number"
    DURATION = "a time"
    SIZE = "a size"
    RATE = "a rate"
    TEXTS = "a list of texts"
    WORDS = "a table of texts"
    FREE = "a table of anything"
    TABLE = "a table"
    TABLES = "a list of tables"


# What no option needs, and no timer or file could take.
_MOST: dict[Form, float] = {Form.DURATION: 36525 * 86400, Form.SIZE: 1 << 60}
UNITS = {Form.DURATION: "seconds", Form.SIZE: "bytes"}


class Option(NamedTuple):
    """One name of a section. default: the value when the file has none; REQUIRED when it must have one.

    optional: None is its default and means "as elsewhere", which `elsewhere` says in words. section: the struct of a
    table or of a list's tables. secret: its value is shown to nobody, also not to who may read the file: it would lie
    about in logs and terminals.
    """

    name: str
    form: Form
    description: str
    default: object
    optional: bool = False
    section: type[Section] | None = None
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    pattern: str | None = None
    elsewhere: str = ""
    secret: bool = False

    @property
    def unit(self) -> str:
        return UNITS.get(self.form, "")


REQUIRED = NODEFAULT


@cache
def options(section: type[Section]) -> dict[str, Option]:
    """The options of a section by name, in the order they are declared; those of all scopes come last."""
    hints = get_type_hints(section, include_extras=True)
    table = {}
    for declared in sorted(fields(section), key=lambda one: one.name in scoped(section)):
        default = declared.default
        if declared.default_factory is not NODEFAULT:
            default = declared.default_factory()
        table[declared.name] = _option(section, declared.name, hints[declared.name], default)
    return table


def scoped(section: type[Section]) -> tuple[str, ...]:
    """The names in a section that every scope (binding, group, domain, provider) has."""
    return ScopeOptions.__struct_fields__ if issubclass(section, ScopeOptions) else ()


def description(section: type[Section]) -> str:
    return inspect.cleandoc(section.__doc__ or "")


def _option(section: type[Section], name: str, hint: object, default: object) -> Option:
    meta = Meta()
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        meta = next(note for note in notes if isinstance(note, Meta))
    optional = False
    if get_origin(hint) in (UnionType, Union):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
        optional = True
    form, inner, choices = _form(section, name, hint)
    made = Option(
        *(name, form, meta.description or "", default, optional, inner, choices),
        least=meta.ge if meta.ge is not None else (0 if form in UNITS else None),
        most=meta.le if meta.le is not None else _MOST.get(form),
        pattern=meta.pattern,
        secret=bool((meta.extra or {}).get("secret")),
    )
    return _borrowing(section, made) if optional else made


# What overrides an option elsewhere has its description and its bounds.
_LENDERS: dict[type[Section], tuple[type[Section], ...]] = {
    PeerOptions: (ListenerOptions,),
    ScopeOptions: (DeliveryOptions, QueueOptions),
}


def _borrowing(section: type[Section], option: Option) -> Option:
    for kind, lenders in _LENDERS.items():
        for lender in lenders if issubclass(section, kind) else ():
            if option.name in lender.__struct_fields__:
                lent = options(lender)[option.name]
                return option._replace(
                    description=option.description or lent.description,
                    least=lent.least,
                    most=lent.most,
                    elsewhere="as the listener" if lender is ListenerOptions else "as in wider scopes",
                )
    return option._replace(elsewhere="as the listener" if issubclass(section, PeerOptions) else "as without the rule")


_FORMS: dict[object, Form] = {
    str: Form.TEXT,
    bool: Form.FLAG,
    int: Form.WHOLE,
    float: Form.NUMBER,
    Duration: Form.DURATION,
    Size: Form.SIZE,
    Rate: Form.RATE,
    list[str]: Form.TEXTS,
    dict[str, str]: Form.WORDS,
    dict[str, Any]: Form.FREE,
}


def _form(section: type[Section], name: str, hint: object) -> tuple[Form, type[Section] | None, tuple[str, ...]]:
    if (form := _FORMS.get(hint)) is not None:
        return form, None, ()
    if get_origin(hint) is Literal:
        return Form.TEXT, None, get_args(hint)
    if inspect.isclass(hint) and issubclass(hint, Section):
        return Form.TABLE, hint, ()
    if get_origin(hint) is list:
        (item,) = get_args(hint)
        if inspect.isclass(item) and issubclass(item, Section):
            return Form.TABLES, item, ()
    raise TypeError(f"{section.__name__}.{name}: the configuration knows no option of type {hint}")


def value_text(option: Option, value: object) -> str:
    """A value as the file would write it (TOML), tables left out."""
    match option.form:
        case Form.DURATION if isinstance(value, (int, float)):
            return f'"{duration_text(value)}"'
        case Form.SIZE if isinstance(value, int):
            return f'"{size_text(value)}"'
        case Form.RATE if isinstance(value, Rate):
            return f'"{rate_text(value)}"'
        case _:
            return toml_text(value)


def toml_text(value: object) -> str:
    if value is None:
        return "(not set)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {toml_text(item)}" for name, item in value.items()) + "}"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text) + '"'


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_text(name)
