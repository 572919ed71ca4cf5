"""`postroad queue`: how many messages wait, where, and which."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from postroad.cli.asking import ask_console, at, show, table, until
from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, say

app = typer.Typer(invoke_without_command=True, help="Show how many messages wait, by binding and domain.")

_COLUMNS = ("binding", "domain", "active", "delayed", "in_flight", "next_due")
_MEMBERS = ("rollup", "domains")
_TOTALS = ("in_flight", "recovered", "refusal", "sessions")


@app.callback(invoke_without_command=True)
def queue(
    context: typer.Context,
    config: ConfigOption = DEFAULT_CONFIG,
    domain: Annotated[str, typer.Option(help="Show only this routing domain.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Show the fullest N paths.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show how many messages wait, by binding and domain."""
    if context.invoked_subcommand is not None:
        return
    overview = ask_console(config, "overview")
    summary = ask_console(config, "queue-summary", domain=domain, limit=100_000)
    rows = [{name: path[name] for name in (*_COLUMNS, *_MEMBERS)} for path in summary["paths"]]
    if as_json:
        total = {"live": overview["messages"], **{name: overview[name] for name in _TOTALS}}
        typer.echo(json.dumps({"total": total, "paths": rows}))
        return
    _print(rows, limit, overview)


def _print(rows: list[dict[str, Any]], limit: int, overview: dict[str, Any]) -> None:
    if rows:
        table(
            ("binding", "domain", "active", "delayed", "in flight", "next due"),
            [(*(row[name] for name in _COLUMNS[:5]), until(row["next_due"])) for row in rows[:limit]],
        )
    if len(rows) > limit:
        say(f"... and {len(rows) - limit} more paths (--limit)")
    live, in_flight, recovered, refusal, sessions = (overview[name] for name in ("messages", *_TOTALS))
    say(f"{live} messages queued, {in_flight} in flight, {sessions} SMTP sessions in")
    if recovered is None:
        say("The journal of the last run is still being loaded.")
    if refusal:
        say(f"New mail is refused: {refusal}")


@app.command("list")
def list_(
    domain: Annotated[str, typer.Option(help="Only this routing domain.")] = "",
    binding: Annotated[str, typer.Option(help="Only this binding.")] = "",
    state: Annotated[str, typer.Option(help="Only active, delayed or in-flight ones.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """List messages: those in flight, then each path's in the order in which they will be given out."""
    found = ask_console(config, "queue-list", domain=domain, binding=binding, state=state, limit=limit)["messages"]
    if as_json:
        show(found)
        return
    table(
        ("id", "state", "binding", "domain", "tries", "received", "next try", "last code"),
        [
            (
                m["id"],
                m["state"],
                m["binding"],
                m["domain"],
                m["attempts"],
                at(m["received"]),
                until(m["next_attempt"]),
                m["last_code"],
            )
            for m in found
        ],
    )


@app.command()
def top(
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The fullest so many paths.")] = 20,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Watch the fullest paths; q ends it. Where there is no terminal, print them once."""
    from postroad.cli.top import watch

    def frame() -> Any:
        summary = ask_console(config, "queue-summary", limit=limit)
        return summary, ask_console(config, "overview"), time.strftime("%H:%M:%S")

    watch(frame, interval)
