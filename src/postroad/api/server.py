"""The HTTP server: a listening socket on the running event loop, uvicorn's protocol, our application."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from socket import socket
from typing import Any

from postroad.api.admin import Admin
from postroad.api.adminpaths import BASE as ADMIN
from postroad.api.app import CREATE, make_app
from postroad.api.body import Budget
from postroad.api.callers import NO_SUBACCOUNTS, Subaccounts
from postroad.api.listening import Listening
from postroad.api.rates import Buckets
from postroad.api.siblings import Siblings
from postroad.api.stamp import App, RequestIds
from postroad.api.tls import HttpsDoor
from postroad.api.transmissions import Injection
from postroad.auth import ApiKeys
from postroad.config.schema import HttpOptions
from postroad.inject.http import Nothing, Setting, Stock
from postroad.message import Acceptor, IdSource
from postroad.net import Clock
from postroad.queue.jobs import Jobs

_BACKLOG = 2048
_OURS = frozenset(("/health", "/ready", "/metrics"))
_MIN_DISCARD = 16 << 20  # octets; less than a client may have under way would cost it the reply


class HttpServer:
    """HTTP injection of one engine. Start it, then: stop_accepting, drain, close.

    rng makes MIME boundaries: SystemRandom in production, so that nobody can foresee one; a seeded Random in the
    simulation. keys may be replaced at any time. admin: the console, for the admin API and the metrics.
    siblings: the other engines, some of whose requests come to us.
    jobs: where transmissions to many are kept; without them they are generated before the answer.
    control: answers every request that is not ours; without one there are only ours.
    stock: what transmissions may name; None: nothing.
    """

    def __init__(
        self,
        options: HttpOptions,
        *,
        hostname: str,
        acceptor: Acceptor,
        clock: Clock,
        ids: IdSource,
        rng: random.Random,
        admin: Admin | None = None,
        control: App | None = None,
        subaccounts: Subaccounts = NO_SUBACCOUNTS,
        is_pool: Callable[[str], bool] = lambda name: False,
        jobs: Jobs | None = None,
        siblings: Siblings | None = None,
        stock: Stock | None = None,
    ) -> None:
        self.keys = ApiKeys(options.keys)
        self.processes: dict[str, str] = {}  # of the server, and how they are; may be replaced at any time
        self._options = options
        self._accepting = True
        setting = self.setting = Setting(
            *(hostname, ids, lambda: f"=_{rng.getrandbits(96):024x}", options.max_content, options.max_recipients),
            is_pool,
            options.schedule_ahead if jobs is not None else 0.0,
            Nothing() if stock is None else stock,
        )
        self._budget = Budget(options.max_in_flight)
        injection = Injection(acceptor, clock, setting, options.max_body, self._budget, jobs, options.job_above)
        buckets = Buckets(
            lambda: asyncio.get_running_loop().time(), lambda: (options.transmission_rate, options.rate_burst)
        )
        app = make_app(
            injection,
            lambda: self.keys,
            lambda: self._accepting,
            admin,
            lambda: self.processes,
            subaccounts,
            buckets.admit,
        )

        self._clock = clock
        self._app: App = app
        self._siblings = siblings
        own = app if siblings is None else siblings.by_key(app)
        self._listening = Listening(
            own if control is None else shared_out(own, control),
            clock,
            RequestIds(rng),
            max_connections=options.max_connections,
            idle_time=options.idle_time,
            request_time=options.request_time,
            max_discard=max(4 * options.max_body, _MIN_DISCARD),
        )
        self._servers = self._listening.servers
        self._tls = HttpsDoor(options) if options.tls_address else None

    async def start(
        self, *, reuse_port: bool = False, sockets: Sequence[socket] = (), tls_sockets: Sequence[socket] = ()
    ) -> None:
        """Listen; on these sockets, where others have bound them for us. Raises OSError when the address can't be had,
        ValueError when it is none."""
        self._listening.load()
        if self._siblings is not None:
            await self._siblings.start(self._app, self._clock)
        await self._listen(self._options.address, sockets, None, reuse_port)
        if self._tls is not None:
            await self._listen(self._options.tls_address, tls_sockets, self._tls.context, reuse_port)

    async def _listen(
        self, address: str, sockets: Sequence[socket], context: ssl.SSLContext | None, reuse_port: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        connect = self._listening.connect
        for sock in sockets:
            self._servers.append(await loop.create_server(connect, sock=sock, backlog=_BACKLOG, ssl=context))
        if sockets:
            return
        host, port = _split(address)
        if reuse_port:
            server = await loop.create_server(connect, host, port, backlog=_BACKLOG, ssl=context, reuse_port=True)
        else:
            server = await loop.create_server(connect, host, port, backlog=_BACKLOG, ssl=context)
        self._servers.append(server)

    def reload_certificates(self) -> None:
        """Read their files again."""
        if self._tls is not None:
            self._tls.reload()

    @property
    def address(self) -> str:
        """HOST:PORT that we listen on."""
        return self._bound(0)

    @property
    def tls_address(self) -> str:
        """The same for TLS."""
        return self._bound(-1)

    def _bound(self, which: int) -> str:
        bound = [sock for server in self._servers for sock in server.sockets]
        if not bound:
            raise RuntimeError("the server does not listen")
        host, port = bound[which].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def memory_of_bodies(self) -> int:
        """Octets of request bodies held now."""
        return self._budget.taken

    def stop_accepting(self) -> None:
        """Close the listening socket. Open connections are served on."""
        self._accepting = False
        self._listening.stop_accepting()

    async def drain(self, timeout: float) -> bool:
        """Close idle connections and let the others finish their request. False: some were left after `timeout` s."""
        if self._siblings is not None:
            await self._siblings.close(timeout)
        return await self._listening.drain(timeout)

    async def close(self) -> None:
        """Cut all that is left."""
        self._accepting = False
        await self._listening.close()


def shared_out(own: App, control: App) -> App:
    """Requests for what engines do themselves to `own`, all others to control."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path.rstrip("/") not in CREATE:
            await (own if _is_ours(path) else control)(scope, receive, send)
        elif scope["method"] == "POST":
            await own(scope, receive, send)
        else:
            await control(scope, receive, _allowing_post(send))

    return answer


def _allowing_post(send: Any) -> Any:
    """Control does not know that a POST is possible, too: it never gets one."""

    async def told(event: Any) -> None:
        if event["type"] == "http.response.start":
            event["headers"] = [
                (name, value + b", POST" if name == b"allow" else value) for name, value in event["headers"]
            ]
        await send(event)

    return told


def _is_ours(path: str) -> bool:
    return path.rstrip("/") in _OURS or path.startswith(f"{ADMIN}/")


def _split(address: str) -> tuple[str, int]:
    """HOST:PORT or [IPv6]:PORT."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"http.address {address!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
