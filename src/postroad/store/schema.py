"""The schema of the store: which step it is at, and the way to the newest (Alembic's steps in migrations/)."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from postroad.store.database import Database
from postroad.store.errors import SchemaError

_STEPS = Path(__file__).parent / "migrations"


class Upgraded(NamedTuple):
    """before: the step the schema was at, None for an empty database; backup: the copy that was made of it."""

    before: str | None
    after: str
    backup: Path | None = None


def steps() -> list[str]:
    """Every step, oldest first. Raises SchemaError when they don't form one line."""
    script = _script(_config())
    heads = script.get_heads()
    if len(heads) != 1:
        raise SchemaError(f"the steps of the schema end in {len(heads)} places: {', '.join(sorted(heads))}")
    return [step.revision for step in script.walk_revisions()][::-1]


async def current(database: Database) -> str | None:
    """The step the schema is at; None: the database is empty. Raises StoreError."""
    async with database.read() as connection:
        return await connection.run_sync(_current)


async def upgrade(database: Database, target: str | None = None) -> Upgraded:
    """To the newest step, or to `target`: all of it or nothing. Of an SQLite file that has something in it a copy is
    made first, beside it. One process at a time upgrades. Raises StoreError, SchemaError."""
    known = steps()
    wanted = known[-1] if target is None else target
    before = await current(database)
    _refuse_newer(before, known)
    if before == wanted:
        return Upgraded(before, wanted)
    backup = _backup(Path(database.url.database or ""), before) if database.is_sqlite and before is not None else None
    try:
        async with database.begin() as tx:
            # Another process may have been faster.
            before = await tx.run_sync(_current)
            _refuse_newer(before, known)
            if before != wanted:
                await tx.run_sync(_upgrade, wanted)
    except SQLAlchemyError as error:
        raise SchemaError(f"the step to {wanted} failed, nothing was changed: {error}") from error
    return Upgraded(before, wanted, backup)


async def check(database: Database) -> list[str]:
    """What is wrong with the store, a line each. Raises StoreError."""
    known = steps()
    async with database.read() as connection:
        at = await connection.run_sync(_current)
        problems = []
        if at != known[-1]:
            problems.append(f"the schema is at {at or 'nothing'}, not at {known[-1]}: run `postroad store upgrade`")
        if database.is_sqlite:
            found = (await connection.execute(sa.text("PRAGMA integrity_check"))).scalars()
            problems += [line for line in found if line != "ok"]
            strays = (await connection.execute(sa.text("PRAGMA foreign_key_check"))).all()
            problems += [f"a row of {row[0]} refers to a row of {row[2]} that is not there" for row in strays]
    return problems


def _refuse_newer(at: str | None, known: list[str]) -> None:
    if at is not None and at not in known:
        raise SchemaError(
            f"the store was written by a newer Postroad: its schema is at {at}, this version knows up to {known[-1]}. "
            "Start the newer version, or bring back the copy it made before its upgrade (postroad.db.before-...)."
        )


def _current(connection: Connection) -> str | None:
    heads = MigrationContext.configure(connection).get_current_heads()
    return heads[0] if heads else None


def _upgrade(connection: Connection, target: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, target)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_STEPS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _script(config: Config) -> ScriptDirectory:
    return ScriptDirectory.from_config(config)


def _backup(path: Path, at: str) -> Path:
    """A whole copy, also of what is still in the write-ahead log. Raises SchemaError when there is no room for it."""
    copy = path.with_name(f"{path.name}.before-{at}.{time.strftime('%Y%m%dT%H%M%S')}")
    partial = copy.with_name(copy.name + ".partial")
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with (
            contextlib.closing(sqlite3.connect(path)) as source,
            contextlib.closing(sqlite3.connect(partial)) as target,
        ):
            source.backup(target)
        partial.rename(copy)
    except (OSError, sqlite3.Error) as error:
        partial.unlink(missing_ok=True)
        raise SchemaError(
            f"no copy of {path} could be made before the upgrade, so it was left alone: {error}"
        ) from error
    return copy
