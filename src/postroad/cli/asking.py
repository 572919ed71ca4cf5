"""Asking the console of a running server, and showing what it says."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from postroad.cli.common import fail, harmless, load_config, say

F = TypeVar("F", bound=Callable[..., None])


def ask_console(config: Path, verb: str, **arguments: object) -> Any:
    """The result, or an explained end of the command. Takes as long as it takes."""
    from postroad.serve import ControlError, ask

    try:
        answer = ask(load_config(config).data_dir, verb, wait=None, **arguments)
    except ControlError as error:
        fail(error)
    if isinstance(answer, dict) and (missing := answer.get("missing")):
        engines = ", ".join(map(str, missing))
        say(f"postroad: engine {engines} does not answer; what it has is missing here", err=True)
    return answer


def show(value: object) -> None:
    import json

    typer.echo(json.dumps(value))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    made = Table(box=None, pad_edge=False)
    for name in head:
        made.add_column(name, no_wrap=True, min_width=16 if name == "id" else None)
    for row in rows:
        made.add_row(*("-" if cell is None else harmless(str(cell)) for cell in row))
    # For other programs the lines are as long as they are.
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 1000).print(made)


def at(moment: float | None) -> str:
    """Unix seconds as people read them."""
    return "-" if moment is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def until(moment: float | None) -> str:
    """How far away it is."""
    return "-" if moment is None else f"in {span(max(0.0, moment - time.time()))}"


def span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


_SELECTORS: tuple[tuple[str, Any, object], ...] = (
    (
        "ids",
        Annotated[list[str] | None, typer.Argument(help="Message ids; with other selectors, all must hold.")],
        None,
    ),
    ("domain", Annotated[str, typer.Option(help="Messages to this routing domain.")], ""),
    ("binding", Annotated[str, typer.Option(help="Messages on this binding.")], ""),
    ("state", Annotated[str, typer.Option(help="active, delayed or in-flight ones.")], ""),
    ("sender", Annotated[str, typer.Option(help="With this envelope sender; * stands for anything.")], ""),
    ("recipient", Annotated[str, typer.Option(help="With this envelope recipient; * stands for anything.")], ""),
    ("campaign", Annotated[str, typer.Option(help="Of this campaign; * stands for anything.")], ""),
    ("subaccount", Annotated[str, typer.Option(help="Of this subaccount.")], ""),
    ("header", Annotated[str, typer.Option(metavar="NAME=VALUE", help="With this header field.")], ""),
    ("metadata", Annotated[str, typer.Option(metavar="KEY=VALUE", help="With this metadata.")], ""),
    ("all", Annotated[bool, typer.Option("--all", help="Everything that is queued.")], False),
    ("dry_run", Annotated[bool, typer.Option("--dry-run", help="Only count them, and show ten.")], False),
)


def selecting(command: F) -> F:
    """Give a command the options that select messages; it gets those that were used as the dict `selector`."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())
    names = [name for name, _, _ in _SELECTORS]

    def run(**given: Any) -> None:
        selector = {name: value for name in names if (value := given.pop(name))}
        command(selector=selector, **given)

    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, annotation, default in _SELECTORS
    ]
    kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own if p.name != "selector"]
    run.__signature__ = inspect.Signature([*shared, *kept])  # type: ignore[attr-defined]
    run.__doc__ = command.__doc__
    run.__name__ = command.__name__
    return run  # type: ignore[return-value]


def confirmed(config: Path, verb: str, arguments: dict[str, Any], yes: bool, question: str) -> Any:
    """Show what is meant, ask, do it. Returns what became of it, or of a dry run what was shown."""
    shown = ask_console(config, verb, **arguments)
    token = shown.pop("token", None)
    shown.pop("expires_in", None)
    if token is None:
        return shown
    if not yes:
        sample(shown, err=True)
        if not sys.stdin.isatty():
            fail(f"{question} Say so with --yes.", 2)
        if not typer.confirm(question, err=True):
            fail("nothing was done")
    return ask_console(config, verb, token=token)


def sample(shown: dict[str, Any], *, err: bool = False) -> None:
    say(f"{shown['count']} messages are meant, {shown['in_flight']} of them in flight", err=err)
    for one in shown["sample"]:
        who = f"<{one['sender']}> -> <{one['recipient']}>"
        line = f"  {one['id']} {one['state']:9} {who} ({one['binding']}/{one['domain']})"
        say(line, err=err)
    if shown["count"] > len(shown["sample"]) > 0:
        say("  ...", err=err)


def became(done: dict[str, Any]) -> None:
    """What an operation did."""
    if "sample" in done:
        sample(done)
        return
    words = {name: number for name, number in done.items() if name not in ("verb", "count", "missing", "not_done")}
    told = ", ".join(f"{name.replace('_', ' ')}: {number}" for name, number in words.items())
    say(f"{done['verb']}: {done['count']} messages" + (f" ({told})" if told else ""))
