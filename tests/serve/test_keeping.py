"""How children are kept: back-off, listening sockets, the lock of the data folder, real processes that end."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from postroad.config.schema import Config, HttpOptions, ListenerOptions
from postroad.serve.backoff import Backoff
from postroad.serve.doors import Doors
from postroad.serve.errors import StartError
from postroad.serve.frames import Name
from postroad.serve.homes import Homes, is_due, read_homes, write_homes
from postroad.serve.kept import Born, Kept
from postroad.serve.link import Link, pair
from postroad.serve.lock import DataLock
from tests.scenarios.server import free_port


def test_the_waits_grow_to_half_a_minute_and_shrink_after_a_minute_of_health() -> None:
    backoff = Backoff()
    waits = [backoff.fell(1.0) for _ in range(12)]
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-2:] == [30.0, 30.0]
    assert backoff.fell(59.9) == 30.0
    assert [backoff.fell(60.0), backoff.fell(0.0)] == [0.1, 0.2]


# --- doors ------------------------------------------------------------------------------------------------------------


def config(*listeners: str, http: str = "") -> Config:
    return Config(listener=[ListenerOptions(address=each) for each in listeners], http=HttpOptions(address=http))


@pytest.mark.parametrize("engines", [1, 2])
def test_doors_stay_when_listeners_change_their_order(engines: int) -> None:
    doors = Doors(engines)
    fixed, new = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    before = config(fixed, "127.0.0.2:0", "127.0.0.2:0", http="127.0.0.3:0")
    doors.open(before)
    (first, second, third), http = doors.of(engines - 1, before)
    with socket.socket(fileno=os.dup(first[0])) as sock:
        sock.listen()  # as an engine does; now nobody else can bind it
    after = config(new, "127.0.0.2:0", fixed, "127.0.0.2:0", http="127.0.0.3:0")
    doors.open(after)
    (added, *rest), same = doors.of(engines - 1, after)
    assert (rest, same) == ([second, first, third], http)
    assert f"127.0.0.1:{port_of(added[0])}" == new
    doors.close()


def port_of(fd: int) -> int:
    with socket.socket(fileno=os.dup(fd)) as sock:
        port: int = sock.getsockname()[1]
        return port


def test_all_engines_get_sockets_of_their_own_on_the_same_ports() -> None:
    doors = Doors(3)
    wanted = config("127.0.0.1:0", "127.0.0.1:0", http="127.0.0.1:0")
    doors.open(wanted)
    found = [doors.of(engine, wanted) for engine in range(3)]
    fds = [fd for listeners, http in found for each in (*listeners, http) for fd in each]
    assert len(set(fds)) == 9
    ports = {tuple(port_of(fd) for each in (*listeners, http) for fd in each) for listeners, http in found}
    assert len(ports) == 1 and len(set(ports.pop())) == 3
    doors.close()


def test_connections_wait_in_the_backlog_as_long_as_the_door_is_open() -> None:
    doors = Doors(1)
    wanted = config("127.0.0.1:0")
    doors.open(wanted)
    ((fd,),), _ = doors.of(0, wanted)
    port = port_of(fd)
    with socket.socket(fileno=os.dup(fd)) as engine:
        engine.listen(5)
    with socket.create_connection(("127.0.0.1", port), 5):
        pass  # the engine is gone; its socket is not
    doors.shut(0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)
    ((again,),), _ = doors.of(0, wanted)
    assert port_of(again) == port
    doors.close()


@pytest.mark.parametrize("engines", [1, 2])
def test_a_port_that_is_taken_is_an_error_with_several_engines_too(engines: int) -> None:
    """SO_REUSEPORT alone would let a second server of the same user in."""
    first = Doors(engines)
    wanted = config("127.0.0.1:0")
    first.open(wanted)
    ((fd, *_),), _ = first.of(0, wanted)
    with socket.socket(fileno=os.dup(fd)) as engine:
        engine.listen(5)
    second = Doors(engines)
    with pytest.raises(OSError, match="address already in use"):
        second.open(config("127.0.0.1:0", f"127.0.0.1:{port_of(fd)}"))
    first.close()


def test_a_new_configuration_opens_and_closes_doors() -> None:
    doors = Doors(1)
    before, after = config("127.0.0.1:0"), config(http="127.0.0.1:0")
    doors.open(before)
    ((old,),), _ = doors.of(0, before)
    doors.open(after)
    listeners, http = doors.of(0, after)
    assert listeners == () and len(http) == 1
    with pytest.raises(OSError, match=r"no\.such\.host\.invalid"):
        doors.open(config("no.such.host.invalid:25"))
    assert doors.of(0, after) == (listeners, http)
    doors.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(old)


# --- the lock ---------------------------------------------------------------------------------------------------------


def test_a_second_server_is_told_who_is_there(tmp_path: Path) -> None:
    lock = DataLock(tmp_path)
    with pytest.raises(StartError, match=f"is in use by process {os.getpid()}$"):
        DataLock(tmp_path)
    lock.release()
    DataLock(tmp_path).release()


def test_what_is_left_of_a_killed_server_is_waited_for(tmp_path: Path) -> None:
    """A child holds the lock on; the process that is written down is gone."""
    script = "import sys; sys.stdin.read(1)"
    holder = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    os.pwrite(holder, f"{gone.pid}\n".encode(), 0)
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, pass_fds=[holder])
    os.close(holder)
    waiting = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import sys\nfrom pathlib import Path\nfrom postroad.serve.lock import DataLock\n"
            "print('waits', flush=True)\nDataLock(Path(sys.argv[1]))\nprint('has it', flush=True)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
    )
    assert waiting.stdout is not None and child.stdin is not None
    assert waiting.stdout.readline() == b"waits\n"
    assert waiting.poll() is None
    child.stdin.write(b"x")
    child.stdin.close()
    child.wait(20)
    assert waiting.stdout.readline() == b"has it\n"
    assert waiting.wait(20) == 0
    waiting.stdout.close()


def test_homes(tmp_path: Path) -> None:
    assert not is_due(tmp_path, 1)  # nothing is there
    assert not is_due(tmp_path, 4) and read_homes(tmp_path) == Homes(4)  # written down before there is mail
    (tmp_path / "journal-3").mkdir()
    assert is_due(tmp_path, 2) and not is_due(tmp_path, 4)
    write_homes(tmp_path, Homes(4, moving=True))
    assert is_due(tmp_path, 4)
    (tmp_path / "homes.json").unlink()
    assert is_due(tmp_path, 1)


# --- processes --------------------------------------------------------------------------------------------------------

_READY = """
import asyncio, socket, sys
from postroad.serve.frames import Ready, Stop
from postroad.serve.link import Link
async def main():
    link, stop = Link(), asyncio.Event()
    link.on(Stop, lambda frame: stop.set())
    link.begin(socket.socket(fileno=int(sys.argv[1])))
    link.send(Ready())
    await stop.wait()
