"""Far ends on real sockets of the loopback: an SMTP receiver that is right until it is told to be wrong, and the names
that lead to it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from enum import Enum, auto
from random import Random
from typing import Any, NamedTuple

from postroad.config.schema import BindingOptions, Config, DeliveryOptions, DomainOptions, ProviderOptions, ReplyOptions
from postroad.deliver import Deliverer, TlsPolicies
from postroad.deliver.rollup import SharedQueues
from postroad.deliver.tlsrpt import TlsCounts
from postroad.net import Clock, DnsFailure, MxHost, NoSuchDomain, NullMx, Resolver
from postroad.shaping import Limits
from tests.deliver.supply import Shelf

HOSTNAME = "us.example"
DOMAIN = "example.net"


class Wrong(Enum):
    """What a peer may do instead of replying."""

    STALL = auto()
    CLOSE = auto()
    RESET = auto()
    HALF = auto()  # half a reply, then silence
    NONSENSE = auto()
    ENDLESS = auto()  # a line without end


Answer = bytes | Wrong


class Received(NamedTuple):
    mail: bytes
    rcpt: bytes
    content: bytes  # dots unstuffed
    peer: str
    rcpts: tuple[
        bytes, ...
    ] = ()  # those that were accepted, and in LMTP had a yes to the content as well; rcpt: the last


class Peer:
    """Answers by step: banner, ehlo, lhlo, helo, mail, rcpt, data, content, rset, quit; or by `judge`, asked first.

    After LHLO it speaks LMTP: the answer to the content is asked for, and given, for each recipient; it is told the
    RCPT as `line`.
    """

    def __init__(self, **answers: Answer) -> None:
        self.answers: dict[str, Answer] = {
            "banner": b"220 peer.example.net ESMTP\r\n",
            "ehlo": b"250-peer.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 DSN\r\n",
            "lhlo": b"250-peer.example.net\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
            "helo": b"250 peer.example.net\r\n",
            "mail": b"250 2.1.0 ok\r\n",
            "rcpt": b"250 2.1.5 ok\r\n",
            "data": b"354 go\r\n",
            "content": b"250 2.0.0 got it\r\n",
            "rset": b"250 2.0.0 ok\r\n",
            "quit": b"221 2.0.0 bye\r\n",
            **answers,
        }
        self.judge: Callable[[str, bytes, int], Answer | None] = lambda step, line, connection: None
        self.before: dict[str, asyncio.Event] = {}  # what a step's answer waits for
        self.delays: dict[str, float] = {}  # seconds that it takes; for simulated time
        self.received: list[Received] = []
        self.commands: defaultdict[int, list[bytes]] = defaultdict(list)  # by connection, from 1
        self.deaf = False  # after a 354, read nothing
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.came = asyncio.Event()
        self.gone = asyncio.Event()  # no connection is open
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Peer:
        self._server = await asyncio.start_server(self._serve, host, port, limit=1 << 24)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        self.came.set()
        self.gone.clear()
        try:
            await self._session(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            if not self.open:
                self.gone.set()
            self._tasks.discard(task)
            writer.close()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        if not await self._answer("banner", b"", reader, writer, number):
            return
        mail = b""
        rcpts: list[bytes] = []  # accepted; while there are none, whatever DATA brings is no message
        refused = lmtp = False
        while True:
            line = (await reader.readuntil(b"\r\n")).removesuffix(b"\r\n")
            self.commands[number].append(line)
            step = line[:4].decode().lower()
            lmtp = lmtp or step == "lhlo"
            answer = await self._answer(step, line, reader, writer, number)
            if not answer or step == "quit":
                return
            if step == "mail":
                mail, rcpts, refused = line, [], not answer.startswith(b"2")
            elif step == "rset":
                rcpts = []
            elif step == "rcpt" and answer.startswith(b"2") and not refused:
                rcpts.append(line)
            if answer.startswith(b"354"):
                if self.deaf:
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
                    await asyncio.Event().wait()
                content = b""
                while not (content == b".\r\n" or content.endswith(b"\r\n.\r\n")):
                    content += await reader.readuntil(b"\r\n")
                lines = content[:-3].split(b"\r\n")
                content = b"\r\n".join(each.removeprefix(b".") for each in lines)
                if not rcpts:
                    writer.write(b"554 5.5.1 no valid recipients\r\n")
                    continue
                kept: list[bytes] = []
                for told in [[each] for each in rcpts] if lmtp else [rcpts]:
                    answer = await self._answer("content", told[0] if lmtp else content, reader, writer, number)
                    kept += told if answer.startswith(b"250") else []
                    if not answer:
                        break
                if kept:
                    source = writer.get_extra_info("peername")[0]
                    self.received.append(Received(mail, kept[-1], content, source, tuple(kept)))
                if not answer:
                    return
                rcpts = []

    async def _answer(
        self, step: str, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> bytes:
        """Answer, and give what was said; b"" when that was the end."""
        answer = self.judge(step, line, number) or self.answers[step]
        if step in self.before:
            await self.before[step].wait()
        if step in self.delays:
            await asyncio.sleep(self.delays[step])
        if isinstance(answer, bytes):
            writer.write(answer)
            await writer.drain()
            return answer if not answer.startswith(b"421") else b""
        if answer is Wrong.RESET:
            # Linger 0: the close sends a reset instead of an end.
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif answer is Wrong.HALF:
            writer.write(b"250-hal")
            await _until_gone(reader)
        elif answer is Wrong.STALL:
            await _until_gone(reader)
        elif answer is Wrong.NONSENSE:
            writer.write(b"\x16\x03\x01\x02nonsense\r\n")
            await _until_gone(reader)
        elif answer is Wrong.ENDLESS:
            while not writer.is_closing():
                writer.write(b"250-" + b"x" * 8000)
                await writer.drain()
        return b""


async def _until_gone(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


class Names:
    """Implements Resolver from tables. Absent names do not exist."""

    def __init__(self) -> None:
        self.hosts: dict[str, list[MxHost] | Exception] = {}
        self.at: dict[str, list[str] | Exception] = {}
        self.asked: list[str] = []

    def point(self, domain: str, *addresses: str) -> None:
        """One host a preference, each with one address."""
        self.hosts[domain] = [MxHost(10 * i, f"mx{i}.{domain}") for i, _ in enumerate(addresses, 1)]
        self.at |= {f"mx{i}.{domain}": [address] for i, address in enumerate(addresses, 1)}

    async def mx(self, domain: str) -> list[MxHost]:
        self.asked.append(domain)
        found = self.hosts.get(domain, NoSuchDomain(f"{domain} does not exist"))
        if isinstance(found, Exception):
            raise found
        return found

    async def addresses(self, host: str) -> list[str]:
        found = self.at.get(host, NoSuchDomain(f"{host} has no address"))
        if isinstance(found, Exception):
            raise found
        return found


# Short where a test waits for them on purpose; long where reaching one would be a fault of the test.
SHORT = 0.1
OPTIONS: dict[str, Any] = {
    "prohibited_hosts": [],
    "connect_timeout": 20.0,
    "banner_timeout": 20.0,
    "ehlo_timeout": 20.0,
    "mail_timeout": 20.0,
    "rcpt_timeout": 20.0,
    "data_timeout": 20.0,
    "body_timeout": 20.0,
    "final_timeout": 20.0,
    "quit_timeout": 2.0,
    "idle_timeout": 20.0,
}


class Scene(NamedTuple):
    shelf: Shelf
    names: Names
    deliverer: Deliverer

    def wake(self, domain: str = DOMAIN, binding: str = "default") -> None:
        self.deliverer.wake(binding, domain)

    async def run(self, count: int, domain: str = DOMAIN) -> None:
        """Deliver what waits for the domain, until so many messages in all are settled."""
        self.wake(domain)
        await self.shelf.until(count)


@asynccontextmanager
async def scene(
    port: int,
    *,
    shelf: Shelf,
    names: Names | None = None,
    bindings: Iterable[BindingOptions] = (),
    limits: Callable[[Config, Callable[[], float]], Limits] = Limits,
    stop: float = 10.0,
    resolver: Resolver | None = None,
    policies: TlsPolicies | None = None,
    tls_counts: TlsCounts | None = None,
    replies: Iterable[ReplyOptions] = (),
    clock: Clock | None = None,
    provider: Iterable[ProviderOptions] = (),
    domain: Iterable[DomainOptions] = (),
    queues: SharedQueues | None = None,
    **options: Any,
) -> AsyncIterator[Scene]:
    """A Deliverer; at the end it is stopped, and must have nothing left in its hands."""
    if names is None:
        names = Names()
        names.point(DOMAIN, "127.0.0.1")
    settings = DeliveryOptions(**{**OPTIONS, "port": port, **options})
    config = Config(
        delivery=settings, binding=list(bindings), reply=list(replies), provider=list(provider), domain=list(domain)
    )
    made = limits(config, asyncio.get_running_loop().time)
    deliverer = Deliverer(
        *(shelf, resolver or names, made),
        hostname=HOSTNAME,
        rng=Random(1),
        clock=clock,
        queues=queues,
        policies=policies,
        tls_counts=tls_counts,
    )
    try:
        yield Scene(shelf, names, deliverer)
    finally:
        await deliverer.stop(stop)
    assert not shelf.in_flight
    stats = deliverer.stats()
    assert (stats.paths, stats.connections, stats.connecting, stats.idle) == (0, 0, 0, 0)


@asynccontextmanager
async def peers(*given: Peer, hosts: Iterable[str] = ()) -> AsyncIterator[int]:
    """Start the peers on 127.0.0.1, 127.0.0.2 ... (or `hosts`), all on one port, which is given."""
    port = 0
    started: list[Peer] = []
    try:
        for host, peer in zip(list(hosts) or [f"127.0.0.{i}" for i in range(1, 1 + len(given))], given, strict=True):
            await peer.start(host, port)
            started.append(peer)
            port = peer.port
        yield port
    finally:
        for peer in started:
            await peer.stop()


def free_port() -> int:
    """A port of the loopback on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


DNS_DOWN = DnsFailure("127.0.0.1:53: SERVFAIL")
NO_MAIL = NullMx(DOMAIN)
