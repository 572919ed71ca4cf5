"""The local socket between engines and control: what both ends must agree on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PEER = b"x-postroad-peer"  # the client's address, as the engine saw it
OURS = b"x-postroad-"  # fields that begin so are ours alone: those of a client are dropped


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """A name of the socket, short enough for the system (about 107 octets), while the block lasts: through a descriptor
    of its folder. Raises OSError."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
