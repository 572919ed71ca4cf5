"""A simulated operating-system process: the owner of tasks, timers and sockets, which can die at any moment.

Ownership travels in a context variable. asyncio copies the context into every task, timer and callback, so whatever is
started inside a process belongs to it, however deep, and `kill` finds all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
import weakref
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from postroad.lab.sim.loop import SimLoop

T = TypeVar("T")

OWNER: ContextVar[Process | None] = ContextVar("postroad_sim_owner", default=None)


class ProcessKilled(BaseException):
    """Raised inside a process that dies in the middle of a call (a disk operation, say). Not an Exception, so that no
    `except Exception` of the dying code goes on as if something had merely failed."""


class ProcessDied(Exception):
    """What somebody outside learns who waits for the work of a process that was killed."""


class Socket(Protocol):
    """A transport or a listener, as its process sees it."""

    def kill(self) -> None:
        """The process is gone: say so to the other end, call nothing of the owner's any more."""


class Process:
    """name: for the trace. addresses: the IP addresses of the machine it runs on, the first of each family being the
    source of its connections."""

    def __init__(self, loop: SimLoop, name: str, addresses: list[str]) -> None:
        self.loop = loop
        self.name = name
        self.addresses = addresses
        self.alive = True
        self.sockets: dict[Socket, str] = {}  # a dict, not a set: the order must not depend on memory addresses
        self._tasks: list[weakref.ref[asyncio.Task[Any]]] = []
        self._prune_at = 64
        self._end: asyncio.Future[None] = loop.create_future()
        self._context = copy_context()
        self._context.run(OWNER.set, self)

    def __str__(self) -> str:
        return self.name

    def context(self) -> Context:
        return self._context.copy()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run the coroutine as a task of this process."""
        if not self.alive:
            coroutine.close()
            raise RuntimeError(f"process {self.name} is dead")
        return self.loop.create_task(coroutine, context=self.context())

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine inside this process and wait for it. Raises ProcessDied when the process dies first."""
        task = self.start(coroutine)
        futures: list[asyncio.Future[Any]] = [task, self._end]
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ProcessDied(f"{self.name} died")
        return task.result()

    async def died(self, within: float) -> bool:
        """Wait for its death, that many seconds at the most."""
        await asyncio.wait([self._end], timeout=within)
        return not self.alive

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Call a plain function now, inside this process."""
        return self.context().run(function, *args)

    def adopt(self, task: asyncio.Task[Any]) -> None:
        self._tasks.append(weakref.ref(task))
        if len(self._tasks) > self._prune_at:
            self._tasks = [ref for ref in self._tasks if _matters(ref())]
            self._prune_at = 2 * len(self._tasks) + 64

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Those not done, oldest first."""
        found = (ref() for ref in self._tasks)
        return [task for task in found if task is not None and not task.done()]

    def kill(self) -> None:
        """Die now, as by SIGKILL: no callback, timer or task of the process ever runs again, and its sockets close.

        Python runs `finally` blocks when it disposes of a suspended coroutine. That is done here, at once, when the
        process can no longer reach anything: its timers are dropped, its transports dead, its disk refuses.
        """
        if not self.alive:
            return
        self.alive = False
        self._end.set_result(None)
        self.loop.drop_callbacks(self)
        for socket in list(self.sockets):
            socket.kill()
        self.sockets.clear()
        logged = logging.root.manager.disable
        logging.disable(logging.CRITICAL)  # its last words are about being closed
        for task in self.tasks():
            give_up(task)
            coroutine: Any = task.get_coro()
            with contextlib.suppress(BaseException):  # ValueError: it is the running one; anything: its last words
                self.context().run(coroutine.close)
        logging.disable(logged)
        self._tasks.clear()

    def unnoticed(self) -> list[str]:
        """Tasks that failed without anybody asking for their result."""
        found = [task for ref in self._tasks if (task := ref()) is not None and task.done() and _matters(task)]
        failures = []
        for task in found:
            error = task.exception()
            if error is not None and not isinstance(error, ProcessKilled):
                lines = traceback.format_exception(error)
                failures.append(f"task {task.get_name()} failed unnoticed: {''.join(lines)}")
        return failures

    def leftovers(self) -> list[str]:
        """What a process that says it has stopped still holds: each an unclosed resource."""
        tasks = [f"task {task.get_name()} {task.get_coro()!r}" for task in self.tasks()]
        sockets = [f"socket {text}" for text in self.sockets.values()]
        timers = [f"timer {text}" for text in self.loop.timers_of(self)]
        return tasks + sockets + timers


def give_up(task: asyncio.Task[Any]) -> None:
    """This task will never be done, on purpose: asyncio must neither wait for it nor complain."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    asyncio._unregister_task(task)


def _matters(task: asyncio.Task[Any] | None) -> bool:
    """It is still running, or it failed and nobody has looked (asyncio would complain when it is collected)."""
    return task is not None and (not task.done() or task._log_traceback)
