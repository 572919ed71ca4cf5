"""`postroad init` and `postroad config`."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, load_config

if TYPE_CHECKING:
    from postroad.config import Explained, Generation, Problem

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
    """Find all mistakes in a configuration, and in the files it names: plug-ins (which run as they are read), rules,
    keys and certificates. Ends with 1 when it can't be used, and 0 when there are only warnings."""
    from postroad.cli.configfiles import broken_files
    from postroad.config import ConfigError, load

    path = file or config
    problems: list[Problem] = []
    warnings: list[Problem] = []
    options = 0
    try:
        generation = load(path)
        warnings = list(generation.warnings)
        options = len(generation.origins)
        problems = broken_files(generation)
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
    binding: Annotated[str, typer.Option(help="What counts for mail of this binding.")] = "",
    group: Annotated[str, typer.Option(help="What counts for mail of this group of bindings.")] = "",
    domain: Annotated[str, typer.Option(help="What counts for mail to this routing domain.")] = "",
    provider: Annotated[str, typer.Option(help="What counts for mail to this provider; default: the domain's.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Tell the value of an option that counts, what it means, and the file and line it comes from."""
    from postroad.config import UnknownOption, explain

    generation = load_config(config)
    try:
        if binding or group or domain or provider:
            _explain_path(generation, name, binding, group, domain, provider, as_json)
            return
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


def _explain_path(
    generation: Generation, name: str, binding: str, group: str, domain: str, provider: str, as_json: bool
) -> None:
    from postroad.shaping import explain_path

    found = explain_path(generation, name, binding=binding, group=group, domain=domain.lower(), provider=provider)
    if as_json:
        rows = [
            {
                **_row(item.option),
                "scope": item.scope,
                "shared": item.shared,
                "overrides": [
                    {"scope": o.scope, "text": o.text, "origin": o.origin._asdict() if o.origin else None}
                    for o in item.overrides
                ],
            }
            for item in found
        ]
        typer.echo(json.dumps(rows))
        return
    for item in found:
        unit = f"  ({item.option.unit})" if item.option.unit else ""
        typer.echo(f"{item.option.name} = {item.option.text}{unit}")
        typer.echo(f"    {item.option.description}")
        shared = "; one bucket, shared by all its mail for which no narrower scope sets one" if item.shared else ""
        typer.echo(f"    {item.scope}: {item.option.origin or 'default'}{shared}")
        for other in item.overrides:
            typer.echo(f"    overrides {other.text} of {other.scope}: {other.origin or 'default'}")


@config_app.command()
def reload(
    config: ConfigOption = DEFAULT_CONFIG,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would change.")] = False,
    rolling: Annotated[
        bool, typer.Option("--rolling", help="Then restart the engines, one after another, for what needs it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the running server read its configuration again, and tell the difference. A wrong one changes nothing.

    With --rolling also what needs a restart counts afterwards, but for server.engines and server.data_dir. Mail is
    taken and delivered all the time, by the engines that are there.
    """
    if rolling and not dry_run:
        _roll(config, as_json)
        return
    _tell(_ask(config, "reload", dry_run=dry_run), as_json, "would change" if dry_run else "changed")


@config_app.command()
def rollback(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Make the running server go back to the configuration before the last reload. The files stay as they are."""
    _tell(_ask(config, "rollback"), as_json, "changed")


def _ask(config: Path, verb: str, **arguments: bool) -> dict[str, Any]:
    from postroad.serve import ControlError, ask

    data_dir = _data_dir(config)
    try:
        return _reloaded(ask(data_dir, verb, wait=None, **arguments))
    except ControlError as error:
        fail(error)


def _roll(config: Path, as_json: bool) -> None:
    """Tell of each engine when it is back."""
    from postroad.serve import ControlError, follow

    try:
        for item in follow(_data_dir(config), "reload", rolling=True):
            if isinstance(item, list):
                _tell(_reloaded(item), as_json, "changed")
            elif as_json:
                typer.echo(json.dumps(item))
            elif "error" in item:
                fail(f"engine {item['engine']}: {item['error']}")
            else:
                typer.echo(f"engine {item['engine']} was restarted, process {item['pid']}")
            if isinstance(item, dict) and "error" in item:
                raise typer.Exit(1)
    except ControlError as error:
        fail(error)


def _data_dir(config: Path) -> Path:
    from postroad.config import ConfigError, load

    try:
        # Only the way to the server is needed; what is wrong with the rest, the server says.
        return load(config).data_dir
    except FileNotFoundError:
        fail(f"there is no {config}")
    except (ConfigError, OSError) as error:
        fail(f"{error}\nNothing was changed.")


def _reloaded(answer: list[Any]) -> dict[str, Any]:
    number, changes, restart, warnings = answer
    names = ("name", "before", "after")
    return {
        "generation": number,
        "changes": [dict(zip(names, change, strict=True)) for change in changes],
        "restart": [dict(zip(names, change, strict=True)) for change in restart],
        "warnings": warnings,
    }


def _tell(done: dict[str, Any], as_json: bool, changed: str) -> None:
    if as_json:
        typer.echo(json.dumps(done))
        return
    for warning in done["warnings"]:
        typer.echo(f"{warning} (warning)", err=True)
    for needs, changes in (("", done["changes"]), ("  (needs a restart)", done["restart"])):
        for change in changes:
            typer.echo(f"{change['name']}: {change['before'] or 'nothing'} -> {change['after'] or 'nothing'}{needs}")
    count = len(done["changes"])
    typer.echo(f"{count or 'no'} option{'s' * (count != 1)} {changed}; generation {done['generation']} counts")


def _row(item: Explained) -> dict[str, object]:
    return {
        "name": item.name,
        "value": item.value,
        "text": item.text,
        "unit": item.unit,
        "description": item.description,
        "origin": item.origin._asdict() if item.origin else None,
    }
