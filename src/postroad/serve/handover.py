"""Hand-over between engines: two ends of a local socket, on which transactions go to the engine that owns their domain.

What is sent and not answered when the connection breaks may or may not have been kept over there. `sent(None)` says so;
its sender then keeps it as well. That is the one window in which a message can be doubled here: hand-over in flight
when an engine dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import msgspec

from postroad.config.schema import Config
from postroad.message import Accepted, Acceptor, Refused, Reply, Transaction
from postroad.serve.handed import LENGTH, LENGTHS, Answer, pack, pack_answer, unpack, unpack_answer
from postroad.serve.owner import Owners
from postroad.serve.router import Home, Router, Sent

_AGAIN = 0.1  # seconds between two tries to connect
_PATIENCE = 30.0  # seconds without an answer after which the other engine is taken for stuck
_MOST_UNSENT = 64 << 20  # octets; what more the other engine is behind we rather keep ourselves
_BACKLOG = 64
_FIRST_WAIT = 1.0  # seconds a starting engine waits for the others
_LAST_WAIT = 5.0  # seconds a stopping engine waits for the others' answers


def handover_socket(number: int) -> str:
    """The name, in the run folder, of the socket on which an engine takes what others hand over."""
    return f"handover-{number}.sock"


class Sender(asyncio.Protocol):
    """To one other engine. It connects by itself, again and again, from `start` to `close`. learn(domain, provider): it
    says to which provider a domain belongs."""

    def __init__(self, folder: Path, number: int, learn: Callable[[str, str], object]) -> None:
        self._learn = learn
        self._folder = folder
        self._name = handover_socket(number)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()
        self._sequence = 0
        self._waiting: dict[int, tuple[Sent, float]] = {}  # by sequence: oldest first
        self._patience: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False
        self._greeted = False  # a process that is stuck can be connected to, but it says nothing
        self._connected = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    @property
    def welcome(self) -> bool:
        """May something be sent now?"""
        transport = self._transport
        if transport is None or not self._greeted or transport.is_closing():
            return False
        return transport.get_write_buffer_size() < _MOST_UNSENT

    def start(self) -> None:
        self._connecting = self._loop.create_task(self._connect())

    def send(self, transaction: Transaction, sent: Sent) -> None:
        """Call it only when `welcome`. sent is called once, on the loop."""
        assert self._transport is not None
        self._sequence += 1
        self._waiting[self._sequence] = (sent, self._loop.time())
        self._settled.clear()
        if self._patience is None:
            self._patience = self._loop.call_later(_PATIENCE, self._look)
        self._transport.writelines(pack(self._sequence, transaction))

    async def connected(self, timeout: float) -> None:
        """Wait for the first connection, but not longer than this."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connected.wait(), timeout)

    async def settled(self, timeout: float) -> None:
        """Wait until everything is answered, but not longer than this."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), timeout)

    def close(self) -> None:
        self._closed = True
        for handle in (self._again, self._patience):
            if handle is not None:
                handle.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.close()

    async def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with _short(self._folder, self._name) as short:
                sock.connect(short)
            await self._loop.create_unix_connection(lambda: self, sock=sock)
        except OSError:
            sock.close()
            self._later()

    def _later(self) -> None:
        if not self._closed:
            self._again = self._loop.call_later(_AGAIN, self.start)

    def _look(self) -> None:
        self._patience = None
        if not self._waiting:
            return
        _, since = next(iter(self._waiting.values()))
        left = since + _PATIENCE - self._loop.time()
        if left > 0:
            self._patience = self._loop.call_later(left, self._look)
        elif self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._unread.clear()

    def data_received(self, data: bytes) -> None:
        unread = self._unread
        unread += data
        start = 0
        while len(unread) - start >= LENGTH:
            end = start + LENGTH + int.from_bytes(unread[start : start + LENGTH], "little")
            if len(unread) < end:
                break
            answer = unpack_answer(bytes(unread[start + LENGTH : end]))
            start = end
            if not answer.sequence:
                self._greeted = True
                self._connected.set()
                for domain, provider in answer.rolled.items():
                    self._learn(domain, provider)
                continue
            sent, _ = self._waiting.pop(answer.sequence)
            if not self._waiting:
                self._settled.set()
            sent(Refused(Reply(answer.code, answer.text)) if answer.code else Accepted(answer.ids))
        del unread[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport, self._greeted = None, False
        waiting, self._waiting = self._waiting, {}
        self._settled.set()
        for sent, _ in waiting.values():
            sent(None)
        self._later()


class Handover:
    """All of it for one engine: it takes what the others send, and `router` sends what is theirs."""

    def __init__(self, home: Home, owners: Owners, folder: Path, number: int, engines: int) -> None:
        """folder: where the sockets of all engines lie."""
        self._senders = {other: Sender(folder, other, self._learn) for other in range(engines) if other != number}
        self._folder = folder
        self._receiver = Receiver(folder, number, home)
        self._engines = engines
        self.router = Router(home, number, owners, self._senders)

    async def start(self) -> None:
        """Raises OSError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        await self._receiver.start()
        for sender in self._senders.values():
            sender.start()
        # All engines start at the same time. Mail that came before the others are there would have to stay here.
        await asyncio.gather(*(sender.connected(_FIRST_WAIT) for sender in self._senders.values()))

    @property
    def joined(self) -> int:
        """How many of the other engines take mail now."""
        return sum(sender.welcome for sender in self._senders.values())

    def located(self, domain: str, provider: str) -> None:
        """A look-up of ours has shown to which provider a domain belongs. All engines are told, so that they hand its
        mail to the provider's owner."""
        if self.router.owners.learn(domain, provider):
            self._receiver.tell(domain, provider)

    def _learn(self, domain: str, provider: str) -> None:
        self.router.owners.learn(domain, provider)

    def reconfigure(self, config: Config) -> None:
        self.router.owners = Owners(config, self._engines)

    async def settled(self) -> None:
        """Wait for what was handed over and is not answered."""
        await asyncio.gather(*(sender.settled(_LAST_WAIT) for sender in self._senders.values()))

    async def close(self) -> None:
        """What others handed over is answered when the journal is closed; after that nobody needs us."""
        for sender in self._senders.values():
            sender.close()
        await self._receiver.close()


