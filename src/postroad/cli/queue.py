"""`postroad queue`."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, load_config


def queue(
    config: ConfigOption = DEFAULT_CONFIG,
    domain: Annotated[str, typer.Option(help="Show only this routing domain.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Show the fullest N paths.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show how many messages wait, by binding and domain."""
    from postroad.serve import ControlError, ask

    data_dir = load_config(config).data_dir
    try:
        status = ask(data_dir, "status")
        paths = ask(data_dir, "queues")
    except ControlError as error:
        fail(error)
    rows = [dict(zip(_COLUMNS, row, strict=True)) for row in paths]
    if domain:
        rows = [row for row in rows if row["domain"] == domain.lower()]
    if as_json:
        names = ("live", "in_flight", "recovered", "refusal", "sessions")
        typer.echo(json.dumps({"total": dict(zip(names, status, strict=False)), "paths": rows}))
        return
    _print(rows, limit, status)


_COLUMNS = ("binding", "domain", "active", "delayed", "in_flight", "next_due")


def _print(rows: list[dict[str, object]], limit: int, status: list[object]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("binding", "domain", "active", "delayed", "in flight", "next due", box=None, pad_edge=False)
    for row in rows[:limit]:
        due = row["next_due"]
        wait = f"in {max(0.0, due - time.time()):.0f} s" if isinstance(due, float) else "-"
        table.add_row(
            str(row["binding"]),
            str(row["domain"]),
            str(row["active"]),
            str(row["delayed"]),
            str(row["in_flight"]),
            wait,
        )
    console = Console()
    if rows:
        console.print(table)
    if len(rows) > limit:
        console.print(f"... and {len(rows) - limit} more paths (--limit)")
    live, in_flight, recovered, refusal, sessions = status[:5]
    console.print(f"{live} messages queued, {in_flight} in flight, {sessions} SMTP sessions in")
    if recovered is None:
        console.print("The journal of the last run is still being loaded.")
    if refusal:
        console.print(f"New mail is refused: {refusal}")
