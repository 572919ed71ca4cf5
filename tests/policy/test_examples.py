"""The examples of plug-ins, each against what it talks to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from postroad.message import Reply
from postroad.policy.kit import Policy, Result, load

EXAMPLES = Path(__file__).parents[2] / "examples" / "policy"
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + rb"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
TROUBLE = Reply(451, "4.3.0 A check could not be made; try again later")


def example(name: str, **settings: Any) -> Policy:
    return load(EXAMPLES / f"{name}.py", **settings)


def test_every_example_has_a_test_and_says_how_to_configure_it() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {"verify_recipients", "tenant_rate", "rewrite_headers", "clamav", "rspamd"}
    for name in names:
        assert re.search(rf'\[\[policy]]\n *file = "{name}\.py"', (EXAMPLES / f"{name}.py").read_text())


# --- recipient verification by SQL --------------------------------------------------------------------------------


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE mailboxes (address TEXT PRIMARY KEY COLLATE NOCASE, forward TEXT)")
        rows = [("ann@example.com", None), ("sales@example.com", "ann@other.example")]
        database.executemany("INSERT INTO mailboxes VALUES (?, ?)", rows)
        database.commit()
    return path


async def test_recipients_by_sql(users: Path) -> None:
    options = {"database": str(users), "domains": ["Example.com"]}
    async with example("verify_recipients", options=options, thread=True) as policy:
        session = policy.session()
        await session.mail_from("s@x.example")
        for recipient in ("ann@example.com", "ANN@Example.COM", "sales@example.com", "anybody@elsewhere.example"):
            step = await session.rcpt_to(recipient)
            assert step.refused is None, step
        for recipient in ("bob@example.com", "x'or'1'='1@example.com"):
            step = await session.rcpt_to(recipient)
            assert step.refused == Reply(550, "5.1.1 there is no such mailbox")
            assert not any(one.error for one in step.said)
        assert [r.address for r in session.recipients] == [
            "ann@example.com",
            "ANN@Example.COM",
            "ann@other.example",
            "anybody@elsewhere.example",
        ]
        assert session.recipients[2].domain == "other.example"


async def test_many_at_once_share_the_database_by_thread(users: Path) -> None:
    async with example(
        "verify_recipients", options={"database": str(users), "domains": ["example.com"]}, thread=True
    ) as p:

        async def ask(number: int) -> object:
            session = p.session()
            await session.mail_from("s@x.example")
            return (await session.rcpt_to("ann@example.com" if number % 2 else "bob@example.com")).refused is None

        assert await asyncio.gather(*(ask(number) for number in range(40))) == [False, True] * 20


async def test_without_the_database_clients_come_again(tmp_path: Path) -> None:
    options = {"database": str(tmp_path / "none.sqlite"), "domains": ["example.com"]}
    async with example("verify_recipients", options=options, thread=True) as policy:
        session = policy.session()
        await session.mail_from("s@x.example")
        step = await session.rcpt_to("ann@example.com")
        assert step.refused == TROUBLE and "OperationalError" in step.said[0].error


# --- a limit for each tenant --------------------------------------------------------------------------------------


class Wall:
    now = 1_000_000.0

    def wall(self) -> float:
        return self.now


async def test_a_tenants_rate() -> None:
    clock = Wall()
    options = {"per_hour": 3600, "burst": 10, "tenants": {"big": 36_000}}
    async with example("tenant_rate", options=options, clock=clock) as policy:

        async def send(user: str, number: int, method: str = "esmtp") -> bool:
            to = [f"r{n}@x.example" for n in range(number)]
            result = await policy.message("\n", user=user, recipients=to, method=method)
            assert result.refused in (None, Reply(451, "4.7.1 your limit of messages is used up; try again later"))
            return result.refused is None

        assert await send("small", 8) and not await send("small", 3) and await send("small", 2)
        assert not await send("small", 1, "rest")
        assert await send("other", 10)  # has a bucket of its own
        clock.now += 5
        assert await send("small", 5, "rest") and not await send("small", 1)
        assert await send("big", 10) and not await send("big", 10)
        clock.now += 1
        assert await send("big", 10)  # ten a second
        clock.now += 1000
        assert await send("small", 15)  # more than the bucket holds, when it is full
        clock.now += 5
        assert not await send("small", 1)  # and the debt is paid first
        assert all([await send("", 100) for _ in range(3)])  # nobody's limit


async def test_tenants_are_not_remembered_for_ever() -> None:
    clock = Wall()
    async with example("tenant_rate", options={"per_hour": 1, "burst": 2}, clock=clock) as policy:
        inner: Any = policy.plugins[0].policy
        for number in range(10_001):
            clock.now += 0.001
            assert inner._take(f"tenant {number}", 1) is None
        assert len(inner._buckets) == 5_000 and "tenant 10000" in inner._buckets
        clock.now += 10_000
        for number in range(5_001):
            inner._take(f"new {number}", 1)
        assert len(inner._buckets) == 5_000 and all(name.startswith("new") for name in inner._buckets)


# --- header rewriting ---------------------------------------------------------------------------------------------


async def test_headers() -> None:
    options = {"remove": ["X-Secret"], "unsubscribe": "https://u.example/{recipient}", "own": ["example.com"]}
    raw = "X-Secret: 1\nSubject: hello\nx-secret: 2\n\ntext\n"
    to = ["ann@example.com", "bob+a/b@far.example", "carl@far.example"]
    async with example("rewrite_headers", options=options) as policy:
        outside = await policy.message(raw, sender="s@far.example", recipients=to)
        inside = await policy.message(raw, sender="s@example.com", recipients=to[:1])
        again = await policy.message("Subject: [external] hello\n\n", recipients=to[:1])
        kept = await policy.message("List-Unsubscribe: <mailto:x@far.example>\n\n", recipients=to[1:2])
        generated = await policy.message(raw, recipients=to[2:], method="rest")
    ann, bob, carl = outside.copies
    assert ann.content.octets == b"Subject: [external] hello\r\n\r\ntext\r\n"
    assert bob.content.get("List-Unsubscribe") == "<https://u.example/bob%2Ba%2Fb@far.example>"
    assert bob.content.get("List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
    assert carl.content.get("List-Unsubscribe") == "<https://u.example/carl@far.example>"
    assert inside.copies[0].content.get("Subject") == "hello"
    assert again.copies[0].content.get("Subject") == "[external] hello"
    assert kept.copies[0].content.octets == b"List-Unsubscribe: <mailto:x@far.example>\r\n\r\n"
    assert generated.copies[0].content.count("List-Unsubscribe") == 1


# --- ClamAV -------------------------------------------------------------------------------------------------------


class Clamd:
    """The part of clamd's protocol that INSTREAM is: clamd(8). says: instead of a verdict."""

    def __init__(self) -> None:
        self.streams: list[bytes] = []
        self.says = b""
        self.max_length = 25_000_000

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
            stream = b""
            while length := int.from_bytes(await reader.readexactly(4), "big"):
                stream += await reader.readexactly(length)
                if len(stream) > self.max_length:
                    writer.write(b"INSTREAM size limit exceeded. ERROR\0")
                    return
            self.streams.append(stream)
            found = EICAR in stream
            writer.write(self.says or (b"stream: Eicar-Signature FOUND\0" if found else b"stream: OK\0"))
            await writer.drain()


