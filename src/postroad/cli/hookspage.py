"""The reference page of hooks, drawn from the phases, their facts, the verdicts and what rules know."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any

Table = Callable[[Iterable[str], Iterable[Iterable[str]]], str]


def hooks_page(table: Table) -> str:
    from postroad.policy.content import Content
    from postroad.policy.facts import Session
    from postroad.policy.phase import PHASES
    from postroad.policy.rules import FUNCTIONS, VARIABLES

    text = [_HEAD]
    phases = (
        (
            f"`{phase.name}`",
            f"[{phase.facts.__name__}](#{phase.facts.__name__.lower()})",
            ", ".join(f"`{kind.__name__}`" for kind in phase.verdicts),
            phase.doc,
        )
        for phase in PHASES.values()
    )
    text.append(table(("phase", "facts", "may return", "when"), phases))
    text.append(_VERDICTS)
    kinds = dict.fromkeys(kind for phase in PHASES.values() for kind in phase.verdicts)
    text.append(table(("verdict", "meaning"), ((f"`{_call(kind)}`", _doc(kind)) for kind in kinds)))
    text.append(_FACTS)
    facts: Any
    for facts in dict.fromkeys([Session, *(phase.facts for phase in PHASES.values())]):
        text.append(f"\n### {facts.__name__}\n\n{_doc(facts)}\n")
        text.append(table(("member", "type"), ((f"`{one.name}`", f"`{one.type}`") for one in _fields(facts))))
    text.append(f"\n### Content\n\n{_doc(Content)}\n")
    text.append(table(("member", "meaning"), _members(Content)))
    text.append(_RULES)
    variables = ((f"`{name}`", variable.doc, _having(variable.on)) for name, variable in VARIABLES.items())
    text.append(table(("name", "meaning", "phases"), variables))
    text.append("\n## Functions in rules\n\nIn phases that have the content.\n")
    functions = (
        (f"`{name}({', '.join(inspect.signature(make(Content(b''))).parameters)})`", _FUNCTIONS[name])
        for name, (_, make) in FUNCTIONS.items()
    )
    text.append(table(("function", "meaning"), functions))
    return "".join(text)


def _fields(facts: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(facts)


def _having(member: str) -> str:
    """Phases whose facts have this member, neighbours joined."""
    from postroad.policy.phase import PHASES

    runs: list[list[str]] = [[]]
    for phase in PHASES.values():
        if member in {one.name for one in _fields(phase.facts)}:
            runs[-1].append(phase.name)
        elif runs[-1]:
            runs.append([])
    return ", ".join(f"`{run[0]}` to `{run[-1]}`" if run[1:] else f"`{run[0]}`" for run in runs if run)


def _call(kind: type[object]) -> str:
    made = []
    for one in _fields(kind):
        default = "" if one.default is dataclasses.MISSING else f"={one.default!r}"
        made.append(f"{one.name}{default}")
    return f"{kind.__name__}({', '.join(made)})"


def _members(kind: type[object]) -> list[tuple[str, str]]:
    found = []
    for name, member in vars(kind).items():
        if name.startswith("_") or not (isinstance(member, property) or inspect.isfunction(member)):
            continue
        if isinstance(member, property):
            shown = name
        else:
            parameters = [p.replace(annotation=p.empty) for p in inspect.signature(member).parameters.values()][1:]
            shown = f"{name}{inspect.Signature(parameters)}"
        found.append((f"`{shown}`", _doc(member)))
    return found


def _doc(thing: object) -> str:
    return " ".join((inspect.getdoc(thing) or "").split())


_FUNCTIONS = {
    "header": 'Text of the first field of this name, decoded; "" when there is none.',
    "headers": "Texts of all fields of this name.",
    "header_count": "How many fields of this name there are.",
    "has_part": 'Is there a part of this type, as in "text/html" or "image/"?',
    "attachments": "File names of all parts that have one.",
    "body_contains": "Does a text part contain this, in capitals or not?",
}

_HEAD = """\
# Hooks

A `[[policy]]` of the [configuration](configuration.md) names a plug-in: a Python file or an installed package with
functions named after phases, plain or `async`; or a class `Policy` that has them as methods and is made with a `Kit`
(`name`, `options`, `clock`, `resolver`, `log`). A `[[rule]]` is an expression and what to do when it is true.
[How policy works](../explanation/policy.md) tells what these pieces do together.

## Phases

In the order a message meets them. In each, plug-ins are asked in the order of the file, then rules.
"""
_VERDICTS = """
## Verdicts

The first that is not to go on ends the phase. None says the same as `Continue`. A function that raises, takes too long
or returns what its phase does not know counts as failed: with `on_error = "tempfail"` the client gets 451 (on the way
out, the attempt is put off), with "continue" the next is asked.
"""
_FACTS = """
## Facts

What a function gets. What is called changeable is read back when it has returned.
"""
_RULES = """
## Names in rules

What an expression (CEL) can use, and in which phases. A name that its phase does not have is found when the
configuration is read.
"""
