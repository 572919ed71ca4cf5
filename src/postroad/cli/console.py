"""`postroad console`: the state of a running server, and what operators did to it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from postroad.cli.asking import ask_console, at, show, table, until
from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, say

app = typer.Typer(no_args_is_help=True, help="See how a running server is, and who did what.")


@app.command()
def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the processes, counts, the journals' state, delivery and alarms. Exit code 1 while there is an alarm."""
    processes = ask_console(config, "processes")["processes"]
    if as_json:
        told = ask_console(config, "overview")
        show(told | {"processes": processes})
    else:
        if processes:
            _processes(processes)
        told = ask_console(config, "overview")
        for name, value in told.items():
            if name in ("alarms", "missing"):
                continue
            if isinstance(value, dict):
                value = ", ".join(f"{key} {_shown(number)}" for key, number in value.items())
            say(f"{name.replace('_', ' '):16} {_shown(value)}")
        for alarm in told["alarms"]:
            say(f"ALARM {alarm['name']}: {alarm['text']}")
    if told["alarms"]:
        raise typer.Exit(1)


def _processes(processes: list[dict[str, Any]]) -> None:
    rows = [
        (
            one["name"],
            one["pid"] or None,
            _state(one),
            at(one["since"]),
            one["restarts"],
        )
        for one in processes
    ]
    table(("process", "pid", "state", "since", "restarts"), rows)
    say()


def _state(process: dict[str, Any]) -> str:
    if process["stuck"]:
        return "stuck"
    if process["pid"]:
        return "serves" if process["up"] else "starts"
    return f"fell; next try {until(process['next_try'] or None)}"


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
