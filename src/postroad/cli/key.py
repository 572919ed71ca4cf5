"""`postroad key`: API keys of the store, with a server running or without."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postroad.cli.asking import table
from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, say
from postroad.cli.store import with_store

if TYPE_CHECKING:
    from postroad.store.database import Database

app = typer.Typer(no_args_is_help=True, help="API keys: make, list and revoke them.")

_SUBACCOUNT = typer.Option("--subaccount", min=0, help="Whose key it is; 0: the primary account's.")


def _plain(verb: str, config: Path, arguments: dict[str, Any]) -> Any:
    """By the server that runs there, so that its engines know at once; or, when there is none, in the store itself."""
    from postroad.cli.common import load_config
    from postroad.serve.control import ControlError, ask
    from postroad.serve.keyring import Keyring
    from postroad.store.schema import upgrade

    data_dir = load_config(config).data_dir
    if (data_dir / "control.sock").exists():
        try:
            return ask(data_dir, verb, **arguments)
        except ControlError as error:
            if "no server is running" not in str(error):
                fail(error)

    async def work(database: Database) -> Any:
        await upgrade(database)
        return await getattr(Keyring(lambda: database), verb.replace("-", "_"))(**arguments)

    return with_store(config, work)


@app.command("create")
def create(
    label: Annotated[str, typer.Argument(help="A name for people.")],
    grant: Annotated[
        list[str], typer.Option("--grant", help="What it may do (api keys: transmissions/modify, smtp/inject, ...).")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    subaccount: Annotated[int, _SUBACCOUNT] = 0,
    network: Annotated[
        list[str] | None, typer.Option("--network", help="Address or network it may be used from; default: any.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="HTTP requests a second; 0: what the server allows.")] = 0.0,
) -> None:
    """Make a key and print it: it is not kept, and can't be shown again. It counts at once."""
    made = _plain(
        "key-create",
        config,
        {"label": label, "grants": grant, "subaccount": subaccount, "networks": network or [], "rate": rate},
    )
    say(f"{made['id']}  {made['label']}: {', '.join(made['grants'])}", err=True)
    typer.echo(made["key"])


@app.command("list")
def list_(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List the keys of the store (those of the configuration file are in it)."""
    keys = _plain("key-list", config, {})
    if as_json:
        typer.echo(json.dumps(keys))
        return
    table(
        ("id", "begins", "subaccount", "label", "grants", "networks", "made"),
        [
            (
                key["id"],
                key["short_key"],
                key["subaccount"],
                key["label"],
                " ".join(key["grants"]),
                " ".join(key["networks"]) or "any",
                time.strftime("%Y-%m-%d %H:%M", time.gmtime(key["created"] / 1000)),
            )
            for key in keys
        ],
    )


@app.command("revoke")
def revoke(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="As `postroad key list` shows it.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Revoke a key: when the command ends it opens nothing any more."""
    gone = _plain("key-revoke", config, {"identifier": identifier})
    say(f"revoked: {gone['label']}")
