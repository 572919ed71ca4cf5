"""The real disk, and the one in memory that stands for it where power is cut and disks fail."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from postroad.journal import Disk, JournalLocked, OsDisk
from postroad.lab.disks import FaultyDisk, MemoryDisk

KINDS = ["real", "memory"]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Disk, Path]:
    disk: Disk = OsDisk() if request.param == "real" else MemoryDisk()
    folder = tmp_path / "a" / "b"
    disk.make_dir(folder)
    disk.make_dir(folder)
    return disk, folder


def test_files_behave_alike(place: tuple[Disk, Path]) -> None:
    disk, folder = place
    file = disk.create(folder / "one", 1000)
    assert file.size() == 1000 and file.read(990, 100) == bytes(10)
    file.write([b"ab", b"", b"cd"], 10, sync=True)
    file.write([b"xyz"], 998, sync=False)
    assert file.size() == 1001 and file.read(9, 6) == b"\0abcd\0"
    assert file.read(998, 10) == b"xyz" and file.read(5000, 10) == b""
    file.preallocate(500)
    assert file.size() == 1001
    file.preallocate(2000)
    assert file.size() == 2000 and file.read(998, 6) == b"xyz\0\0\0"
    file.truncate(12)
    file.sync()
    file.preallocate(20)
    assert file.read(0, 20) == bytes(10) + b"ab" + bytes(8)
    disk.sync_dir(folder)
    assert disk.list(folder) == ["one"]
    assert disk.open(folder / "one").read(10, 2) == b"ab"
    assert disk.free(folder) > 0
    # An unlinked file lives as long as somebody reads it.
    disk.unlink(folder / "one")
    assert file.read(10, 2) == b"ab" and disk.list(folder) == []


def test_errors_are_alike(place: tuple[Disk, Path]) -> None:
    disk, folder = place
    disk.create(folder / "one", 10)
    with pytest.raises(FileExistsError):
        disk.create(folder / "one", 10)
    with pytest.raises(FileNotFoundError):
        disk.open(folder / "two")
    with pytest.raises(FileNotFoundError):
        disk.unlink(folder / "two")
    with pytest.raises(FileNotFoundError):
        disk.list(folder / "none")
    with pytest.raises(OSError) as error:
        disk.open(folder / "one").write([b"x"], 0, sync=False)
    assert error.value.errno == errno.EBADF


def test_the_lock_is_exclusive(place: tuple[Disk, Path]) -> None:
    disk, folder = place
    lock = disk.lock(folder / "lock")
    with pytest.raises(JournalLocked, match="in use by"):
        disk.lock(folder / "lock")
    lock.release()
    lock.release()
    disk.lock(folder / "lock").release()


def test_the_lock_of_another_process_names_it_and_goes_with_it(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from postroad.journal import OsDisk\n"
        "lock = OsDisk().lock(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"locked\n"
        with pytest.raises(JournalLocked, match=rf"in use by process {holder.pid}; stop that one first"):
            OsDisk().lock(tmp_path / "lock")
        holder.kill()
    OsDisk().lock(tmp_path / "lock").release()


def test_more_buffers_than_one_call_takes(tmp_path: Path) -> None:
    file = OsDisk().create(tmp_path / "many", 0)
    buffers = [b"%d," % number for number in range(5000)]
    file.write(buffers, 7, sync=True)
    assert file.read(7, 100_000) == b"".join(buffers)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel writes up to this offset, short, and then refuses: a real short write."""
    import signal

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("count", [3, 3000])
def test_a_short_write_goes_on_where_it_stopped(tmp_path: Path, count: int) -> None:
    file = OsDisk().create(tmp_path / "short", 0)
    with file_size_limit(10_000), pytest.raises(OSError) as error:
        file.write([b"x" * (12_000 // count)] * count, 0, sync=False)
    assert error.value.errno == errno.EFBIG
    assert file.size() == 10_000


def test_a_failed_creation_leaves_no_file(tmp_path: Path) -> None:
    with file_size_limit(10_000), pytest.raises(OSError):
        OsDisk().create(tmp_path / "large", 20_000)
    assert os.listdir(tmp_path) == []


# What the simulated power cut does.


def survivors(disk: MemoryDisk, folder: Path, seeds: int, prepare: str) -> set[bytes]:
    seen = set()
    for seed in range(seeds):
        fresh = MemoryDisk()
        fresh.make_dir(folder)
        file = fresh.create(folder / "f", 2048)
        file.write([b"old!" * 512], 0, sync=True)
        fresh.sync_dir(folder)
        file.write([b"new!" * 512], 0, sync=prepare == "synced")
        fresh.crash(Random(seed))
        seen.add(fresh.bytes_of(folder / "f"))
    return seen


def test_synced_bytes_survive_and_others_by_chance_in_whole_sectors(tmp_path: Path) -> None:
    assert survivors(MemoryDisk(), tmp_path, 50, "synced") == {b"new!" * 512}
    seen = survivors(MemoryDisk(), tmp_path, 800, "unsynced")
    assert {b"new!" * 512, b"old!" * 512} < seen and len(seen) == 16
    assert all(data[at : at + 512] in (b"old!" * 128, b"new!" * 128) for data in seen for at in range(0, 2048, 512))


def test_names_survive_by_chance_until_the_directory_is_synced(tmp_path: Path) -> None:
    seen = set()
    for seed in range(100):
        disk = MemoryDisk()
        disk.make_dir(tmp_path)
        disk.create(tmp_path / "kept", 0)
        disk.create(tmp_path / "gone", 0)
        disk.sync_dir(tmp_path)
        disk.create(tmp_path / "new", 0)
        disk.unlink(tmp_path / "gone")
        disk.crash(Random(seed))
        seen.add(tuple(disk.list(tmp_path)))
    assert seen == {("gone", "kept"), ("kept",), ("gone", "kept", "new"), ("kept", "new")}


def test_a_failed_sync_loses_the_bytes_and_the_next_one_succeeds_without_them(tmp_path: Path) -> None:
    disk = FaultyDisk(Random(1))
    disk.make_dir(tmp_path)
    file = disk.create(tmp_path / "f", 4)
    disk.sync_dir(tmp_path)
    file.sync()
    disk.fault = lambda operation, path: errno.EIO if operation == "sync" else 0
    with pytest.raises(OSError):
        file.write([b"data"], 0, sync=True)
    disk.fault = lambda operation, path: 0
    file.sync()
    assert file.read(0, 4) == b"data"
    disk.crash(Random(2))
    assert disk.bytes_of(tmp_path / "f") == bytes(4)


def test_capacity_counts_what_files_hold(tmp_path: Path) -> None:
    disk = MemoryDisk(capacity=100)
    disk.make_dir(tmp_path)
    file = disk.create(tmp_path / "f", 60)
    with pytest.raises(OSError) as error:
        disk.create(tmp_path / "g", 50)
    assert error.value.errno == errno.ENOSPC and disk.free(tmp_path) == 40
    file.truncate(10)
    disk.create(tmp_path / "g", 50)
    disk.unlink(tmp_path / "f")
    assert disk.free(tmp_path) == 50
