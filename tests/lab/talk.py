"""A hand-held SMTP client for the tests of the lab: says exactly what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Talk:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """The next reply, lines joined by "|"; "" when the connection is over."""
        lines = []
        while True:
            try:
                line = (await self.reader.readline()).decode()
            except ConnectionError:
                line = ""
            lines.append(line.rstrip())
            if line[3:4] != "-":
                return "|".join(lines)

    def say(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def ask(self, line: str) -> str:
        self.say(line.encode() + b"\r\n")
        return await self.reply()

    async def all(self, *lines: str) -> list[str]:
        """Commands one by one; the first three octets of each reply."""
        return [(await self.ask(line))[:3] for line in lines]


@asynccontextmanager
async def talk(host: str, port: int, *, greet: bool = True) -> AsyncIterator[Talk]:
    """A connection; greet: banner and EHLO are done."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(host, port)
        session = Talk(reader, writer)
        try:
            if greet:
                assert (await session.reply()).startswith("220")
                assert (await session.ask("EHLO client.test")).startswith("250")
            yield session
        finally:
            writer.close()
