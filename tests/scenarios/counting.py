"""A receiver that counts what a limit is about: connections as the system sees them, and messages by when they came.

An SMTP server in one thread. A connection counts from when it is accepted until the client's end of it is gone; before
they are counted, those that have ended by then are taken off, however late this thread comes to read that. So all that
are counted were open at one moment.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping
from types import MappingProxyType, TracebackType
from typing import NamedTuple, Self

_GREETING = b"220 count.test ESMTP\r\n"


class Came(NamedTuple):
    """A message. at: time.monotonic() when its MAIL command was read."""

    at: float
    peer: str
    host: str
    recipient: str


class _Talk:
    def __init__(self, sock: socket.socket, peer: str, host: str) -> None:
        self.sock = sock
        self.peer = peer
        self.host = host
        self.unread = b""
        self.content = False
        self.began = 0.0
        self.recipients: list[str] = []
        self.slow_until = 0.0


class CountingSink:
    """hosts: addresses to listen on, all with one port. pause: seconds after which the end of a message is answered.
    groups: names of some hosts together. most: the most connections there were at once: in all ("all"), by host
    ("host A"), by where they came from ("peer A"), by both ("path PEER HOST"), by group."""

    def __init__(
        self,
        hosts: tuple[str, ...] = ("127.0.0.1",),
        pause: float = 0.02,
        groups: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> None:
        self.hosts = hosts
        self.pause = pause
        self.groups = groups
        self.came: list[Came] = []
        self.most: Counter[str] = Counter()
        self.accepted = 0
        self.port = 0
        self._open: dict[socket.socket, _Talk] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        self._listeners = []
        for host in self.hosts:
            listener = socket.create_server((host, self.port), backlog=200)
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            self._selector.register(listener, selectors.EVENT_READ, host)
            self._listeners.append(listener)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(30)
        for sock in (*self._listeners, *self._open):
            sock.close()
        self._selector.close()

    def now_open(self) -> Counter[str]:
        with self._lock:
            self._reap()
            return self._counted()

    def forget(self) -> None:
        """Count the most anew."""
        with self._lock:
            self._reap()
            self.most = self._counted()

    def _counted(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for talk in self._open.values():
            found.update(("all", f"host {talk.host}", f"peer {talk.peer}", f"path {talk.peer} {talk.host}"))
            found.update(name for name, hosts in self.groups.items() if talk.host in hosts)
        return found

    def _run(self) -> None:
        while not self._stop.is_set():
            events = self._selector.select(0.005)
            with self._lock:
                for key, _ in events:
                    if key.data is not None:
                        assert isinstance(key.fileobj, socket.socket)
                        self._accept(key.fileobj, key.data)
                    elif key.fileobj in self._open:
                        assert isinstance(key.fileobj, socket.socket)
                        self._read(self._open[key.fileobj])
                now = time.monotonic()
                for talk in [each for each in self._open.values() if each.slow_until and each.slow_until <= now]:
                    talk.slow_until = 0.0
                    self._say(talk, b"250 2.0.0 taken\r\n")
                    self._work(talk)

    def _accept(self, listener: socket.socket, host: str) -> None:
        with contextlib.suppress(BlockingIOError):
            sock, address = listener.accept()
            sock.setblocking(False)
            talk = self._open[sock] = _Talk(sock, address[0], host)
            self._selector.register(sock, selectors.EVENT_READ)
            self._say(talk, _GREETING)
            self.accepted += 1
            self._reap()  # with this one, whose end may have come as well
            for name, number in self._counted().items():
                self.most[name] = max(self.most[name], number)

    def _reap(self) -> None:
        """Read all there is, so that every end that has come is seen."""
        for talk in list(self._open.values()):
            self._read(talk)

    def _read(self, talk: _Talk) -> None:
        try:
            while True:
                data = talk.sock.recv(1 << 16)
                if not data:
                    self._gone(talk)
                    return
                talk.unread += data
        except BlockingIOError:
            self._work(talk)
        except OSError:
            self._gone(talk)

    def _gone(self, talk: _Talk) -> None:
        if self._open.pop(talk.sock, None) is not None:
            self._selector.unregister(talk.sock)
            talk.sock.close()

    def _work(self, talk: _Talk) -> None:
        while not talk.slow_until:
            if talk.content:
                at = talk.unread.find(b"\r\n.\r\n")
                if at < 0:
                    talk.unread = talk.unread[-4:] if len(talk.unread) > 1 << 16 else talk.unread
                    return
                talk.unread = talk.unread[at + 5 :]
                talk.content = False
                self.came += [Came(talk.began, talk.peer, talk.host, each) for each in talk.recipients]
                talk.slow_until = time.monotonic() + self.pause
                return
            line, end, rest = talk.unread.partition(b"\r\n")
            if not end:
                return
            talk.unread = rest
            self._command(talk, line.decode("latin-1"))

    def _command(self, talk: _Talk, line: str) -> None:
        verb = line[:4].upper()
        if verb == "EHLO":
            self._say(talk, b"250-count.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
        elif verb == "MAIL":
            talk.began = time.monotonic()
            talk.recipients = []
            self._say(talk, b"250 2.1.0 ok\r\n")
        elif verb == "RCPT":
            talk.recipients.append(line.partition("<")[2].partition(">")[0])
            self._say(talk, b"250 2.1.5 ok\r\n")
        elif verb == "DATA":
            talk.content = True
            self._say(talk, b"354 go on\r\n")
        elif verb == "QUIT":
            self._say(talk, b"221 2.0.0 bye\r\n")  # it counts until the client's end is gone
        else:
            self._say(talk, b"250 2.0.0 ok\r\n")

    def _say(self, talk: _Talk, data: bytes) -> None:
        with contextlib.suppress(OSError):
            talk.sock.sendall(data)
