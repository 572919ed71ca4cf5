"""A real `postroad serve` in a process of its own, for the demo and for tests: started, awaited, always ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from pathlib import Path
from typing import NamedTuple

from postroad.auth import new_key
from postroad.lab.world import World

_READY_TIME = 30.0
_STOP_TIME = 40.0
_MARK = "# Written by the Postroad lab; the next run writes it anew."


class ServerError(Exception):
    """The server did not start, or was not there any more. The message is fit for the user."""


class Setup(NamedTuple):
    """Where a server of the lab lives and listens."""

    directory: Path
    smtp: tuple[str, int]
    http: tuple[str, int]
    api_key: str

    @property
    def config(self) -> Path:
        return self.directory / "postroad.toml"

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> Path:
        return self.directory / "postroad.log"


def write_setup(directory: Path, world: World, *, engines: int = 1, extra: str = "") -> Setup:
    """Write a configuration that takes mail on two free loopback ports and delivers it into the world.

    extra: more TOML at the end. Raises ServerError when the folder holds a configuration that is not the lab's own.
    """
    directory.mkdir(parents=True, exist_ok=True)
    key, digest = new_key()
    smtp, http = _free_ports(2)
    setup = Setup(directory.resolve(), ("127.0.0.1", smtp), ("127.0.0.1", http), key)
    if setup.config.exists() and not setup.config.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
        raise ServerError(f"{setup.config} is not the lab's; name another folder with --dir")
    setup.config.write_text(
        f"""\
{_MARK}
[server]
hostname = "mail.sender.test"
data_dir = "data"
drain_time = "5s"
engines = {engines}

[[listener]]
address = "127.0.0.1:{smtp}"

[[listener.peers]]
network = "127.0.0.0/8"
relay = true

[http]
address = "127.0.0.1:{http}"

[[http.keys]]
label = "lab"
sha256 = "{digest}"

{world.config_toml()}{extra}""",
        encoding="utf-8",
    )
    return setup


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago. All are held until the last is found, so that they differ."""
    with contextlib.ExitStack() as held:
        ports = []
        for _ in range(count):
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(int(probe.getsockname()[1]))
        return ports


class ServerProcess:
    """`async with ServerProcess(setup)`: ready inside, ended behind it, whatever happens."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> ServerProcess:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Returns when SMTP greets and HTTP says it is ready. Raises ServerError."""
        # A session of its own: Ctrl-C at the terminal reaches us, and we end the server in our order.
        with self.setup.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-c", "from postroad.cli import main; main()", "serve", "--config", str(self.setup.config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(_READY_TIME):
                while not await self._ready():
                    if self.process.returncode is not None:
                        raise ServerError(f"Postroad did not start:\n{self.last_words()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self.stop()
            raise ServerError(f"Postroad was not ready in {_READY_TIME:.0f} s:\n{self.last_words()}") from None
        except BaseException:
            await self.stop()
            raise

    async def _ready(self) -> bool:
        greeting = await _first_line(self.setup.smtp, b"")
        status = await _first_line(self.setup.http, b"GET /ready HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
        return greeting.startswith(b"220") and status[9:12] == b"200"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def ended(self) -> None:
        """Wait until the process is gone by itself."""
        if self.process:
            await self.process.wait()

    def last_words(self) -> str:
        """The end of the server's log."""
        with contextlib.suppress(OSError):
            return self.setup.log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
        return ""

    async def kill(self) -> None:
        """As a crash would."""
        if self.process and self.running:
            self.process.kill()
            await self.process.wait()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that takes too long. Returns when the process is gone."""
        if self.process is None or not self.running:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), _STOP_TIME)
        except TimeoutError:
            await self.kill()
        except asyncio.CancelledError:
            await self.kill()
            raise


async def _first_line(target: tuple[str, int], request: bytes) -> bytes:
    """What the server says first; b"" when it is not there."""
    try:
        reader, writer = await asyncio.open_connection(*target)
    except OSError:
        return b""
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.readline(), 2)
    except (OSError, TimeoutError, ValueError):
        return b""
    finally:
        writer.close()
