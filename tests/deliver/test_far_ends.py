"""Real receivers that others wrote: aiosmtpd, and Postfix's smtp-sink where it is installed."""

from __future__ import annotations

import asyncio
import getpass
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from postroad.message import Verdict
from tests.deliver.peers import DOMAIN, free_port, scene
from tests.deliver.supply import Shelf, message

HEAD = b"From: <a@example.com>\r\nSubject: bytes\r\n\r\n"
CONTENTS = {
    "plain": HEAD + b"Hello\r\n",
    "no header": b"\r\nHello\r\n",
    "no body": HEAD,
    "dots": HEAD + b".\r\n..\r\n.a\r\na.\r\n. .\r\n...\r\n",
    "a dot first": b".Subject: odd\r\n\r\n",
    "a dot last": HEAD + b"x\r\n.\r\n",
    "998 octets": HEAD + (b"x" * 998 + b"\r\n") * 3 + b"." * 998 + b"\r\n",
    "eight bit": HEAD + bytes(range(128, 256)) + "\r\nдом\r\n".encode(),
    "all but line ends": HEAD + bytes(octet for octet in range(256) if octet not in b"\r\n") + b"\r\n",
    "no line end": HEAD + b"the end",
    "blank lines": HEAD + b"\r\n" * 50,
    "large": HEAD + (b"y" * 76 + b"\r\n") * 20_000,
    "large and dotted": HEAD + (b"." + b"z" * 75 + b"\r\n") * 20_000,
}
TRACE = b"Received: from here by there;\r\n\tMon, 01 Jan 2024 00:00:00 +0000\r\n"


def as_sent(content: bytes) -> bytes:
    """DATA ends with a line end; content that has none gets one."""
    return content if content.endswith(b"\r\n") else content + b"\r\n"


class Mailbox:
    """aiosmtpd's handler: keeps what arrives."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        (recipient,) = envelope.rcpt_tos
        assert recipient not in self.contents
        self.contents[recipient] = envelope.content
        return "250 2.0.0 kept"


@pytest.mark.parametrize("connections", [1, 5])
async def test_octets_arrive_as_they_are_at_aiosmtpd(connections: int) -> None:
    mailbox = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(mailbox, hostname="aiosmtpd.example", loop=loop, enable_SMTPUTF8=True), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    shelf = Shelf(
        message(number, recipient=f"{number}@{DOMAIN}", content=content, trace=TRACE)
        for number, content in enumerate(CONTENTS.values())
    )
    try:
        async with scene(port, shelf=shelf, max_connections=connections) as at:
            await at.run(len(CONTENTS))
    finally:
        server.close()
        await server.wait_closed()
    for number, content in enumerate(CONTENTS.values()):
        assert shelf.outcome(number).verdict is Verdict.DELIVERED, shelf.outcome(number)
        assert mailbox.contents[f"{number}@{DOMAIN}"] == as_sent(TRACE + content)


SINK = shutil.which("smtp-sink", path="/usr/sbin:/usr/local/sbin:/usr/bin")


@asynccontextmanager
async def sink(folder: Path, *arguments: str) -> AsyncIterator[int]:
    """smtp-sink on a port, which is given."""
    assert SINK is not None, "smtp-sink is missing: make tools"
    port = free_port()
    user = ["-u", getpass.getuser()]  # it wants to be told whom to run as when it is root
    process = await asyncio.create_subprocess_exec(SINK, *user, *arguments, f"127.0.0.1:{port}", "100", cwd=folder)
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                if process.returncode is not None:
                    raise
                await asyncio.sleep(0.02)  # there is no other sign that it listens
            else:
                writer.close()
                break
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.mark.parametrize(
    ("arguments", "verdict", "code"),
    [
        ([], Verdict.DELIVERED, 250),
        (["-p"], Verdict.DELIVERED, 250),  # no PIPELINING
        (["-e"], Verdict.DELIVERED, 250),  # no ESMTP at all
        (["-f", "mail"], Verdict.FAILED, 500),
        (["-f", "rcpt"], Verdict.FAILED, 500),
        (["-f", "data"], Verdict.FAILED, 500),
        (["-f", "."], Verdict.FAILED, 500),
        (["-r", "rcpt"], Verdict.DEFERRED, 450),
        (["-r", "."], Verdict.DEFERRED, 450),
        (["-q", "rcpt"], Verdict.DEFERRED, 451),  # hangs up there
        (["-Q", "data"], Verdict.DEFERRED, 421),
    ],
)
async def test_smtp_sink(tmp_path: Path, arguments: list[str], verdict: Verdict, code: int) -> None:
    shelf = Shelf(message(number, content=content) for number, content in enumerate(CONTENTS.values()))
    async with sink(tmp_path, *arguments) as port, scene(port, shelf=shelf, max_connections=3) as at:
        await at.run(len(CONTENTS))
    outcomes = [shelf.outcome(number) for number in range(len(CONTENTS))]
    assert {outcome.verdict for outcome in outcomes} == {verdict}
    # When it hung up on several messages in a row it is left alone, and later ones hear that instead.
    assert outcomes[0].reply.code == code


async def test_octets_arrive_as_they_are_at_smtp_sink(tmp_path: Path) -> None:
    """It dumps each message into a file with Unix line ends, between header fields of its own and an empty line."""
    shelf = Shelf(message(number, content=content) for number, content in enumerate(CONTENTS.values()))
    async with (
        sink(tmp_path, "-d", "message.%Y") as port,
        scene(port, shelf=shelf, max_connections=1) as at,
    ):
        await at.run(len(CONTENTS))
    dumps = read_all(tmp_path)
    assert len(dumps) == len(CONTENTS)
    for number, content in enumerate(CONTENTS.values()):
        (dump,) = [dump for dump in dumps if f"<user{number}@{DOMAIN}>".encode() in dump]
        assert dump.endswith(as_sent(content).replace(b"\r\n", b"\n") + b"\n")


def read_all(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]