class Receiver:
    """Where the other engines come in. acceptor: our own queue: what is handed over goes no further."""

    def __init__(self, folder: Path, number: int, acceptor: Acceptor) -> None:
        self._folder = folder
        self._name = handover_socket(number)
        self._acceptor = acceptor
        self._server: asyncio.Server | None = None
        self._connections: dict[_Incoming, None] = {}

    async def start(self) -> None:
        """Raises OSError."""
        path = self._folder / self._name
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with _short(self._folder, self._name) as short:
            mask = os.umask(0o177)
            try:
                sock.bind(short)
            finally:
                os.umask(mask)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: _Incoming(self._acceptor, self._connections), sock=sock, backlog=_BACKLOG
        )

    def tell(self, domain: str, provider: str) -> None:
        for connection in self._connections:
            connection.tell(domain, provider)

    async def close(self) -> None:
        """Answers that were given have gone out when it returns."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                (self._folder / self._name).unlink()
        await asyncio.gather(*(connection.close() for connection in list(self._connections)))


class _Incoming(asyncio.Protocol):
    """A connection of another engine."""

    def __init__(self, acceptor: Acceptor, connections: dict[_Incoming, None]) -> None:
        self._acceptor = acceptor
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(self, domain: str, provider: str) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack_answer(Answer(0, [], rolled={domain: provider})))

    async def close(self) -> None:
        """Returns when our last answers have gone out, or the other end does not read them."""
        if self._transport is not None:
            self._transport.close()
            await asyncio.wait([self._gone], timeout=_LAST_WAIT)
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections[self] = None
        self._transport.write(pack_answer(Answer(0, [])))

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.pop(self, None)
        self._gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        unread = self._unread
        unread += data
        start = 0
        while len(unread) - start >= LENGTHS.size:
            head, trace, content = LENGTHS.unpack_from(unread, start)
            first = start + LENGTHS.size
            if len(unread) - first < head + trace + content:
                break
            second, third = first + head, first + head + trace
            start = third + content
            with memoryview(unread) as view:
                parts = bytes(view[first:second]), bytes(view[second:third]), bytes(view[third:start])
            self._take(*parts)
        del unread[:start]

    def _take(self, head: bytes, trace: bytes, content: bytes) -> None:
        assert self._transport is not None
        try:
            sequence, transaction = unpack(head, trace, content)
        except msgspec.DecodeError:
            self._transport.abort()  # of another version; its sender keeps it
            return

        def done(result: Accepted | Refused) -> None:
            if isinstance(result, Accepted):
                answer = Answer(sequence, result.ids)
            else:
                answer = Answer(sequence, [], result.reply.code, result.reply.text)
            if self._transport is not None and not self._transport.is_closing():
                self._transport.write(pack_answer(answer))

        self._acceptor.accept(transaction, done)


@contextlib.contextmanager
def _short(folder: Path, name: str) -> Iterator[str]:
    """A path to the socket that is short enough for the system however deep the folder lies."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)
