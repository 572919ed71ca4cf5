"""The compiled form: a tree of closures that write into a Frame. Nothing of the source is left but its literal text."""

from __future__ import annotations

import html as markup
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from postroad.generate.template import values
from postroad.generate.template.errors import Fault
from postroad.generate.template.limits import Limits
from postroad.generate.template.syntax import Binary, Call, Expression, Index, Literal, Name, Unary

if TYPE_CHECKING:
    from postroad.generate.template.template import Template

# Dynamic content and snippets within each other.
MAX_EMBEDDED = 3
_NAME_OCTETS = 63  # of a link's name


class Click(NamedTuple):
    """A link whose clicks may be counted, as it is for one recipient. number: which of the source's links, from 0;
    -1 in dynamic content and snippets."""

    url: str
    name: str
    unsubscribe: bool
    sublink: str
    number: int


# Gives the address to write in place of the link's own, or None to leave it alone.
Track = Callable[[Click], "str | None"]
Resolve = Callable[[str], "Template | None"]


class Frame:
    """The state of one rendering."""

    __slots__ = (
        "data",
        "level",
        "limits",
        "loop_index",
        "loop_var",
        "loop_vars",
        "loops",
        "out",
        "owner",
        "resolve",
        "room",
        "snippets",
        "steps",
        "strict",
        "track",
    )

    def __init__(
        self,
        owner: Template,
        data: dict[str, object],
        limits: Limits,
        resolve: Resolve | None,
        track: Track | None,
        strict: bool,
    ) -> None:
        self.owner = owner
        self.data = data
        self.limits = limits
        self.resolve = resolve
        self.track = track
        self.strict = strict
        self.out: list[str] = []
        self.steps = limits.steps
        self.room = limits.output
        self.loops = limits.loops
        self.snippets = limits.snippets
        self.level = 0
        self.loop_var: object = None
        self.loop_index: object = None
        self.loop_vars: dict[str, object] = {}

    def spend(self, steps: int, room: int, at: int) -> None:
        self.steps -= steps
        self.room -= room
        if self.steps < 0:
            raise Fault(f"rendering takes more than {self.limits.steps} steps", at)
        if self.room < 0:
            raise Fault(f"output is larger than {self.limits.output} characters", at)


Value = Callable[[Frame], object]
Act = Callable[[Frame], None]
Escape = Callable[[str], str]


# Expressions


def _described(node: Expression) -> str:
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
    base, key, at, what = expression(node.base), expression(node.key), node.at, _described(node.base)
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
    operand, at, what = expression(node.operand), node.at, _described(node.operand)
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
    left_name, right_name = _described(node.left), _described(node.right)

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


# What writes


def block(parts: Sequence[str | Act], cost: int, at: int) -> Act:
    """Text and acts one after the other. cost: steps of everything in it that is not in a block of its own."""
    fixed = tuple(parts)
    room = sum(len(part) for part in fixed if isinstance(part, str))

    def act(frame: Frame) -> None:
        frame.steps -= cost
        frame.room -= room
        if frame.steps < 0 or frame.room < 0:
            frame.spend(0, 0, at)
        for part in fixed:
            if part.__class__ is str:
                frame.out.append(part)
            else:
                part(frame)  # type: ignore[operator]

    return act


def write(node: Expression, escape: Escape | None, at: int) -> Act:
    value = expression(node)

    def act(frame: Frame) -> None:
        found = value(frame)
        if found is None:
            return
        if found.__class__ is not str:
            try:
                found = values.text_of(found)
            except values.ValueFault as fault:
                raise Fault(str(fault), at) from None
        text: str = found
        if escape is not None:
            text = escape(text)
        frame.room -= len(text)
        if frame.room < 0:
            frame.spend(0, 0, at)
        frame.out.append(text)

    return act


def choose(branches: Sequence[tuple[Value, Act]], otherwise: Act | None) -> Act:
    def act(frame: Frame) -> None:
        for condition, body in branches:
            found = condition(frame)
            if found is not None and found is not False:
                body(frame)
                return
        if otherwise is not None:
            otherwise(frame)

    return act


