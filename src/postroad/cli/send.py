"""`postroad send`."""

from __future__ import annotations

import json
import smtplib
import sys
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Annotated

import typer

from postroad.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, load_config, say


def send(
    to: Annotated[list[str], typer.Argument(help="Recipients.")],
    sender: Annotated[str, typer.Option("--from", "-f", help="Envelope sender and From; <> for the null sender.")],
    subject: Annotated[str, typer.Option("--subject", "-s")] = "A mail from Postroad",
    text: Annotated[
        str, typer.Option("--text", "-t", help="The text; - reads it from standard input.")
    ] = "It works.\n",
    eml: Annotated[Path | None, typer.Option("--eml", help="Send this RFC 5322 file as it is instead.")] = None,
    server: Annotated[str, typer.Option(help="HOST:PORT; default: the first listener of the configuration.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Send one mail by hand through a running server's SMTP listener."""
    envelope = "" if sender == "<>" else sender
    for address in [*([envelope] if sender != "<>" else []), *to]:
        _check_address(address)
    host, port = _target(server, config)
    content = _content(sender, to, subject, text, eml)
    try:
        with smtplib.SMTP(host, port, timeout=30) as smtp:
            code, reply, refused = _transaction(smtp, envelope, to, content)
    except (OSError, smtplib.SMTPException) as error:
        fail(f"{host}:{port}: {error}")
    accepted = 200 <= code < 300
    if as_json:
        typer.echo(json.dumps({"accepted": accepted, "code": code, "reply": reply, "refused": refused}))
    else:
        for address, why in refused.items():
            say(f"{address}: {why}", err=True)
        say(f"{code} {reply}", err=not accepted)
    if not accepted or refused:
        raise typer.Exit(1)


def _check_address(address: str) -> None:
    """smtplib would make an address of nearly anything, and not the one that was meant."""
    from postroad.message.address import AddressError, parse_mailbox

    try:
        parse_mailbox(address)
    except AddressError as error:
        fail(f"{address!r}: {error}", 2)


def _target(server: str, config: Path) -> tuple[str, int]:
    if not server:
        listeners = load_config(config).config.listener
        if not listeners:
            fail("the configuration has no SMTP listener; name one with --server HOST:PORT")
        server = listeners[0].address
    from postroad.config import split_address

    try:
        host, port = split_address(server)
    except ValueError as error:
        fail(f"--server {error}, not {server!r}", 2)
    # A server that listens on all addresses of the machine is reached on its loopback.
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port


def _content(sender: str, to: list[str], subject: str, text: str, eml: Path | None) -> bytes:
    if eml is not None:
        try:
            octets = eml.read_bytes()
        except OSError as error:
            fail(error)
        return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    message = EmailMessage()
    try:
        message["From"] = sender if sender != "<>" else "mailer-daemon@localhost"
        message["To"] = ", ".join(to)
        message["Subject"] = subject
        message.set_content(_standard_input() if text == "-" else text)
    except UnicodeError:
        fail("the subject and the text must be valid UTF-8", 2)
    except ValueError as error:
        fail(error, 2)
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid()
    return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _standard_input() -> str:
    return sys.stdin.buffer.read().decode()


def _transaction(smtp: smtplib.SMTP, sender: str, to: list[str], content: bytes) -> tuple[int, str, dict[str, str]]:
    """(final code, its text, refused recipients with the reply each got). smtplib.sendmail hides the final reply."""
    smtp.ehlo_or_helo_if_needed()
    options = [] if content.isascii() else ["BODY=8BITMIME"]
    if not all(address.isascii() for address in [sender, *to]):
        options.append("SMTPUTF8")
        smtp.command_encoding = "utf-8"
    code, reply = smtp.mail(sender, options)
    if code != 250:
        return code, reply.decode(errors="replace"), {}
    refused = {}
    for address in to:
        code, reply = smtp.rcpt(address)
        if code not in (250, 251):
            refused[address] = f"{code} {reply.decode(errors='replace')}"
    if len(refused) == len(to):
        return code, reply.decode(errors="replace"), refused
    code, reply = smtp.data(content)
    return code, reply.decode(errors="replace"), refused
