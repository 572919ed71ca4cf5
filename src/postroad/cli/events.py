"""`postroad events`."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Annotated

import typer

from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, load_config

app = typer.Typer(no_args_is_help=True, help="Read the events of the journal.")

_POLL = 0.2  # seconds between looks at the files while following


@app.callback()
def _group() -> None:
    """Keeps `tail` a command of its own: typer makes a lone command the whole application."""


@app.command()
def tail(
    start: Annotated[
        str,
        typer.Option(
            "--from",
            help='Where to begin: begin, end, a cursor, a time (2026-01-31T12:00:00Z, @SECONDS) or an age ("2h").'
            " Default: end with --follow, else begin.",
        ),
    ] = "",
    types: Annotated[list[str] | None, typer.Option("--type", help="Only events of this type (repeatable).")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new events as they come.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="End after this many events; 0: no limit.")] = 0,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Print events from the journals' files, whether the server runs or not: those of all engines as one stream.

    With --json each line is the event (see the events reference) and its cursor, which --from takes. With several
    engines the cursor names each journal and the place in it.
    """
    from postroad.events import Kind, find_all, json_line, parse_starts, tail_all, text_line
    from postroad.journal import EventReader, JournalError, journal_folders

    try:
        kinds = {Kind.of(name) for name in types} if types else None
        begin = parse_starts(start or ("end" if follow else "begin"), time.time())
    except ValueError as error:
        fail(error, 2)
    data_dir = load_config(config).data_dir
    folders = journal_folders(data_dir)
    if not folders:
        fail(f"there is no journal in {data_dir}; has the server run?")
    out = sys.stdout.buffer

    def pause() -> None:
        out.flush()
        time.sleep(_POLL)

    count = 0
    # Ctrl-C is the way to end --follow.
    with contextlib.suppress(KeyboardInterrupt):
        try:
            readers = {number: EventReader(folder) for number, folder in folders.items()}
            for event, cursor in tail_all(readers, find_all(readers, begin), kinds, pause if follow else None):
                out.write((json_line(event, cursor) if as_json else text_line(event, cursor).encode()) + b"\n")
                count += 1
                if count == limit:
                    break
        except BrokenPipeError:
            raise
        except (JournalError, OSError, ValueError) as error:
            fail(error)
        out.flush()
