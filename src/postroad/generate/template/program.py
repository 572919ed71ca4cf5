"""The compiled form: a tree of closures that write into a Frame. Nothing of the source is left but its literal text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from postroad.generate.template import values
from postroad.generate.template.errors import Fault
from postroad.generate.template.expressions import described, expression
from postroad.generate.template.frame import Act, Escape, Frame, Value
from postroad.generate.template.syntax import Expression, Index, Literal, Name

if TYPE_CHECKING:
    from postroad.generate.template.template import Template

# Dynamic content and snippets within each other.
MAX_EMBEDDED = 3


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
    what = described(node)
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
    what = f"dynamic content {described(node).removeprefix('field ')}"

    def act(frame: Frame) -> None:
        source = value(frame)
        if source is None:
            return
        if not isinstance(source, str):
            raise Fault(f"attempt to render {described(node)} (a {values.kind(source)} value)", at)
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
