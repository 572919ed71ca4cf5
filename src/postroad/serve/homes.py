"""For how many engines the journals of a data folder were last put in order. One small file, replaced as a whole."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from postroad.journal.folders import journal_folders

_NAME = "homes.json"


class Homes(msgspec.Struct, frozen=True):
    """engines: so many had the journals. moving: a change to another number was begun and has not been seen to end."""

    engines: int = 1
    moving: bool = False


def is_due(data_dir: Path, engines: int) -> bool:
    """Were the journals last in order for another number of engines, or is a change of it not done yet? Raises as
    read_homes."""
    folders = journal_folders(data_dir)
    if not (data_dir / _NAME).exists() and folders.keys() - {0}:
        return True  # somebody took the file away
    if not folders:
        if engines > 1:
            write_homes(data_dir, Homes(engines))
        return False
    return read_homes(data_dir) != Homes(engines)


def read_homes(data_dir: Path) -> Homes:
    """A folder without the file is that of one engine, as it was before there could be more. Raises OSError, and
    msgspec.DecodeError when it is not ours."""
    try:
        return msgspec.json.decode((data_dir / _NAME).read_bytes(), type=Homes)
    except FileNotFoundError:
        return Homes()


def write_homes(data_dir: Path, homes: Homes) -> None:
    """Returns when it survives a power cut. Raises OSError; then the old file stands."""
    new = data_dir / f"{_NAME}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, msgspec.json.encode(homes) + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    new.replace(data_dir / _NAME)
    folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
