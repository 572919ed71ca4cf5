"""The control process: what an operator asks, over the local socket and over HTTP, is answered here for all engines.
Mail flows while it is down."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from typing import Any

import structlog
from msgspec import structs

from postroad.config import Generation
from postroad.console import ConsoleError, EngineAway, HoldsError, JointConsole, Process
from postroad.net import SystemClock
from postroad.serve.control import Answer, ControlServer
from postroad.serve.engine_process import NO_ROOM, engine_socket, generation_file, run_folder
from postroad.serve.errors import StartError
from postroad.serve.frames import (
    ENGINE,
    Count,
    Counted,
    Name,
    Peer,
    Peers,
    Ready,
    Reload,
    Restart,
    Start,
    Use,
    pack,
    unpack,
)
from postroad.serve.keyring import Keyring
from postroad.serve.line import CONTROL_HTTP, SocketLine
from postroad.serve.link import Link
from postroad.serve.office import OfficeKeeper
from postroad.serve.reload import Generations, Reloaded
from postroad.serve.suppressing import SuppressionDesk
from postroad.serve.transmissions import JointDesk

log = structlog.get_logger()

_AGAIN = 0.2  # seconds until an engine that did not answer yet is asked again
_COMING = 300.0  # seconds a restarted engine may take until it serves, and its journal is loaded


class Peerage:
    """All processes of the server, as the supervisor told last."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self._news = asyncio.Event()

    def tell(self, peers: list[Peer]) -> None:
        self.peers = peers
        self._news.set()
        self._news = asyncio.Event()

    def of(self, kind: str, number: int) -> Peer | None:
        return next((peer for peer in self.peers if (peer.kind, peer.number) == (kind, number)), None)

    def processes(self) -> Iterator[Process]:
        for peer in self.peers:
            name = str(Name(peer.kind, peer.number))
            yield Process(name, peer.pid, peer.since, peer.restarts, peer.up, peer.next_try, peer.stuck)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._news.wait()


