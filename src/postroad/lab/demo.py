"""`make run`: Postroad and a small world on this machine, a few thousand messages, and a table of what became of them.

python -m postroad.lab.demo [--stay] [--count N] [--engines N] [--dir run]
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from postroad.journal import Audit, JournalError, audit_all
from postroad.lab.load import LoadPlan, LoadResult, run_load
from postroad.lab.outcomes import Outcomes, outcomes
from postroad.lab.progress import bar
from postroad.lab.server import ServerError, ServerProcess, Setup, write_setup
from postroad.lab.world import World
from postroad.serve import ControlError, ask

_HTTP_SHARE = 0.3
_POLL = 0.25
_MAX_WAIT = 60.0
_WAIT_PER_MESSAGE = 0.002


def run_demo(*, count: int = 3000, stay: bool = False, engines: int = 1, directory: Path = Path("run")) -> int:
    """Returns the exit code: 0 when every message is accounted for. Ends what it started on Ctrl-C and SIGTERM too."""
    console = Console()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_demo(console, count, stay, engines, directory))
    except (ServerError, JournalError, OSError) as error:
        console.print(f"The demo failed: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("Stopped.")
        return 130


async def _demo(console: Console, count: int, stay: bool, engines: int, directory: Path) -> int:
    loop = asyncio.get_running_loop()
    this = asyncio.current_task()
    assert this is not None
    loop.add_signal_handler(signal.SIGTERM, this.cancel)
    async with World() as world:
        setup = write_setup(directory, world, engines=engines)
        # The folder is ours (write_setup says so): the last run's mail would only confuse the counts.
        shutil.rmtree(setup.data_dir, ignore_errors=True)
        setup.log.unlink(missing_ok=True)
        async with ServerProcess(setup) as server:
            console.print(f"Postroad runs: SMTP {_text(setup.smtp)}, HTTP {_text(setup.http)}.", highlight=False)
            with bar("sending   ", count) as progress:
                load = await run_load(_plan(count, world, setup), progress)
            waits = {domain.name for domain in world.domains if domain.waits}
            rest = await _deliveries(server, load.accepted, waits)
            found = await loop.run_in_executor(None, outcomes, setup.data_dir)
            proof, _ = await loop.run_in_executor(None, audit_all, setup.data_dir)
            _show(console, world, load, found)
            good = _verdict(console, world, load, found, proof)
            if rest:
                console.print(f"{rest} messages are still on their way.", style="yellow", highlight=False)
            _signposts(console, setup, stay)
            if stay:
                await server.ended()
                raise ServerError(f"Postroad ended:\n{server.last_words()}")
    return 0 if good else 1


def _plan(count: int, world: World, setup: Setup) -> LoadPlan:
    return LoadPlan(
        count=count,
        smtp=setup.smtp,
        http=setup.http,
        http_share=_HTTP_SHARE,
        api_key=setup.api_key,
        recipients=world.recipients,
    )


async def _deliveries(server: ServerProcess, accepted: int, waits: set[str]) -> int:
    """Wait until nothing is queued but mail for the domains in `waits`, or the time is over. Returns what is left."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _MAX_WAIT + accepted * _WAIT_PER_MESSAGE
    with bar("delivering", accepted) as progress:
        while True:
            try:
                paths = await loop.run_in_executor(None, partial(ask, server.setup.data_dir, "queues"))
            except ControlError as error:
                # Mail is taken before commands are answered.
                if loop.time() > end:
                    raise ServerError(f"{error}\n{server.last_words()}") from None
                await asyncio.sleep(_POLL)
                continue
            # binding, domain, active, delayed, in flight, next due
            queued = {row[1]: sum(row[2:5]) for row in paths}
            left = int(sum(count for domain, count in queued.items() if domain not in waits))
            progress(max(0, accepted - sum(queued.values())))
            if not left or loop.time() > end:
                return left
            await asyncio.sleep(_POLL)


