"""Expressions, compiled to closures that look into a Frame."""

from __future__ import annotations

from postroad.generate.template import values
from postroad.generate.template.errors import Fault
from postroad.generate.template.frame import Frame, Value
from postroad.generate.template.syntax import Binary, Call, Expression, Index, Literal, Name, Unary


def described(node: Expression) -> str:
    """A value as Lua's errors name it."""
    if isinstance(node, Name):
        return f"field '{node.name}'"
    if isinstance(node, Index):
        return f"field '{node.key.value}'" if isinstance(node.key, Literal) and _is_text(node.key) else "field '?'"
    return "a value"


def _is_text(node: Literal) -> bool:
    return isinstance(node.value, str)


def expression(node: Expression) -> Value:
    match node:
        case Literal():
            value = node.value
            return lambda frame: value
        case Name():
            return _name(node.name)
        case Index():
            return _index(node)
        case Unary():
            return _unary(node)
        case Binary():
            return _binary(node)
        case Call():
            argument = expression(node.arguments[0])
            return lambda frame: values.is_empty(argument(frame))


def _name(name: str) -> Value:
    match name:
        case "loop_var":
            return lambda frame: frame.loop_var
        case "loop_index":
            return lambda frame: frame.loop_index
        case "loop_vars":
            return lambda frame: frame.loop_vars
        case _:
            return lambda frame: frame.data.get(name)


def _index(node: Index) -> Value:
    base, key, at, what = expression(node.base), expression(node.key), node.at, described(node.base)
    root = node.base.name if isinstance(node.base, Name) else None

    def absent(frame: Frame) -> object:
        """A member of nothing."""
        if root is None:
            raise Fault(f"attempt to index {what} (a nil value)", at)
        if frame.strict:
            raise Fault(f"substitution value '{root}' did not exist or was null", at)
        return None

    def dynamic(frame: Frame) -> object:
        found = base(frame)
        if found is None:
            return absent(frame)
        try:
            return values.member(found, key(frame), what)
        except values.ValueFault as fault:
            raise Fault(str(fault), at) from None

    if not (isinstance(node.key, Literal) and isinstance(node.key.value, str)):
        return dynamic
    name = node.key.value

    def static(frame: Frame) -> object:
        found = base(frame)
        if found.__class__ is dict:
            return found.get(name)
        return dynamic(frame)

    return static


def _unary(node: Unary) -> Value:
    operand, at, what = expression(node.operand), node.at, described(node.operand)
    if node.operator == "not":
        return lambda frame: not values.is_true(operand(frame))

    def length(frame: Frame) -> object:
        found = operand(frame)
        if isinstance(found, str):
            # Counting octets is work by the length, which no other operation on one value is to that extent.
            frame.spend(len(found) // 64, 0, at)
        try:
            return values.length(found, what)
        except values.ValueFault as fault:
            raise Fault(str(fault), at) from None

    def negative(frame: Frame) -> object:
        try:
            return -values.number(operand(frame), what)
        except values.ValueFault as fault:
            raise Fault(str(fault), at) from None

    return length if node.operator == "#" else negative


def _binary(node: Binary) -> Value:
    left, right, at, operator = expression(node.left), expression(node.right), node.at, node.operator
    left_name, right_name = described(node.left), described(node.right)

    def either(frame: Frame) -> object:
        found = left(frame)
        return right(frame) if found is None or found is False else found

    def both(frame: Frame) -> object:
        found = left(frame)
        return found if found is None or found is False else right(frame)

    def calculated(frame: Frame) -> object:
        first, second = left(frame), right(frame)
        try:
            return values.calculate(operator, values.number(first, left_name), values.number(second, right_name))
        except values.ValueFault as fault:
            raise Fault(str(fault), at) from None

    def compared(frame: Frame) -> object:
        first, second = left(frame), right(frame)
        try:
            match operator:
                case "<":
                    return values.less(first, second)
                case ">":
                    return values.less(second, first)
                case "<=":
                    return values.less(first, second) or values.equal(first, second)
                case _:
                    return values.less(second, first) or values.equal(first, second)
        except values.ValueFault as fault:
            raise Fault(str(fault), at) from None

    match operator:
        case "or":
            return either
        case "and":
            return both
        case "==":
            return lambda frame: values.equal(left(frame), right(frame))
        case "!=" | "~=":
            return lambda frame: not values.equal(left(frame), right(frame))
        case "<" | ">" | "<=" | ">=":
            return compared
    return calculated
