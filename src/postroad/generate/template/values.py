"""What the language does with values. They are those of JSON, and behave as in Lua 5.1 (api.md 4.5, 4.6): only false
and null are not true, arrays begin at 1, null is nil and is what is not there.
"""

from __future__ import annotations

import re
from urllib.parse import quote

import msgspec

# Beyond this, floating point can't tell neighbours apart, and neither could Lua.
_EXACT = 2**53
_NUMBER = re.compile(
    r"[ \t\r\n]*[-+]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][-+]?[0-9]{1,4})?[ \t\r\n]*\Z"
)
_HTML = re.compile(r"""[&<>"'/]""")
_HTML_NAMES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "/": "&#x2F;"}
_TYPES = {
    type(None): "nil",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "table",
    dict: "table",
}


class ValueFault(Exception):
    """A value that can't be used so; str() says why. The expression that used it adds the place."""


def kind(value: object) -> str:
    return _TYPES.get(type(value), "userdata")


def is_true(value: object) -> bool:
    return value is not None and value is not False


def text_of(value: object) -> str:
    """As output shows it: nil is empty, a whole number has no fraction, an object or array is compact JSON."""
    if value.__class__ is str:
        return value
    if value is None:
        return ""
    if value is True:
        return "true"
    if value is False:
        return "false"
    try:
        if isinstance(value, float):
            return str(int(value)) if value.is_integer() else f"{value:.14g}"
        if isinstance(value, int):
            return str(value)
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        raise ValueFault(f"a {kind(value)} value can not be written") from None


def html(text: str) -> str:
    if text.isalnum() or not _HTML.search(text):
        return text
    return _HTML.sub(lambda found: _HTML_NAMES[found[0]], text)


def percent(text: str) -> str:
    """All but the unreserved characters of RFC 3986 2.3, over UTF-8."""
    return quote(text, safe="", errors="replace")


def number(value: object, what: str) -> float:
    """An operand of arithmetic. A string that says a number is one."""
    if value.__class__ is int or value.__class__ is float:
        return value
    if isinstance(value, str) and _NUMBER.match(value):
        found = float(value)
        return int(found) if abs(found) < _EXACT and found.is_integer() else found
    raise ValueFault(f"attempt to perform arithmetic on {what} (a {kind(value)} value)")


def calculate(operator: str, left: float, right: float) -> float:
    try:
        match operator:
            case "+":
                found = left + right
            case "-":
                found = left - right
            case "*":
                # Not as whole numbers: they would grow without end.
                found = left * right if abs(left) < _EXACT and abs(right) < _EXACT else float(left) * float(right)
            case _:
                found = left / right
        return found if found.__class__ is float or abs(found) <= _EXACT else float(found)
    except ZeroDivisionError:
        raise ValueFault("attempt to divide by zero") from None
    except OverflowError:
        raise ValueFault("number too large") from None


def equal(left: object, right: object) -> bool:
    """Different types are never equal; objects and arrays are equal only to themselves."""
    if left.__class__ is right.__class__:
        if isinstance(left, (list, dict)):
            return left is right
        return left == right
    if left.__class__ in (int, float) and right.__class__ in (int, float):
        return left == right
    return False


def less(left: object, right: object) -> bool:
    """left < right: numbers, or strings by their octets."""
    ours, theirs = kind(left), kind(right)
    if ours == theirs == "number":
        return left < right  # type: ignore[operator,no-any-return]
    if ours == theirs == "string":
        # Code points are in the order of their UTF-8 octets.
        return left < right  # type: ignore[operator,no-any-return]
    if ours == theirs:
        raise ValueFault(f"attempt to compare two {ours} values")
    raise ValueFault(f"attempt to compare {ours} with {theirs}")


def length(value: object, what: str) -> int:
    if isinstance(value, list):
        return len(value)
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, dict):
        return 0
    raise ValueFault(f"attempt to get length of {what} (a {kind(value)} value)")


def member(base: object, key: object, what: str) -> object:
    """base[key]; what names the base in the error. A key that isn't there gives nil."""
    if isinstance(base, dict):
        return base.get(key) if isinstance(key, str) else None
    if isinstance(base, list):
        if key.__class__ is int or (isinstance(key, float) and key.is_integer()):
            index = int(key)
            return base[index - 1] if 0 < index <= len(base) else None
        return None
    raise ValueFault(f"attempt to index {what} (a {kind(base)} value)")


def is_empty(value: object) -> bool:
    """The macro `empty`: an array without items, or nothing."""
    return value is None or value == []