@pytest.fixture
async def clamd() -> AsyncIterator[tuple[Clamd, int]]:
    fake = Clamd()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    async with server:
        yield fake, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("method", ["esmtp", "rest"])
async def test_clamav(clamd: tuple[Clamd, int], method: str) -> None:
    fake, port = clamd
    async with example("clamav", options={"port": port}) as policy:
        body = b"Subject: s\r\n\r\n" + b"0123456789abcdef" * 10_000
        clean = await policy.message(body, method=method)
        assert clean.refused is None and clean.copies[0].context["clamav"] == "clean"
        assert fake.streams == [body]
        infected = await policy.message(b"Subject: s\r\n\r\n" + EICAR, method=method)
        assert infected.refused == Reply(554, "5.7.1 this message contains Eicar-Signature")


async def test_clamav_limits_and_trouble(clamd: tuple[Clamd, int]) -> None:
    fake, port = clamd
    async with example("clamav", options={"port": port, "max_size": 100}) as policy:
        result = await policy.message(b"\r\n" + b"x" * 200)
        assert result.refused is None and result.copies[0].context["clamav"] == "too large"
        assert fake.streams == []
        fake.says = b"stream: Can't allocate memory ERROR\0"
        result = await policy.message(b"\r\n")
        assert result.refused == TROUBLE and "clamd says" in result.errors[0]
        fake.says = b"stream: O"
        result = await policy.message(b"\r\n")
        assert result.refused == TROUBLE and "clamd hung up" in result.errors[0]
    fake.max_length = 10
    async with example("clamav", options={"port": port}) as policy:
        result = await policy.message(b"\r\n" + b"x" * 200)
        assert result.refused == TROUBLE


