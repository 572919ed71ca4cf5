"""The query string of a request as a Struct: its fields are the parameters (api.md 1.1)."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from postroad.inject.http import Code, Failure, Fault, fault

S = TypeVar("S", bound=msgspec.Struct)
_BOOLEANS = {"true": True, "false": False}  # in lower case, nothing else (api.md 24.12)


def read_query(kind: type[S], items: Iterable[tuple[str, str]]) -> S:
    """items: names and values, in order. Unknown names are ignored. A list may be repeated, or be separated by commas;
    of anything else the last one counts. Raises Failure 400 with every parameter that is wrong or missing."""
    given: dict[str, list[str]] = {}
    for name, value in items:
        given.setdefault(name, []).append(value)
    faults: list[Fault] = []
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        values = given.get(name)
        if values is None:
            if field.required:
                faults.append(Fault("required parameter missing", f"{name} is required", "1401"))
            continue
        try:
            found[name] = msgspec.convert(_value(field.type, values), field.type)
        except ValueError as error:
            faults.append(fault(Code.INVALID_PARAMS, f"{name} must be {_expected(field.type, error)}"))
    if faults:
        raise Failure(Code.INVALID_PARAMS, faults=faults)
    return msgspec.convert(found, kind)


def _value(kind: Any, values: list[str]) -> Any:
    """What the text stands for. Raises ValueError."""
    plain = plain_type(kind)
    last = values[-1]
    if typing.get_origin(plain) is list:
        return [part for value in values for part in value.split(",") if part]
    if plain is bool:
        if last not in _BOOLEANS:
            raise ValueError("true or false")
        return _BOOLEANS[last]
    if plain is int:
        if not last.isascii() or not last.removeprefix("-").isdecimal() or len(last) > 10:
            raise ValueError("a whole number")
        return int(last)
    return last


def _expected(kind: Any, error: ValueError) -> str:
    """What the parameter must be, said as the end of a sentence."""
    if not isinstance(error, msgspec.ValidationError):
        return str(error)
    text = str(error).partition(" - at")[0]
    return text.removeprefix("Expected ").removeprefix("`int` ").removeprefix("`str` ")


def plain_type(kind: Any) -> Any:
    """The type without None and annotations."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return plain_type(typing.get_args(kind)[0])
    if origin in (typing.Union, types.UnionType):
        return plain_type(next(each for each in typing.get_args(kind) if each is not types.NoneType))
    return kind
