"""`postroad journal` and `postroad audit`: looking at the files of a journal, and proving that nothing is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, load_config

if TYPE_CHECKING:
    from postroad.journal import Audit

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


def _folders(directory: Path | None, config: Path) -> dict[int, Path]:
    """The journals of all engines, also of those that are configured no more; or the one that was named."""
    from postroad.journal import journal_folders

    if directory is not None:
        return {0: _checked(directory)}
    data_dir = load_config(config).data_dir
    folders = journal_folders(data_dir) or {0: data_dir / "journal"}
    return {number: _checked(folder) for number, folder in folders.items()}


def _checked(folder: Path) -> Path:
    """Only one that holds a journal: a mistyped name must neither pass an audit nor get files of ours."""
    try:
        found = any(folder.glob("*-*.seg"))
    except (OSError, ValueError) as error:
        fail(error)
    if not found:
        fail(f"there is no journal in {folder}; has the server run?")
    return folder


_COMPACTED = ("rewritten", "octets_before", "octets_after")


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
    """Show size, segments and balance, of the journals of all engines."""
    import msgspec

    from postroad.journal import stat as read

    with _explained():
        found = {number: read(folder) for number, folder in _folders(directory, config).items()}
    if as_json:
        each = {number: msgspec.to_builtins(one) | {"queued": one.queued} for number, one in found.items()}
        (first, *others) = each.values()
        totals = {
            name: sum(one[name] for one in each.values())
            for name in ("accepted", "terminal", "queued", "homed_in", "homed_out")
        }
        _show(first if not others else totals | {"journals": {str(number): one for number, one in each.items()}})
        return
    for number, result in found.items():
        if len(found) > 1:
            typer.echo(f"engine {number}")
        for name, stream in (("mail", result.mail), ("events", result.events)):
            typer.echo(f"{name:7} {stream.segments} segments ({stream.first}-{stream.last}), {stream.octets:,} octets")
        moved = f", came {result.homed_in:,}, went {result.homed_out:,}" if result.homed_in or result.homed_out else ""
        typer.echo(f"accepted {result.accepted:,}, ended {result.terminal:,}, queued {result.queued:,}{moved}")
        typer.echo(
            f"format {result.version}, engine {result.engine}; events from cursor {result.begin} to {result.end}"
        )
    if len(found) > 1:
        accepted, ended, queued = (
            sum(getattr(one, name) for one in found.values()) for name in ("accepted", "terminal", "queued")
        )
        typer.echo(f"all: accepted {accepted:,}, ended {ended:,}, queued {queued:,}")


@app.command()
def check(directory: Directory = None, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Read everything, compare all checksums, list what is damaged. Exit code 1 if anything is."""
    from postroad.journal import check as run

    with _explained():
        found = {number: run(folder) for number, folder in _folders(directory, config).items()}
    if as_json:
        (first, *others) = found.values()
        _show(first if not others else {"journals": {str(number): one for number, one in found.items()}})
    else:
        for number, result in found.items():
            where = f"engine {number}: " if len(found) > 1 else ""
            for damage in result.findings:
                lost = f"; messages {', '.join(f'{number:016x}' for number in damage.ids)}" if damage.ids else ""
                typer.echo(f"{where}{damage.stream} segment {damage.segment} at {damage.offset}: {damage.reason}{lost}")
            typer.echo(
                f"{where}{result.mail:,} mail and {result.events:,} event records in {result.octets:,} octets are "
                f"good; {len(result.findings)} findings"
            )
    if any(result.findings for result in found.values()):
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
        folders = _folders(directory, config)
        for engine, folder in folders.items():
            for record in read(folder, stream=stream, message_id=number, content=content):
                if as_json:
                    told = msgspec.to_builtins(record) | ({"engine": engine} if len(folders) > 1 else {})
                    typer.echo(msgspec.json.encode(told).decode())
                else:
                    fields = " ".join(f"{name}={value!r}" for name, value in record.fields.items())
                    where = f"engine {engine} " if len(folders) > 1 else ""
                    typer.echo(f"{where}{record.stream} {record.segment}:{record.offset} {record.size} octets {fields}")


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
    from postroad.journal import Compacted
    from postroad.journal import compact as run

    if dry_run:
        stat(directory, config, as_json)
        return
    options = JournalOptions() if directory is not None else load_config(config).config.journal
    with _explained():
        done = [run(folder, options, below=below) for folder in _folders(directory, config).values()]
    result = Compacted(*(sum(getattr(one, name) for one in done) for name in _COMPACTED))
    if as_json:
        _show(result)
    else:
        typer.echo(f"{result.rewritten} segments rewritten; {result.octets_before:,} -> {result.octets_after:,} octets")