async def test_without_clamd() -> None:
    async with example("clamav", options={"port": 1}) as policy:
        assert (await policy.message("\n")).refused == TROUBLE
    async with example("clamav", options={"port": 1}, on_error="continue") as policy:
        assert (await policy.message("\n")).refused is None


# --- rspamd -------------------------------------------------------------------------------------------------------


class Rspamd(HTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Checkv2)
        self.asked: list[tuple[str, list[tuple[str, str]], bytes]] = []
        self.answer: tuple[int, dict[str, object]] = (200, {})


class _Checkv2(BaseHTTPRequestHandler):
    server: Rspamd

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers.items(), content))
        code, told = self.server.answer
        body = json.dumps(told).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def rspamd() -> Iterator[Rspamd]:
    with Rspamd() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def check(rspamd: Rspamd, **told: object) -> Result:
    rspamd.answer = (200, {"score": 3.5, "required_score": 15.0, "symbols": {}, **told})
    async with example("rspamd", options={"port": rspamd.server_port, "password": "q1"}) as policy:
        raw = "X-Spam-Score: 0\nSubject: offer\n\ntext\n"
        to = ["b@x.example", "c@x.example"]
        return await policy.message(raw, sender="a@s.example", recipients=to, peer="192.0.2.7", helo="h.example")


async def test_rspamd_is_told_all_of_it(rspamd: Rspamd) -> None:
    await check(rspamd, action="no action")
    ((path, fields, content),) = rspamd.asked
    assert path == "/checkv2" and content == b"X-Spam-Score: 0\r\nSubject: offer\r\n\r\ntext\r\n"
    for name, value in (("IP", "192.0.2.7"), ("Helo", "h.example"), ("From", "a@s.example"), ("Password", "q1")):
        assert (name, value) in fields
    assert [value for name, value in fields if name == "Rcpt"] == ["b@x.example", "c@x.example"]


@pytest.mark.parametrize(
    ("action", "refused", "head"),
    [
        ("no action", None, b"X-Spam-Score: 3.50 / 15.00\r\nSubject: offer\r\n"),
        ("add header", None, b"X-Spam-Score: 3.50 / 15.00\r\nX-Spam: Yes\r\nSubject: offer\r\n"),
        ("rewrite subject", None, b"X-Spam-Score: 3.50 / 15.00\r\nSubject: *** SPAM *** offer\r\n"),
        ("greylist", Reply(451, "4.7.1 try again later"), b""),
        ("soft reject", Reply(451, "4.7.1 try again later"), b""),
        ("reject", Reply(554, "5.7.1 this message looks like spam"), b""),
    ],
)
async def test_what_rspamd_says_is_done(rspamd: Rspamd, action: str, refused: Reply | None, head: bytes) -> None:
    result = await check(rspamd, action=action)
    assert result.refused == refused and result.errors == []
    for copy in result.copies:
        assert copy.content.octets == head + b"\r\ntext\r\n"
        assert (copy.context["spam_action"], copy.context["spam_score"]) == (action, "3.50")


async def test_rspamds_own_subject_and_its_trouble(rspamd: Rspamd) -> None:
    result = await check(rspamd, action="rewrite subject", subject="[spam] offer")
    assert result.copies[0].content.get("Subject") == "[spam] offer"
    assert (await check(rspamd, action=7)).refused == TROUBLE
    async with example("rspamd", options={"port": rspamd.server_port}, on_error="continue") as policy:
        rspamd.answer = (403, {"error": "Unauthorized"})
        result = await policy.message("\n")
    assert result.refused is None and "403" in result.errors[0]
