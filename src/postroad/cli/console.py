"""`postroad console`: the state of a running server, and what operators did to it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from postroad.cli.asking import ask_console, at, show
from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, say

app = typer.Typer(no_args_is_help=True, help="See how a running server is, and who did what.")


@app.command()
def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show counts, the journal's state, delivery and alarms. Exit code 1 while there is an alarm."""
    told = ask_console(config, "overview")
    if as_json:
        show(told)
    else:
        for name, value in told.items():
            if name == "alarms":
                continue
            if isinstance(value, dict):
                value = ", ".join(f"{key} {_shown(number)}" for key, number in value.items())
            say(f"{name.replace('_', ' '):16} {_shown(value)}")
        for alarm in told["alarms"]:
            say(f"ALARM {alarm['name']}: {alarm['text']}")
    if told["alarms"]:
        raise typer.Exit(1)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


@app.command()
def log(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The last so many lines.")] = 50,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show who did what, the newest last."""
    entries = ask_console(config, "log", limit=limit)["log"]
    if as_json:
        show(entries)
        return
    for entry in entries:
        rest = {name: value for name, value in entry.items() if name not in ("time", "who", "verb", "phase")}
        about = " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in rest.items())
        say(f"{at(entry['time'])}  {entry['who']}: {entry['verb']} {entry['phase']} {about}")
    if not entries:
        say("nobody did anything yet")