asyncio.run(main())
"""


class Keeper:
    """A Kept with what it is given, and what it told."""

    def __init__(self, script: Callable[[int], str], *, drained: float = 20.0, patience: float = 0.0) -> None:
        self.starts = 0
        self.gone = 0
        self.pids: list[int] = []
        self.changed = asyncio.Event()
        self._script = script
        self.kept = Kept(
            Name("engine", 1),
            spawn=self._spawn,
            changed=self.changed.set,
            gone=self._gone,
            shut=lambda name: None,
            drained=lambda: drained,
            patience=lambda: patience,
            wall=lambda: 1000.0,
        )

    def _spawn(self, name: Name) -> Born:
        ours, theirs = pair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", self._script(self.starts), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stderr=subprocess.DEVNULL,
            )
        self.starts += 1
        self.pids.append(process.pid)
        link = Link()
        link.begin(ours)
        return Born(process, link)

    def _gone(self, name: Name) -> None:
        self.gone += 1

    async def stuck(self) -> None:
        while not self.kept.peer.stuck:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 30)

    async def up(self, restarts: int) -> None:
        while not (self.kept.peer.up and self.kept.peer.restarts == restarts):
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 30)


async def test_a_process_that_falls_is_started_again_and_one_that_is_ended_is_not() -> None:
    keeper = Keeper(lambda start: _READY)
    await asyncio.wait_for(keeper.kept.first, 30)
    os.kill(keeper.pids[0], 9)
    await keeper.up(1)
    assert keeper.kept.peer.pid == keeper.pids[1] != keeper.pids[0]
    keeper.kept.restart()
    await keeper.up(2)
    await asyncio.wait_for(keeper.kept.end(), 30)
    assert (keeper.starts, keeper.gone) == (3, 3)
    assert keeper.kept.peer.pid == 0 and not keeper.kept.peer.up


async def test_one_that_never_served_is_no_server() -> None:
    keeper = Keeper(lambda start: "import sys; sys.exit(7)")
    with pytest.raises(StartError, match="engine-1 ended with exit code 7 before it served"):
        await asyncio.wait_for(keeper.kept.first, 30)
    await asyncio.wait_for(keeper.kept.end(), 30)
    assert keeper.starts == 1


async def test_one_that_served_once_is_tried_for_ever() -> None:
    keeper = Keeper(lambda start: "import sys; sys.exit(7)" if start in (1, 2) else _READY)
    await asyncio.wait_for(keeper.kept.first, 30)
    os.kill(keeper.pids[0], 9)
    await keeper.up(3)
    await asyncio.wait_for(keeper.kept.end(), 30)


async def test_one_that_does_not_end_in_time_is_killed() -> None:
    deaf = _READY.replace("await stop.wait()", "await asyncio.sleep(3600)")
    keeper = Keeper(lambda start: deaf, drained=0.2)
    await asyncio.wait_for(keeper.kept.first, 30)
    await asyncio.wait_for(keeper.kept.end(), 30)
    assert keeper.gone == 1


_ANSWERS = _READY.replace("Ready, Stop", "Ping, Pong, Ready, Stop").replace(
    "    link.begin", "    link.on(Ping, lambda frame: link.send(Pong()))\n    link.begin"
)


async def test_one_that_is_stuck_is_told_killed_and_started_again() -> None:
    keeper = Keeper(lambda start: _ANSWERS, patience=2.0)
    await asyncio.wait_for(keeper.kept.first, 30)
    os.kill(keeper.pids[0], signal.SIGSTOP)
    await keeper.stuck()
    assert not keeper.kept.peer.up and keeper.kept.peer.pid == keeper.pids[0]
    await keeper.up(1)
    assert keeper.kept.peer.pid == keeper.pids[1]
    await asyncio.wait_for(keeper.kept.end(), 30)


async def test_one_that_was_stuck_and_answers_again_stays() -> None:
    keeper = Keeper(lambda start: _ANSWERS, patience=8.0)
    await asyncio.wait_for(keeper.kept.first, 30)
    os.kill(keeper.pids[0], signal.SIGSTOP)
    await keeper.stuck()
    os.kill(keeper.pids[0], signal.SIGCONT)
    await keeper.up(0)
    await asyncio.wait_for(keeper.kept.end(), 30)
    assert keeper.starts == 1


async def test_one_that_can_not_be_watched_is_told_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", full)
    keeper = Keeper(lambda start: _READY)
    with pytest.raises(StartError, match=r"can't be watched.*Too many open files"):
        await asyncio.wait_for(keeper.kept.first, 30)
    assert keeper.gone == 1
    with pytest.raises(ProcessLookupError):
        os.kill(keeper.pids[0], 0)
