"""The management API of the control process, on a local socket: engines pass on to it what clients ask.

Who may open the socket may do anything anyway (the folder is 0700), so what an engine says of the client is believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from postroad.api.callers import header
from postroad.api.handling import served
from postroad.api.listening import Listening
from postroad.api.local import PEER, short
from postroad.api.office import Office
from postroad.api.rates import Buckets
from postroad.api.route import Route
from postroad.api.stamp import RequestIds
from postroad.api.words import application

_MAX_CONNECTIONS = 4096  # all of our own engines
_IDLE = 600.0  # seconds; the engines watch the clients
_MAX_DISCARD = 64 << 20


class OfficeServer:
    """Start it, then close it. path: of the socket. Construct it inside the running event loop."""

    def __init__(self, office: Office, routes: Iterable[Route[Any, Any]], path: Path) -> None:
        def limit() -> tuple[float, int]:
            http = office.config().http
            return http.rate, http.rate_burst

        buckets = Buckets(asyncio.get_running_loop().time, limit)
        app = application(served(routes, office, buckets.admit))

        async def introduced(scope: Any, receive: Any, send: Any) -> None:
            peer = header(scope["headers"], PEER)
            scope["client"] = None if peer is None else (peer.decode("latin-1"), 0)
            await app(scope, receive, send)

        self._path = path
        self._listening = Listening(
            introduced,
            office.clock,
            RequestIds(),
            max_connections=_MAX_CONNECTIONS,
            idle_time=_IDLE,
            request_time=_IDLE,
            max_discard=_MAX_DISCARD,
        )

    async def start(self) -> None:
        """Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with short(self._path) as name:
            mask = os.umask(0o177)
            try:
                sock.bind(name)
            finally:
                os.umask(mask)
        self._listening.load()
        loop = asyncio.get_running_loop()
        self._listening.servers.append(await loop.create_unix_server(self._listening.connect, sock=sock))

    async def close(self, drain: float = 0.0) -> None:
        """drain: seconds that requests under way get."""
        self._listening.stop_accepting()
        if drain:
            await self._listening.drain(drain)
        await self._listening.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
