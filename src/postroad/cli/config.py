"""`postroad init` and `postroad config`."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, load_config

if TYPE_CHECKING:
    from postroad.config import Explained, Problem

config_app = typer.Typer(no_args_is_help=True, help="Check and explain the configuration.")


def init(
    directory: Annotated[Path, typer.Argument(help="Where to write postroad.toml; made if missing.")] = Path("."),
    hostname: Annotated[str, typer.Option(help="Our own name; default: that of this machine.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Write a commented configuration with a first API key. An existing file is left alone."""
    from postroad.auth import new_key
    from postroad.config import ConfigError, Start, example, parse

    key, digest = new_key()
    text = example(Start(hostname or socket.gethostname(), digest))
    file = directory / DEFAULT_CONFIG.name
    try:
        parse(text, str(file))
    except ConfigError as error:
        fail(f"{error}\nName this host with --hostname.", 2)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Only its owner may read it: later versions keep secrets in it.
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        fail(f"{file} exists; nothing was written")
    except OSError as error:
        fail(f"{error.filename or file}: {error.strerror}")
    if as_json:
        typer.echo(json.dumps({"config": str(file), "api_key": key}))
        return
    typer.echo(f"Wrote {file}. Start with: postroad serve --config {file}")
    typer.echo(f"API key, shown only now: {key}")


@config_app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="The file; default: that of --config.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Find all mistakes in a configuration. Ends with 1 when it can't be used, and 0 when there are only warnings."""
    from postroad.config import ConfigError, load

    path = file or config
    problems: list[Problem] = []
    warnings: list[Problem] = []
    options = 0
    try:
        generation = load(path)
        warnings = list(generation.warnings)
        options = len(generation.origins)
    except ConfigError as error:
        problems = error.problems
    except FileNotFoundError:
        fail(f"there is no {path}")
    if as_json:
        rows = {"problems": problems, "warnings": warnings}
        found = {name: [problem._asdict() for problem in list_] for name, list_ in rows.items()}
        typer.echo(json.dumps({"file": str(path), "ok": not problems, **found}))
    else:
        for problem in problems:
            typer.echo(str(problem), err=True)
        for warning in warnings:
            typer.echo(f"{warning} (warning)", err=True)
        if not problems:
            typer.echo(f"{path}: good, {options} options set")
    if problems:
        raise typer.Exit(1)


@config_app.command("explain")
def explain_(
    name: Annotated[
        str, typer.Argument(help="An option (queue.retry_interval), a section (queue), or nothing for all.")
    ] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Tell the value of an option that counts, what it means, and the file and line it comes from."""
    from postroad.config import UnknownOption, explain

    generation = load_config(config)
    try:
        found = explain(generation, name)
    except UnknownOption as error:
        fail(error)
    if as_json:
        typer.echo(json.dumps([_row(item) for item in found]))
        return
    for item in found:
        unit = f"  ({item.unit})" if item.unit else ""
        typer.echo(f"{item.name} = {item.text}{unit}")
        typer.echo(f"    {item.description}")
        typer.echo(f"    {item.origin or 'default'}")


def _row(item: Explained) -> dict[str, object]:
    return {
        "name": item.name,
        "value": item.value,
        "text": item.text,
        "unit": item.unit,
        "description": item.description,
        "origin": item.origin._asdict() if item.origin else None,
    }
