"""The supervisor: the process a user starts. It keeps the listening sockets and the children, and touches no mail.

It lives as long as the server does, so what must outlive single processes, and see their ends at once, lives in it as
a guest: what is lent to them, for example.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from postroad import __version__
from postroad.config import Generation
from postroad.net import SystemClock
from postroad.serve.doors import Doors
from postroad.serve.errors import StartError
from postroad.serve.frames import CONTROL, ENGINE, REHOME, Name, Peers, Ready, Reload, Restart, Start, Use, pack, unpack
from postroad.serve.homes import is_due
from postroad.serve.kept import Born, Kept
from postroad.serve.link import Link, pair
from postroad.serve.lock import DataLock

log = structlog.get_logger()

_SLACK = 30.0  # seconds beyond its own drain times that a process may take to end


class Guest(Protocol):
    """What lives in the supervisor."""

    def joined(self, name: Name, link: Link) -> None:
        """A process was started; register your callbacks on its link."""

    def left(self, name: Name) -> None:
        """That process is gone."""

    async def stop(self) -> None:
        """All processes are gone, and so will we be."""


class Supervisor:
    """lock: of the data folder. kinds: how many children of which kind. Construct it inside the running loop.
    Raises StartError when a listener can't be opened."""

    def __init__(
        self,
        generation: Generation,
        lock: DataLock,
        kinds: Sequence[tuple[str, int]],
        *,
        loop_name: str,
        guests: Sequence[Guest] = (),
    ) -> None:
        self._generation = generation
        self._lock = lock
        self._loop_name = loop_name
        self._guests = guests
        self._engines = generation.config.server.engines
        self._doors = Doors(self._engines)
        try:
            self._doors.open(generation.config)
        except (OSError, ValueError) as error:
            raise StartError(f"a listener can't be opened: {error}") from error
        self._clock = SystemClock()
        self._kinds = kinds
        self._children: dict[Name, Kept] = {}

    async def start(self) -> list[Ready]:
        """Returns when all children serve: what they said. Raises StartError; then none is left."""
        try:
            await self._put_in_order()
            for kind, count in self._kinds:
                for number in range(count):
                    self._begin(Name(kind, number))
            return list(await asyncio.gather(*(child.first for child in self._children.values())))
        except BaseException:
            await self.stop()
            raise

    async def _put_in_order(self) -> None:
        """Queued mail goes into the journals of its engines, where that is to be done."""
        try:
            if not is_due(self._generation.data_dir, self._engines):
                return
        except (OSError, ValueError) as error:
            raise StartError(f"the data folder {self._generation.data_dir} can't be used: {error}") from error
        child = self._begin(Name(REHOME))
        await child.first
        await child.end()
        del self._children[child.name]

    def _begin(self, name: Name) -> Kept:
        child = self._children[name] = Kept(
            name,
            spawn=self._spawn,
            changed=self._tell,
            gone=self._left,
            shut=self._shut,
            drained=lambda: 3 * self._generation.config.server.drain_time + _SLACK,
            patience=lambda: self._generation.config.server.stuck_after,
            wall=self._clock.wall,
        )
        return child

    async def stop(self) -> None:
        """Let all finish what they have begun. Control goes last: until then it can be asked how far they are."""
        self._doors.close()
        for kinds in ((ENGINE,), None):
            some = [child for name, child in self._children.items() if kinds is None or name.kind in kinds]
            await asyncio.gather(*(child.end() for child in some))
        for child in self._children.values():
            if child.first.done() and not child.first.cancelled():
                child.first.exception()  # it was told, or another one was
        for guest in self._guests:
            await guest.stop()

    def reload(self) -> None:
        """SIGHUP: whoever answers for all reads the configuration again."""
        name = Name(CONTROL) if Name(CONTROL) in self._children else Name(ENGINE)
        link = self._children[name].link
        if link is None:
            log.error("reload_failed", problem=f"{name} is not there; it will read the old configuration when it is")
        else:
            link.send(Reload())

    # --- for children -------------------------------------------------------------------------------------------------

    def _spawn(self, name: Name) -> Born:
        generation = self._generation
        start = Start(name.kind, name.number, self._engines, pack(generation))
        fds: list[int] = [self._lock.fd]
        if name.kind == ENGINE:
            listeners, http = self._doors.of(name.number, generation.config)
            https = self._doors.tls_of(name.number, generation.config)
            start = Start(name.kind, name.number, self._engines, pack(generation), listeners, http, https)
            fds += [fd for each in listeners for fd in each] + [*http, *https]
        ours, theirs = pair()
        with theirs:
            try:
                # -P: what lies in the folder we were started in is no module of ours.
                process = subprocess.Popen(
                    [
                        *(sys.executable, "-P", "-m", "postroad.serve.child"),
                        *(str(name), self._loop_name, str(theirs.fileno()), str(os.getpid())),
                    ],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[*fds, theirs.fileno()],
                )
            except OSError:
                ours.close()
                raise
        link = Link()
        link.on(Restart, self._restart)
        link.on(Use, self._use)
        if name.kind != REHOME:
            for guest in self._guests:
                guest.joined(name, link)
        link.begin(ours)
        link.send(start)
        return Born(process, link)

    def _left(self, name: Name) -> None:
        if name.kind != REHOME:
            for guest in self._guests:
                guest.left(name)

    def _shut(self, name: Name) -> None:
        if name.kind == ENGINE:
            self._doors.shut(name.number)

    def _tell(self) -> None:
        peers = Peers([child.peer for child in self._children.values()])
        for child in self._children.values():
            if child.link is not None:
                child.link.send(peers)

    def _restart(self, frame: Restart) -> None:
        child = self._children.get(Name(frame.kind, frame.number))
        if child is not None:
            child.restart()

    def _use(self, frame: Use) -> None:
        """Processes that are started from now on get this. What fixes the server as a whole stays as it is."""
        new = unpack(frame.generation)
        try:
            self._doors.open(new.config)
        except (OSError, ValueError) as error:
            log.error("alarm", alarm="reload", text=f"a listener can't be opened: {error}; the old ones stay")
            return
        self._generation = new


async def supervise(
    generation: Generation,
    loop_name: str,
    kinds: Sequence[tuple[str, int]],
    guests: Callable[[Generation], Sequence[Guest]],
) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    config, data_dir = generation.config, generation.data_dir
    lock = _take(data_dir)
    supervisor = Supervisor(generation, lock, kinds, loop_name=loop_name, guests=guests(generation))
    loop.add_signal_handler(signal.SIGHUP, supervisor.reload)
    starting = loop.create_task(supervisor.start())
    stopped = loop.create_task(stop.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        ready = starting.result()
        for warning in generation.warnings:
            log.warning("config", problem=str(warning))
        log.info(
            "serving",
            version=__version__,
            smtp=list(dict.fromkeys(address for each in ready for address in each.smtp)),
            http=next((each.http for each in ready if each.http), None),
            engines=config.server.engines,
            durability=config.server.durability,
            data_dir=str(data_dir),
        )
        await stop.wait()
    else:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    log.info("stopping")
    await supervisor.stop()
    lock.release()
    log.info("stopped")


def _take(data_dir: Path) -> DataLock:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return DataLock(data_dir)
    except OSError as error:
        raise StartError(f"the data folder {data_dir} can't be opened: {error}") from error
