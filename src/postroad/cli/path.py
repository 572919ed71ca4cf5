"""`postroad path`: looking at the way to one domain, holding it, letting it go."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from postroad.cli.asking import ask_console, at, became, show, span, table, until
from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, say

app = typer.Typer(no_args_is_help=True, help="Look at the way to a domain; hold it, let it go, try it now.")

Domain = Annotated[str, typer.Option(help="Routing domain; without --binding, on all of them.")]
Binding = Annotated[str, typer.Option(help="Binding; without --domain, all its mail.")]


@app.command()
def explain(
    binding: Annotated[str, typer.Argument(help="Binding.")],
    domain: Annotated[str, typer.Argument(help="Routing domain.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Tell what a path waits for: each limit and which binds now, the hosts and how they are, the connections."""
    told = ask_console(config, "path-explain", binding=binding, domain=domain)
    if as_json:
        show(told)
        return
    rate = "" if told["rate"] is None else f"; {told['rate']:.1f} attempts a second"
    counts = f"{told['active']} active, {told['delayed']} delayed, {told['in_flight']} in flight"
    say(f"{binding}/{told['domain']}: {counts}{rate}")
    if told["rollup"]:
        say(f"goes by    {told['rollup']}, with {_listed(told['domains'])}")
    say(f"next due   {until(told['next_due'])}")
    say(f"waits for  {told['waits_for']}\n")
    _limits(told["limits"])
    if told["hosts"]:
        rows = [
            (
                h["host"],
                h["address"],
                h["preference"],
                h["connections"],
                f"avoided for {span(h['avoided_for'])}{_again(h['failures'])}: {h['reason']}"
                if h["avoided_for"] > 0
                else "ok",
            )
            for h in told["hosts"]
        ]
        table(("host", "address", "preference", "connections", "health"), rows)
    if told["connections"]:
        say("")
        lines = [
            (c["host"], c["address"], c["source"], "idle" if c["idle"] else c["step"], c["message"], c["served"])
            for c in told["connections"]
        ]
        table(("connection to", "address", "from", "step", "message", "served"), lines)


def _listed(domains: list[str]) -> str:
    few = ", ".join(domains[:8])
    return few if len(domains) <= 8 else f"{few} and more (--json names {len(domains)})"


def _limits(limits: list[dict[str, Any]]) -> None:
    if not limits:
        return
    rows = [
        (
            "binds" if limit["binds"] else "",
            limit["name"],
            f"{limit['used']} of {limit['value']:g}" + (f" in {limit['seconds']:g} s" if limit["seconds"] else ""),
            f"{limit['ceiling']:g}/s" if limit["ceiling"] else None,
            limit["text"],
        )
        for limit in limits
    ]
    table(("", "limit", "used", "ceiling", ""), rows)
    say("")


@app.command()
def suspend(
    domain: Domain = "",
    binding: Binding = "",
    everything: Annotated[bool, typer.Option("--all", help="All mail.")] = False,
    until_: Annotated[
        str, typer.Option("--until", metavar="WHEN", help='For how long ("2h", "30m", "90s"), or 2026-01-31T12:00:00Z.')
    ] = "",
    note: Annotated[str, typer.Option(help="Why, for whoever asks later.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Give no mail of a path, a domain or a binding out. What is on the wire ends as it began. Stays over a restart."""
    arguments: dict[str, Any] = {"domain": domain, "binding": binding, "all": everything, "note": note}
    if until_:
        arguments["seconds"] = _seconds(until_)
    told = ask_console(config, "suspend", **arguments)
    show(told) if as_json else say(
        f"suspended: {_name(told)}" + (f" until {at(told['until'])}" if told["until"] else "")
    )


@app.command()
def resume(
    domain: Domain = "",
    binding: Binding = "",
    everything: Annotated[bool, typer.Option("--all", help="What was suspended with --all.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Let go of what was suspended, named as it was then."""
    told = ask_console(config, "resume", domain=domain, binding=binding, all=everything)
    show(told) if as_json else say(f"resumed: {_name(told)}")


@app.command()
def suspended(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List what is suspended."""
    told = ask_console(config, "suspensions")["suspensions"]
    if as_json:
        show(told)
    elif told:
        table(
            ("binding", "domain", "until", "note"),
            [(r["binding"] or "all", r["domain"] or "all", at(r["until"]), r["note"]) for r in told],
        )
    else:
        say("nothing is suspended")


@app.command()
def flush(
    domain: Annotated[str, typer.Argument(help="Routing domain.")],
    binding: Annotated[str, typer.Option(help="Only on this binding.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Try everything that waits for a domain now, also on hosts that failed a moment ago."""
    done = ask_console(config, "flush", domain=domain, binding=binding)
    show(done) if as_json else became(done)


def _name(rule: dict[str, Any]) -> str:
    return f"{rule['binding'] or 'all bindings'}, {rule['domain'] or 'all domains'}"


def _seconds(text: str) -> float:
    """From now to WHEN."""
    import time
    from datetime import datetime

    from postroad.config.values import parse_duration

    try:
        if text[:1].isdigit() and "T" in text:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
            seconds = moment.timestamp() - time.time()
        else:
            seconds = float(parse_duration(text))
    except ValueError as error:
        fail(f"--until: {error}", 2)
    if seconds <= 0:
        fail("--until lies in the past", 2)
    return seconds


def _again(failures: int) -> str:
    return f" (failed {failures} times in a row)" if failures > 1 else ""
