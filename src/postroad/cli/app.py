"""The command tree, and what all commands share: where the configuration is found, how errors are told."""

from __future__ import annotations

import sys

import typer

from postroad.cli.config import config_app, init
from postroad.cli.console import app as console_app
from postroad.cli.dkim import app as dkim_app
from postroad.cli.events import app as events_app
from postroad.cli.journal import app as journal_app
from postroad.cli.journal import audit
from postroad.cli.key import app as key_app
from postroad.cli.message import app as message_app
from postroad.cli.path import app as path_app
from postroad.cli.policy import app as policy_app
from postroad.cli.queue import app as queue_app
from postroad.cli.send import send
from postroad.cli.serve import serve
from postroad.cli.smtpuser import smtp_user
from postroad.cli.store import app as store_app
from postroad.cli.suppression import app as suppression_app
from postroad.cli.trace import trace
from postroad.cli.transmission import app as transmission_app
from postroad.lab.command import app as lab_app

app = typer.Typer(
    name="postroad",
    help="A high-volume e-mail platform: inject, queue, deliver, tell.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(init)
app.command()(serve)
app.add_typer(transmission_app, name="transmission")
app.add_typer(config_app, name="config")
app.add_typer(queue_app, name="queue")
app.add_typer(message_app, name="message")
app.add_typer(path_app, name="path")
app.add_typer(console_app, name="console")
app.add_typer(dkim_app, name="dkim")
app.add_typer(policy_app, name="policy")
app.add_typer(store_app, name="store")
app.add_typer(key_app, name="key")
app.add_typer(suppression_app, name="suppression")
app.command()(trace)
app.command("smtp-user")(smtp_user)
app.command()(send)
app.add_typer(events_app, name="events")
app.add_typer(journal_app, name="journal")
app.command()(audit)
app.add_typer(lab_app, name="lab")


@app.command()
def version() -> None:
    """Print the version."""
    from postroad import __version__

    typer.echo(__version__)


def main() -> None:
    try:
        app()
    except BrokenPipeError:
        # The reader (head, less) has seen enough; a traceback would only hide what it saw.
        sys.stderr.close()
        sys.exit(0)
