"""A small file system for one server, in a mount namespace of its own that ends with the process that holds it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest


class SmallDisk:
    """A tmpfs of `size` bytes. Everybody gets at it through `path`, without entering the namespace.

    Skips the test where the system does not let us mount.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._inside = folder / "disk"
        self._size = size

    def __enter__(self) -> Self:
        self._inside.mkdir()
        unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
        script = 'mount -t tmpfs -o size="$1",mode=700 tmpfs "$2" && echo mounted && exec cat'
        # `cat` ends when our end of its standard input goes, at the latest with the test process.
        self._holder = subprocess.Popen(
            [*unshare, "sh", "-c", script, "sh", str(self._size), str(self._inside)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"mounted\n":
            self._close()
            pytest.skip("mounting a file system is not permitted here")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        for stream in (self._holder.stdin, self._holder.stdout):
            assert stream is not None
            stream.close()
        self._holder.wait(10)

    @property
    def path(self) -> Path:
        return Path(f"/proc/{self._holder.pid}/root{self._inside}")

    def enter(self) -> list[str]:
        """What to put before a command that is to see the file system at `inside`, for programs that find out what
        /proc means, as SQLite does."""
        enter = ["nsenter", "-t", str(self._holder.pid), "-m"]
        if os.geteuid() != 0:
            enter += ["-U", "--preserve-credentials"]
        return enter

    @property
    def inside(self) -> Path:
        """The folder, for commands behind `enter`."""
        return self._inside

    def remount(self, options: str) -> None:
        """For example "ro", or "size=8m"."""
        subprocess.run([*self.enter(), "mount", "-o", f"remount,{options}", str(self._inside)], check=True)

    def free(self) -> int:
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def fill(self, leave: int = 0) -> Path:
        """Take all the room but `leave` bytes, as a stranger's file would. Remove the file to give it back."""
        path = self.path / "stranger"
        with path.open("ab", buffering=0) as file:
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
            file.truncate(file.seek(0, os.SEEK_END) - leave)
        return path
