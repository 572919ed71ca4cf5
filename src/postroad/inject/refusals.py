"""How many refusals of one client become events: the first of a minute each one, the rest one with their count. Who is
turned away a thousand times a second must not fill the journal with it."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable

from postroad.message import Accepted, Acceptor, Refused, Rejection, Reply, Transaction

WINDOW = 60.0  # seconds
_CLIENTS = 10_000  # told apart in one window; all others count as one
_OTHERS = ""


class _Client:
    __slots__ = ("last", "left", "unsaid")

    def __init__(self, most: int) -> None:
        self.left = most
        self.unsaid = 0
        self.last: Rejection | None = None


class Refusals:
    """tell: where what may be told goes. most: events a window of one client (an IPv6 network of 64 bits is one); 0: no
    limit."""

    def __init__(self, tell: Callable[[Rejection], None], most: int) -> None:
        self._tell = tell
        self._most = most
        self._clients: dict[str, _Client] = {}
        self._timer: asyncio.TimerHandle | None = None

    def rejected(self, rejection: Rejection) -> None:
        if not self._most:
            self._tell(rejection)
            return
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WINDOW, self.flush)
        name = _client(rejection.remote)
        client = self._clients.get(name)
        if client is None:
            name = name if len(self._clients) < _CLIENTS else _OTHERS
            client = self._clients.setdefault(name, _Client(self._most))
        if client.left:
            client.left -= 1
            self._tell(rejection)
        else:
            client.unsaid += rejection.times
            client.last = rejection

    def flush(self) -> None:
        """The window is over: tell what was not told, and begin anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        clients, self._clients = self._clients, {}
        for client in clients.values():
            if client.last is not None:
                self._tell(client.last._replace(times=client.unsaid))


class Told:
    """An Acceptor behind the hooks: what they refuse once a message is read is told within the same bounds as what the
    session refuses."""

    def __init__(self, acceptor: Acceptor, refusals: Refusals) -> None:
        self._acceptor = acceptor
        self._refusals = refusals

    def refusal(self) -> Reply | None:
        return self._acceptor.refusal()

    def rejected(self, rejection: Rejection) -> None:
        self._refusals.rejected(rejection)

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        self._acceptor.accept(transaction, done)


def _client(remote: str) -> str:
    if ":" not in remote:
        return remote
    try:
        return str(ipaddress.ip_network((remote, 64), strict=False))
    except ValueError:
        return remote
