"""`postroad policy`: what hooks and rules do, before and after they are in use."""

from __future__ import annotations

import asyncio
import difflib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postroad.cli.asking import table
from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, load_config, say
from postroad.cli.policyload import logs_to_stderr, open_policy
from postroad.cli.policyreplay import replay

if TYPE_CHECKING:
    from postroad.policy.hooks import Hook
    from postroad.policy.kit import Copy, Policy, Result
    from postroad.policy.trace import Said

app = typer.Typer(no_args_is_help=True, help="Try hooks and rules, list them, replay events against changed ones.")
app.command()(replay)


@app.command()
def test(
    message: Annotated[Path, typer.Argument(help="The message, a file; - reads it from stdin.")],
    sender: Annotated[str, typer.Option("--from", help="Envelope sender.")] = "sender@example.com",
    to: Annotated[list[str] | None, typer.Option("--to", help="Envelope recipient (repeatable).")] = None,
    phases: Annotated[
        list[str] | None, typer.Option("--phase", help="Ask hooks of this phase only (repeatable).")
    ] = None,
    listener: Annotated[str, typer.Option(help="Address of the listener it comes in by.")] = "",
    peer: Annotated[str, typer.Option(help="IP address of the client.")] = "192.0.2.1",
    helo: Annotated[str, typer.Option(help="What the client calls itself.")] = "client.example.com",
    user: Annotated[str, typer.Option(help="User of AUTH; empty: none.")] = "",
    http: Annotated[bool, typer.Option("--http", help="As if it was generated for HTTP, without a session.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Run a message through the hooks and rules of a configuration, and print what each said and what became of it.

    Plug-ins run for real, here and now: one that asks a database asks it. Nothing is kept or sent, and nobody waits in
    a tarpit. Ends with 1 when a hook failed.
    """
    from postroad.message.address import AddressError
    from postroad.policy.kit import crlf
    from postroad.policy.phase import PHASES
    from postroad.policy.plugin import PluginError

    for phase in phases or ():
        if phase not in PHASES:
            fail(f"there is no phase {phase!r}; known: {', '.join(PHASES)}", 2)
    try:
        raw = sys.stdin.buffer.read() if str(message) == "-" else message.read_bytes()
    except OSError as error:
        fail(f"{message}: {error.strerror}")
    loaded = load_config(config)
    logs_to_stderr()
    recipients = to or ["recipient@example.net"]

    async def run() -> tuple[Any, list[Said]]:
        async with open_policy(loaded, phases or ()) as policy:
            if http:
                result = await policy.message(raw, sender=sender, recipients=recipients, method="rest")
                return result, result.said
            return await _session(policy, raw, sender, recipients, listener, peer, helo, user)

    try:
        result, said = asyncio.run(run())
    except (PluginError, AddressError) as error:
        fail(error)
    if as_json:
        typer.echo(json.dumps(_as_json(result, said)))
    else:
        _show(result, said, crlf(raw))
    if any(one.error for one in said):
        raise typer.Exit(1)


async def _session(
    policy: Policy, raw: bytes, sender: str, recipients: list[str], listener: str, peer: str, helo: str, user: str
) -> tuple[Any, list[Said]]:
    """The whole dialogue, up to its first refusal of everything: a Result, or the Step that refused."""
    session = policy.session(listener=listener, peer=peer)
    result: Any = await session.connect()
    if result.refused is None:
        result = await session.ehlo(helo)
    if result.refused is None and user:
        result = await session.auth(user)
    if result.refused is None:
        result = await session.mail_from(sender)
    if result.refused is None:
        for recipient in recipients if session.open else ():
            step = await session.rcpt_to(recipient)
            result = step if step.refused is not None else result
            if not session.open:
                break
        if session.open and session.recipients:
            result = await session.data(raw)
    told = [one for step in session.steps for one in step.said]
    return result, told + (result.said if hasattr(result, "copies") else [])


def _show(result: Any, said: list[Said], raw: bytes) -> None:
    table(
        ("phase", "plugin", "recipient", "said", "changed"),
        [(one.phase, one.plugin, one.recipient or None, one.text, ", ".join(one.changed) or None) for one in said],
    )
    say("")
    if result.refused is not None:
        say(f"refused: {result.refused}")
        return
    before = _lines(raw)
    for copy in result.copies:
        say(_fate(copy))
        for line in difflib.unified_diff(
            *(before, _lines(copy.content.octets)),
            *("as it came", f"for {copy.recipient}"),
            n=1,
            lineterm="",
        ):
            say(f"  {line}")


def _fate(copy: Copy) -> str:
    if copy.refused is not None:
        return f"{copy.recipient}: refused, its sender is told: {copy.refused}"
    if copy.discarded:
        return f"{copy.recipient}: discarded: {copy.discarded}"
    told = [f"{copy.recipient}: taken from <{copy.sender}>, for {copy.domain}"]
    chosen = {"binding": copy.binding, "group": copy.group, "priority": copy.priority, "expires in": copy.expires_in}
    told += [f"{name} {value}" for name, value in chosen.items() if value not in ("", None)]
    told += [f"context {name}={value}" for name, value in copy.context.items()]
    return ", ".join(told)


def _lines(octets: bytes) -> list[str]:
    return octets.decode(errors="replace").split("\r\n")


def _as_json(result: Result | Any, said: list[Said]) -> dict[str, object]:
    return {
        "refused": None if result.refused is None else str(result.refused),
        "said": [
            {
                "phase": one.phase,
                "plugin": one.plugin,
                "recipient": one.recipient,
                "said": one.text,
                "changed": one.changed,
                "error": one.error,
            }
            for one in said
        ],
        "messages": [
            {
                "sender": copy.sender,
                "recipient": copy.recipient,
                "domain": copy.domain,
                "binding": copy.binding,
                "group": copy.group,
                "priority": copy.priority,
                "expires_in": copy.expires_in,
                "context": copy.context,
                "refused": None if copy.refused is None else str(copy.refused),
                "discarded": copy.discarded,
                "message": copy.content.octets.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode(),
            }
            for copy in getattr(result, "copies", [])
        ],
    }


@app.command("list")
def list_hooks(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List hooks and rules, phase by phase in the order they are asked; with counters when the server runs."""
    loaded = load_config(config)
    logs_to_stderr()

    async def hooks() -> list[Hook]:
        return open_policy(loaded, ()).hooks

    from postroad.policy.phase import PHASES

    found = asyncio.run(hooks())
    counts = _counts(loaded.data_dir)
    ordered = [hook for phase in PHASES for hook in found if hook.phase == phase]
    rows = [_row(hook, counts.get((hook.plugin, hook.phase))) for hook in ordered]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        say("No [[policy]] and no [[rule]] is configured.")
        return
    head = ("phase", "plugin", "listeners", "calls", "errors", "said")
    table(
        head,
        (
            (
                row["phase"],
                row["plugin"],
                ", ".join(row["listeners"]) or "all",
                row["calls"],
                row["errors"],
                None if row["said"] is None else ", ".join(f"{name} {number}" for name, number in row["said"].items()),
            )
            for row in rows
        ),
    )
    known = {(hook.plugin, hook.phase) for hook in found}
    if other := [f"{plugin}.{phase}" for plugin, phase in counts if (plugin, phase) not in known]:
        say(f"The server runs with others, which the file does not have: {', '.join(other)}")


def _row(hook: Hook, count: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "phase": hook.phase,
        "plugin": hook.plugin,
        "listeners": sorted(hook.listeners),
        "time_limit": hook.time_limit,
        "on_error": hook.on_error,
        "thread": hook.thread,
        "calls": None if count is None else count["calls"],
        "errors": None if count is None else count["errors"],
        "said": None if count is None else count["said"],
    }


def _counts(data_dir: Path) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Of the running server; empty when there is none."""
    from postroad.serve import ControlError, ask

    try:
        answer = ask(data_dir, "policies")
    except ControlError:
        return {}
    counts: Iterable[Mapping[str, Any]] = answer["policies"]
    return {(count["plugin"], count["phase"]): count for count in counts}
