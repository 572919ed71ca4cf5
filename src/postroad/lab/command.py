"""`postroad lab`: the simulated world for people, and load for it."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from postroad.lab.load import LoadResult
    from postroad.lab.world import World

app = typer.Typer(no_args_is_help=True, help="Simulated mailbox providers and load, on this machine only.")


@app.command()
def serve(
    cast: Annotated[Path | None, typer.Option(help="TOML file of domains instead of the standard ones.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of all mail hosts; 0: a free one.")] = 0,
    dns_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the name server; 0: a free one.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the rules' chance.")] = 1,
    write: Annotated[
        Path | None, typer.Option(help="Write the configuration that leads Postroad here into this file.")
    ] = None,
) -> None:
    """Run simulated mailbox providers and their name server until Ctrl-C, then show what arrived."""
    from postroad.lab.cast import STANDARD, CastError, read_cast
    from postroad.lab.dnsserver import ZoneError
    from postroad.lab.rules import RuleError
    from postroad.lab.world import World

    try:
        world = World(read_cast(cast) if cast else STANDARD, seed=seed)
        asyncio.run(_serve(world, port, dns_port, write))
    except (CastError, RuleError, ZoneError, OSError) as error:
        _fail(str(error))


@app.command()
def load(
    count: Annotated[int, typer.Option(min=1, help="Messages to send.")] = 1000,
    smtp: Annotated[str, typer.Option(help="HOST:PORT for SMTP; loopback only.")] = "127.0.0.1:2525",
    http: Annotated[str, typer.Option(help="HOST:PORT for HTTP; loopback only.")] = "127.0.0.1:8025",
    http_share: Annotated[float, typer.Option(min=0, max=1, help="Part of the messages that go by HTTP.")] = 0.0,
    api_key: Annotated[str, typer.Option(envvar="POSTROAD_API_KEY", help="Key for HTTP.")] = "",
    connections: Annotated[int, typer.Option(min=1, max=2000, help="SMTP connections.")] = 20,
    to: Annotated[
        list[str] | None, typer.Option(help="Recipient domain or address (repeatable); default: the lab's domains.")
    ] = None,
    size: Annotated[list[int] | None, typer.Option(min=1, help="Octets of a message (repeatable).")] = None,
    sender: Annotated[str, typer.Option(help="Envelope sender.")] = "news@sender.test",
    seed: Annotated[int, typer.Option(help="Another seed makes other message ids.")] = 1,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="Stop after this time.")] = 300,
) -> None:
    """Send many mixed messages to a server on this machine and count the replies."""
    from postroad.lab.cast import STANDARD
    from postroad.lab.load import LoadPlan, run_load

    weights = dict.fromkeys(to, 1.0) if to else {one.name: one.weight for one in STANDARD if one.weight}
    try:
        plan = LoadPlan(
            count=count,
            smtp=_target(smtp),
            http=_target(http),
            http_share=http_share,
            api_key=api_key,
            smtp_connections=connections,
            recipients=weights,
            sizes=dict.fromkeys(size, 1.0) if size else {2_000: 3, 10_000: 5, 40_000: 1},
            sender=sender,
            seed=seed,
            seconds=seconds,
        )
    except ValueError as error:
        _fail(str(error))
    from postroad.lab.progress import bar

    with bar("sending", count) as progress:
        result = asyncio.run(run_load(plan, progress))
    show_load(result)
    if result.accepted < count:
        raise typer.Exit(1)


@app.command()
def demo(
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Messages to send.")] = 3000,
    stay: Annotated[bool, typer.Option(help="Keep everything running until Ctrl-C.")] = False,
    engines: Annotated[int, typer.Option(min=1, max=32, help="Engine processes.")] = 1,
    directory: Annotated[Path, typer.Option("--dir", help="Folder of the demo's configuration and data.")] = Path(
        "run"
    ),
) -> None:
    """Start Postroad with simulated providers, send mixed mail through it and show what became of it (`make run`)."""
    from postroad.lab.demo import run_demo

    raise typer.Exit(run_demo(count=count, stay=stay, engines=engines, directory=directory))


def _target(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _fail(message: str) -> NoReturn:
    typer.echo(f"postroad lab: {message}", err=True)
    raise typer.Exit(2)


async def _serve(world: World, port: int, dns_port: int, write: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await world.start(port, dns_port)
    try:
        if write:
            await loop.run_in_executor(None, write.write_text, world.config_toml())
        typer.echo(f"# The lab runs. Postroad delivers here with:\n{world.config_toml()}", nl=True)
        sys.stdout.flush()
        await stop.wait()
    finally:
        await world.stop()
    show_world(world)


def show_world(world: World) -> None:
    """A table of what arrived and which rules decided."""
    from rich.console import Console
    from rich.table import Table

    table = Table("domain", "habit", "arrived", "twice", "rules", box=None, pad_edge=False)
    hits = world.hits()
    for domain in world.domains:
        counts = world.ledger.domains.get(domain.name)
        rules = ", ".join(f"{name} {count}" for name, count in hits.get(domain.name, {}).items() if count)
        arrived, twice = (counts.messages, counts.duplicates) if counts else (0, 0)
        table.add_row(domain.name, domain.about, str(arrived), str(twice), rules)
    Console().print(table)


def show_load(result: LoadResult) -> None:
    typer.echo(
        f"{result.accepted} accepted, {result.refused.total()} refused, {result.failed.total()} failed in"
        f" {result.seconds:.1f} s: {result.rate:.0f} messages a second;"
        f" accepted within {result.percentile(50) * 1000:.1f} ms (half),"
        f" {result.percentile(99) * 1000:.1f} ms (99 of 100)"
    )
    for reasons in (result.refused, result.failed):
        for reason, times in reasons.most_common(5):
            typer.echo(f"  {times} x {reason}")
