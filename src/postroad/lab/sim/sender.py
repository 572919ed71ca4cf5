"""A client that injects letters, well or badly, and remembers what it was told about each."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from postroad.lab.sim.letters import Letter
from postroad.lab.sim.loop import SimLoop
from postroad.lab.sim.process import Process


class Fate(Enum):
    """What the client knows of a recipient of a letter."""

    NEVER = "never"  # refused, or the content was never sent to its end: must not be delivered
    MAYBE = "maybe"  # sent to its end, but no reply was seen
    KEPT = "kept"  # 250 to the content: must come to an end


@dataclass
class Submission:
    """fates: recipient to what is known. kept_at: loop time of the 250."""

    letter: Letter
    fates: dict[str, Fate]
    kept_at: float | None = None
    replies: list[str] = field(default_factory=list)


@dataclass
class SmtpSender:
    """give_up: chance, at each step, of dropping the connection. dawdle: chance, at each step, of falling silent for up
    to `patience` seconds. Letters refused for now (4xx) or not sent to their end
    are tried again after `pause` seconds, after up to `tries` sessions that went wrong; those in doubt never are."""

    process: Process
    rng: Random
    host: str
    port: int
    pipelining: bool = True
    give_up: float = 0.0
    dawdle: float = 0.0
    patience: float = 400.0
    pause: tuple[float, float] = (0.5, 20.0)
    tries: int = 30
    letters_per_session: int = 5
    pace: float = 0.0  # mean seconds between sessions that went well
    submissions: list[Submission] = field(default_factory=list)

    @property
    def loop(self) -> SimLoop:
        return self.process.loop

    def send(self, letters: list[Letter]) -> asyncio.Task[None]:
        """All of them, one after the other, as a task of the client's process. It ends when each is kept, in doubt,
        refused or given up."""
        return self.process.start(self._send(letters))

    async def _send(self, letters: list[Letter]) -> None:
        todo = [Submission(letter, dict.fromkeys(letter.recipients, Fate.NEVER)) for letter in letters]
        self.submissions += todo
        tries = self.tries
        while todo and tries:
            batch = todo[: self.letters_per_session]
            done = await self._session(batch)
            todo = [submission for submission in todo if submission not in done]
            if len(done) == len(batch):
                await asyncio.sleep(self.rng.random() * 2 * self.pace)
            else:
                tries -= 1
                await asyncio.sleep(self.rng.uniform(*self.pause))

    async def _session(self, batch: list[Submission]) -> list[Submission]:
        """One connection. Returns the submissions not to be tried again."""
        done: list[Submission] = []
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(self.patience):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                session = _Dialogue(reader, writer, self)
                if await session.reply() != 220 or await session.ask("EHLO client.test") != 250:
                    return done
                for submission in batch:
                    done += [submission] if await session.submit(submission, self.pipelining) else []
                await session.ask("QUIT")
        except (OSError, EOFError, TimeoutError, ValueError):
            done += [s for s in batch if s not in done and Fate.MAYBE in s.fates.values()]
        finally:
            if writer is not None:
                if self.rng.random() < 0.2:
                    writer.transport.abort()
                writer.close()
        return done


class _Dialogue:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sender: SmtpSender) -> None:
        self._reader, self._writer, self._sender = reader, writer, sender
        self.last = ""

    async def reply(self) -> int:
        """The code of the next reply. Raises EOFError, ValueError when there is no such thing."""
        while True:
            line = await self._reader.readline()
            if not line.endswith(b"\r\n"):
                raise EOFError
            self.last = line.decode().rstrip()
            if line[3:4] != b"-":
                return int(line[:3])

    async def ask(self, command: str) -> int:
        if self._sender.rng.random() < self._sender.dawdle:
            await asyncio.sleep(self._sender.rng.random() * self._sender.patience)
        self._put(command.encode() + b"\r\n")
        return await self.reply()

    def _put(self, data: bytes) -> None:
        if self._sender.rng.random() < self._sender.give_up:
            raise ConnectionAbortedError("the client gave up")
        self._writer.write(data)

    async def submit(self, submission: Submission, pipelining: bool) -> bool:
        """One transaction. True when it is settled."""
        letter = submission.letter
        commands = [f"MAIL FROM:<{letter.sender}>", *(f"RCPT TO:<{name}>" for name in letter.recipients), "DATA"]
        if pipelining:
            self._put("".join(command + "\r\n" for command in commands).encode())
        codes: list[int] = []
        for command in commands:
            codes.append(await (self.reply() if pipelining else self.ask(command)))
            if codes[-1] == 421:
                raise EOFError
        submission.replies.append(self.last)
        taken = [name for name, code in zip(letter.recipients, codes[1:-1], strict=True) if code == 250]
        if codes[-1] != 354:
            if await self.ask("RSET") != 250:
                raise EOFError
            return all(code >= 500 for code in codes if code != 250)
        stuffed = letter.content.replace(b"\r\n.", b"\r\n..")
        half = self._sender.rng.randrange(len(stuffed))
        self._put(stuffed[:half])
        if self._sender.rng.random() < self._sender.dawdle:
            await asyncio.sleep(self._sender.rng.random() * self._sender.patience)
        await self._writer.drain()
        self._put(stuffed[half:])
        await self._writer.drain()
        if self._sender.rng.random() < self._sender.give_up:
            raise ConnectionAbortedError("the client gave up just before the end")
        for name in taken:
            submission.fates[name] = Fate.MAYBE
        self._writer.write(b".\r\n")
        code = await self.reply()
        submission.replies.append(self.last)
        fate = Fate.KEPT if code == 250 else Fate.NEVER
        for name in taken:
            submission.fates[name] = fate
        if fate is Fate.KEPT:
            submission.kept_at = self._sender.loop.time()
        elif code == 421:
            raise EOFError
        return fate is Fate.KEPT or code >= 500
