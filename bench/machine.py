"""Reading what processes cost, and starting the programs that benchmarks run against. Loopback only."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
_SBIN = ("/usr/sbin", "/usr/lib/postfix/sbin")


class BenchError(Exception):
    pass


def program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_SBIN]))
    if found is None:
        raise BenchError(f"{name} is not installed (make tools)")
    return found


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process tree, with its children that have ended and were waited for."""
    ticks = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            ticks += sum(int(field) for field in _stat(member)[11:15])
    return ticks / TICK


_CPUACCT = Path("/sys/fs/cgroup/cpuacct")


class Meter:
    """CPU seconds of a process and all it will start. By control group where there is one (exact, with processes that
    end meanwhile: Postfix's come and go), else from /proc."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._group: Path | None = None
        group = _CPUACCT / f"postroad-bench-{pid}"
        with contextlib.suppress(OSError):
            group.mkdir()
            for member in tree(pid):
                (group / "cgroup.procs").write_text(str(member))
            self._group = group

    def read(self) -> float:
        if self._group is None:
            return cpu_seconds(self._pid)
        return int((self._group / "cpuacct.usage").read_text()) / 1e9

    def close(self) -> None:
        """Once the processes are gone."""
        if self._group is not None:
            with contextlib.suppress(OSError):
                self._group.rmdir()


def rss(pid: int) -> int:
    """Resident octets of one process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"process {pid} has no resident memory")


def wait_for_banner(port: int, process: subprocess.Popen[bytes] | None = None, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            raise BenchError(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as sock:
            sock.settimeout(2)
            if sock.recv(4) == b"220 ":
                return
        time.sleep(0.05)
    raise BenchError(f"nothing answered on port {port} within {seconds} s")


@contextlib.contextmanager
def running(arguments: list[str], port: int | None = None, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A program for the time of the block; ended politely, then not."""
    process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        if port is not None:
            wait_for_banner(port, process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Count:
    """Messages that an smtp-sink has taken, read from the counters it prints (-c): "sess=4 quit=4 mesg=50"."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def read(self) -> int:
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - 200))
            found = re.findall(rb"mesg=(\d+)\r", file.read())
        return int(found[-1]) if found else 0
