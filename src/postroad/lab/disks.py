"""Disks in memory: one that a power cut hits as hard as the rules allow, and one that also fails on demand.

What a power cut leaves (MemoryDisk.crash): of everything written and not synced, an arbitrary choice of 512-byte
sectors, in no order; of files created or unlinked since the directory's last sync, an arbitrary choice too. Sectors are
whole: old or new, never mixed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from postroad.journal.disk import File, Lock
from postroad.journal.errors import JournalLocked

_SECTOR = 512


class _Content:
    """Octets of a file; behind those held stand zeros up to size."""

    __slots__ = ("data", "size")

    def __init__(self) -> None:
        self.data = bytearray()
        self.size = 0

    def write(self, offset: int, data: bytes) -> None:
        if len(self.data) < offset:
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(data)] = data
        self.size = max(self.size, offset + len(data))

    def read(self, offset: int, size: int) -> bytes:
        size = max(0, min(size, self.size - offset))
        return bytes(self.data[offset : offset + size]).ljust(size, b"\0")

    def resize(self, size: int) -> None:
        del self.data[size:]
        self.size = size


class _Inode:
    """now: as readers see it. kept: as it is after a power cut. dirty: sectors in which the two may differ."""

    def __init__(self) -> None:
        self.now = _Content()
        self.kept = _Content()
        self.dirty: dict[int, None] = {}  # a dict, for its order: simulations must repeat exactly

    def touch(self, start: int, end: int) -> None:
        for sector in range(start // _SECTOR, (end + _SECTOR - 1) // _SECTOR):
            self.dirty[sector] = None

    def keep(self, sector: int) -> None:
        if data := self.now.read(sector * _SECTOR, _SECTOR):
            self.kept.write(sector * _SECTOR, data)

    def sync(self) -> None:
        for sector in self.dirty:
            self.keep(sector)
        self.dirty.clear()
        self.kept.resize(self.now.size)

    def crash(self, choose: Callable[[], bool]) -> None:
        for sector in self.dirty:
            if choose():
                self.keep(sector)
        self.dirty.clear()
        if choose():
            self.kept.resize(self.now.size)
        self.now.data = bytearray(self.kept.data)
        self.now.size = self.kept.size


class MemoryFile:
    def __init__(self, disk: MemoryDisk, path: Path, inode: _Inode, *, writable: bool) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode
        self._writable = writable

    def write(self, buffers: Sequence[bytes], offset: int, *, sync: bool) -> None:
        if not self._writable:
            raise OSError(errno.EBADF, "the file is open for reading only")
        data = b"".join(buffers)
        self._disk.check("write", self._path, lambda share: self._put(data[: int(len(data) * share)], offset))
        self._disk.claim(max(0, offset + len(data) - self._inode.now.size))
        self._put(data, offset)
        if sync:
            self.sync()

    def _put(self, data: bytes, offset: int) -> None:
        self._inode.now.write(offset, data)
        self._inode.touch(offset, offset + len(data))

    def read(self, offset: int, size: int) -> bytes:
        self._disk.check("read", self._path)
        return self._inode.now.read(offset, size)

    def size(self) -> int:
        return self._inode.now.size

    def sync(self) -> None:
        # As Linux does: after a failed sync the pages count as clean, and the next sync succeeds without them.
        self._disk.check("sync", self._path, lambda share: self._inode.dirty.clear())
        self._inode.sync()

    def truncate(self, size: int) -> None:
        self._disk.check("truncate", self._path)
        self._disk.claim(size - self._inode.now.size)
        self._inode.touch(size, self._inode.now.size)  # zeros from now on, should the file grow again
        self._inode.now.resize(size)

    def preallocate(self, size: int) -> None:
        self._disk.check("preallocate", self._path)
        if size > self._inode.now.size:
            self._disk.claim(size - self._inode.now.size)
            self._inode.now.size = size


class _MemoryLock:
    def __init__(self, disk: MemoryDisk, path: Path) -> None:
        self._disk = disk
        self._path = path

    def release(self) -> None:
        if self._disk.locks.get(self._path) is self:
            del self._disk.locks[self._path]


class MemoryDisk:
    """capacity: bytes that all files together may have; None: no limit."""

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.used = 0
        self.locks: dict[Path, object] = {}
        self._names: dict[Path, _Inode] = {}
        self._kept_names: dict[Path, _Inode] = {}
        self._dirs: dict[Path, None] = {}

    def check(self, operation: str, path: Path, partly: Callable[[float], None] = lambda share: None) -> None:
        """Called before each operation; FaultyDisk raises here. partly: does a share of the operation first."""

    def claim(self, octets: int) -> None:
        if self.capacity is not None and octets > 0 and self.used + octets > self.capacity:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.used += octets

    def crash(self, rng: Random) -> None:
        """The power fails and comes back. Open files of the time before must not be used any more."""
        # Sometimes all or nothing of the unsynced data survives, mostly some share of it.
        share = rng.choice((0.0, 1.0, rng.random()))

        def choose() -> bool:
            return rng.random() < share

        for inode in {id(inode): inode for inode in (*self._names.values(), *self._kept_names.values())}.values():
            inode.crash(choose)
        for path in list({**self._names, **self._kept_names}):
            if self._names.get(path) is not self._kept_names.get(path) and choose():
                _set(self._kept_names, path, self._names.get(path))
        self._names = dict(self._kept_names)
        self.used = sum(inode.now.size for inode in self._names.values())
        self.locks.clear()

    def make_dir(self, path: Path) -> None:
        self._dirs[path] = None

    def list(self, directory: Path) -> list[str]:
        self.check("list", directory)
        if directory not in self._dirs:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(directory))
        return sorted(path.name for path in self._names if path.parent == directory)

    def create(self, path: Path, size: int) -> File:
        if path in self._names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        self.check("create", path)
        self.claim(size)
        inode = _Inode()
        inode.now.size = size
        self._names[path] = inode
        return MemoryFile(self, path, inode, writable=True)

    def open(self, path: Path, *, write: bool = False) -> File:
        self.check("open", path)
        inode = self._names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return MemoryFile(self, path, inode, writable=write)

    def unlink(self, path: Path) -> None:
        self.check("unlink", path)
        inode = self._names.pop(path, None)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        self.used -= inode.now.size

    def sync_dir(self, directory: Path) -> None:
        self.check("sync_dir", directory)
        for path in [path for path in self._kept_names if path.parent == directory and path not in self._names]:
            del self._kept_names[path]
        for path, inode in self._names.items():
            if path.parent == directory:
                self._kept_names[path] = inode

    def free(self, directory: Path) -> int:
        return (1 << 50) if self.capacity is None else max(0, self.capacity - self.used)

    def lock(self, path: Path) -> Lock:
        if path in self.locks:
            raise JournalLocked(f"the journal {path.parent} is in use by another process of the simulation")
        lock = self.locks[path] = _MemoryLock(self, path)
        return lock

    # For tests.

    def damage(self, path: Path, offset: int, data: bytes) -> None:
        """Overwrite bytes behind the back of whoever uses the file, for good."""
        inode = self._names[path]
        inode.now.write(offset, data)
        inode.touch(offset, offset + len(data))
        inode.sync()

    def bytes_of(self, path: Path) -> bytes:
        now = self._names[path].now
        return now.read(0, now.size)


def _set(names: dict[Path, _Inode], path: Path, inode: _Inode | None) -> None:
    if inode is None:
        names.pop(path, None)
    else:
        names[path] = inode


WRITING = frozenset({"write", "sync", "create", "preallocate", "truncate", "unlink", "sync_dir"})


class FaultyDisk(MemoryDisk):
    """A memory disk that fails on demand.

    fault(operation, path): an errno to fail with, or 0. Operations: read, list, open, and those in WRITING. A failing
    write may leave any part of the bytes; a failing sync loses all that was not synced before.
    """

    def __init__(self, rng: Random, capacity: int | None = None) -> None:
        super().__init__(capacity)
        self.fault: Callable[[str, Path], int] = lambda operation, path: 0
        self.read_only = False
        self.operations: list[tuple[str, str]] = []  # what was asked, for tests that count
        self._rng = rng

    def check(self, operation: str, path: Path, partly: Callable[[float], None] = lambda share: None) -> None:
        self.operations.append((operation, path.name))
        code = errno.EROFS if self.read_only and operation in WRITING else self.fault(operation, path)
        if code:
            partly(self._rng.random())
            raise OSError(code, os.strerror(code), str(path))