class Control:
    """What control does beside answering: configurations, and engines that come and go."""

    def __init__(self, start: Start, link: Link) -> None:
        generation = unpack(start.generation)
        self._data_dir = generation.data_dir
        self._folder = run_folder(self._data_dir)
        self._link = link
        self._engines = range(start.engines)
        self._met: dict[int, int] = {}  # pid that each engine had when it was told what counts
        self._tasks: set[asyncio.Task[Any]] = set()
        self._counting: deque[asyncio.Future[Counted]] = deque()
        self.peerage = Peerage()
        self.console = JointConsole(
            {number: SocketLine(self._folder, engine_socket(number)) for number in self._engines},
            self._data_dir,
            wall=SystemClock().wall,
            processes=self.peerage.processes,
        )
        self.generations = Generations(generation, self._apply)
        link.on(Peers, self._peers)
        link.on(Counted, self._counted)
        link.on(Reload, lambda frame: self._soon(self._reload()))

    def answers(self) -> dict[str, Answer]:
        return {
            "status": self.console.status,
            "queues": self.console.queues,
            "reload": self._reload_asked,
            "rollback": self.generations.rollback,
            "metrics": self.console.metrics,
            "lent": self._lent,
        }

    async def _lent(self) -> object:
        """What counts for the limits of all engines."""
        if len(self._engines) == 1:  # nothing is lent
            told = await self.console.ask("lent", {0: {}}, "", patient=False)
            return told.answers.get(0)
        answer: asyncio.Future[Counted] = asyncio.get_running_loop().create_future()
        self._counting.append(answer)
        self._link.send(Count())
        return structs.asdict(await answer)

    def _counted(self, frame: Counted) -> None:
        answer = self._counting.popleft()
        if not answer.done():
            answer.set_result(frame)

    def _soon(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- engines ------------------------------------------------------------------------------------------------------

    def _peers(self, frame: Peers) -> None:
        self.peerage.tell(frame.peers)
        for peer in frame.peers:
            if peer.kind == ENGINE and peer.up and self._met.get(peer.number) != peer.pid:
                self._met[peer.number] = peer.pid
                self._soon(self._meet(peer.number, peer.pid))

    async def _meet(self, number: int, pid: int) -> None:
        """An engine may have been started just before something else came to count."""
        while self._met.get(number) == pid:
            try:
                await self.console.met(number)
                told = await self.console.ask("generation", {number: {}}, "", patient=False)
                if told.answers and told.answers[number] != self.generations.current.number:
                    await self._give(self.generations.current, [number])
                if not told.missing:
                    return
            except (EngineAway, ConsoleError, ValueError):
                pass
            await asyncio.sleep(_AGAIN)

    # --- configurations -----------------------------------------------------------------------------------------------

    async def _apply(self, new: Generation) -> None:
        """In two steps: all prepare, then all swap. What is started from now on gets it from the supervisor."""
        reached = await self._give(new, list(self._engines))
        self._link.send(Use(pack(new)))
        for peer in self.peerage.peers:
            if peer.kind == ENGINE and peer.up and peer.number not in reached:
                self._soon(self._meet(peer.number, peer.pid))  # it came up meanwhile, with what counted before

    async def _give(self, new: Generation, engines: list[int]) -> Collection[int]:
        """Raises ValueError when an engine that answers can't take it; then none does. One that is away gets it when it
        is back. Returns those that have it."""
        path = self._folder / generation_file(new.number)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(None, _write, str(path), pack(new))
            told = await self.console.ask("prepare", {k: {"number": new.number} for k in engines}, "", patient=False)
        except OSError as error:
            raise ValueError(f"the engines can't be given the configuration ({error})\nNothing was changed.") from error
        finally:
            path.unlink(missing_ok=True)
        for number, refusal in told.refused.items():
            raise ValueError(f"engine {number} can't take it: {refusal}\nNothing was changed.")
        for number, digest in told.answers.items():
            if digest != new.digest:
                raise ValueError(f"engine {number} read another configuration\nNothing was changed.")
        told = await self.console.ask("swap", {k: {"number": new.number} for k in told.answers}, "", patient=False)
        return told.answers

    async def _reload_asked(self, *, dry_run: bool = False, rolling: bool = False) -> object:
        done = await self.generations.reload(dry_run=dry_run)
        return self._roll(done) if rolling and not dry_run else done

    async def _roll(self, done: Reloaded) -> AsyncIterator[object]:
        """Restart the engines one after another, each when the one before serves again."""
        yield done
        for number in self._engines:
            before = self.peerage.of(ENGINE, number)
            pid = 0 if before is None else before.pid
            self._link.send(Restart(ENGINE, number))
            try:
                async with asyncio.timeout(_COMING):
                    await self.peerage.until(lambda number=number, pid=pid: self._is_back(number, pid))  # type: ignore[misc]
                    await self._loaded(number)
            except TimeoutError:
                yield {
                    "engine": number,
                    "error": f"it does not serve after {_COMING:.0f} s; the others were left alone",
                }
                return
            peer = self.peerage.of(ENGINE, number)
            yield {"engine": number, "pid": 0 if peer is None else peer.pid}

    def _is_back(self, number: int, pid: int) -> bool:
        peer = self.peerage.of(ENGINE, number)
        return peer is not None and peer.up and peer.pid not in (0, pid)

    async def _loaded(self, number: int) -> None:
        """Its mail of before is in line again."""
        while True:
            told = await self.console.ask("status", {number: {}}, "", patient=False)
            if told.answers and told.answers[number][2] is not None:
                return
            await asyncio.sleep(_AGAIN)

    async def _reload(self) -> None:
        """After a SIGHUP there is nobody to answer, so the log says how it went."""
        try:
            done = await self.generations.reload()
        except ValueError as error:
            log.error("reload_failed", problem=str(error))
            return
        for change in done.changes:
            log.info("config_change", **change._asdict())
        for change in done.restart:
            log.warning("config_change", needs="restart", **change._asdict())
        for text in done.warnings:
            log.warning("config", problem=text)
        log.info("reloaded", generation=done.number)


def _write(path: str, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)


async def run(start: Start, link: Link, stop: asyncio.Event) -> None:
    """Answer until `stop` is set. Raises StartError."""
    try:
        control = Control(start, link)
    except HoldsError as error:
        raise StartError(str(error)) from error
    data_dir = unpack(start.generation).data_dir
    folder = run_folder(data_dir)
    desk = JointDesk(control.console.ask_all)
    answers = {**control.answers(), "transmissions": desk.rows, "cancel_transmissions": desk.cancel}
    office = OfficeKeeper(data_dir, folder, lambda: control.generations.current.config, control.console.ask_all)
    answers |= Keyring(lambda: office.database).answers()
    answers |= SuppressionDesk(lambda: office.database).answers()
    servers = [
        ControlServer(data_dir, answers, control.console),
        ControlServer(folder, answers, control.console, socket_name=CONTROL_HTTP, trusting=True),
    ]
    await _open(servers[0], data_dir.mkdir, f"the control socket in {data_dir} can't be opened")
    await _open(servers[1], folder.mkdir, f"the socket for engines in {folder} can't be opened")
    office.start()
    link.send(Ready())
    await stop.wait()
    await office.close()
    for server in servers:
        await server.close()
    await control.close()


async def _open(server: ControlServer, mkdir: Callable[..., None], what: str) -> None:
    """Without room on the disk there are no commands, but there is mail: that is no reason not to start."""
    try:
        mkdir(mode=0o700, parents=True, exist_ok=True)
        await server.start()
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise StartError(f"{what}: {error}") from error
        log.warning("alarm", alarm="no_control_socket", text=f"{what}: {error}")
