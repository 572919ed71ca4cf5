"""`postroad journal` and `postroad audit`: looking at the files of a journal, and proving that nothing is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, load_config

app = typer.Typer(
    help="Look at the journal's files. All but `compact` only read, whether a server is running or not.",
    no_args_is_help=True,
)

Directory = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DIR]", help="The journal's folder; default: that of the configuration.", show_default=False
    ),
]


def _folder(directory: Path | None, config: Path) -> Path:
    """Only one that holds a journal: a mistyped name must neither pass an audit nor get files of ours."""
    folder = directory if directory is not None else load_config(config).data_dir / "journal"
    try:
        found = any(folder.glob("*-*.seg"))
    except (OSError, ValueError) as error:
        fail(error)
    if not found:
        fail(f"there is no journal in {folder}; has the server run?")
    return folder


@contextmanager
def _explained() -> Iterator[None]:
    from postroad.journal import JournalError

    try:
        yield
    except (JournalError, OSError) as error:
        fail(error)


def _show(value: object) -> None:
    """A dataclass, or what was made of one, as JSON."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


@app.command()
def stat(directory: Directory = None, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show size, segments and balance."""
    import msgspec

    from postroad.journal import stat as read

    with _explained():
        result = read(_folder(directory, config))
    if as_json:
        _show(msgspec.to_builtins(result) | {"queued": result.queued})
        return
    for name, stream in (("mail", result.mail), ("events", result.events)):
        typer.echo(f"{name:7} {stream.segments} segments ({stream.first}-{stream.last}), {stream.octets:,} octets")
    typer.echo(f"accepted {result.accepted:,}, ended {result.terminal:,}, queued {result.queued:,}")
    typer.echo(f"format {result.version}, engine {result.engine}; events from cursor {result.begin} to {result.end}")


@app.command()
def check(directory: Directory = None, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Read everything, compare all checksums, list what is damaged. Exit code 1 if anything is."""
    from postroad.journal import check as run

    with _explained():
        result = run(_folder(directory, config))
    if as_json:
        _show(result)
    else:
        for damage in result.findings:
            lost = f"; messages {', '.join(f'{number:016x}' for number in damage.ids)}" if damage.ids else ""
            typer.echo(f"{damage.stream} segment {damage.segment} at {damage.offset}: {damage.reason}{lost}")
        typer.echo(
            f"{result.mail:,} mail and {result.events:,} event records in {result.octets:,} octets are good; "
            f"{len(result.findings)} findings"
        )
    if result.findings:
        raise typer.Exit(1)


@app.command()
def dump(
    directory: Directory = None,
    config: ConfigOption = DEFAULT_CONFIG,
    stream: Annotated[str, typer.Option(help="mail or event; default: both.")] = "",
    message: Annotated[str, typer.Option(help="Only records about this message id (16 hexadecimal digits).")] = "",
    content: Annotated[bool, typer.Option(help="The mails' trace fields and content too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the records, one a line."""
    import msgspec

    from postroad.journal import dump as read
    from postroad.message import parse_message_id

    if stream not in ("", "mail", "event"):
        fail(f"--stream is mail or event, not {stream!r}", 2)
    try:
        number = parse_message_id(message) if message else None
    except ValueError as error:
        fail(error, 2)
    with _explained():
        for record in read(_folder(directory, config), stream=stream, message_id=number, content=content):
            if as_json:
                typer.echo(msgspec.json.encode(record).decode())
            else:
                fields = " ".join(f"{name}={value!r}" for name, value in record.fields.items())
                typer.echo(f"{record.stream} {record.segment}:{record.offset} {record.size} octets {fields}")


@app.command()
def compact(
    directory: Directory = None,
    config: ConfigOption = DEFAULT_CONFIG,
    below: Annotated[
        float | None, typer.Option(min=0, max=1, help="Rewrite segments whose live share is below this.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the files hold now.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Rewrite sparse mail segments now. The server must be stopped; a running one does it by itself."""
    from postroad.config.schema import JournalOptions
    from postroad.journal import compact as run

    if dry_run:
        stat(directory, config, as_json)
        return
    options = JournalOptions() if directory is not None else load_config(config).config.journal
    with _explained():
        result = run(_folder(directory, config), options, below=below)
    if as_json:
        _show(result)
    else:
        typer.echo(f"{result.rewritten} segments rewritten; {result.octets_before:,} -> {result.octets_after:,} octets")


def audit(directory: Directory = None, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Prove that accepted = ended + queued, each message ended at most once. Exit code 1 if it does not hold."""
    import msgspec

    from postroad.events import Kind
    from postroad.journal import audit as run

    with _explained():
        result = run(_folder(directory, config))
    names = {0: "bookkeeping"} | {kind.value: kind.type_name for kind in Kind}
    kinds = {names.get(kind, str(kind)): count for kind, count in result.kinds.items()}
    if as_json:
        whole = msgspec.to_builtins(result) | {"kinds": kinds, "difference": result.difference, "clean": result.clean}
        for name in ("lost", "twice", "reaccepted"):
            whole[name] = [f"{number:016x}" for number in whole[name]]
        _show(whole)
    else:
        typer.echo(f"accepted {result.accepted:,} = ended {result.terminal:,} + queued {result.queued:,}", nl=False)
        typer.echo(f", off by {result.difference:,}" if result.difference else "")
        typer.echo("events kept: " + (", ".join(f"{name} {count:,}" for name, count in kinds.items()) or "none"))
        for name, numbers in (
            ("lost", result.lost),
            ("ended more than once", result.twice),
            ("accepted more than once", result.reaccepted),
        ):
            if numbers:
                some = ", ".join(f"{number:016x}" for number in numbers[:20])
                typer.echo(f"{name}: {len(numbers):,} ({some}{' ...' if len(numbers) > 20 else ''})")
        typer.echo("clean" if result.clean else "NOT CLEAN")
    if not result.clean:
        raise typer.Exit(1)
