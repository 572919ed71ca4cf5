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
from postroad.serve.frames import Failed, Name, Peer, Ping, Pong, Ready, Stop
from postroad.serve.link import Link

log = structlog.get_logger()

LONG = 2.0  # seconds of waiting after which others should take its connections
_LOOK_EVERY = 5.0  # seconds between two questions whether it is at work
_LEAST = 2.0  # seconds of patience; with less a busy machine would be taken for stuck processes
_SILENT = 2  # questions in a row without an answer: it is stuck


class Wish(Enum):
    RUN = "run"
    RESTART = "restart"  # end, and come again at once
    END = "end"


class Born(NamedTuple):
    process: subprocess.Popen[bytes]
    link: Link


class Kept:
    """spawn(name): make the process. changed(): it has come, is ready, or has gone. shut(name): it will be away for
    long. drained: seconds that an orderly end may take before it is killed. patience: seconds without a sign of life
    after which it is killed, 0: never. wall: Unix seconds."""

    def __init__(
        self,
        name: Name,
        *,
        spawn: Callable[[Name], Born],
        changed: Callable[[], None],
        gone: Callable[[Name], None],
        shut: Callable[[Name], None],
        drained: Callable[[], float],
        patience: Callable[[], float],
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
        self._patience = patience
        self._wall = wall
        self._loop = asyncio.get_running_loop()
        self._backoff = Backoff()
        self._process: subprocess.Popen[bytes] | None = None
        self._wish = Wish.RUN
        self._wished = asyncio.Event()
        self._up = False
        self._unanswered = 0  # questions whether it is at work
        self._failure = ""
        self._since = 0.0
        self._next_try = 0.0
        self._starts = 0
        self._task = self._loop.create_task(self._keep())

    @property
    def peer(self) -> Peer:
        pid = self._process.pid if self._process is not None else 0
        restarts = max(0, self._starts - 1)
        up, stuck = self._up and not self._stuck, self._up and self._stuck
        return Peer(self.name.kind, self.name.number, pid, self._since, restarts, up, self._next_try, stuck)

    @property
    def _stuck(self) -> bool:
        return self._unanswered >= _SILENT

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
        except (OSError, ValueError) as error:
            self._failure = f"it can't be started: {error}"
            return None
        try:
            # Readable when the process has ended: no thread, no SIGCHLD, the same with every event loop.
            handle = os.pidfd_open(born.process.pid)
        except OSError as error:
            self._failure = f"it can't be watched: {error}"
            born.process.kill()
            born.process.wait()
            born.link.close()
            self._gone(self.name)
            return None
        self._process, self.link = born.process, born.link
        self._since, self._next_try = self._wall(), 0.0
        self._starts += 1
        self._unanswered = 0
        born.link.on(Ready, self._ready)
        born.link.on(Failed, self._failed)
        born.link.on(Pong, self._pong)
        self._changed()
        ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(handle, lambda: None if ended.done() else ended.set_result(None))
        asking = self._loop.create_task(self._ask_to_end(born))
        looking = self._loop.create_task(self._look(born))
        try:
            await ended
        finally:
            asking.cancel()
            looking.cancel()
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

    async def _look(self, born: Born) -> None:
        """Is it at work? Counted in questions, not in time: a machine that slept is no reason to kill anybody. What is
        not ready yet, or is to end, may be busy for long."""
        while True:
            patience = self._patience()
            patience = patience and max(patience, _LEAST)
            every = min(_LOOK_EVERY, patience / 4) if patience else _LOOK_EVERY
            await asyncio.sleep(every)
            if not self._up or self._wish is not Wish.RUN:
                self._unanswered = 0
                continue
            if self._unanswered == _SILENT:
                text = "it does not answer" + (f"; it is killed after {patience:.0f} s of this" if patience else "")
                log.error("alarm", alarm="process_stuck", process=str(self.name), text=text)
                self._changed()
            if patience and self._unanswered * every >= patience:
                self._failure = f"killed: it was stuck for {patience:.0f} s"
                born.process.kill()
                return
            self._unanswered += 1
            born.link.send(Ping())

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

    def _pong(self, frame: Pong) -> None:
        was, self._unanswered = self._stuck, 0
        if was:
            log.info("answers_again", process=str(self.name))
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