def repeat(node: Expression, body: Act, at: int) -> Act:
    value = expression(node)
    what = _described(node)
    name: str | None = None
    if isinstance(node, Name):
        name = node.name
    elif isinstance(node, Index) and isinstance(node.key, Literal) and isinstance(node.key.value, str):
        name = node.key.value

    def act(frame: Frame) -> None:
        items = value(frame)
        if items is None:
            return
        if not isinstance(items, list):
            raise Fault(f"attempt to iterate over {what} (a {values.kind(items)} value, not an array)", at)
        outer = frame.loop_var, frame.loop_index, frame.loop_vars
        frame.loop_vars = named = dict(frame.loop_vars)
        for number, item in enumerate(items, 1):
            frame.loops -= 1
            if frame.loops < 0:
                raise Fault(f"loops run more than {frame.limits.loops} times", at)
            frame.loop_var = item
            frame.loop_index = number
            if name is not None:
                named[name] = item
            body(frame)
        frame.loop_var, frame.loop_index, frame.loop_vars = outer

    return act


# Links


class LinkParts(NamedTuple):
    """A link in compiled form. name and sublink: what writes them, or their text."""

    url: str | Act
    name: str | Act
    sublink: str | Act
    unsubscribe: bool
    number: int


def _written(frame: Frame, part: str | Act) -> str:
    if isinstance(part, str):
        return part
    outer = frame.out
    frame.out = []
    part(frame)
    text = "".join(frame.out)
    frame.out = outer
    return text


def named(name: str) -> str:
    """A link's name, cut between characters."""
    octets = name.encode("utf-8", "replace")
    if len(octets) <= _NAME_OCTETS:
        return name or "Raw URL"
    return octets[:_NAME_OCTETS].decode("utf-8", "ignore")


def link(parts: LinkParts, *, html: bool, at: int) -> Act:
    """A link that may be tracked. Its address stands escaped in html, and is handed on as it is meant."""
    ready: Click | None = None
    if isinstance(parts.url, str) and isinstance(parts.name, str) and isinstance(parts.sublink, str):
        url = markup.unescape(parts.url) if html else parts.url
        name = markup.unescape(parts.name) if html else parts.name
        ready = Click(url, named(name), parts.unsubscribe, parts.sublink, parts.number)

    def act(frame: Frame) -> None:
        written = _written(frame, parts.url)
        # What varies is counted where it is written.
        counted = 0 if isinstance(parts.url, str) else len(written)
        if frame.track is not None:
            click = ready
            if click is None or frame.level:
                name, sublink = _written(frame, parts.name), _written(frame, parts.sublink)
                address = markup.unescape(written) if html else written
                if html:
                    name = markup.unescape(name)
                number = parts.number if not frame.level else -1
                click = Click(address, named(name), parts.unsubscribe, sublink, number)
            found = frame.track(click)
            if found is not None:
                written = markup.escape(found) if html else found
        frame.spend(0, max(len(written) - counted, 0), at)
        frame.out.append(written)

    return act


# Content that comes with the data or from the store


def snippet(node: Expression, at: int) -> Act:
    value = expression(node)

    def act(frame: Frame) -> None:
        frame.snippets -= 1
        if frame.snippets < 0:
            raise Fault(f"render_snippet is called more than {frame.limits.snippets} times", at)
        try:
            name = values.text_of(value(frame))
        except values.ValueFault as fault:
            raise Fault(str(fault), at) from None
        found = frame.resolve(name) if frame.resolve is not None and name else None
        if found is None:
            raise Fault(f"snippet '{name}' does not exist or has no such part", at)
        _embed(frame, found, f"snippet '{name}'", at)

    return act


def dynamic(node: Expression, at: int) -> Act:
    value = expression(node)
    what = f"dynamic content {_described(node).removeprefix('field ')}"

    def act(frame: Frame) -> None:
        source = value(frame)
        if source is None:
            return
        if not isinstance(source, str):
            raise Fault(f"attempt to render {_described(node)} (a {values.kind(source)} value)", at)
        # Compiled once for all recipients, and paid for by each, so that the first is not worse off.
        frame.spend(len(source) // 16, 0, at)
        _embed(frame, frame.owner.embedded(source, what, at), what, at)

    return act


def _embed(frame: Frame, template: Template, what: str, at: int) -> None:
    if frame.level == MAX_EMBEDDED:
        raise Fault(f"{what} is more than {MAX_EMBEDDED} levels deep", at)
    frame.level += 1
    try:
        template.act(frame)
    except Fault as fault:
        line, _ = template.place(fault.at)
        raise Fault(f"{what}: line {line}: {fault.problem}", at) from None
    frame.level -= 1
