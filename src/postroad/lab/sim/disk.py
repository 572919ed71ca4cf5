"""A disk as one simulated process sees it: every operation is a line of the trace, and a moment to crash at."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from postroad.journal.disk import Disk, File, Lock
from postroad.lab.sim.process import Process, ProcessKilled
from postroad.lab.sim.trace import Trace


class _Watch:
    def __init__(self, trace: Trace, process: Process) -> None:
        self._trace = trace
        self._process = process

    def note(self, what: str, *details: object) -> None:
        """Raises ProcessKilled when the process is dead, or dies of this note."""
        if not self._process.alive:
            raise ProcessKilled
        self._trace.note("disk", what, *details)


class WatchedFile:
    def __init__(self, file: File, name: str, watch: _Watch) -> None:
        self._file = file
        self._name = name
        self._watch = watch

    def write(self, buffers: Sequence[bytes], offset: int, *, sync: bool) -> None:
        check = 0
        for buffer in buffers:
            check = zlib.crc32(buffer, check)
        self._watch.note("write", self._name, offset, sum(map(len, buffers)), check, "and sync" if sync else "")
        self._file.write(buffers, offset, sync=sync)
        self._watch.note("written", self._name)

    def read(self, offset: int, size: int) -> bytes:
        self._watch.note("read", self._name, offset, size)
        return self._file.read(offset, size)

    def size(self) -> int:
        return self._file.size()

    def sync(self) -> None:
        self._watch.note("sync", self._name)
        self._file.sync()
        self._watch.note("synced", self._name)

    def truncate(self, size: int) -> None:
        self._watch.note("truncate", self._name, size)
        self._file.truncate(size)

    def preallocate(self, size: int) -> None:
        self._watch.note("preallocate", self._name, size)
        self._file.preallocate(size)


class WatchedDisk:
    """disk: outlives the process. After the process's death every operation raises ProcessKilled."""

    def __init__(self, disk: Disk, trace: Trace, process: Process) -> None:
        self._disk = disk
        self._watch = _Watch(trace, process)

    def make_dir(self, path: Path) -> None:
        self._disk.make_dir(path)

    def list(self, directory: Path) -> list[str]:
        self._watch.note("list")
        # The order of a real directory is arbitrary, but ours must be the same in every run.
        return sorted(self._disk.list(directory))

    def create(self, path: Path, size: int) -> WatchedFile:
        self._watch.note("create", path.name, size)
        return WatchedFile(self._disk.create(path, size), path.name, self._watch)

    def open(self, path: Path, *, write: bool = False) -> WatchedFile:
        self._watch.note("open", path.name)
        return WatchedFile(self._disk.open(path, write=write), path.name, self._watch)

    def unlink(self, path: Path) -> None:
        self._watch.note("unlink", path.name)
        self._disk.unlink(path)

    def sync_dir(self, directory: Path) -> None:
        self._watch.note("sync directory")
        self._disk.sync_dir(directory)
        self._watch.note("synced directory")

    def free(self, directory: Path) -> int:
        return self._disk.free(directory)

    def lock(self, path: Path) -> Lock:
        self._watch.note("lock")
        return self._disk.lock(path)
