"""One simulated world: a seed, a loop, a network, names, clocks, a disk, an engine that can crash, and its peers.

    with World(seed, disk, make_engine) as world:
        world.run(scenario(world))

Everything random comes from the seed, so a seed that broke something breaks it again, with the same trace.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from random import Random
from types import TracebackType
from typing import Any, Protocol, TypeVar

from postroad.lab.sim.clock import SimClock
from postroad.lab.sim.loop import SimLoop
from postroad.lab.sim.names import SimResolver
from postroad.lab.sim.net import SimNet
from postroad.lab.sim.process import OWNER, Process, ProcessDied, ProcessKilled
from postroad.lab.sim.receiver import SmtpReceiver
from postroad.lab.sim.sender import SmtpSender
from postroad.lab.sim.web import HttpSender

T = TypeVar("T")

_SHOWN = 20  # findings in the text of Broken


class Engine(Protocol):
    """What is under test. `start` returns when it serves; `stop` when all it had is closed."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class CrashDisk(Protocol):
    def crash(self, rng: Random) -> None:
        """The power fails: writes that weren't synced are lost, wholly, partly or not, as rng says."""

    def killed(self) -> None:
        """The process died, the machine did not: what was written stays, and locks are free."""


class Broken(AssertionError):
    """The world came out wrong. findings: one sentence each."""

    def __init__(self, seed: int, findings: list[str], tail: str) -> None:
        self.seed, self.findings = seed, findings
        listed = "\n".join(f"  - {finding}" for finding in findings[:_SHOWN])
        if len(findings) > _SHOWN:
            listed += f"\n  - and {len(findings) - _SHOWN} more"
        super().__init__(f"seed {seed}:\n{listed}\nThe end of its trace:\n{tail}")


