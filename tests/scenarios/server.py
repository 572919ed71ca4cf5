"""A real Postroad in a process of its own, as an operator would run it, for tests that look at it from outside."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from postroad.auth import new_key
from postroad.serve import ControlError, ask

_CONFIG = """
[server]
hostname = "postroad.test"
data_dir = "data"
durability = "{durability}"
drain_time = 5
engines = {engines}

[[listener]]
address = "127.0.0.1:{smtp_port}"
relay = true
max_sessions_per_peer = 0

[http]
address = "127.0.0.1:{http_port}"
{http}

[[http.keys]]
label = "test"
sha256 = "{key_hash}"

[delivery]
prohibited_hosts = []
{delivery}

{extra}
"""


_given: set[int] = set()


def free_port() -> int:
    """Another one with each call."""
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port: int = sock.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


def until(condition: Callable[[], object], what: str | Callable[[], str], seconds: float = 60.0) -> None:
    """Poll until the condition holds. The limit only keeps a broken test from hanging. what: told then."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what if isinstance(what, str) else what()}: not within {seconds} s")
        time.sleep(0.02)


def _ask_engine(folder: Path, number: int, verb: str, **arguments: object) -> Any:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # a long path is no address of a socket
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(10)
            sock.connect(f"/proc/self/fd/{fd}/engine-{number}.sock")
            sock.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            with sock.makefile("rb") as stream:
                answer = json.loads(stream.readline())
                assert "error" not in answer, answer
                return answer["result"]
    finally:
        os.close(fd)


def _is_free(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Server:
    """gateway: port on 127.0.0.1 that all mail goes to. delivery, http: lines for these tables. extra: more tables.
    engines: how many; `configure` changes it for the next start."""

    def __init__(
        self,
        folder: Path,
        *,
        gateway: int | None = None,
        delivery: str = "",
        http: str = "",
        extra: str = "",
        durability: str = "power",
        engines: int = 1,
        prefix: list[str] | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.smtp_port = free_port()
        self.http_port = free_port()
        self.key, key_hash = new_key()
        self.config = folder / "postroad.toml"
        self.data = folder / "data"
        self.log = folder / "log"
        self._prefix = prefix or []
        self.process: subprocess.Popen[bytes] | None = None
        if gateway is not None:
            delivery += f'\ngateway = "127.0.0.1:{gateway}"'
        self._options = {
            "smtp_port": self.smtp_port,
            "http_port": self.http_port,
            "key_hash": key_hash,
            "delivery": delivery,
            "http": http,
            "extra": extra,
            "durability": durability,
        }
        self.configure(engines)

    def configure(self, engines: int) -> None:
        self.engines = engines
        self.config.write_text(_CONFIG.format(**self._options, engines=engines))

    def start(self) -> None:
        self.spawn()
        until(self._answers, "the server answers")

    def spawn(self) -> None:
        """Start the process, and don't wait for it."""
        command = [*self._prefix, sys.executable, "-m", "postroad", "serve", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        # HTTP opens after the SMTP listeners, so it is asked first: then all doors are open.
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.http_port), 1),
            socket.create_connection(("127.0.0.1", self.smtp_port), 1) as sock,
        ):
            sock.settimeout(5)
            return sock.recv(4) == b"220 " and self._controlled()
        return False

    def _controlled(self) -> bool:
        """Commands are answered."""
        with contextlib.suppress(ControlError):
            ask(self.data, "processes")
            return True
        # On a disk without room there is no control socket, and mail goes on.
        return b"no_control_socket" in self.log.read_bytes()

    def kill(self) -> None:
        """kill -9 of the supervisor. Its children follow it at once; returns when none of them is left."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(FileNotFoundError):
            self._none_left()

    def _none_left(self) -> None:
        """Children hold the lock of the data folder as well."""
        with (self.data / "lock").open("rb") as file:
            until(lambda: _is_free(file), "the server's children are gone")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def status(self) -> list[Any]:
        """[live, in_flight, recovered, refusal, sessions, ...]"""
        answer: list[Any] = ask(self.data, "status")
        return answer

    def each(self) -> list[list[Any]]:
        """The status of each engine, asked on its own socket. Raises OSError when one is not there."""
        return self.ask_each("status")

    def ask_each(self, verb: str, **arguments: object) -> list[Any]:
        return [_ask_engine(self.data / "run", number, verb, **arguments) for number in range(self.engines)]

    def recovered(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return all(status[2] is not None for status in self.each())
        return False

    def welcoming(self) -> bool:
        """New mail is not refused."""
        with contextlib.suppress(OSError, ValueError):
            return all(status[3] is None for status in self.each())
        return False

    def quiet(self) -> bool:
        """Nothing is queued any more, and all of the last run is loaded."""
        with contextlib.suppress(OSError, ValueError):
            return all(each[2] is not None and each[0] == each[1] == each[-2] == 0 for each in self.each())
        return False

    @property
    def joined(self) -> bool:
        """Every engine hands mail over to every other one."""
        with contextlib.suppress(OSError, ValueError):
            return all(each[-1] == self.engines - 1 for each in self.each())
        return False

    def children(self) -> dict[str, int]:
        """Process ids of the supervisor's children, by name ("engine-0")."""
        assert self.process is not None
        found = {}
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, IndexError, ValueError):
                if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    words = (folder / "cmdline").read_bytes().decode().split("\0")
                    found[words[words.index("postroad.serve.child") + 1]] = int(folder.name)
        return found

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "postroad", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=self.folder,
        )


@contextlib.contextmanager
def serving(folder: Path, **options: Any) -> Iterator[Server]:
    server = Server(folder, **options)
    try:
        server.start()
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()
