"""A real Postroad with a real far end: who sends what, and what arrives."""

from __future__ import annotations

import contextlib
import smtplib
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from email.policy import default
from itertools import count
from pathlib import Path

from tests.scenarios.ends import audit
from tests.scenarios.real_ends import Arrived, RealEnd
from tests.scenarios.server import Server, free_port, serving, until


class Scene:
    """A server, its far end, and addresses that no message had before. name: the kind of far end.

    small_port: a second listener, with a limit of 10 KB.
    """

    def __init__(self, name: str, server: Server, far: RealEnd, small_port: int) -> None:
        self.name = name
        self.server = server
        self.far = far
        self.small_port = small_port
        self._numbers = count()

    def address(self) -> str:
        return f"r{next(self._numbers)}@far.test"

    def arrived(self) -> dict[str, Arrived]:
        """By recipient, once all that was accepted has been delivered. Notifications are left out."""
        until(self.server.quiet, "the queue is empty")
        found = {}
        for one in self.far.arrived():
            if one.sender:
                (recipient,) = one.recipients
                assert recipient not in found, f"{recipient} arrived twice"
                found[recipient] = one
        return found

    def notified(self, sender: str) -> list[Message]:
        """The notifications that this sender got."""
        until(self.server.quiet, "the queue is empty")
        return [
            message_from_bytes(one.content, policy=default)
            for one in self.far.arrived()
            if one.sender == "" and one.recipients == (sender,)
        ]

    def smtp(self, port: int = 0) -> contextlib.closing[smtplib.SMTP]:
        client = smtplib.SMTP("127.0.0.1", port or self.server.smtp_port, "client.test", timeout=30)
        client.ehlo()
        return contextlib.closing(client)


@contextlib.contextmanager
def playing(name: str, folder: Path, far: RealEnd) -> Iterator[Scene]:
    small_port = free_port()
    more = f'[[listener]]\naddress = "127.0.0.1:{small_port}"\nrelay = true\nmax_message_size = "10KB"'
    with serving(folder, gateway=far.port, extra=more) as server:
        yield Scene(name, server, far, small_port)
        assert server.stop() == 0
        assert audit(server)["queued"] == 0
    assert "Traceback" not in server.log.read_text()
