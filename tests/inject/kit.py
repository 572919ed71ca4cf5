"""What the tests of SMTP in share: an acceptor that keeps mail in memory, a driver of the machine, a client."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from postroad.config.schema import ListenerOptions
from postroad.inject import Content, Event, Machine, Refusal, SmtpListener
from postroad.message import Accepted, IdSource, Refused, Rejection, Reply, Transaction
from postroad.net import SystemClock

HOSTNAME = "mx.example"


class MemoryAcceptor:
    """Keeps transactions in memory. `busy`: its back-pressure. `verdict`: refuse everything so. `hold`: keep the client
    waiting until `release`."""

    def __init__(self) -> None:
        self.transactions: list[Transaction] = []
        self.rejections: list[Rejection] = []
        self.busy: Reply | None = None
        self.verdict: Reply | None = None
        self.hold = False
        self._held: list[Callable[[], None]] = []
        self._came = asyncio.Event()

    def refusal(self) -> Reply | None:
        return self.busy

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        def finish() -> None:
            if self.verdict is not None:
                done(Refused(self.verdict))
                return
            self.transactions.append(transaction)
            done(Accepted(list(range(len(transaction.recipients)))))

        if self.hold:
            self._held.append(finish)
            self._came.set()
        else:
            finish()

    def rejected(self, rejection: Rejection) -> None:
        self.rejections.append(rejection)

    async def held(self, count: int = 1) -> None:
        """Wait until so many transactions are held back."""
        while len(self._held) < count:
            self._came.clear()
            await self._came.wait()

    def release(self) -> None:
        held, self._held = self._held, []
        for finish in held:
            finish()


class Answer(NamedTuple):
    """One reply as a client reads it. lines: without code and CRLF."""

    code: int
    lines: list[str]

    @property
    def text(self) -> str:
        return " / ".join(self.lines)

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


_LINE = re.compile(rb"([2345]\d\d)([ -])([\x20-\x7e]*)\r\n")


def read_answers(octets: bytes) -> list[Answer]:
    """The replies in these octets. Fails on anything RFC 5321 4.2 does not allow."""
    answers: list[Answer] = []
    lines: list[str] = []
    code, at = b"", 0
    while at < len(octets):
        match = _LINE.match(octets, at)
        assert match is not None, f"not a reply line: {octets[at : at + 80]!r}"
        assert len(match[0]) <= 512
        assert not lines or match[1] == code, "a reply with two codes"
        code, at = match[1], match.end()
        lines.append(match[3].decode())
        if match[2] == b" ":
            answers.append(Answer(int(code), lines))
            lines = []
    assert not lines, "a reply without its last line"
    return answers


def accept_all(event: Event) -> Reply | None:
    return None


class Talk:
    """A machine with somebody to answer its questions. `contents` and `refusals` are what came out of it."""

    def __init__(
        self,
        options: ListenerOptions | None = None,
        policy: Callable[[Event], Reply | None] = accept_all,
        *,
        greeted: bool = True,
    ) -> None:
        self.machine = Machine(options or ListenerOptions(), HOSTNAME)
        self.policy = policy
        self.contents: list[Content] = []
        self.refusals: list[Refusal] = []
        if greeted:
            assert self.say(b"")[0].code == 220

    def raw(self, octets: bytes) -> bytes:
        """Send octets; all that comes back."""
        machine, out = self.machine, b""
        if octets:
            machine.receive(octets)
        while True:
            event = machine.next_event()
            if event is None:
                said = machine.take_output()
                out += said
                if not said:
                    return out
            elif isinstance(event, Refusal):
                self.refusals.append(event)
            else:
                if isinstance(event, Content):
                    self.contents.append(event)
                machine.answer(self.policy(event))

    def say(self, octets: bytes) -> list[Answer]:
        return read_answers(self.raw(octets))

    def one(self, octets: bytes) -> Answer:
        """Send what must have exactly one reply."""
        answers = self.say(octets)
        assert len(answers) == 1, answers
        return answers[0]

    def open(self, *recipients: str) -> None:
        """EHLO, MAIL, and RCPT for each."""
        assert self.one(b"EHLO client.example\r\n").code == 250
        assert self.one(b"MAIL FROM:<sender@client.example>\r\n").code == 250
        for recipient in recipients:
            assert self.one(f"RCPT TO:<{recipient}>\r\n".encode()).code == 250

    def data(self, octets: bytes, recipient: str = "a@b.example") -> Answer:
        """A whole transaction by DATA. octets: all that follows the 354, the end of data included."""
        self.open(recipient)
        assert self.one(b"DATA\r\n").code == 354
        return self.one(octets)


class Client:
    """An SMTP client that says exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, listener: SmtpListener, **options: Any) -> Client:
        host, port = listener.addresses[0]
        return cls(*await asyncio.open_connection(host, port, **options))

    async def read(self) -> Answer:
        """The next reply. EOFError when the server has closed."""
        octets = b""
        while True:
            line = await self.reader.readline()
            if not line:
                raise EOFError(octets)
            octets += line
            if line[3:4] == b" ":
                (answer,) = read_answers(octets)
                return answer

    async def say(self, octets: bytes) -> Answer:
        self.writer.write(octets)
        return await self.read()

    async def hello(self) -> None:
        assert (await self.read()).code == 220
        assert (await self.say(b"EHLO client.example\r\n")).code == 250

    async def open(self, recipient: str = "a@b.example") -> None:
        assert (await self.say(b"MAIL FROM:<sender@client.example>\r\n")).code == 250
        assert (await self.say(f"RCPT TO:<{recipient}>\r\n".encode())).code == 250

    async def send(self, content: bytes = b"Subject: x\r\n\r\ny\r\n") -> Answer:
        """A whole message, content not stuffed."""
        await self.open()
        assert (await self.say(b"DATA\r\n")).code == 354
        return await self.say(content + b".\r\n")

    async def ended(self) -> bytes:
        """What comes until the server closes."""
        return await self.reader.read()

    async def close(self) -> None:
        self.writer.close()
        await asyncio.wait([asyncio.ensure_future(_closed(self.writer))])


async def until(condition: Callable[[], bool], step: float = 0) -> None:
    """Let the loop run until the condition holds. Seldom the right tool: only where no event tells."""
    while not condition():  # noqa: ASYNC110 (nothing inside a session could set an event for us)
        await asyncio.sleep(step)


async def _closed(writer: asyncio.StreamWriter) -> None:
    try:
        await writer.wait_closed()
    except ConnectionError:
        return


def make_listener(acceptor: MemoryAcceptor, options: ListenerOptions | None = None, **changes: Any) -> SmtpListener:
    """A listener on an ephemeral port of 127.0.0.1 that relays, with these options changed."""
    if options is None:
        options = ListenerOptions(**{"address": "127.0.0.1:0", "relay": True, **changes})
    clock = SystemClock()
    return SmtpListener(options, hostname=HOSTNAME, acceptor=acceptor, clock=clock, ids=IdSource(clock.wall))
