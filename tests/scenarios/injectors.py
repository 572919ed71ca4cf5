"""Clients that inject without pause, over SMTP and HTTP, and write down what was promised to them."""

from __future__ import annotations

import contextlib
import http.client
import json
import smtplib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

_LINE = "The same words again and again, since nobody reads them but a comparison.\r\n"


def letter(key: str) -> bytes:
    """The message with this key, the same octets each time: between 300 octets and about 12 KB, lines with leading
    dots among them."""
    rng = Random(key)
    lines = [
        f"From: <{key}@sender.test>\r\n",
        f"Subject: Letter {key}\r\n",
        f"Message-ID: <{key}@injector.test>\r\n",
        "Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n",
        "\r\n",
    ]
    lines += ["." * rng.choice((0, 0, 1, 2)) + _LINE for _ in range(rng.choice((1, 3, 20, 150)))]
    return "".join(lines).encode()


def key_of(recipient: str) -> str:
    """The letter a recipient address belongs to: KEY, KEY+1, KEY+2 ... are recipients of the letter KEY."""
    return recipient.partition("@")[0].partition("+")[0]


def same(key: str, content: bytes) -> bool:
    """Is this the letter as it was sent, with a trace header in front and nothing else?"""
    sent = letter(key)
    trace = content[: len(content) - len(sent)]
    return content.endswith(sent) and trace.startswith(b"Received: ") and trace.count(b"\r\nReceived:") == 0


@dataclass
class Promises:
    """What clients heard, all threads together.

    kept: recipients whose message was acknowledged. tried: those whose message's end was sent at all; what arrives must
    be among them. unknown: those of them that got no reply. refused: transactions by reply code. lost: connections that
    could not be had or ended in the middle.
    """

    kept: set[str] = field(default_factory=set)
    tried: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    refused: Counter[int] = field(default_factory=Counter)
    lost: int = 0

    def asked(self, recipients: Sequence[str]) -> None:
        """The end of their message is about to be sent."""
        self.tried.update(recipients)
        self.unknown.update(recipients)

    def answered(self, recipients: Sequence[str], *, kept: bool) -> None:
        self.unknown.difference_update(recipients)
        if kept:
            self.kept.update(recipients)


class Injector(threading.Thread):
    """Sends letters until `enough` is called. recipients(key): whom the next letter goes to.

    A connection is used for `per_session` messages; when the server is away it is called again and again.
    """

    def __init__(
        self, name: str, port: int, promises: Promises, recipients: Callable[[str], Sequence[str]], limit: int = 1 << 30
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.promises = promises
        self.sent = 0
        self._port = port
        self._recipients = recipients
        self._limit = limit
        self._enough = threading.Event()
        self._running = threading.Event()
        self._running.set()

    def enough(self) -> None:
        self._enough.set()
        self._running.set()

    def pause(self) -> None:
        self._running.clear()

    def go_on(self) -> None:
        self._running.set()

    def run(self) -> None:
        while self._more():
            try:
                self._session()
            except (OSError, smtplib.SMTPException, http.client.HTTPException):
                self.promises.lost += 1
                self._enough.wait(0.02)  # the server is away; don't spin

    def _more(self) -> bool:
        self._running.wait()
        return not self._enough.is_set() and self.sent < self._limit

    def _next(self) -> tuple[str, Sequence[str]]:
        key = f"{self.name}-{self.sent}"
        self.sent += 1
        return key, self._recipients(key)

    def _session(self) -> None:
        raise NotImplementedError


class SmtpInjector(Injector):
    def _session(self) -> None:
        with contextlib.closing(smtplib.SMTP("127.0.0.1", self._port, "injector.test", timeout=30)) as client:
            client.ehlo()
            while self._more():
                if not self._one(client):
                    return

    def _one(self, client: smtplib.SMTP) -> bool:
        key, recipients = self._next()
        code, _ = client.mail(f"{key}@sender.test")
        for recipient in recipients:
            if code == 250:
                code, _ = client.rcpt(recipient)
        if code == 250:
            self.promises.asked(recipients)
            try:
                code, _ = client.data(letter(key))
            except smtplib.SMTPDataError as error:
                code = error.smtp_code
            self.promises.answered(recipients, kept=code == 250)
            if code == 250:
                return True
        self.promises.refused[code] += 1
        if code == 421:
            return False
        client.rset()
        return True


class HttpInjector(Injector):
    def __init__(
        self,
        name: str,
        port: int,
        promises: Promises,
        recipients: Callable[[str], Sequence[str]],
        limit: int = 1 << 30,
        *,
        api_key: str,
    ) -> None:
        super().__init__(name, port, promises, recipients, limit)
        self._api_key = api_key

    def _session(self) -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as client:
            while self._more():
                key, recipients = self._next()
                body = {
                    "recipients": [{"address": recipient} for recipient in recipients],
                    "content": {
                        "from": f"{key}@sender.test",
                        "subject": f"Transmission {key}",
                        "text": f"{key}\r\n{_LINE * Random(key).choice((1, 20, 100))}",
                    },
                }
                headers = {"Authorization": self._api_key, "Content-Type": "application/json"}
                self.promises.asked(recipients)
                client.request("POST", "/api/v1/transmissions", json.dumps(body), headers)
                reply = client.getresponse()
                reply.read()
                self.promises.answered(recipients, kept=reply.status == 200)
                if reply.status != 200:
                    self.promises.refused[reply.status] += 1


@contextlib.contextmanager
def injecting(injectors: Sequence[Injector]) -> Iterator[None]:
    """They run inside the block, and are done when it is left."""
    for injector in injectors:
        injector.start()
    try:
        yield
    finally:
        for injector in injectors:
            injector.enough()
        for injector in injectors:
            injector.join(60)
            assert not injector.is_alive(), f"{injector.name} does not end"
