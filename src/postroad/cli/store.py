"""`postroad store`: the relational store, with a server running or without."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, fail, load_config, say

if TYPE_CHECKING:
    from postroad.store.database import Database

app = typer.Typer(no_args_is_help=True, help="The store of templates, lists, suppressions, keys and domains.")

_Result = TypeVar("_Result")


def with_store(config: Path, work: Callable[[Database], Awaitable[_Result]]) -> _Result:
    """Open the store of this configuration, work with it, and tell of what goes wrong."""
    from postroad.store.database import Database
    from postroad.store.errors import SchemaError, StoreError
    from postroad.store.place import store_url

    generation = load_config(config)

    async def run() -> _Result:
        generation.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        url = store_url(generation.config.store, generation.data_dir)
        database = await Database.open(url, timeout=generation.config.store.timeout)
        try:
            return await work(database)
        finally:
            await database.close()

    mask = os.umask(0o077)  # SQLite makes files as readable as it may
    try:
        return asyncio.run(run())
    except (StoreError, SchemaError, ValueError, OSError) as error:
        fail(error)
    finally:
        os.umask(mask)


@app.command("current")
def current_(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Say at which step the store's schema is, and which is the newest."""
    from postroad.store.schema import current, steps

    at = with_store(config, current)
    say(f"at {at or 'nothing: it is empty'}; the newest is {steps()[-1]}")


@app.command("upgrade")
def upgrade_(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Bring the store's schema to the newest step. A server does that by itself when it starts."""
    from postroad.store.schema import upgrade

    done = with_store(config, upgrade)
    if done.before == done.after:
        say(f"nothing to do: at {done.after}")
        return
    if done.backup is not None:
        say(f"a copy of what was there: {done.backup}")
    say(f"from {done.before or 'nothing'} to {done.after}")


@app.command("check")
def check_(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Look for damage in the store. Ends with 1 when there is some."""
    from postroad.store.schema import check

    problems = with_store(config, check)
    for problem in problems:
        say(problem)
    if problems:
        raise typer.Exit(1)
    say("nothing is wrong")