def _show(console: Console, world: World, load: LoadResult, found: Outcomes) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("domain")
    for name in ("accepted", "delivered", "deferred", "bounced", "queued"):
        table.add_column(name, justify="right")
    table.add_column("habit", style="dim")
    about = {domain.name: domain.about for domain in world.domains}
    rows = [(name, found.domains[name], about.get(name, "")) for name in about if name in found.domains]
    rows += [(name, fate, "") for name, fate in found.domains.items() if name not in about]
    for name, fate, habit in [*rows, ("all", found.total, "")]:
        if name == "all":
            table.add_section()
        counts = (fate.accepted, fate.delivered, fate.deferred, fate.bounced, fate.queued)
        table.add_row(name, *(str(count) if count else "-" for count in counts), habit)
    console.print(table)
    console.print(
        f"Accepted {load.accepted} messages at {load.rate:.0f} a second, half of them within"
        f" {load.percentile(50) * 1000:.0f} ms, 99 of 100 within {load.percentile(99) * 1000:.0f} ms."
        " Deferred ones were tried again; each counts once.",
        highlight=False,
    )


def _verdict(console: Console, world: World, load: LoadResult, found: Outcomes, proof: Audit) -> bool:
    """Compare the witnesses: the client's replies, the server's events, its journal, and what the far end received."""
    problems = [] if proof.clean else [f"the audit is not clean: {proof}"]
    for reasons in (load.refused, load.failed):
        problems += [f"{times} not accepted: {reason}" for reason, times in reasons.most_common(3)]
    for name in world.recipients:
        said = found.domains[name].accepted if name in found.domains else 0
        if said != load.domains[name]:
            problems.append(f"{name}: {load.domains[name]} acknowledged, but {said} accepted by the events")
    arrived = world.ledger.messages - world.ledger.duplicates
    if arrived != found.total.delivered:
        problems.append(f"{arrived} arrived at the far end, but {found.total.delivered} delivered by the events")
    for problem in problems:
        console.print(f"  {problem}", style="red", markup=False, soft_wrap=True)
    if not problems:
        console.print(
            f"Audit clean: {proof.accepted} accepted = {proof.terminal} ended + {proof.queued} queued."
            f" The far end received {arrived}, {world.ledger.duplicates} of them twice.",
            style="green",
            highlight=False,
        )
    return not problems


def _signposts(console: Console, setup: Setup, stay: bool) -> None:
    config, postroad = _short(setup.config), program()
    console.print("\nWhere to look next:", highlight=False)
    signs = {
        f"{postroad} events tail -c {config} --type bounce --limit 5": "what happened, event by event",
        f"{postroad} audit -c {config}": "the proof that nothing is lost",
        f"less {_short(setup.log)}": "what the server said",
    }
    if stay:
        signs |= {
            f"{postroad} queue -c {config}": "what waits, and until when",
            f"{postroad} lab load --smtp {_text(setup.smtp)} --count 10000": "more mail",
            f"swaks --server {_text(setup.smtp)} --to you@bigmail.test": "one by hand",
        }
    for command, about in signs.items():
        console.print(f"  {command}   [dim]{about}[/dim]", highlight=False, soft_wrap=True)
    if stay:
        console.print(f"API key: {setup.api_key}\nEverything runs until Ctrl-C.", highlight=False)


def program() -> str:
    """How the command is called in a shell of this user: after `make run` it lies in .venv, which no PATH knows."""
    return "postroad" if shutil.which("postroad") else str(_short(Path(sys.executable).with_name("postroad")))


def _text(target: tuple[str, int]) -> str:
    return f"{target[0]}:{target[1]}"


def _short(path: Path) -> Path:
    """Relative to here where that is shorter."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main() -> None:
    import typer

    from postroad.lab.command import demo

    alone = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    alone.command()(demo)
    alone()


if __name__ == "__main__":
    main()
