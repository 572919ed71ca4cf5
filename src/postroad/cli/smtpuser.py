"""`postroad smtp-user`: a user of SMTP AUTH for the configuration, without the password in it."""

from __future__ import annotations

import secrets
import sys
from typing import Annotated

import typer

from postroad.cli.common import fail
from postroad.config.options import toml_text

_SHORTEST = 8  # characters


def smtp_user(
    name: Annotated[str, typer.Argument(help="What the client gives as user name.")],
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the password from standard input, one line.")] = False,
) -> None:
    """Print a [[smtp_user]] table for the configuration. Asks for the password, of which only a hash is printed."""
    from postroad.auth.scram import make_verifier

    if not name.isprintable() or not name.strip():
        fail("a user name is printable and not empty")
    if stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    if len(password) < _SHORTEST:
        fail(f"a password has at least {_SHORTEST} characters")
    verifier = make_verifier(password, secrets.token_bytes(16))
    typer.echo(f"[[smtp_user]]\nname = {toml_text(name)}\npassword = {toml_text(str(verifier))}")
