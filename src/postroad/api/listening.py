"""What every HTTP server of ours does alike: uvicorn's protocol on the running loop, an application behind it, an
orderly end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import uvicorn

from postroad.api.connection import Connection, Shared
from postroad.api.stamp import App, RequestIds, stamped
from postroad.net import Clock


class Listening:
    """connect: makes a protocol for each connection. servers: the listening sockets; whoever binds them adds them."""

    def __init__(
        self,
        app: App,
        clock: Clock,
        ids: RequestIds,
        *,
        max_connections: int,
        idle_time: float,
        request_time: float,
        max_discard: int,
    ) -> None:
        self.servers: list[asyncio.Server] = []
        whole = stamped(app, ids)

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            # close() cancels what is left of open requests; that is no error to be logged.
            with contextlib.suppress(asyncio.CancelledError):
                await whole(scope, receive, send)

        # Nothing of uvicorn's process management is used: no signals, no logging set-up, no timers of its own.
        self._config = uvicorn.Config(
            answer,
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=max(1, round(idle_time)),
        )
        self._shared = Shared(
            clock,
            ids,
            max_connections=max_connections,
            idle_time=idle_time,
            request_time=request_time,
            max_discard=max_discard,
        )

    def load(self) -> None:
        self._config.load()

    def connect(self) -> Connection:
        return Connection(self._config, self._shared, asyncio.get_running_loop())

    def stop_accepting(self) -> None:
        """Close the listening sockets. Open connections are served on."""
        for server in self.servers:
            server.close()

    async def drain(self, timeout: float) -> bool:
        """Close idle connections and let the others finish their request. False: some were left after `timeout` s."""
        for connection in list(self._shared.connections):
            connection.shutdown()
        empty = asyncio.ensure_future(self._shared.empty.wait())
        _, left = await asyncio.wait({empty, *self._shared.tasks}, timeout=timeout)
        empty.cancel()
        return not left

    async def close(self) -> None:
        """Cut all that is left."""
        self.stop_accepting()
        for connection in list(self._shared.connections):
            connection.transport.abort()
        for task in list(self._shared.tasks):
            task.cancel()
        await asyncio.gather(*self._shared.tasks, return_exceptions=True)
