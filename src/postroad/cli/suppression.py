"""`postroad suppression`: who must not be sent to, with a server running or without."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, Protocol, TypeVar

import typer

from postroad.cli.asking import table
from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, load_config, say

if TYPE_CHECKING:
    from rich.progress import Progress

    from postroad.api.suppressionfile import Format
    from postroad.store.database import Database
    from postroad.store.suppressionlist import Suppression

app = typer.Typer(no_args_is_help=True, help="The suppression list: who must not be sent to, and why.")

_Result = TypeVar("_Result")
_WAIT = 120.0  # seconds for one answer
_TOLD = 20  # bad rows that are named
_TYPES = {"transactional": [True], "non_transactional": [False], "both": [True, False]}

_Subaccount = Annotated[int, typer.Option("--subaccount", min=0, help="Whose list; 0: the primary account's.")]
_OfSubaccount = Annotated[int | None, typer.Option("--subaccount", min=0, help="Whose list; by default all.")]
_Addresses = Annotated[list[str], typer.Argument(metavar="ADDRESS", help="Addresses.", show_default=False)]
_Type = Annotated[
    Literal["transactional", "non_transactional", "both"], typer.Option("--type", help="From which kind of mail.")
]
_Format = Annotated[
    Literal["csv", "jsonl"] | None, typer.Option("--format", help="csv or jsonl; by default as FILE ends.")
]
_Compliance = Annotated[bool, typer.Option("--compliance", help="Entries that nobody can change or remove by HTTP.")]


class _Desk(Protocol):
    """serve.suppressing.SuppressionDesk, here or in the server. piece: octets of JSON that `put` takes at once."""

    piece: int

    async def put(self, *, rows: list[Any], compliance: bool = False) -> int: ...

    async def page(self, *, subaccount: int | None = None, cursor: str = "") -> dict[str, Any]: ...

    async def remove(
        self,
        *,
        subaccount: int,
        recipient: str,
        transactional: bool | None = None,
        list_id: str | None = None,
        compliance: bool = False,
    ) -> int: ...

    async def of(self, *, recipient: str, subaccount: int | None = None) -> list[Any]: ...

    async def summary(self, *, subaccount: int | None = None) -> dict[str, int]: ...

    async def subaccounts(self) -> list[int]: ...


class _Remote:
    """The desk of the server that runs on this folder, which tells its engines at once."""

    piece = 40_000  # a request to the control socket has 64 KiB

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        from postroad.serve.control import ask

        async def asked(**arguments: Any) -> Any:
            return ask(self._data_dir, f"suppression-{name}", wait=_WAIT, **arguments)

        return asked


def _at_desk(config: Path, work: Callable[[_Desk], Awaitable[_Result]]) -> _Result:
    """By the server that runs there; or, when there is none, in the store itself."""
    from postroad.cli.store import with_store
    from postroad.serve.control import ControlError, ask
    from postroad.serve.suppressing import SuppressionDesk
    from postroad.store.schema import upgrade

    data_dir = load_config(config).data_dir
    if (data_dir / "control.sock").exists():
        try:
            ask(data_dir, "suppression-subaccounts", wait=_WAIT)
            remote: Any = _Remote(data_dir)
            return asyncio.run(_run(work(remote)))
        except (ControlError, ValueError) as error:
            if "no server is running" not in str(error):
                fail(error)

    async def local(database: Database) -> _Result:
        await upgrade(database)
        return await work(SuppressionDesk(lambda: database))

    return with_store(config, local)


async def _run(work: Awaitable[_Result]) -> _Result:
    return await work


@app.command("add")
def add(
    addresses: _Addresses,
    config: ConfigOption = DEFAULT_CONFIG,
    type_: _Type = "both",
    description: Annotated[str, typer.Option(help="Why, in words.")] = "",
    list_id: Annotated[str, typer.Option("--list", help="From mail of this List-Id alone.")] = "",
    expires: Annotated[str, typer.Option(help="When the entries end, as 2027-01-31T12:00:00+00:00.")] = "",
    subaccount: _Subaccount = 0,
    compliance: _Compliance = False,
) -> None:
    """Suppress addresses. Entries that are there get the new values."""
    from postroad.api.suppressionrows import EntryError, check_list_id, check_text, moment
    from postroad.store.suppressionlist import COMPLIANCE, MANUAL, Suppression

    try:
        check_list_id(list_id)
        check_text("description", description)
        until = moment("--expires", expires) if expires else None
    except EntryError as error:
        fail(error)
    recipients = [_folded(address) for address in addresses]
    source = COMPLIANCE if compliance else MANUAL
    rows = [
        Suppression(subaccount, recipient, kind, list_id, source, description, expires=until)
        for recipient in recipients
        for kind in _TYPES[type_]
    ]

    async def work(desk: _Desk) -> int:
        await _require(desk, subaccount)
        return sum([await desk.put(rows=list(piece), compliance=compliance) for piece in _pieces(rows, desk.piece)])

    written = _at_desk(config, work)
    say(f"{written} entries are on the list")
    if written < len(set(rows)):
        fail("others are there for compliance, and stay as they are; --compliance changes them")


@app.command("remove")
def remove(
    addresses: _Addresses,
    config: ConfigOption = DEFAULT_CONFIG,
    type_: _Type = "both",
    list_id: Annotated[
        str | None, typer.Option("--list", help="Only entries of this List-Id; an empty one: only those of none.")
    ] = None,
    subaccount: _Subaccount = 0,
    compliance: _Compliance = False,
) -> None:
    """Take addresses from the list. Ends with 1 when one of them was not there."""
    recipients = [_folded(address) for address in addresses]
    kind = None if type_ == "both" else type_ == "transactional"

    async def work(desk: _Desk) -> list[int]:
        return [
            await desk.remove(
                subaccount=subaccount, recipient=each, transactional=kind, list_id=list_id, compliance=compliance
            )
            for each in recipients
        ]

    gone = _at_desk(config, work)
    for recipient, number in zip(recipients, gone, strict=True):
        say(f"{recipient}: {number} entries removed" if number else f"{recipient}: not on the list")
    if not all(gone):
        raise typer.Exit(1)


@app.command("check")
def check(
    address: Annotated[str, typer.Argument(help="The address.", show_default=False)],
    config: ConfigOption = DEFAULT_CONFIG,
    subaccount: _OfSubaccount = None,
    as_json: JsonOption = False,
) -> None:
    """Show whether an address is suppressed, and why. Ends with 1 when it is."""
    from postroad.api.suppressionfile import shown

    recipient = _folded(address)

    async def work(desk: _Desk) -> list[Any]:
        return await desk.of(recipient=recipient, subaccount=subaccount)

    rows = [shown(row) for row in _entries(_at_desk(config, work))]
    if as_json:
        typer.echo(json.dumps(rows))
    elif not rows:
        say(f"{recipient} is not on the list")
    else:
        names = ("subaccount_id", "type", "list_id", "source", "description", "updated", "expires", "reply", "rule")
        table(names, [[row[name] or None for name in names] for row in rows])
    if rows:
        raise typer.Exit(1)


@app.command("import")
def import_(
    file: Annotated[str, typer.Argument(help="CSV with a head line, or JSON lines; - reads stdin.")],
    config: ConfigOption = DEFAULT_CONFIG,
    form: _Format = None,
    subaccount: _Subaccount = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look at the file.")] = False,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Pass over rows that are wrong.")] = False,
    compliance: _Compliance = False,
) -> None:
    """Take entries from a file: columns as `export` has them; recipient and type are needed.

    All of it is looked at first, and when a row is wrong nothing is taken. It may be run again after an interruption.
    """
    import tempfile

    from postroad.api.suppressionfile import Rules
    from postroad.serve.suppressing import now_ms

    wanted = _form(file, form)

    async def work(desk: _Desk) -> tuple[int, int, int, int]:
        await _require(desk, subaccount)
        known = {0, *await desk.subaccounts()}
        rules = Rules(now_ms(), subaccount, known.__contains__, compliance)
        found = [0, 0, 0, 0]  # entries, written, expired, wrong
        with _bar() as bar:
            task = bar.add_task("looking", total=size)
            for _ in _read(stream, wanted, rules, found, lambda at: bar.update(task, completed=at)):
                pass
            if dry_run or (found[3] and not skip_invalid):
                return found[0], 0, found[2], found[3]
            bar.reset(task, description="taking", total=size)
            again = [0, 0, 0, 0]
            rows = _read(stream, wanted, rules, again, lambda at: bar.update(task, completed=at), quiet=True)
            for piece in _pieces(rows, desk.piece):
                found[1] += await desk.put(rows=piece, compliance=compliance)
        return found[0], found[1], found[2], found[3]

    with open(file, "rb") if file != "-" else tempfile.TemporaryFile() as stream:
        if file == "-":  # it is read twice
            while octets := sys.stdin.buffer.read(1 << 20):
                stream.write(octets)
        size = stream.seek(0, os.SEEK_END)
        entries, written, expired, wrong = _at_desk(config, work)
    if expired:
        say(f"{expired} rows have expired, and were passed over")
    if wrong and not (skip_invalid or dry_run):
        fail(f"{wrong} rows are wrong: nothing was taken (--skip-invalid passes over them)")
    say(f"{entries} entries are good, nothing was taken" if dry_run else f"{written} of {entries} entries were taken")
    if wrong:
        say(f"{wrong} rows are wrong", err=True)
        raise typer.Exit(1)


@app.command("export")
def export(
    file: Annotated[str, typer.Argument(help="Where to write; - is stdout.")] = "-",
    config: ConfigOption = DEFAULT_CONFIG,
    form: _Format = None,
    subaccount: _OfSubaccount = None,
) -> None:
    """Write the list to a file that can be imported. FILE is there when all of it is."""
    from postroad.api.suppressionfile import head, written

    wanted = _form(file, form)
    path = Path(file)
    part = path.with_name(f"{path.name}.part")

    async def work(desk: _Desk) -> int:
        total = (await desk.summary(subaccount=subaccount))["total"]
        done, cursor = 0, ""
        with _bar() as bar:
            task = bar.add_task("writing", total=total)
            stream.write(head(wanted))
            while True:
                answer = await desk.page(subaccount=subaccount, cursor=cursor)
                rows = _entries(answer["rows"])
                stream.write(written(rows, wanted))
                done, cursor = done + len(rows), answer["cursor"]
                bar.update(task, completed=done)
                if not cursor:
                    return done

    if file == "-":
        stream: BinaryIO = sys.stdout.buffer
        done = _at_desk(config, work)
        stream.flush()
    else:
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as stream:
                done = _at_desk(config, work)
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)
    say(f"{done} entries", err=True)


def _folded(address: str) -> str:
    from postroad.api.suppressionrows import folded
    from postroad.message.address import AddressError

    try:
        return folded(address)
    except AddressError as error:
        fail(f"{address!r} is no address: {error}")


def _form(file: str, form: Format | None) -> Format:
    return form or ("jsonl" if file.endswith((".jsonl", ".json", ".ndjson")) else "csv")


def _entries(rows: list[Any]) -> list[Suppression]:
    """From JSON they come as plain lists."""
    from postroad.store.suppressionlist import Suppression

    return [Suppression(*row) for row in rows]


async def _require(desk: _Desk, subaccount: int) -> None:
    if subaccount and subaccount not in await desk.subaccounts():
        raise ValueError(f"there is no subaccount {subaccount}")


def _read(
    stream: BinaryIO, form: Format, rules: Any, found: list[int], at: Callable[[int], None], *, quiet: bool = False
) -> Iterator[Suppression]:
    """The entries; found: how many, what was written, expired rows, wrong rows, of which the first are told."""
    from postroad.api.suppressionfile import BadRow, read

    stream.seek(0)
    for row in read(_lines(stream, at), form, rules):
        if isinstance(row, BadRow):
            found[3] += 1
            if found[3] <= _TOLD and not quiet:
                say(f"line {row.line}: {row.text}", err=True)
        elif not row:
            found[2] += 1
        else:
            found[0] += len(row)
            yield from row


def _lines(stream: BinaryIO, at: Callable[[int], None]) -> Iterator[bytes]:
    """A line that is too long is cut where it is too long, and refused for it."""
    from postroad.api.suppressionfile import MAX_LINE

    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if number % 1000 == 0:  # drawing costs more than reading
            at(stream.tell())
        yield line


def _pieces(rows: Any, most: int) -> Iterator[list[Suppression]]:
    """As many as a request holds."""
    piece: list[Suppression] = []
    size = 0
    for row in rows:
        octets = len(json.dumps(row))
        if piece and size + octets > most:
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += octets
    if piece:
        yield piece


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
