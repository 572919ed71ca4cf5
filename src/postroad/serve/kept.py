"""One child process that is kept running: started, watched, and started again when it falls."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

import structlog

from postroad.serve.backoff import Backoff
from postroad.serve.errors import StartError
from postroad.serve.frames import Failed, Name, Peer, Ready, Stop
from postroad.serve.link import Link

log = structlog.get_logger()

LONG = 2.0  # seconds of waiting after which others should take its connections


class Wish(Enum):
    RUN = "run"
    RESTART = "restart"  # end, and come again at once
    END = "end"


class Born(NamedTuple):
    process: subprocess.Popen[bytes]
    link: Link


class Kept:
    """spawn(name): make the process. changed(): it has come, is ready, or has gone. shut(name): it will be away for
    long. drained: seconds that an orderly end may take before it is killed. wall: Unix seconds."""

    def __init__(
        self,
        name: Name,
        *,
        spawn: Callable[[Name], Born],
        changed: Callable[[], None],
        gone: Callable[[Name], None],
        shut: Callable[[Name], None],
        drained: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.name = name
        self.link: Link | None = None
        self.first: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self._spawn = spawn
        self._changed = changed
        self._gone = gone
        self._shut = shut
        self._drained = drained
        self._wall = wall
        self._loop = asyncio.get_running_loop()
        self._backoff = Backoff()
        self._process: subprocess.Popen[bytes] | None = None
        self._wish = Wish.RUN
        self._wished = asyncio.Event()
        self._up = False
        self._failure = ""
        self._since = 0.0
        self._next_try = 0.0
        self._starts = 0
        self._task = self._loop.create_task(self._keep())

    @property
    def peer(self) -> Peer:
        pid = self._process.pid if self._process is not None else 0
        restarts = max(0, self._starts - 1)
        return Peer(self.name.kind, self.name.number, pid, self._since, restarts, self._up, self._next_try)

    def restart(self) -> None:
        """End it in order and start it again; at once when it is waiting to be."""
        if self._wish is Wish.RUN:
            self._want(Wish.RESTART)

    async def end(self) -> None:
        """End it in order, for good."""
        self._want(Wish.END)
        await self._task

    def _want(self, wish: Wish) -> None:
        self._wish = wish
        self._wished.set()

    async def _keep(self) -> None:
        while self._wish is not Wish.END:
            began = self._loop.time()
            code = await self._live()
            if self._wish is not Wish.RUN:
                if self._wish is Wish.RESTART:
                    self._wish = Wish.RUN
                    self._wished.clear()
                continue
            if not self.first.done():
                text = self._failure or f"{self.name} ended with {_cause(code)} before it served"
                self.first.set_exception(StartError(text))
                return
            await self._wait(code, self._backoff.fell(self._loop.time() - began))

    async def _live(self) -> int | None:
        """One life of the process. Returns its exit code, None when there could be none."""
        self._failure = ""
        try:
            born = self._spawn(self.name)
        except OSError as error:
            self._failure = f"it can't be started: {error}"
            return None
        self._process, self.link = born.process, born.link
        self._since, self._next_try = self._wall(), 0.0
        self._starts += 1
        born.link.on(Ready, self._ready)
        born.link.on(Failed, self._failed)
        self._changed()
        ended: asyncio.Future[None] = self._loop.create_future()
        # Readable when the process has ended: no thread, no SIGCHLD, the same with every event loop.
        handle = os.pidfd_open(born.process.pid)
        self._loop.add_reader(handle, lambda: None if ended.done() else ended.set_result(None))
        asking = self._loop.create_task(self._ask_to_end(born))
        try:
            await ended
        finally:
            asking.cancel()
            self._loop.remove_reader(handle)
            os.close(handle)
        code = born.process.wait()
        born.link.close()
        self._up, self._process, self.link = False, None, None
        self._gone(self.name)
        self._changed()
        return code

    async def _ask_to_end(self, born: Born) -> None:
        await self._wished.wait()
        born.link.send(Stop())
        await asyncio.sleep(self._drained())
        log.warning("killed", process=str(self.name), text="it did not end in time")
        born.process.kill()

    async def _wait(self, code: int | None, wait: float) -> None:
        self._next_try = self._wall() + wait
        text = self._failure or f"ended with {_cause(code)}"
        log.error("alarm", alarm="process_fell", process=str(self.name), text=text, next_try_in=round(wait, 1))
        if wait >= LONG:
            self._shut(self.name)
        self._changed()
        try:
            await asyncio.wait_for(self._wished.wait(), wait)
        except TimeoutError:
            return
        if self._wish is Wish.RESTART:
            self._wish = Wish.RUN
            self._wished.clear()

    def _ready(self, frame: Ready) -> None:
        self._up = True
        if not self.first.done():
            self.first.set_result(frame)
        self._changed()

    def _failed(self, frame: Failed) -> None:
        self._failure = frame.text


def _cause(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