class World:
    """make_engine(world, process) is called inside the engine's process at each start.

    engine_addresses: of the machine the engine runs on. errors: what went wrong that no reply shows: exceptions in
    callbacks, tasks that failed unnoticed, things a stopped engine left open. crashes: their moments, by SimLoop.awake.
    power: the share of crashes that are power cuts.
    """

    def __init__(
        self,
        seed: int,
        disk: CrashDisk,
        make_engine: Callable[[World, Process], Engine],
        *,
        engine_addresses: tuple[str, ...] = ("192.0.2.1", "2001:db8::1"),
        max_turns: int = 2_000_000,
        max_time: float = 30 * 86400.0,
    ) -> None:
        self.seed = seed
        self.disk = disk
        self.loop = SimLoop(self.rng("loop"), max_turns=max_turns, max_time=max_time)
        self.net = SimNet(self.loop, self.rng("net"))
        self.clock = SimClock(self.loop)
        self.resolver = SimResolver(self.loop, self.rng("names"))
        self.trace = self.loop.trace
        self.errors: list[str] = []
        self.crashes: list[float] = []
        self.power = 0.7
        self.receivers: list[SmtpReceiver] = []
        self.senders: list[SmtpSender | HttpSender] = []
        self.engine: Engine | None = None
        self._make_engine = make_engine
        self.engine_addresses = engine_addresses
        self._engine_process: Process | None = None
        self._processes: list[Process] = []
        self._disk_rng = self.rng("disk")
        self.loop.set_exception_handler(self._on_error)

    def rng(self, name: str) -> Random:
        """A stream of random numbers for one purpose: what one part draws doesn't move the others."""
        return Random(f"{self.seed}/{name}")

    # --- running ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def run(self, scenario: Coroutine[Any, Any, T]) -> T:
        """Run to its end. Raises what it raises; Deadlock and RunAway when it has none."""
        return self.loop.run_until_complete(scenario)

    def close(self) -> None:
        """Kill what runs. Nothing of it is left to complain later."""
        for process in self._processes:
            self.errors += process.unnoticed()
            process.kill()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def check(self, findings: list[str]) -> None:
        """Raise Broken when there are findings or errors."""
        if findings or self.errors:
            raise Broken(self.seed, findings + self.errors, self.trace.tail())

    def process(self, name: str, *addresses: str) -> Process:
        """A process on a machine with these addresses."""
        self.net.add_machine(*addresses)
        process = Process(self.loop, name, list(addresses))
        self._processes.append(process)
        return process

    # --- the engine ---------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self._engine_process is not None

    async def start_engine(self) -> None:
        """Raises ProcessDied when it is crashed before it serves."""
        assert self._engine_process is None, "it runs already"
        self.trace.note("start")
        process = self._engine_process = self.process("engine", *self.engine_addresses)
        try:
            self.engine = process.call(self._make_engine, self, process)
            await process.run(self.engine.start())
        except Exception:
            if self._engine_process is process:  # it gave up, as a process that ends with an error message
                self.disk.killed()
                self._drop()
            raise
        self.trace.note("started")

    async def stop_engine(self) -> None:
        """In an orderly way. What it leaves open is an error."""
        process, engine = self._engine_process, self.engine
        assert process is not None and engine is not None, "it does not run"
        self.trace.note("stop")
        await process.run(engine.stop())
        self.trace.note("stopped")
        self.errors += [f"left open by the stopped engine: {text}" for text in process.leftovers()]
        self._drop()

    def crash_engine(self) -> None:
        """Now, in whatever it is doing: mostly the power of its machine fails, else only the process is killed."""
        process = self._engine_process
        if process is None:
            return
        power = self._disk_rng.random() < self.power
        self.trace.note("crash", "of the machine" if power else "of the process")
        self.crashes.append(self.loop.awake())
        process.kill()
        if power:
            self.disk.crash(self._disk_rng)
        else:
            self.disk.killed()
        self._drop()

    async def crashed(self, within: float) -> bool:
        """Wait until the running engine crashes, that many seconds at the most."""
        return self._engine_process is None or await self._engine_process.died(within)

    def crash_after(self, notes: int) -> None:
        """Crash when this many more lines have been traced: in the middle of a disk operation of the engine, say.
        0: don't."""
        self.trace.alarm(notes, self._crash_here)

    def _crash_here(self) -> None:
        process = self._engine_process
        if process is not None and OWNER.get() is process:
            self.crash_engine()
            raise ProcessKilled
        self.loop.call_soon(self.crash_engine, context=self.loop.neutral)

    def _drop(self) -> None:
        process, self._engine_process, self.engine = self._engine_process, None, None
        if process is not None:
            self.errors += process.unnoticed()
            process.kill()

    # --- the peers ----------------------------------------------------------------------------------------------------

    async def receiver(self, domain: str, *addresses: str, port: int = 25, preference: int = 10) -> SmtpReceiver:
        """A far end for the domain, on a machine of its own, known to the resolver. Its `decide` may be set later."""
        host = f"mx{len(self.receivers)}.{domain}"
        self.resolver.add(domain, *addresses, host=host, preference=preference)
        process = self.process(host, *addresses)
        receiver = SmtpReceiver(process, port)
        for address in addresses:
            await process.run(receiver.start(address))
        self.receivers.append(receiver)
        return receiver

    def sender(self, name: str, address: str, host: str, port: int) -> SmtpSender:
        """A client machine that talks to HOST:PORT."""
        process = self.process(name, address)
        sender = SmtpSender(process, self.rng(name), host, port)
        self.senders.append(sender)
        return sender

    def web_sender(self, name: str, address: str, host: str, port: int, key: str) -> HttpSender:
        """A client machine that talks HTTP to HOST:PORT with this API key."""
        sender = HttpSender(self.process(name, address), self.rng(name), host, port, key)
        self.senders.append(sender)
        return sender

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    def _on_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, (ProcessKilled, ProcessDied)):
            return
        text = str(context.get("message"))
        if isinstance(error, BaseException):
            text += "\n" + "".join(traceback.format_exception(error))
        self.trace.note("error", context.get("message"), type(error).__name__)
        self.errors.append(text)


async def until(condition: Callable[[], bool], limit: float, step: float = 1.0) -> bool:
    """Let simulated time pass until the condition holds. False when it doesn't within `limit` seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + limit
    while not condition():
        if loop.time() >= end:
            return False
        await asyncio.sleep(step)
    return True
