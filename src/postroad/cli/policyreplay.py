"""`postroad policy replay`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postroad.cli.asking import at, table
from postroad.cli.common import DEFAULT_CONFIG, JsonOption, fail, load_config, say
from postroad.cli.policyload import logs_to_stderr, open_policy

if TYPE_CHECKING:
    from postroad.config import Generation
    from postroad.journal import HoseEvent
    from postroad.policy.replay import Difference, Judged, Report


def replay(
    config: Annotated[Path, typer.Option("--config", "-c", help="The changed configuration.")],
    running: Annotated[
        Path,
        typer.Option(envvar="POSTROAD_CONFIG", help="The configuration the server runs with; its journals are read."),
    ] = DEFAULT_CONFIG,
    start: Annotated[str, typer.Option("--from", help='Where to begin: begin, a time, or an age ("24h").')] = "24h",
    listener: Annotated[
        str, typer.Option(help="Take it that all mail by SMTP came in by this listener; events don't say.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Ask a changed policy about the mail of yesterday, and print what would differ from the policy of today.

    Events keep envelopes, subjects and sizes, not contents: a hook that looks at more is passed over for that message,
    and named with what it looked at. Plug-ins run for real, with the time of the event on their clock.
    """
    from postroad.events import find_all, parse_starts
    from postroad.journal import EventReader, JournalError, journal_folders
    from postroad.policy.plugin import PluginError

    now = time.time()
    try:
        begin = parse_starts(start, now)
    except ValueError as error:
        fail(error, 2)
    old, new = load_config(running), load_config(config)
    if old.path.resolve() == new.path.resolve():
        fail("--config is the running configuration itself: copy it, change the copy, and name that", 2)
    folders = journal_folders(old.data_dir)
    if not folders:
        fail(f"there is no journal in {old.data_dir}; has the server run?")
    logs_to_stderr()
    try:
        readers = {number: EventReader(folder) for number, folder in folders.items()}
        events = _until(readers, find_all(readers, begin), now)
        report, asked = asyncio.run(_replay(old, new, events, now, listener, quiet=as_json))
    except (JournalError, OSError, ValueError, PluginError) as error:
        fail(error)
    if as_json:
        typer.echo(json.dumps(_as_json(report, asked)))
    else:
        _show(report, asked, listener)


def _until(readers: dict[int, Any], cursors: dict[int, int], now: float) -> Iterator[HoseEvent]:
    """Injections and refusals up to now."""
    from postroad.events import Kind, tail_all

    for event, _ in tail_all(readers, cursors, {Kind.INJECTION, Kind.POLICY_REJECTION}):
        if event.time_ms > now * 1000:
            return
        yield event


async def _replay(
    old: Generation, new: Generation, events: Iterator[HoseEvent], now: float, listener: str, *, quiet: bool
) -> tuple[Report, dict[str, str]]:
    """The report, and phases that have hooks and were not asked, with the reason."""
    from msgspec.json import Decoder
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from postroad.policy.replay import BUILT_IN, NOT_ASKED, EventClock, Replay

    decode = Decoder(dict[str, Any]).decode
    clock = EventClock()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[mails]} mails"))
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=quiet, transient=True)
    async with open_policy(old, clock=clock) as before, open_policy(new, clock=clock) as after:
        running = Replay(before.hooks, after.hooks, clock, listener)
        with bar:
            task = bar.add_task("replay", total=None, mails=0)
            first = None
            for number, event in enumerate(events, 1):
                first = event.time_ms / 1000 if first is None else first
                await running.add(decode(event.payload), event.time_ms / 1000)
                if number % 100 == 0:  # drawing costs more than asking
                    bar.update(task, total=now - first, completed=event.time_ms / 1000 - first, mails=number)
        running.close()
        left_out = {hook.phase: NOT_ASKED[hook.phase] for hook in after.hooks if hook.phase in NOT_ASKED}
        if any(hook.phase == "connect" for hook in after.hooks):
            left_out["connect"] = "asked for refused clients only: events of taken mail don't keep the address"
        if any(hook.plugin == BUILT_IN for hook in after.hooks):
            left_out[BUILT_IN] = "what SPF, DKIM, ARC and DMARC look at is gone"
        if not listener and (
            some := sorted({h.name for h in after.hooks if h.listeners - {"http"} and h.plugin != BUILT_IN})
        ):
            left_out["listeners"] = f"{', '.join(some)}: for some listeners only; see --listener"
    return running.report, left_out


def _show(report: Report, left_out: dict[str, str], listener: str) -> None:
    say(f"{report.events} mails: {report.same} as before, {report.differ} otherwise")
    if report.kinds:
        say("")
        rows = [(old, new, by or None, number) for (old, new, by), number in report.kinds.most_common()]
        table(("was", "becomes", "by", "mails"), rows)
        if report.other:
            say(f"and {report.other} of other kinds")
        say("\nSamples")
        for one in report.samples:
            say(f"  {_line(one)}")
    if report.passed_over:
        say("\nPassed over, because they looked at what events don't keep")
        table(
            ("hook", "mails", "looked at"),
            (
                (name, number, ", ".join(sorted(report.looked_at[name])))
                for name, number in report.passed_over.most_common()
            ),
        )
    if report.errors:
        say("\nFailed")
        table(("hook", "times"), report.errors.most_common())
    if left_out:
        say("\nNot asked")
        table(("what", "why"), left_out.items())


def _line(one: Difference) -> str:
    event = one.event
    who = f"<{event.get('msg_from', '')}> -> <{event.get('raw_rcpt_to', '')}>"
    return f"{at(float(event['timestamp']))} {who}: {_judged(one.old)} => {_judged(one.new)}"


def _judged(judged: Judged) -> str:
    by = f" ({judged.by})" if judged.by else ""
    chosen = "".join(f", {name} {value}" for name, value in judged.chosen.items())
    return f"{judged.words}{by}{chosen}"


def _as_json(report: Report, left_out: dict[str, str]) -> dict[str, object]:
    return {
        "mails": report.events,
        "same": report.same,
        "differ": report.differ,
        "kinds": [
            {"was": old, "becomes": new, "by": by, "mails": number}
            for (old, new, by), number in report.kinds.most_common()
        ],
        "other_kinds": report.other,
        "samples": [{"event": one.event, "old": one.old._asdict(), "new": one.new._asdict()} for one in report.samples],
        "passed_over": [
            {"hook": name, "mails": number, "looked_at": sorted(report.looked_at[name])}
            for name, number in report.passed_over.most_common()
        ],
        "errors": dict(report.errors),
        "not_asked": left_out,
    }
