"""Thousands of connections to a server that say nothing, or next to nothing, and stay."""

from __future__ import annotations

import resource
import selectors
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import NamedTuple, Self

ENOUGH_FILES = 5000


@contextmanager
def many_files() -> Iterator[None]:
    """Room for our ends of the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= ENOUGH_FILES, f"this test needs `ulimit -n {ENOUGH_FILES}`"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, ENOUGH_FILES), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Habit(NamedTuple):
    """What a client says. talk: beginnings of lines that it waits for, in turn, each with what it says then. drip: the
    octets that it says one by one ever after, slowly, over and over; b"" for nothing."""

    talk: Sequence[tuple[bytes, bytes]]
    drip: bytes = b""


class _Guest:
    def __init__(self, port: int, habit: Habit) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 30)
        self.heard = b""
        self.gone = False
        self._drip = cycle(habit.drip) if habit.drip else None
        for expected, words in habit.talk:
            while expected and not self.gone and not self._hears(expected):
                data = self.sock.recv(4096)
                self.heard += data
                self.gone = not data
            if not self.gone:
                self.sock.sendall(words)
        self.sock.setblocking(False)

    def _hears(self, expected: bytes) -> bool:
        return any(line.startswith(expected) for line in self.heard.splitlines())

    def drip(self) -> None:
        if self._drip is not None and not self.gone:
            try:
                self.sock.send(bytes([next(self._drip)]))
            except OSError:
                self._drip = None

    def listen(self) -> None:
        try:
            data = self.sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.heard += data
        self.gone = not data


class Crowd:
    """count connections to the port, the habits in turn. They are all open, and have said what they say at first, when
    `with` is entered; a thread lets them drip until it is left."""

    def __init__(self, port: int, habits: Sequence[Habit], count: int) -> None:
        self._port = port
        self._habits = habits
        self._count = count
        self._guests: list[_Guest] = []
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name="crowd", daemon=True)
        self.rounds = 0

    def __enter__(self) -> Self:
        try:
            for number in range(self._count):
                self._guests.append(_Guest(self._port, self._habits[number % len(self._habits)]))
        except BaseException:
            self._close()
            raise
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._enough.set()
        self._thread.join(30)
        self._close()

    def _close(self) -> None:
        for guest in self._guests:
            guest.sock.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for guest in self._guests:
                selector.register(guest.sock, selectors.EVENT_READ, guest)
            while not self._enough.wait(0.05):
                for guest in self._guests:
                    guest.drip()
                for key, _ in selector.select(0):
                    key.data.listen()
                    if key.data.gone:
                        selector.unregister(key.fileobj)
                self.rounds += 1

    def staying(self) -> Counter[int]:
        """Connections that are still open, by the number of their habit."""
        return Counter(number % len(self._habits) for number, guest in enumerate(self._guests) if not guest.gone)

    def last_words(self) -> Counter[tuple[int, str]]:
        """(number of its habit, the last line it heard), and how many there are of that."""
        heard = ((guest.heard.splitlines() or [b""])[-1] for guest in self._guests)
        return Counter((number % len(self._habits), line.decode()) for number, line in enumerate(heard))
