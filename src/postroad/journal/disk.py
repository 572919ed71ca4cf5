"""The seam between the journal and a disk. `OsDisk` is the real one; lab/disks.py has one in memory that fails at will.

All calls block and raise OSError. Files are read with pread, never mapped: a dead disk then is an error to handle and
not a SIGBUS.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from postroad.journal.errors import JournalLocked

_IOV_MAX = os.sysconf("SC_IOV_MAX") if hasattr(os, "sysconf") else 1024


class File(Protocol):
    """An open file. It is closed with its last reference, so that a reader in another thread never loses it midway."""

    def write(self, buffers: Sequence[bytes], offset: int, *, sync: bool) -> None:
        """Write all buffers one behind the other. sync: return only when they survive a power cut."""

    def read(self, offset: int, size: int) -> bytes:
        """Up to size bytes; fewer only at the end of the file."""

    def size(self) -> int: ...

    def sync(self) -> None:
        """All that was written to the file survives a power cut."""

    def truncate(self, size: int) -> None: ...

    def preallocate(self, size: int) -> None:
        """Grow the file to size bytes of zeros whose room on the disk is sure. Never shrinks it."""


class Lock(Protocol):
    def release(self) -> None: ...


class Disk(Protocol):
    def make_dir(self, path: Path) -> None:
        """With parents; no error when it exists."""

    def list(self, directory: Path) -> list[str]:
        """File names, unordered. An absent directory raises FileNotFoundError."""

    def create(self, path: Path, size: int) -> File:
        """A new file of size zeros, preallocated; when that fails, no file stays. FileExistsError when there is one."""

    def open(self, path: Path, *, write: bool = False) -> File: ...

    def unlink(self, path: Path) -> None: ...

    def sync_dir(self, directory: Path) -> None:
        """Files created and unlinked in the directory so far stay so after a power cut."""

    def free(self, directory: Path) -> int:
        """Bytes free for us on the directory's disk."""

    def lock(self, path: Path) -> Lock:
        """Take the exclusive lock. Raises JournalLocked, naming the holder."""


class OsFile:
    __slots__ = ("_fd",)

    def __init__(self, path: Path, flags: int) -> None:
        self._fd = -1
        # Mail is private: nobody but its owner reads it.
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o600)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def write(self, buffers: Sequence[bytes], offset: int, *, sync: bool) -> None:
        if len(buffers) <= _IOV_MAX:
            # Write and sync in one call: the writer thread gives up and regains the GIL once instead of twice.
            total = sum(map(len, buffers))
            written = os.pwritev(self._fd, buffers, offset, os.RWF_DSYNC if sync else 0)
            if written == total:
                return
            self._write_rest(b"".join(buffers)[written:], offset + written)
        else:
            for start in range(0, len(buffers), _IOV_MAX):
                some = buffers[start : start + _IOV_MAX]
                total = sum(map(len, some))
                written = os.pwritev(self._fd, some, offset)
                if written != total:
                    self._write_rest(b"".join(some)[written:], offset + written)
                offset += total
        if sync:
            os.fdatasync(self._fd)

    def _write_rest(self, data: bytes, offset: int) -> None:
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._fd, rest, offset)
            if written == 0:
                raise OSError(errno.EIO, "the disk takes no bytes")
            rest = rest[written:]
            offset += written

    def read(self, offset: int, size: int) -> bytes:
        data = os.pread(self._fd, size, offset)
        if len(data) in (0, size):
            return data
        parts = [data]
        got = len(data)
        while got < size:
            data = os.pread(self._fd, size - got, offset + got)
            if not data:
                break
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def preallocate(self, size: int) -> None:
        if size:  # none at all is an error to the system
            os.posix_fallocate(self._fd, 0, size)


class OsLock:
    """flock on a file that holds the owner's process id. The file stays; the lock goes with the process."""

    def __init__(self, path: Path) -> None:
        self._fd = -1
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            self.release()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise JournalLocked(
                f"the journal {path.parent} is in use by process {holder or 'unknown'}; stop that one first"
            ) from None
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass  # a full disk must not keep us from starting: the lock holds, only the name of its holder is missing

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.release()


class OsDisk:
    def make_dir(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def list(self, directory: Path) -> list[str]:
        return os.listdir(directory)

    def create(self, path: Path, size: int) -> File:
        file = OsFile(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            file.preallocate(size)
        except OSError:
            os.unlink(path)
            raise
        return file

    def open(self, path: Path, *, write: bool = False) -> File:
        return OsFile(path, os.O_RDWR if write else os.O_RDONLY)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def sync_dir(self, directory: Path) -> None:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free(self, directory: Path) -> int:
        status = os.statvfs(directory)
        return status.f_bavail * status.f_frsize

    def lock(self, path: Path) -> Lock:
        return OsLock(path)
