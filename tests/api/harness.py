"""A real server on a loopback socket, and an Acceptor that keeps what it accepts in memory."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from postroad.api import App, HttpServer
from postroad.api.admin import Admin
from postroad.auth import new_key
from postroad.config.schema import ApiKey, HttpOptions
from postroad.message import Accepted, IdSource, Refused, Rejection, Reply, Transaction
from postroad.net import SystemClock

KEY, DIGEST = new_key()


class MemoryAcceptor:
    """Keeps transactions at durability `memory`. refuse: asked about each one; not_now: the answer of refusal()."""

    def __init__(self) -> None:
        self.kept: list[Transaction] = []
        self.not_now: Reply | None = None
        self.refuse: Callable[[Transaction], Reply | None] = lambda _: None
        self.at_once = False
        self.pending = 0
        self.most_pending = 0
        self.gate: asyncio.Event | None = None
        self._ids = IdSource(SystemClock().wall)
        self._tasks: set[asyncio.Task[None]] = set()

    def refusal(self) -> Reply | None:
        return self.not_now

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        self.pending += 1
        self.most_pending = max(self.most_pending, self.pending)
        if self.gate is not None:
            task = asyncio.get_running_loop().create_task(self._later(transaction, done, self.gate))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif self.at_once:
            self._keep(transaction, done)
        else:
            asyncio.get_running_loop().call_soon(self._keep, transaction, done)

    async def _later(
        self, transaction: Transaction, done: Callable[[Accepted | Refused], None], gate: asyncio.Event
    ) -> None:
        await gate.wait()
        self._keep(transaction, done)

    def _keep(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        self.pending -= 1
        reply = self.refuse(transaction)
        if reply is not None:
            done(Refused(reply))
            return
        self.kept.append(transaction)
        done(Accepted([self._ids.next() for _ in transaction.recipients]))

    def rejected(self, rejection: Rejection) -> None:
        raise AssertionError(f"the HTTP side does not report rejections itself: {rejection}")

    @property
    def recipients(self) -> list[str]:
        return [recipient.address for transaction in self.kept for recipient in transaction.recipients]

    def message_to(self, address: str) -> bytes:
        """The octets that this recipient gets; it must be in exactly one transaction."""
        (found,) = [
            bytes(transaction.body)
            for transaction in self.kept
            if address in [recipient.address for recipient in transaction.recipients]
        ]
        return found


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any


class Client:
    """http.client in a thread: a plain, independent HTTP client."""

    def __init__(self, address: str, key: str | None = KEY) -> None:
        host, _, port = address.rpartition(":")
        self._host = host
        self._port = int(port)
        self.key = key

    async def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        return await asyncio.to_thread(self._request, method, path, body, headers or {})

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=60)
        try:
            if self.key is not None:
                headers = {"Authorization": self.key, **headers}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            raw = response.read()
            assert not raw or response.getheader("content-type") == "application/json"
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, json.loads(raw) if raw else None)
        finally:
            connection.close()

    async def post(self, content: object, *, query: str = "", headers: dict[str, str] | None = None) -> Answer:
        """POST /transmissions. content: bytes as they are, everything else as JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        given = {"Content-Type": "application/json", **(headers or {})}
        return await self.request("POST", f"/api/v1/transmissions{query}", body, given)


class Served(NamedTuple):
    server: HttpServer
    acceptor: MemoryAcceptor
    client: Client


@asynccontextmanager
async def serving(
    *, reuse_port: bool = False, admin: Admin | None = None, control: App | None = None, **options: Any
) -> AsyncIterator[Served]:
    acceptor = MemoryAcceptor()
    given = {"address": "127.0.0.1:0", "keys": [ApiKey(label="test", sha256=DIGEST)], **options}
    clock = SystemClock()
    server = HttpServer(
        HttpOptions(**given),
        hostname="mx.example",
        acceptor=acceptor,
        clock=clock,
        ids=IdSource(clock.wall),
        rng=random.Random(7),
        admin=admin,
        control=control,
    )
    await server.start(reuse_port=reuse_port)
    try:
        yield Served(server, acceptor, Client(server.address))
    finally:
        server.stop_accepting()
        await server.drain(1)
        await server.close()


def simple(**more: Any) -> dict[str, Any]:
    """A small valid request."""
    return {
        "recipients": [{"address": {"email": "to@b.example"}}],
        "content": {"from": "from@a.example", "subject": "Hello", "text": "Hi"},
        **more,
    }


BODY = json.dumps(simple()).encode()


async def exchange(address: str, data: bytes, *, end: bool = True) -> bytes:
    """Send octets and read until the server closes."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    if end:
        writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


def post(body: bytes, *more: str) -> bytes:
    fields = [f"Authorization: {KEY}", "Content-Type: application/json", *more]
    return ("POST /api/v1/transmissions HTTP/1.1\r\nHost: x\r\n" + "\r\n".join(fields) + "\r\n\r\n").encode() + body
