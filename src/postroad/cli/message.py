"""`postroad message`: looking at queued messages, and deciding about them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from postroad.cli.asking import ask_console, at, became, confirmed, selecting, show, span, until
from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, say

app = typer.Typer(no_args_is_help=True, help="Look at queued messages; try them now, later, elsewhere, or never.")

MessageId = Annotated[str, typer.Argument(metavar="ID", help="Message id, 16 hexadecimal digits.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without a question.")]


@app.command("show")
def show_(
    message: MessageId,
    content: Annotated[bool, typer.Option("--content", help="The whole message, up to 1 MB.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show envelope, contexts and header of a message; of one that has ended what its events still tell."""
    told = ask_console(config, "message-show", id=message, content=content)
    if as_json:
        show(told)
        return
    text = told.pop("content", None) or told.pop("header", "")
    told.pop("attempts", None)  # for `message explain`
    for name, value in told.items():
        if value not in ("", None, {}, []):
            say(f"{name:13} {at(value) if name in ('received', 'expires', 'next_attempt') else value}")
    say()
    say(text.replace("\r\n", "\n"))


@app.command()
def explain(message: MessageId, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Tell where a message is, why, what it waits for and until when, and what each attempt got for an answer."""
    told = ask_console(config, "message-explain", id=message)
    if as_json:
        show(told)
        return
    say(f"message {told['id']} is {told['state']}")
    if "text" in told:
        say(told["text"])
    else:
        _explain_queued(told)
    say("")
    for event in told["attempts"]:
        where = f" at {event['host']} [{event['ip_address']}]" if event.get("ip_address") else ""
        say(f"{at(event['time'])}  {event['type']}{where}: {event.get('reply', '')}".rstrip(": "))
        if "reply_rule" in event:
            say(f"{'':21}rule {event['reply_rule']} acted on that reply: it counts as {event['ruled']}")
        if "retry_hint" in event:
            say(f"{'':21}it asked us to come back in {span(float(event['retry_hint']))}")
    if not told["history_complete"]:
        say("Older events are not kept any more (journal.event_retention).")


def _explain_queued(told: dict[str, Any]) -> None:
    say(f"queue      {told['binding']}/{told['domain']}, {span(told['age'])} old, tried {told['attempts_made']} times")
    say(f"because    {told['reason']}")
    say(f"waits for  {told['waits_for']}")
    if told["position"] is not None:
        say(f"position   about {told['position']} are ahead of it")
    say(f"next try   {until(told['next_attempt']) if told['next_attempt'] else 'when its turn comes'}")
    say(f"expected   {until(told['eta']) if told['eta'] else 'can not be said'}")
    say(f"expires    {at(told['expires'])}")


@app.command()
@selecting
def retry(selector: dict[str, Any], config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Make delayed messages due now. What is in flight or due already is left as it is."""
    done = ask_console(config, "retry", **selector)
    show(done) if as_json else became(done)


@app.command("fail")
@selecting
def fail_(
    selector: dict[str, Any],
    notify: Annotated[bool, typer.Option("--notify", help="Tell the senders that want to hear of failures.")] = False,
    yes: Yes = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """End messages undelivered, each with a bounce event of class 25. What is in flight fails if it comes back
    undelivered. This can't be undone."""
    asked = selector | ({"notify": True} if notify else {})
    done = confirmed(config, "fail", asked, yes, "Remove them for ever?")
    show(done) if as_json else became(done)


@app.command()
@selecting
def delay(
    selector: dict[str, Any],
    seconds: Annotated[float, typer.Option("--seconds", "-s", min=0, help="From now on.")],
    yes: Yes = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Try messages again in so many seconds, not before; but not after they expire."""
    done = confirmed(config, "delay", selector | {"seconds": seconds}, yes, "Let them wait?")
    show(done) if as_json else became(done)


@app.command()
@selecting
def rebind(
    selector: dict[str, Any],
    to: Annotated[str, typer.Option("--to", help="The new binding.")],
    yes: Yes = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Put messages on another binding. What is in flight is left alone."""
    done = confirmed(config, "rebind", selector | {"to": to}, yes, f"Put them on binding {to}?")
    show(done) if as_json else became(done)


@app.command()
@selecting
def reroute(
    selector: dict[str, Any],
    to: Annotated[str, typer.Option("--to", help="The routing domain whose hosts shall get them.")],
    yes: Yes = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Send messages to another domain's hosts; their recipients stay. What is in flight is left alone."""
    done = confirmed(config, "reroute", selector | {"to": to}, yes, f"Send them to the hosts of {to}?")
    show(done) if as_json else became(done)
