"""`postroad dkim`: keys, their DNS records, and a look at a signed message."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Annotated

import typer

from postroad.cli.common import JsonOption, fail, say

if TYPE_CHECKING:
    from postroad.auth.dkim import PrivateKey
    from postroad.net import DnsResolver

app = typer.Typer(no_args_is_help=True, help="DKIM: make keys, publish them, check signatures.")

DomainArgument = Annotated[str, typer.Argument(help="The domain that signs (d=).")]
SelectorArgument = Annotated[str, typer.Argument(help="The selector (s=): a name for this key within the domain.")]
SecretOption = Annotated[
    Path, typer.Option("--secret", help="File with the server's secret that seals keys; keygen makes it if missing.")
]
ServerOption = Annotated[
    list[str] | None, typer.Option("--server", help="Name server, as ADDRESS or ADDRESS:PORT; default: the system's.")
]
_SECRET = Path("dkim.secret")


@app.command()
def keygen(
    domain: DomainArgument,
    selector: SelectorArgument,
    algorithm: Annotated[str, typer.Option(help="rsa or ed25519.")] = "rsa",
    bits: Annotated[int, typer.Option(help="Of an RSA key.")] = 2048,
    out: Annotated[Path | None, typer.Option(help="Where to; default: SELECTOR.DOMAIN.key.")] = None,
    secret: SecretOption = _SECRET,
    as_json: JsonOption = False,
) -> None:
    """Make a key, write it sealed, and print the record to publish. An existing file is left alone."""
    from postroad.auth.dkim import Algorithm, DkimKeyError, PrivateKey, SealError, seal

    kinds = {"rsa": Algorithm.RSA, "ed25519": Algorithm.ED25519}
    if algorithm not in kinds:
        fail(f"{algorithm!r} is no algorithm: rsa or ed25519", 2)
    domain, selector = _names(domain, selector)
    file = out or Path(f"{selector}.{domain}.key")
    if not secret.exists():
        _write(secret, secrets.token_bytes(32).hex())
        say(f"Wrote the secret {secret}: without it no key opens; keep a copy apart from the keys.", err=True)
    try:
        key = PrivateKey.generate(domain, selector, kinds[algorithm], bits=bits)
        _write(file, seal(key, _read_secret(secret)))
    except (DkimKeyError, SealError) as error:
        fail(error, 2)
    if as_json:
        typer.echo(json.dumps({"file": str(file), "name": key.name, "record": key.record()}))
        return
    say(f"Wrote {file}. Publish this, wait until `postroad dkim check` finds it, then sign with it:")
    say(key.zone_line())


@app.command()
def dns(
    domain: DomainArgument,
    selector: SelectorArgument,
    file: Annotated[Path | None, typer.Option("--key", help="The key; default: SELECTOR.DOMAIN.key.")] = None,
    secret: SecretOption = _SECRET,
    as_json: JsonOption = False,
) -> None:
    """Print the DNS record of a key, as a line of a zone file."""
    key = _load(domain, selector, file, secret)
    typer.echo(json.dumps({"name": key.name, "record": key.record()}) if as_json else key.zone_line())


@app.command()
def check(
    domain: DomainArgument,
    selector: SelectorArgument,
    file: Annotated[Path | None, typer.Option("--key", help="The key; default: SELECTOR.DOMAIN.key.")] = None,
    secret: SecretOption = _SECRET,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Does DNS show the public half of our key? Ends with 1 when it does not."""
    from postroad.auth.dkim import DkimKeyError, read_key_record
    from postroad.net import DnsFailure

    key = _load(domain, selector, file, secret)

    async def look() -> list[bytes]:
        resolver = _resolver(server)
        try:
            return await resolver.txt(key.name)
        finally:
            await resolver.close()

    problem = ""
    try:
        records = asyncio.run(look())
        if not records:
            problem = "there is no such record"
        elif len(records) > 1:
            problem = "there are several records; one may stand there"
        else:
            mine = read_key_record(key.record().encode(), key.algorithm)
            found = read_key_record(records[0], key.algorithm)
            if not found.matches(mine):
                problem = "the record shows another key"
    except (DnsFailure, DkimKeyError) as error:
        problem = str(error)
    if as_json:
        typer.echo(json.dumps({"name": key.name, "ok": not problem, "problem": problem}))
    else:
        say(f"{key.name}: {problem or 'good'}")
    if problem:
        raise typer.Exit(1)


@app.command()
def verify(
    message: Annotated[str, typer.Argument(help="A file with the message, or - for standard input.")] = "-",
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the signatures of a message. Ends with 1 when none passes. Lone line feeds count as CRLF."""
    from postroad.auth.dkim import Result, Verification
    from postroad.auth.dkim import verify as verify_message

    try:
        raw = sys.stdin.buffer.read() if message == "-" else Path(message).read_bytes()
    except OSError as error:
        fail(f"{message}: {error.strerror}")
    content = raw if b"\r\n" in raw else raw.replace(b"\n", b"\r\n")

    async def run() -> list[Verification]:
        resolver = _resolver(server)
        try:
            return await verify_message(content, resolver, now=time.time())
        finally:
            await resolver.close()

    found = asyncio.run(run())
    rows = [each._asdict() | {"result": each.result.value} for each in found]
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        for each in found:
            name = f"{each.selector}._domainkey.{each.domain} {each.algorithm}"
            notes = [each.reason, "part of the body is unsigned" if each.partial else "", "testing" * each.testing]
            say(f"{each.result.value} {name} {'; '.join(filter(None, notes))}".rstrip())
        if not found:
            say("no signature")
    if not any(each.result is Result.PASS for each in found):
        raise typer.Exit(1)


def _names(domain: str, selector: str) -> tuple[str, str]:
    from postroad.auth.author import to_ascii

    names = to_ascii(domain), to_ascii(selector)
    if not all(names):
        fail(f"{selector}._domainkey.{domain} is no domain name", 2)
    return names


def _write(file: Path, text: str) -> None:
    """Only its owner may read it."""
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
            out.write(text + "\n")
    except FileExistsError:
        fail(f"{file} exists; nothing was written")
    except OSError as error:
        fail(f"{file}: {error.strerror}")


def _read_secret(file: Path) -> bytes:
    try:
        return bytes.fromhex(file.read_text("ascii").strip())
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    except ValueError:
        fail(f"{file} is no secret: 64 hexadecimal digits are one")


def _load(domain: str, selector: str, file: Path | None, secret: Path) -> PrivateKey:
    from postroad.auth.dkim import SealError, unseal

    domain, selector = _names(domain, selector)
    path = file or Path(f"{selector}.{domain}.key")
    try:
        return unseal(path.read_text("ascii", "replace"), domain, selector, _read_secret(secret))
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    except SealError as error:
        fail(f"{path}: {error}")


def _resolver(servers: list[str] | None) -> DnsResolver:
    from postroad.config.schema import DnsOptions
    from postroad.net import DnsResolver

    return DnsResolver(DnsOptions(servers=servers or []), rng=SystemRandom())
