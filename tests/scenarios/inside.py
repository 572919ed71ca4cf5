"""The engine in the test's own process and loop, on real sockets, with a disk and a clock that the test governs."""

from __future__ import annotations

import asyncio
import smtplib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from postroad.config import parse
from postroad.journal import Disk
from postroad.net import DnsResolver
from postroad.serve import Engine
from tests.scenarios.injectors import Promises, letter

CONFIG = """
[server]
hostname = "postroad.test"
drain_time = 5
memory_goal = {memory_goal}

[[listener]]
address = "127.0.0.1:0"
relay = true

[http]
address = ""

[delivery]
prohibited_hosts = []
gateway = "127.0.0.1:{gateway}"
max_connections = 4
host_failure_retry = "500ms"
idle_timeout = "200ms"

[queue]
retry_interval = "300ms"
max_retry_interval = "300ms"
{queue}

[dns]
servers = ["127.0.0.1:1"]

[journal]
segment_size = "64KB"
"""


class SetClock:
    """Wall time that the test may jump with. It goes on with the system's."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def wall(self) -> float:
        return time.time() + self._ahead

    def jump(self, seconds: float) -> None:
        self._ahead += seconds


class Inside:
    """folder: for what the engine keeps besides its journal. gateway: port of the far end. disk: stays when the engine
    ends, as a real one does. memory_goal: with 0, every message is read back from the disk for its delivery.
    alarms: names of those that were raised.
    """

    def __init__(
        self,
        folder: Path,
        gateway: int,
        disk: Disk,
        *,
        clock: SetClock | None = None,
        queue: str = "",
        memory_goal: int = 1 << 28,
    ) -> None:
        self._folder = folder
        self.clock = clock or SetClock()
        self.promises = Promises()
        self.alarms: list[str] = []
        self.engine: Engine
        self._config = parse(CONFIG.format(gateway=gateway, queue=queue, memory_goal=memory_goal)).config
        self._disk = disk
        self._rng = Random(1)
        self._sent = 0

    async def start(self) -> None:
        self.engine = Engine(
            self._config,
            self._folder,
            clock=self.clock,
            resolver=DnsResolver(self._config.dns, rng=self._rng),  # never asked: all mail goes to the gateway
            rng=self._rng,
            disk=self._disk,
        )
        self.engine.journal.on_alarm = lambda name, text: self.alarms.append(name)
        await self.engine.start()

    async def crash(self) -> None:
        """The process is gone: nothing more is written, and its sockets close."""
        self.engine.journal.abandon()
        self.engine.queue.stop()
        await asyncio.gather(*(listener.close() for listener in self.engine.listeners))
        await self.engine.deliverer.stop(0)

    async def send(self, count: int, to: Callable[[str], Sequence[str]] = lambda key: [f"{key}@one.test"]) -> None:
        """`count` transactions, one after the other; what became of them is in `promises`."""
        port = self.engine.listeners[0].addresses[0][1]
        first, self._sent = self._sent, self._sent + count
        await asyncio.to_thread(self._send, port, [f"in-{number}" for number in range(first, first + count)], to)

    def _send(self, port: int, keys: Sequence[str], to: Callable[[str], Sequence[str]]) -> None:
        with smtplib.SMTP("127.0.0.1", port, "injector.test", timeout=30) as client:
            client.ehlo()
            for key in keys:
                recipients = to(key)
                self.promises.asked(recipients)
                try:
                    client.sendmail(f"{key}@sender.test", recipients, letter(key))
                except smtplib.SMTPResponseException as error:
                    self.promises.refused[error.smtp_code] += 1
                    self.promises.answered(recipients, kept=False)
                except smtplib.SMTPRecipientsRefused as error:
                    self.promises.refused[next(iter(error.recipients.values()))[0]] += 1
                    self.promises.answered(recipients, kept=False)
                else:
                    self.promises.answered(recipients, kept=True)

    @property
    def live(self) -> int:
        return len(self.engine.queue)


async def soon(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Poll until the condition holds. The limit only keeps a broken test from hanging."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        await asyncio.sleep(0.01)
