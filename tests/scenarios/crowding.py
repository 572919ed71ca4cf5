"""A server whose every limit can be counted at a sink, mail for it, and how its limits are changed while it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import smtplib
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from postroad.serve import ask
from tests.scenarios.counting import Came, CountingSink
from tests.scenarios.ends import audit
from tests.scenarios.server import Server, free_port, serving, until

PEERS = ("127.0.0.31", "127.0.0.32")  # one for each of the two bindings
OWN = ("127.0.0.21", "127.0.0.22", "127.0.0.23", "127.0.0.24")  # hosts of one domain each
SHARED = "127.0.0.25"  # of two domains
DOMAINS = {f"d{at}.test": host for at, host in enumerate((*OWN, SHARED, SHARED))}
BIG = tuple(DOMAINS)[:3]  # those of the provider
OTHERS = tuple(DOMAINS)[3:]
_TOGETHER = 100  # recipients of a message
_BACKLOG = 900  # recipients that wait, so that every path wants all it can get


def sink(pause: float = 0.02) -> CountingSink:
    return CountingSink((*OWN, SHARED), pause, {"provider": OWN[:3]})


def of(far: CountingSink, domains: tuple[str, ...]) -> list[Came]:
    return [each for each in list(far.came) if each.recipient.partition("@")[2] in domains]


class Road:
    """server: with two bindings and six domains, the first three of a provider, whose table has the line `provider`.
    kept, tried: recipients that were acknowledged, and all."""

    def __init__(self, server: Server, port: int, far: CountingSink) -> None:
        self.server = server
        self.far = far
        self.kept: set[str] = set()
        self.tried: set[str] = set()
        self._port = port
        self._numbers = count()

    def put(self, domains: tuple[str, ...], number: int) -> None:
        """So many recipients, by turns. Each message has a connection of its own, since each goes to one engine. One
        that is not acknowledged is not tried again."""
        left = number
        while left > 0:
            for domain in domains:
                some = [f"u{next(self._numbers)}@{domain}" for _ in range(min(_TOGETHER, -(-number // len(domains))))]
                some = some[:left]
                left -= len(some)
                if some:
                    self._put(some)

    def _put(self, recipients: list[str]) -> None:
        self.tried.update(recipients)
        with (
            contextlib.suppress(OSError, smtplib.SMTPException),
            smtplib.SMTP("127.0.0.1", self._port, timeout=60) as client,
        ):
            refused = client.sendmail("s@sender.test", recipients, b"Subject: x\r\n\r\nx\r\n")
            self.kept.update(each for each in recipients if each not in refused)

    def waiting(self) -> int:
        return len(self.tried) - len({each.recipient for each in list(self.far.came)})

    def replace(self, before: str, after: str) -> None:
        """This text of the configuration, by a reload. Each engine counts by the new one when this returns."""
        text = self.server.config.read_text()
        assert text.count(before) == 1
        self.server.config.write_text(text.replace(before, after))
        ask(self.server.data, "reload")

    def lent(self) -> tuple[dict[str, list[int]], dict[str, int]]:
        """Connections in each gate of all engines, and its limit; messages that may be sent, by rate."""
        answer: Any = ask(self.server.data, "lent")
        return answer["open"], answer["lent"]

    def settled(self, kind: str, most: int) -> bool:
        """No gate of this kind has more than `most` places out, nor will it: from now on the far end sees no more."""
        gates = {name: gate for name, gate in self.lent()[0].items() if name.partition(" ")[0] == kind}
        if kind == "host" and self.server.engines == 1:
            return all(number <= most for number, _ in gates.values())  # that every path has the new limit is sure
        return all(number <= most == limit for number, limit in gates.values())

    def kill(self, number: int) -> None:
        """kill -9 of one engine."""
        os.kill(self.server.children()[f"engine-{number}"], signal.SIGKILL)

    def end(self, *, twice: bool) -> None:
        """All that was acknowledged arrives, and nothing else, and the books agree. twice: after a kill some may have
        arrived twice."""
        until(self.server.quiet, "all is delivered")
        came = Counter(each.recipient for each in self.far.came)
        assert self.kept <= set(came) <= self.tried
        assert twice or max(came.values()) == 1
        assert self.server.stop() == 0
        assert audit(self.server)["queued"] == 0


@contextlib.contextmanager
def road(folder: Path, far: CountingSink, engines: int, *, delivery: str = "", provider: str = "") -> Iterator[Road]:
    """delivery, provider: lines of these tables."""
    port = free_port()
    extra = [
        f'[[listener]]\naddress = "127.0.0.1:{port}"\nrelay = true\ngroup = "both"',
        *(f'[[binding]]\nname = "b{at}"\nsource_address = "{peer}"' for at, peer in enumerate(PEERS)),
        '[[group]]\nname = "both"\nmembers = [{ binding = "b0" }, { binding = "b1" }]',
        f'[[provider]]\nname = "big"\ndomains = [{", ".join(map(repr, BIG))}]\n{provider}',
        *(f'[[domain]]\nmatch = "{domain}"\ngateway = "{host}:{far.port}"' for domain, host in DOMAINS.items()),
    ]
    more = f'server_reserved_connections = 0\nconnection_growth = "high"\n{delivery}'
    with serving(folder, delivery=more, extra="\n".join(extra), engines=engines) as server:
        until(lambda: server.joined, "every engine is there")
        yield Road(server, port, far)


class Load(threading.Thread):
    """Mail without end, for all paths."""

    def __init__(self, at: Road) -> None:
        super().__init__(daemon=True)
        self._at = at
        self._enough = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        self.join()

    def run(self) -> None:
        while not self._enough.is_set():
            if self._at.waiting() < _BACKLOG:
                self._at.put(tuple(DOMAINS), _TOGETHER * len(DOMAINS))
            else:
                self._enough.wait(0.02)
