"""The lock on a data folder: one server at a time works there.

flock(2) belongs to the open file, and the supervisor hands its descriptor down to its children: so whoever gets the
lock knows that nothing of an earlier server is left, not even a child that outlives a killed supervisor by an instant.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from postroad.serve.errors import StartError

_PATIENCE = 20.0  # seconds for the children of a server that was killed to be gone: a sync under way may take a while
_POLL = 0.02


class DataLock:
    """Blocks while it waits for what is left of a killed server. Raises StartError when another server is there."""

    def __init__(self, data_dir: Path) -> None:
        self.fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = os.pread(self.fd, 32, 0).decode("ascii", "replace").strip()
                if _is_there(holder) or time.monotonic() > end:
                    os.close(self.fd)
                    raise StartError(f"{data_dir} is in use by process {holder or 'unknown'}") from None
                time.sleep(_POLL)
        with contextlib.suppress(OSError):  # a full disk: mail that is queued can be delivered all the same
            os.truncate(self.fd, 0)
            os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self.fd)


def _is_there(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