def audit(directory: Directory = None, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Prove that accepted = ended + queued over the journals of all engines, each message ended at most once. Exit code
    1 if it does not hold."""
    from postroad.journal import audit as run
    from postroad.journal import audit_all

    with _explained():
        folders = _folders(directory, config)
        if directory is None:
            total, each = audit_all(load_config(config).data_dir)
        else:
            total = run(folders[0])
            each = {0: total}
    jobs = _jobs(total)
    clean = total.clean and all(one.clean for one in each.values()) and not any(job["wrong"] for job in jobs)
    if as_json:
        told = _as_json(total) | {"clean": clean}
        _show(told if len(each) == 1 else told | {"journals": {str(n): _as_json(one) for n, one in each.items()}})
    else:
        if len(each) > 1:
            for number, one in each.items():
                typer.echo(
                    f"engine {number}: accepted {one.accepted:,} + came {one.homed_in:,} = ended {one.terminal:,} + "
                    f"went {one.homed_out:,} + queued {one.queued:,}" + ("" if one.clean else " NOT CLEAN")
                )
        _tell(total)
        for job in jobs:
            typer.echo(
                f"transmission {job['id']}: {job['recipients']:,} recipients = accepted {job['accepted']:,} + failed "
                f"{job['failed']:,} + to come {job['to_come']:,}"
                + (f" NOT CLEAN: {job['wrong']}" if job["wrong"] else "")
            )
        typer.echo("clean" if clean else "NOT CLEAN")
    if not clean:
        raise typer.Exit(1)


def _jobs(result: Audit) -> list[dict[str, Any]]:
    """The transmissions that are known, with what is wrong with them. Those whose first events are no longer kept, or
    are in another engine's journal, can't be counted and are left out."""
    from postroad.queue.jobs import decode_job, unbalanced

    told = []
    for number, count in sorted(result.jobs.items()):
        if not count.whole:
            continue
        about = decode_job(count.meta)
        recipients = about.total - about.rejected
        told.append(
            {
                "id": str(number),
                "recipients": recipients,
                "accepted": count.made,
                "failed": count.failed,
                "to_come": max(0, recipients - count.made - count.failed),
                "wrong": unbalanced(count) or "",
            }
        )
    return told


def _kinds(result: Audit) -> dict[str, int]:
    from postroad.events import Kind

    names = {0: "bookkeeping"} | {kind.value: kind.type_name for kind in Kind}
    return {names.get(kind, str(kind)): count for kind, count in result.kinds.items()}


def _as_json(result: Audit) -> dict[str, Any]:
    import msgspec

    whole: dict[str, Any] = msgspec.to_builtins(result) | {
        "kinds": _kinds(result),
        "difference": result.difference,
        "clean": result.clean,
        "jobs": _jobs(result),
        # Kept like messages, and none: accepted = terminal + queued + transmissions.
        "queued": result.queued - len(result.jobs),
        "transmissions": len(result.jobs),
    }
    for name in ("lost", "twice", "reaccepted"):
        whole[name] = [f"{number:016x}" for number in whole[name]]
    return whole


def _tell(result: Audit) -> None:
    kept = len(result.jobs)
    typer.echo(f"accepted {result.accepted:,} = ended {result.terminal:,} + queued {result.queued - kept:,}", nl=False)
    typer.echo(f" + transmissions {kept:,}" if kept else "", nl=False)
    typer.echo(f", off by {result.difference:,}" if result.difference else "")
    kinds = ", ".join(f"{name} {count:,}" for name, count in _kinds(result).items())
    typer.echo(f"events kept: {kinds or 'none'}")
    for name, numbers in (
        ("lost", result.lost),
        ("ended more than once", result.twice),
        ("accepted more than once", result.reaccepted),
    ):
        if numbers:
            some = ", ".join(f"{number:016x}" for number in numbers[:20])
            typer.echo(f"{name}: {len(numbers):,} ({some}{' ...' if len(numbers) > 20 else ''})")
