"""An asyncio event loop whose time is a number. When nothing is ready it jumps to the next timer, so hours of waiting
cost nothing, and the same seed gives the same run.

It relies on the part of BaseEventLoop that selector loops rely on: `_run_once` asks `self._selector.select(timeout)`
for events, and here that call moves the time.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from postroad.lab.sim.process import OWNER, Process, give_up
from postroad.lab.sim.trace import Trace

if TYPE_CHECKING:
    from postroad.lab.sim.net import SimNet
    from postroad.lab.sim.transport import SimTransport

T = TypeVar("T")
ProtocolFactory = Callable[[], asyncio.BaseProtocol]

_TURN = 1e-6  # seconds an iteration takes: without them, code that rounds a deadline down would wait for it for ever
START = 1000.0  # not 0: code that takes a time of 0 for "never" must not pass by luck
_EXECUTOR_LATENCY = (0.00005, 0.005)


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set, yet the scenario isn't over."""


class RunAway(RuntimeError):
    """The scenario went on for longer than allowed: a busy loop, or a wait that never ends."""


class _Jump:
    """In the place of a selector: waiting means moving the time."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        self._loop.turn(timeout)
        return []


class SimLoop(asyncio.BaseEventLoop):
    """rng: for the latency of executor calls. max_turns, max_time: bounds of a run (loop iterations, seconds)."""

    net: SimNet  # set by SimNet
    _ready: Any
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, rng: Random, *, max_turns: int = 2_000_000, max_time: float = 60 * 86400.0) -> None:
        super().__init__()
        self._now = START
        self._frozen = 0.0
        self._end = START + max_time
        self._turns_left = max_turns
        self._rng = rng
        self._executor_free = START
        self._clock_resolution = 1e-9
        self._selector = _Jump(self)
        self.trace = Trace(self.time)
        self.neutral = copy_context()  # belongs to no process: for what the world itself does
        self.neutral.run(OWNER.set, None)

    # --- time ---------------------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def turn(self, timeout: float | None) -> None:
        """One iteration begins. timeout: 0 when something is ready, None when there is no timer either."""
        self._turns_left -= 1
        self._now += _TURN
        if self._turns_left < 0:
            raise RunAway(f"too many loop iterations by {self._now:.3f}: is something spinning?")
        if timeout == 0:
            return
        if timeout is None:
            waiting = sorted(task.get_name() for task in asyncio.all_tasks(self))
            raise Deadlock(f"nothing left to happen at {self._now:.3f}, but these tasks wait: {', '.join(waiting)}")
        self._now = max(self._now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        if self._now > self._end:
            raise RunAway(f"the scenario isn't over at {self._now:.0f} simulated seconds")

    def freeze(self, seconds: float) -> None:
        """The whole machine stood still (suspended, swapping): time has passed, and every timer due is late."""
        self._now += seconds
        self._frozen += seconds

    def awake(self) -> float:
        """Seconds as a running machine counts them: without those it stood still."""
        return self._now - self._frozen

    def _process_events(self, event_list: object) -> None:
        """There are none: the network speaks through timers."""

    def _write_to_self(self) -> None:
        """Nobody waits in a system call, so nobody needs waking."""

    # --- callbacks, and who owns them ---------------------------------------------------------------------------------

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        owner = OWNER.get() if context is None else context.get(OWNER)
        handle = events.Handle(callback, args, self, context)
        if owner is not None and not owner.alive:
            handle.cancel()  # a result came back for a process that has died meanwhile
        else:
            self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is not None and not owner.alive:
            handle = events.TimerHandle(when, callback, args, self, context)
            handle.cancel()
            return handle
        return super().call_at(when, callback, *args, context=context)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        task = super().create_task(coro, name=name, context=context)
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is not None and owner.alive:
            owner.adopt(task)
        elif owner is not None:
            give_up(task)  # the last words of a dead process
            coro.close()
        return task

    def drop_callbacks(self, owner: Process) -> None:
        for handle in [*self._ready, *self._scheduled]:
            if handle._context.get(OWNER) is owner:
                handle.cancel()

    def timers_of(self, owner: Process) -> list[str]:
        # What a thread brings to somebody who has left is nothing that the engine left open.
        live = (
            h
            for h in self._scheduled
            if not h.cancelled() and not (h._callback in (_settle, _fail) and h._args[0].done())  # type: ignore[attr-defined]
        )
        return [
            f"in {h._when - self._now:.3f} s: {h._callback!r}"  # type: ignore[attr-defined]
            for h in live
            if h._context.get(OWNER) is owner  # type: ignore[attr-defined]
        ]

    def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        owner = OWNER.get()
        if owner is None or owner.alive:
            super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]

    # --- blocking work ------------------------------------------------------------------------------------------------

    def run_in_executor(self, executor: object, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """The function runs on the loop, a while later, and its result comes another while later: between the two, as
        with a thread, anything can happen. Calls overtake each other in the default executor; a given one is taken to
        be a single thread, which runs them in their order."""
        future: asyncio.Future[T] = self.create_future()
        start = self._now + self._rng.uniform(*_EXECUTOR_LATENCY)
        if executor is not None:
            start = self._executor_free = max(start, self._executor_free)
        self.call_at(start, self._execute, future, func, args)
        return future

    def _execute(self, future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
        if future.cancelled():
            return
        delay = self._rng.uniform(*_EXECUTOR_LATENCY)
        try:
            result = func(*args)
        except Exception as error:
            self.call_later(delay, _fail, future, error)
        else:
            self.call_later(delay, _settle, future, result)

    # --- the network --------------------------------------------------------------------------------------------------

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: ProtocolFactory,
        host: str,
        port: int,
        *,
        local_addr: tuple[str, int] | None = None,
        **unused: object,
    ) -> tuple[SimTransport, asyncio.BaseProtocol]:
        _only_plain(unused)
        return await self.net.connect(protocol_factory, host, port, local_addr)

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: ProtocolFactory,
        host: str | list[str] | None = None,
        port: int = 0,
        *,
        start_serving: bool = True,
        reuse_port: bool | None = None,
        **unused: object,
    ) -> asyncio.AbstractServer:
        _only_plain(unused)
        hosts: list[str | None] = [host] if host is None or isinstance(host, str) else [*host]
        server = self.net.listen(protocol_factory, hosts, port, reuse_port=bool(reuse_port))
        if start_serving:
            await server.start_serving()
        return server

    async def create_unix_connection(  # type: ignore[override]
        self, protocol_factory: ProtocolFactory, path: str, **unused: object
    ) -> tuple[SimTransport, asyncio.BaseProtocol]:
        _only_plain(unused)
        return await self.net.connect(protocol_factory, f"unix:{path}", 0, None)

    async def create_unix_server(  # type: ignore[override]
        self, protocol_factory: ProtocolFactory, path: str, *, start_serving: bool = True, **unused: object
    ) -> asyncio.AbstractServer:
        _only_plain(unused)
        server = self.net.listen(protocol_factory, [f"unix:{path}"], 0, reuse_port=False)
        if start_serving:
            await server.start_serving()
        return server


_HARMLESS = {"backlog", "family", "flags", "proto", "reuse_address", "happy_eyeballs_delay", "interleave"}


def _only_plain(options: dict[str, object]) -> None:
    for name, value in options.items():
        if value is not None and name not in _HARMLESS:
            raise NotImplementedError(f"the simulated network has no {name}=; use start_tls for TLS")


def _settle(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
