"""A toy mail server, and a toy disk: right or wrong on purpose, to try the simulation on."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

from postroad.lab.sim import End, Process, World
from postroad.net import DnsFailure, NoSuchDomain, NullMx


class ToyDisk:
    """A list of records, of which the first `synced` survive a crash for certain."""

    def __init__(self) -> None:
        self.records: list[str] = []
        self.synced = 0

    def append(self, record: dict[str, Any]) -> int:
        self.records.append(json.dumps(record))
        return len(self.records) - 1

    def sync(self) -> None:
        self.synced = len(self.records)

    def crash(self, rng: Random) -> None:
        kept = rng.randint(self.synced, len(self.records))
        del self.records[kept:]
        self.synced = len(self.records)

    def killed(self) -> None:
        """What was written stays."""

    def ends(self) -> dict[tuple[int, str], End]:
        """What the records say became of each recipient of each mail, by the mail's place."""
        ends: dict[tuple[int, str], End] = {}
        for place, line in enumerate(self.records):
            record = json.loads(line)
            if record["kind"] == "mail":
                ends.update(((place, to), End.QUEUED) for to in record["to"])
            else:
                ends[record["mail"], record["to"]] = End.DELIVERED if record["kind"] == "delivered" else End.FAILED
        return ends


class ToyEngine:
    """Stores, forwards, retries every 30 s, bounces on 5xx. flaw: "" for a right one, else what it does wrong."""

    def __init__(self, world: World, process: Process, disk: ToyDisk, flaw: str = "") -> None:
        self._resolver = world.resolver
        self._loop = world.loop
        self._disk = disk
        self._flaw = flaw
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._address = process.addresses[0]

    async def start(self) -> None:
        ends = self._disk.ends()
        for (place, to), end in ends.items():
            if end is End.QUEUED or self._flaw == "forgets what was done":
                record = json.loads(self._disk.records[place])
                self._spawn(self._deliver(place, record["from"], to, record["content"].encode("latin-1")))
        self._server = await asyncio.start_server(self._serve, self._address, 25, limit=1 << 22)

    async def stop(self) -> None:
        self._server.close()
        if self._flaw == "leaves a timer":
            self._loop.call_later(1, print)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _sync(self) -> None:
        self._loop.trace.note("disk sync")  # a moment to crash at
        self._disk.sync()
        self._loop.trace.note("disk synced")

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks[task] = None
        task.add_done_callback(lambda task: self._tasks.pop(task, None))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = None
        task.add_done_callback(lambda task: self._tasks.pop(task, None))
        try:
            await self._session(reader, writer)
        except (OSError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # Python 3.11's start_server complains about a handler that was cancelled
        finally:
            writer.transport.close()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 toy\r\n")
        sender, to = "", list[str]()
        while line := (await reader.readuntil(b"\r\n")).decode():
            verb = line[:4].upper()
            if verb == "MAIL":
                sender, to = _path(line), []
            elif verb == "RCPT":
                to.append(_path(line))
            elif verb == "DATA":
                writer.write(b"354 go\r\n")
                stuffed = await reader.readuntil(b"\r\n.\r\n")
                await self._keep(sender, to, stuffed[:-3].replace(b"\r\n..", b"\r\n."))
            writer.write(b"221 bye\r\n" if verb == "QUIT" else b"250 ok\r\n")
            if verb == "QUIT":
                return

    async def _keep(self, sender: str, to: list[str], content: bytes) -> None:
        if self._flaw == "keeps nothing of big mail" and len(content) > 5000:
            return
        place = self._disk.append({"kind": "mail", "from": sender, "to": to, "content": content.decode("latin-1")})
        if self._flaw != "does not sync":
            await self._loop.run_in_executor(None, self._sync)
        for name in to:
            self._spawn(self._deliver(place, sender, name, content))

    async def _deliver(self, place: int, sender: str, to: str, content: bytes) -> None:
        domain = to.partition("@")[2]
        while True:
            try:
                async with asyncio.timeout(60):
                    hosts = await self._resolver.mx(domain)
                    address = (await self._resolver.addresses(hosts[0].name))[0]
                    code = await self._attempt(address, sender, to, content)
            except (NoSuchDomain, NullMx):
                code = 550
            except (OSError, EOFError, ValueError, DnsFailure):
                code = 451
            if code < 400 or code >= 500:
                break
            await asyncio.sleep(30)
        if code >= 500 and sender and self._flaw != "tells nobody":
            await self._keep("", [sender], f"Subject: failed\r\n\r\n{to} failed\r\n".encode())
        self._disk.append({"kind": "delivered" if code < 400 else "failed", "mail": place, "to": to})
        await self._loop.run_in_executor(None, self._sync)

    async def _attempt(self, address: str, sender: str, to: str, content: bytes) -> int:
        reader, writer = await asyncio.open_connection(address, 25)
        try:
            for command in (b"", b"EHLO toy", f"MAIL FROM:<{sender}>".encode(), f"RCPT TO:<{to}>".encode(), b"DATA"):
                if command:
                    writer.write(command + b"\r\n")
                code = await _reply(reader)
                if code >= 400:
                    return code
                if code not in (220, 250, 354):
                    raise ValueError(code)
            if self._flaw == "forgets to stuff dots":
                writer.write(content + b".\r\n")
            else:
                writer.write(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            code = await _reply(reader)
            if 300 <= code < 400:
                raise ValueError(code)
            return 451 if self._flaw == "asks twice" and code == 250 else code
        finally:
            writer.transport.abort()  # close() waits for ever when the peer reads no more


async def _reply(reader: asyncio.StreamReader) -> int:
    while True:
        line = await reader.readuntil(b"\r\n")
        if not line[:3].isdigit():
            raise ValueError(line)
        if line[3:4] != b"-":
            return int(line[:3])


def _path(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]
