"""Real clients: smtplib, swaks, smtp-source and curl send to a listener, and the same octets arrive."""

from __future__ import annotations

import asyncio
import os
import shutil
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from postroad.config.schema import Size
from postroad.inject import SmtpListener
from postroad.message import Notify
from tests.inject.kit import MemoryAcceptor, make_listener

_NASTY = {
    "plain": b"Subject: x\r\n\r\nbody\r\n",
    "dots": b"Subject: x\r\n\r\n.\r\n..\r\n.a\r\n...\r\n a.\r\nend\r\n",
    "a dot at the end": b"Subject: x\r\n\r\nbody\r\n.\r\n",
    "eight bits": b"Subject: \xc3\xa9\r\n\r\n" + bytes(o for o in range(1, 256) if o not in (10, 13)) + b"\r\n",
    "998 octets a line": b"Subject: x\r\n\r\n" + (b"y" * 998 + b"\r\n") * 50,
    "empty body": b"Subject: x\r\n\r\n",
    "empty lines": b"Subject: x\r\n\r\n\r\n\r\n\r\n",
    "big": b"Subject: x\r\n\r\n" + b"".join(b"line %d\r\n.\r\n" % n for n in range(40_000)),
}


@asynccontextmanager
async def serving(acceptor: MemoryAcceptor, **changes: Any) -> AsyncIterator[SmtpListener]:
    listener = make_listener(acceptor, **changes)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.close()


async def run(*command: str, stdin: bytes = b"") -> tuple[int, str]:
    """A program's exit code and all it said. A program that is missing is a failure: `.ci/run` installs them."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    program = shutil.which(command[0], path=path)
    assert program is not None, f"{command[0]} is not installed (make tools)"
    process = await asyncio.create_subprocess_exec(
        program,
        *command[1:],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(stdin), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said.decode(errors="replace")


@pytest.mark.parametrize("content", _NASTY.values(), ids=_NASTY.keys())
async def test_smtplib(content: bytes) -> None:
    acceptor = MemoryAcceptor()

    def send(port: int) -> dict[str, tuple[int, bytes]]:
        with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example") as client:
            return client.sendmail(
                "s@client.example",
                ["a@b.example", "c@d.example"],
                content,
                mail_options=["BODY=8BITMIME"],
                rcpt_options=["NOTIFY=FAILURE"],
            )

    async with serving(acceptor) as listener:
        assert await asyncio.to_thread(send, listener.addresses[0][1]) == {}
    (transaction,) = acceptor.transactions
    assert transaction.body.content == content
    assert [r.address for r in transaction.recipients] == ["a@b.example", "c@d.example"]
    assert all(r.notify == Notify.FAILURE for r in transaction.recipients)


async def test_smtplib_hears_of_refused_recipients() -> None:
    acceptor = MemoryAcceptor()

    def send(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            refused = client.sendmail("s@client.example", ["a@ours.example", "b@else.example"], b"x\r\n")
            assert refused == {"b@else.example": (550, b"5.7.1 Relaying denied")}
            with pytest.raises(smtplib.SMTPSenderRefused) as too_big:
                client.sendmail("s@client.example", ["a@ours.example"], b"x" * 2000)
            assert too_big.value.smtp_code == 552
            assert client.vrfy("a@ours.example")[0] == 252
            assert client.noop()[0] == 250 and client.help().startswith(b"2.0.0")

    async with serving(acceptor, relay=False, relay_domains=["ours.example"], max_message_size=Size(1000)) as listener:
        await asyncio.to_thread(send, listener.addresses[0][1])
    assert [r.address for t in acceptor.transactions for r in t.recipients] == ["a@ours.example"]


async def test_smtplib_with_smtputf8() -> None:
    acceptor = MemoryAcceptor()

    def send(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail(
                "é@bücher.example", ["ü@b.example"], "Subject: é\r\n\r\nx\r\n".encode(), mail_options=["SMTPUTF8"]
            )

    async with serving(acceptor) as listener:
        await asyncio.to_thread(send, listener.addresses[0][1])
    (transaction,) = acceptor.transactions
    assert transaction.smtputf8 and transaction.sender == "é@bücher.example"
    assert b" with UTF8SMTP id " in transaction.body.trace
    assert "for <ü@b.example>;".encode() in transaction.body.trace


@pytest.mark.parametrize("name", ["plain", "dots", "eight bits", "998 octets a line", "empty lines"])
@pytest.mark.parametrize("pipeline", [(), ("--pipeline",)], ids=["in turn", "pipelined"])
async def test_swaks(name: str, pipeline: tuple[str, ...], tmp_path: Path) -> None:
    acceptor = MemoryAcceptor()
    letter = tmp_path / "letter.eml"
    letter.write_bytes(_NASTY[name].replace(b"\r\n", b"\n"))
    async with serving(acceptor) as listener:
        port = str(listener.addresses[0][1])
        code, said = await run(
            "swaks", "--server", "127.0.0.1", "--port", port, "--helo", "client.example", "--from", "s@client.example",
            "--to", "a@b.example,c@d.example", "--data", f"@{letter}", *pipeline,
        )  # fmt: skip
    assert code == 0, said
    (transaction,) = acceptor.transactions
    # Of a file that ends in a newline swaks makes one that ends in two.
    assert transaction.body.content == _NASTY[name] + b"\r\n"
    assert len(transaction.recipients) == 2


async def test_smtp_source() -> None:
    acceptor = MemoryAcceptor()
    async with serving(acceptor) as listener:
        port = listener.addresses[0][1]
        code, said = await run(
            "smtp-source", "-s", "10", "-m", "300", "-l", "20000", "-r", "3", "-f", "s@client.example",
            "-t", "a@b.example", f"127.0.0.1:{port}",
        )  # fmt: skip
        assert code == 0, said
        code, said = await run("smtp-source", "-d", "-s", "5", "-m", "200", f"127.0.0.1:{port}")
        assert code == 0, said
    assert len(acceptor.transactions) == 500
    whole = [t for t in acceptor.transactions if t.sender == "s@client.example"]
    assert len(whole) == 300
    assert all(len(t.recipients) == 3 and len(t.body.content) >= 20_000 for t in whole)


@pytest.mark.parametrize("name", ["plain", "dots", "a dot at the end", "eight bits", "998 octets a line"])
async def test_curl(name: str, tmp_path: Path) -> None:
    acceptor = MemoryAcceptor()
    letter = tmp_path / "letter.eml"
    letter.write_bytes(_NASTY[name])
    async with serving(acceptor) as listener:
        code, said = await run(
            "curl", "--silent", "--show-error", f"smtp://127.0.0.1:{listener.addresses[0][1]}/client.example",
            "--mail-from", "s@client.example", "--mail-rcpt", "a@b.example", "--mail-rcpt", "c@d.example",
            "--upload-file", str(letter),
        )  # fmt: skip
    assert code == 0, said
    (transaction,) = acceptor.transactions
    assert transaction.body.content == _NASTY[name]


async def test_curl_is_turned_away_when_it_speaks_http() -> None:
    acceptor = MemoryAcceptor()
    async with serving(acceptor) as listener:
        code, said = await run(
            "curl", "--silent", "--show-error", "--http0.9", "--data", "RCPT TO:<a@b.example>",
            f"http://127.0.0.1:{listener.addresses[0][1]}/",
        )  # fmt: skip
    assert "421 4.7.0 This is an SMTP server" in said, (code, said)
    assert acceptor.transactions == []
