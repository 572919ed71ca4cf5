"""One engine a key: requests with an Idempotency-Key are served by the engine that the key belongs to, whichever engine
the client's connection came to. So two that race meet in one place, and the record of the key is where it is sought.

They are passed on over a local socket of that engine. Who may open it may do anything anyway (the folder is 0700), so
what it says of the client is believed. While that engine is away, they are refused for now: another engine can't know
whether the key was used.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Any

from postroad.api.callers import header
from postroad.api.listening import Listening
from postroad.api.local import PEER, short
from postroad.api.passing import Passing
from postroad.api.stamp import App, RequestIds
from postroad.net import Clock
from postroad.queue.jobs import owner_of_key

_KEY = b"idempotency-key"
_MAX_CONNECTIONS = 4096
_IDLE = 600.0  # seconds; the engine at the other end watches the client
_MAX_DISCARD = 64 << 20
_AWAY = "the engine that knows this Idempotency-Key does not answer just now; ask again in some seconds"
_UNCLEAR = "the engine that knows this Idempotency-Key went away meanwhile; send the request again with the same key"


class Siblings:
    """folder: where the local sockets lie. number: this engine, one of so many."""

    def __init__(self, folder: Path, number: int, engines: int) -> None:
        self._path = folder / _socket_name(number)
        self._number = number
        self._engines = engines
        self._others = [Passing(folder / _socket_name(each), words=(_AWAY, _UNCLEAR)) for each in range(engines)]
        self._listening: Listening | None = None

    def owner(self, key: bytes) -> int:
        return owner_of_key(key, self._engines)

    def by_key(self, own: App) -> App:
        """own: our POST /transmissions. Requests whose key is another engine's go there."""

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            key = header(scope["headers"], _KEY)
            owner = self._number if key is None else self.owner(key)
            await (own if owner == self._number else self._others[owner])(scope, receive, send)

        return answer

    async def start(self, own: App, clock: Clock) -> None:
        """Serve what the others pass on. Raises OSError."""

        async def introduced(scope: Any, receive: Any, send: Any) -> None:
            peer = header(scope["headers"], PEER)
            scope["client"] = None if peer is None else (peer.decode("latin-1"), 0)
            await own(scope, receive, send)

        listening = self._listening = Listening(
            introduced,
            clock,
            RequestIds(),
            max_connections=_MAX_CONNECTIONS,
            idle_time=_IDLE,
            request_time=_IDLE,
            max_discard=_MAX_DISCARD,
        )
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with short(self._path) as name:
            mask = os.umask(0o177)
            try:
                sock.bind(name)
            finally:
                os.umask(mask)
        listening.load()
        listening.servers.append(await asyncio.get_running_loop().create_unix_server(listening.connect, sock=sock))

    async def close(self, drain: float) -> None:
        """drain: seconds that requests under way get."""
        if self._listening is None:
            return
        self._listening.stop_accepting()
        await self._listening.drain(drain)
        await self._listening.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


def _socket_name(number: int) -> str:
    return f"engine-http-{number}.sock"
