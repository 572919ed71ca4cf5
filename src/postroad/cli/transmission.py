"""`postroad transmission`: what is generated and scheduled, and cancelling it."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from postroad.cli.asking import ask_console, show, table
from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, say

app = typer.Typer(no_args_is_help=True, help="Transmissions to many recipients: how far they are, and cancelling them.")

_IdArgument = Annotated[str, typer.Argument(help="Its number, as the API told it.", show_default=False)]
_Campaign = Annotated[str | None, typer.Option(help="Only those of this campaign.")]


@app.command("list")
def list_(config: ConfigOption = DEFAULT_CONFIG, campaign: _Campaign = None, as_json: JsonOption = False) -> None:
    """Show those that are live, or were in the last 24 hours."""
    rows = ask_console(config, "transmissions", campaign=campaign)["transmissions"]
    if as_json:
        show(rows)
        return
    table(
        ("id", "state", "campaign", "recipients", "generated", "failed", "start"),
        [
            (
                *(row["id"], row["state"], row["campaign_id"] or None, row["num_rcpts"], row["num_generated"]),
                *(row["num_failed_gen"], _time(row["start"])),
            )
            for row in rows
        ],
    )


@app.command("show")
def show_(id: _IdArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Show one, as JSON."""
    rows = ask_console(config, "transmissions", id=id)["transmissions"]
    if not rows:
        fail(f"there is no transmission {id[:64]}, or it ended more than 24 hours ago")
    show(rows[0])


@app.command("cancel")
def cancel(
    id: Annotated[str, typer.Argument(help="Its number, as the API told it.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    campaign: _Campaign = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be cancelled.")] = False,
) -> None:
    """Cancel one, or all of a campaign that have not begun. Its recipients' messages end with bounce events."""
    result: dict[str, Any] = ask_console(config, "cancel_transmissions", id=id, campaign=campaign, dry_run=dry_run)
    for number in result["canceled"]:
        say(f"{number} {'would be cancelled' if dry_run else 'is cancelled'}")
    for one in result["refused"]:
        say(f"{one['id']} can't be cancelled: " + ("it begins too soon" if one["late"] else f"it is {one['state']}"))
    if not result["canceled"]:
        fail("nothing was cancelled" if not dry_run else "nothing would be cancelled")


def _time(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
