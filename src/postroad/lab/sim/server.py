"""The listening side of the simulated network."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, NamedTuple

from postroad.lab.sim.pipe import Pipe
from postroad.lab.sim.process import Process
from postroad.lab.sim.transport import SimTransport

if TYPE_CHECKING:
    from postroad.lab.sim.loop import ProtocolFactory
    from postroad.lab.sim.net import SimNet


class BoundName:
    """What `server.sockets` holds: enough of a socket to ask for its address."""

    def __init__(self, name: tuple[str, int]) -> None:
        self._name = name
        self.family = socket.AF_INET6 if ":" in name[0] else socket.AF_INET

    def getsockname(self) -> tuple[object, ...]:
        return (*self._name, 0, 0) if self.family == socket.AF_INET6 else self._name


class Listener(NamedTuple):
    server: SimServer
    reuse_port: bool


class SimServer(asyncio.AbstractServer):
    """One `create_server`: names are its (address, port) pairs. `wait_closed` waits for the connections as well, as
    Python 3.12 does and 3.11 does not: code that relies on either breaks on the other."""

    def __init__(
        self, net: SimNet, factory: ProtocolFactory, owner: Process | None, names: list[tuple[str, int]]
    ) -> None:
        self.names = names
        self._net = net
        self._factory = factory
        self._owner = owner
        self._context = copy_context()
        self._serving = False
        self._open = True
        self._connections = 0
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def sockets(self) -> tuple[BoundName, ...]:
        return tuple(BoundName(name) for name in self.names) if self._open else ()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._net.loop

    def is_serving(self) -> bool:
        return self._serving

    async def start_serving(self) -> None:
        self._serving = True

    async def serve_forever(self) -> None:
        self._serving = True
        try:
            await self._net.loop.create_future()
        finally:
            self.close()

    def close(self) -> None:
        if self._open:
            self._open = self._serving = False
            self._net.forget(self)
            if self._owner is not None:
                self._owner.sockets.pop(self, None)
            self._wake()

    async def wait_closed(self) -> None:
        if self._open or self._connections:
            waiter = self._net.loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def kill(self) -> None:
        """The owner died."""
        self._open = self._serving = False
        self._net.forget(self)

    def accept(
        self, pipes: tuple[Pipe, Pipe], names: tuple[tuple[object, ...], tuple[object, ...]], closed: Callable[[], None]
    ) -> None:
        """A connection has come: pipes are (out, in), names are (ours, the peer's)."""

        def gone() -> None:
            closed()
            self._connections -= 1
            self._wake()

        self._connections += 1
        context = self._context.copy()
        transport = SimTransport(self._net.loop, self._owner, context, pipes, names, gone)
        transport.made(context.run(self._factory))

    def _wake(self) -> None:
        if not self._open and not self._connections:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()
