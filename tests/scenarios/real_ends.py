"""Receivers that others wrote, as far ends of a real Postroad: Postfix's smtp-sink and aiosmtpd.

Both keep what arrives. `smtp-sink` writes line ends as LF into its files, so `Arrived.content` of both has CRLF again;
a lone CR or LF, had one come through, would not survive that unnoticed: Postroad refuses them, and the tests of
smuggling look at aiosmtpd, whose octets are untouched.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.scenarios.far_end import LoopThread
from tests.scenarios.server import free_port, until

SINK = shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin") or "smtp-sink"


class Arrived(NamedTuple):
    """One transaction at the far end. mail, rcpt: the arguments of MAIL FROM and RCPT TO as far as the receiver tells
    them: address and parameters at smtp-sink, parameters alone (in upper case) at aiosmtpd."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    mail: str
    rcpt: tuple[str, ...]


class RealEnd(Protocol):
    """port: on 127.0.0.1."""

    port: int

    def arrived(self) -> list[Arrived]:
        """All that came so far."""


def added(arrived: bytes, sent: bytes) -> list[str]:
    """The names of the header fields in front of what was sent; AssertionError when that did not arrive as it was."""
    assert arrived.endswith(sent), f"sent {sent[-2000:]!r}, arrived {arrived[-2000:]!r}"
    front = arrived[: len(arrived) - len(sent)]
    assert front == b"" or front.endswith(b"\r\n"), front
    return [line.partition(b":")[0].decode() for line in front.split(b"\r\n") if line[:1].strip()]


class SmtpSink:
    """options: more arguments for smtp-sink."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self.port = free_port()
        # As root it wants to be told who to be; the files must be readable by us, so: who we are.
        user = ["-u", getpass.getuser()] if os.getuid() == 0 else []
        command = [SINK, *user, *options, "-d", f"{folder}/%s.", f"127.0.0.1:{self.port}", "500"]
        folder.mkdir(parents=True)
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        until(self._answers, "smtp-sink answers")

    def _answers(self) -> bool:
        assert self._process.poll() is None, "smtp-sink has ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def arrived(self) -> list[Arrived]:
        """Call it when nothing is under way: a file that is being written is half a message."""
        return [_read_dump(path.read_bytes()) for path in sorted(self._folder.iterdir())]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(30)


def _read_dump(dump: bytes) -> Arrived:
    """A file of smtp-sink: X- fields with the envelope, its own Received field of three lines, the message, a LF."""
    lines = dump.split(b"\n")
    mail, rcpt, at = "", [], 0
    while lines[at].startswith(b"X-"):
        name, _, value = lines[at].decode().partition(": ")
        if name == "X-Mail-Args":
            mail = value
        elif name == "X-Rcpt-Args":
            rcpt.append(value)
        at += 1
    assert lines[at].startswith(b"Received: from ") and b"by smtp-sink" in lines[at + 1], lines[at : at + 3]
    assert lines[-1] == b"" == lines[-2], lines[-2:]
    content = b"\r\n".join(lines[at + 3 : -1])
    return Arrived(_address(mail), tuple(_address(one) for one in rcpt), content, mail, tuple(rcpt))


def _address(argument: str) -> str:
    return argument.partition(">")[0].removeprefix("<")


class Aiosmtpd(LoopThread):
    """max_size: the SIZE it announces and enforces."""

    def __init__(self, *, utf8: bool = True, max_size: int = 32 << 20) -> None:
        self.port = 0
        self._arrived: list[Arrived] = []
        self._utf8 = utf8
        self._max_size = max_size

    def __enter__(self) -> Self:
        super().__enter__()
        self._server = self.run(self._listen())
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *error: object) -> None:
        self.run(self._close())
        super().__exit__(None, None, None)

    async def _listen(self) -> asyncio.Server:
        loop = self._loop
        return await loop.create_server(
            lambda: SMTP(
                self, hostname="far.test", loop=loop, enable_SMTPUTF8=self._utf8, data_size_limit=self._max_size
            ),
            "127.0.0.1",
            0,
        )

    async def _close(self) -> None:
        self._server.close()
        await self._server.wait_closed()
        # Sessions end with their connections; Postroad may still keep some open for the next message.
        sessions = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in sessions:
            task.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)

    def arrived(self) -> list[Arrived]:
        return list(self._arrived)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content
        assert content is not None
        sender = (envelope.mail_from or "").replace("<>", "")  # so it writes the null sender
        options = " ".join(envelope.mail_options)
        rcpt = tuple(envelope.rcpt_options)
        self._arrived.append(Arrived(sender, tuple(envelope.rcpt_tos), content, options, rcpt))
        return "250 2.0.0 kept"
