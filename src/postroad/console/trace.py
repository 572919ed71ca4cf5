"""Live traces of SMTP dialogues for operators."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from postroad.console.dialogue import Dialogue
from postroad.console.parts import ConsoleError
from postroad.net import Tap

_BEHIND = 10_000  # lines that a listener who is too slow may lag; more are dropped, and counted
_MOST = 10  # traces at once
_SESSIONS = 10_000  # dialogues followed at once


class _Listener:
    def __init__(
        self, domain: str, network: IPv4Network | IPv6Network | None, goes_by: Callable[[str, str], bool]
    ) -> None:
        self.domain = domain
        self.goes_by = goes_by
        self.network = network
        self.lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_BEHIND)
        self.lost = 0

    def wants(self, domain: str, peer: str) -> bool:
        if self.domain and not self.goes_by(self.domain, domain):
            return False
        if self.network is None:
            return True
        try:
            return ipaddress.ip_address(peer) in self.network
        except ValueError:
            return False

    def put(self, line: dict[str, Any]) -> None:
        if self.lines.full():
            self.lost += 1
        else:
            self.lines.put_nowait(line)


def network_of(peer: str) -> IPv4Network | IPv6Network | None:
    """None for "". Raises ConsoleError."""
    try:
        return ipaddress.ip_network(peer, strict=False) if peer else None
    except ValueError as error:
        raise ConsoleError(f"peer: {error}") from None


class Tracer:
    """Implements Tap. install(tap): called with itself when somebody begins to listen, with None when nobody does."""

    def __init__(self, wall: Callable[[], float], install: Callable[[Tap | None], None]) -> None:
        self._wall = wall
        self._install = install
        self._listeners: list[_Listener] = []
        self._dialogues: dict[object, tuple[Dialogue, list[_Listener]]] = {}

    async def trace(
        self, domain: str, peer: str, seconds: float, goes_by: Callable[[str, str], bool] = str.__eq__
    ) -> AsyncIterator[dict[str, Any]]:
        """Lines as they pass, for so many seconds. goes_by(domain, path): does that path's session carry the domain's
        mail? Raises ConsoleError."""
        network = network_of(peer)
        if len(self._listeners) >= _MOST:
            raise ConsoleError(f"{_MOST} traces are running already")
        listener = _Listener(domain, network, goes_by)
        if not self._listeners:
            self._install(self)
        self._listeners.append(listener)
        self._dialogues.clear()  # who sees which session is found out anew
        return self._lines(listener, seconds)

    async def _lines(self, listener: _Listener, seconds: float) -> AsyncIterator[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        try:
            while (left := end - loop.time()) > 0:
                try:
                    yield await asyncio.wait_for(listener.lines.get(), left)
                except TimeoutError:
                    return
                if listener.lost:
                    yield {"time": self._wall(), "line": f"({listener.lost} lines were lost: the listener is too slow)"}
                    listener.lost = 0
        finally:
            self._listeners.remove(listener)
            self._dialogues.clear()
            if not self._listeners:
                self._install(None)

    def passed(self, connection: object, domain: str, peer: str, from_client: bool, data: bytes | memoryview) -> None:
        found = self._dialogues.get(connection)
        if found is None:
            wanted = [listener for listener in self._listeners if listener.wants(domain, peer)]
            if len(self._dialogues) >= _SESSIONS:
                return
            # A server speaks first, so what begins with a greeting is seen from its first octet on.
            whole = not from_client and bytes(data[:3]) == b"220"
            found = self._dialogues[connection] = (Dialogue(whole=whole), wanted)
        dialogue, listeners = found
        if not listeners:
            return
        lines = dialogue.client(bytes(data)) if from_client else dialogue.server(bytes(data))
        for line in lines:
            told = {"time": self._wall(), "direction": "out" if domain else "in", "peer": peer, "line": line}
            if domain:
                told["domain"] = domain
            for listener in listeners:
                listener.put(told)

    def over(self, connection: object) -> None:
        found = self._dialogues.pop(connection, None)
        if found is not None:
            for listener in found[1]:
                listener.put({"time": self._wall(), "line": "(the session is over)"})
