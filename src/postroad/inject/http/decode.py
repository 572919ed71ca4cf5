"""JSON to a Transmission, or all that is wrong with it.

The good case is one pass of msgspec. msgspec stops at the first wrong type, so only then is the request read again
without types and converted member by member, which finds every one (api.md 1.5).
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec

from postroad.inject.http.faults import Code, Failure, Fault, Faults, fault
from postroad.inject.http.shapes import InlineRecipient, Transmission

S = TypeVar("S", bound=msgspec.Struct)

MAX_FAULTS = 50  # told about one request

_KINDS = ((str, "a string"), (bool, "a boolean"), (int, "a number"), (list, "an array"), (dict, "an object"))
_LONG = re.compile("[0-9]{19}")  # where there is none, no whole number is too great
_decoder = msgspec.json.Decoder(Transmission)


class Decoded(NamedTuple):
    """bad: recipients of the wrong type by their place in the list (an empty string stands there instead)."""

    transmission: Transmission
    bad: dict[int, Fault]


def decode(body: bytes | bytearray) -> Decoded:
    """Read the request body. Raises Failure."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Failure(Code.NOT_UTF8, f"octet {error.start} of the body is not UTF-8") from None
    try:
        return Decoded(_decoder.decode(text), {})
    except msgspec.ValidationError:
        return _find_all(_untyped(text))
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unparsable(error) from None


def decode_as(kind: type[S], body: bytes | bytearray) -> S:
    """Read the body of any other request. Raises Failure: every value of a wrong type, every member that must be there
    and is not, by its path, every whole number that no store of ours could keep."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Failure(Code.NOT_UTF8, f"octet {error.start} of the body is not UTF-8") from None
    if _LONG.search(text):
        faults = Faults()
        for path in list(_too_great(_untyped(text), ""))[:MAX_FAULTS]:
            faults.add(Code.INVALID_FORMAT, f"'{path}' is a number of more than 64 bits")
        faults.stop()
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        value = _untyped(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unparsable(error) from None
    if not isinstance(value, dict):
        raise Failure(Code.BAD_REQUEST, "Request body parsing failed [Attached error message: it is not an object]")
    faults = Faults()
    for field in msgspec.structs.fields(kind):
        if field.required and value.get(field.encode_name) is None:
            faults.add(Code.MISSING_FIELD, f"{field.encode_name} is a required field")
            value.pop(field.encode_name, None)
    wrong: list[str] = []
    _convert(kind, value, "", wrong, missing=False)
    for description in wrong[:MAX_FAULTS]:
        faults.add(Code.INVALID_FORMAT, description)
    faults.stop()
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:  # a fault that the search did not find
        raise Failure(Code.INVALID_FORMAT, str(error)) from None


def _too_great(value: Any, path: str) -> Iterator[str]:
    """Where whole numbers are that 64 bits do not hold: the catalog's records have no form for them."""
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            yield path
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _too_great(inner, _join(path, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _too_great(inner, f"{path}[{number}]")


def _unparsable(error: Exception) -> Failure:
    problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return Failure(Code.BAD_REQUEST, f"Request body parsing failed [Attached error message: {problem}]")


def _untyped(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _unparsable(error) from None


def _find_all(value: Any) -> Decoded:
    if not isinstance(value, dict):
        raise Failure(Code.BAD_REQUEST, "Request body parsing failed [Attached error message: it is not an object]")
    bad: dict[int, Fault] = {}
    recipients = value.get("recipients")
    if isinstance(recipients, list):
        value["recipients"] = [_recipient(number, entry, bad) for number, entry in enumerate(recipients)]
    faults = Faults()
    wrong: list[str] = []
    _convert(Transmission, value, "", wrong)
    for description in wrong[:MAX_FAULTS]:
        faults.add(Code.INVALID_FORMAT, description)
    faults.stop()
    try:
        return Decoded(msgspec.convert(value, Transmission), bad)
    except msgspec.ValidationError as error:  # a fault that the search did not find
        raise Failure(Code.INVALID_FORMAT, str(error)) from None


def _recipient(number: int, entry: Any, bad: dict[int, Fault]) -> Any:
    """The entry, or "" when its types are wrong: then only this recipient is refused (api.md 2.6)."""
    try:
        msgspec.convert(entry, str | InlineRecipient)
    except msgspec.ValidationError:
        wrong: list[str] = []
        if isinstance(entry, dict):
            _convert(InlineRecipient, entry, f"recipients[{number}]", wrong)
        bad[number] = fault(Code.INVALID_FORMAT, wrong[0] if wrong else f"'recipients[{number}]' must be an object")
        return ""
    return entry


def _convert(kind: Any, value: Any, path: str, wrong: list[str], *, missing: bool = True) -> None:
    """Add to `wrong` the path of each value inside `value` that is not of its type. value: not None. missing: without
    a wrong member, name the object itself."""
    try:
        msgspec.convert(value, kind)
        return
    except msgspec.ValidationError as error:
        problem = str(error)
    found = len(wrong)
    for option in _options(kind):
        if isinstance(value, dict) and isinstance(option, type) and issubclass(option, msgspec.Struct):
            for each in msgspec.structs.fields(option):
                if value.get(each.encode_name) is not None:
                    _convert(each.type, value[each.encode_name], _join(path, each.encode_name), wrong)
        elif isinstance(value, dict) and typing.get_origin(option) is dict:
            for name, inner in value.items():
                _convert(typing.get_args(option)[1], inner, _join(path, name), wrong)
        elif isinstance(value, list) and typing.get_origin(option) is list:
            for number, inner in enumerate(value):
                _convert(typing.get_args(option)[0], inner, f"{path}[{number}]", wrong)
    if len(wrong) == found and missing:
        names = " or ".join(_kind_name(option) for option in _options(kind))
        wrong.append(f"'{path}' must be {names}" if names else f"'{path}': {problem}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name[:64]}" if path else name


def _options(kind: Any) -> list[Any]:
    """The types a value may have, without None and annotations."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _options(typing.get_args(kind)[0])
    if origin in (typing.Union, types.UnionType):
        return [each for option in typing.get_args(kind) for each in _options(option)]
    return [] if kind is types.NoneType else [kind]


def _kind_name(kind: Any) -> str:
    plain = typing.get_origin(kind) or kind
    return next((name for each, name in _KINDS if plain is each), "an object")
