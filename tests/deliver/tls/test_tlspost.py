"""TLS reports by HTTPS: what is posted, and what a place named by a stranger can't make us do."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import trustme

from postroad.config.schema import TlsReportOptions
from postroad.deliver import TlsReporter
from postroad.deliver.tlspost import HttpsPost, PostError, place
from postroad.deliver.tlsrpt import DAY, Day, PolicyCount
from tests.deliver.peers import Names
from tests.deliver.tls.peers import Certificates, server_context
from tests.deliver.tls.policyhost import trusting
from tests.deliver.tls.test_policies import Wall
from tests.deliver.tls.test_tlsrpt import MIDNIGHT, Post

HOST = "reports.example.org"
URI = f"https://{HOST}/v1/tlsrpt?key=a%20b"


class Collector:
    """Reads one request a connection and gives the same answer to all. got: (head, body)."""

    def __init__(self, reply: bytes, leaf: trustme.LeafCert) -> None:
        self.reply = reply
        self.got: list[tuple[bytes, bytes]] = []
        self._context = server_context(leaf)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
            self.got.append((head, await reader.readexactly(length)))
            writer.write(self.reply)
            await writer.drain()
            if not self.reply:
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Its port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        async with server:
            yield server.sockets[0].getsockname()[1]


def names() -> Names:
    found = Names()
    found.at[HOST] = ["127.0.0.1"]
    return found


def poster(port: int, issued: Certificates, *, time: float = 20.0) -> HttpsPost:
    trust: ssl.SSLContext = trusting(issued.authority)
    return HttpsPost(names(), trust, lambda address: True, port=port, time=time)


def ours(issued: Certificates) -> trustme.LeafCert:
    return issued.authority.issue_cert(HOST)


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "204 No Content"])
async def test_a_report_that_is_taken(issued: Certificates, status: str) -> None:
    collector = Collector(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode(), ours(issued))
    async with collector.serving() as port:
        await poster(port, issued)(URI, b"packed")
    ((head, body),) = collector.got
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v1/tlsrpt?key=a%20b HTTP/1.1"
    assert b"Host: reports.example.org" in lines and b"Content-Type: application/tlsrpt+gzip" in lines
    assert body == b"packed"


REFUSALS: list[tuple[bytes, str]] = [
    (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "answers 500"),
    (b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", "answers 302"),
    (b"220 hello\r\n", "the answer is no HTTP"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000, "the answer"),
    (b"HTTP/1.1 100 Continue\r\n\r\n", "the connection ended before the answer"),
]


@pytest.mark.parametrize(("reply", "why"), REFUSALS, ids=[why for _, why in REFUSALS])
async def test_a_report_that_is_not_taken(issued: Certificates, reply: bytes, why: str) -> None:
    collector = Collector(reply, ours(issued))
    async with collector.serving() as port:
        with pytest.raises(PostError, match=why):
            await poster(port, issued)(URI, b"packed")
    assert len(collector.got) == 1


async def test_a_place_that_never_answers(issued: Certificates) -> None:
    collector = Collector(b"", ours(issued))
    async with collector.serving() as port:
        with pytest.raises(PostError, match="did not take it within"):
            await poster(port, issued, time=0.3)(URI, b"packed")


@pytest.mark.parametrize(
    "leaf", [lambda issued: issued.stranger.issue_cert(HOST), lambda issued: issued.authority.issue_cert("x.example")]
)
async def test_a_place_that_is_not_shown_to_be_the_right_one(
    issued: Certificates, leaf: Callable[[Certificates], trustme.LeafCert]
) -> None:
    collector = Collector(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", leaf(issued))
    async with collector.serving() as port:
        with pytest.raises(PostError, match="no HTTPS with"):
            await poster(port, issued)(URI, b"packed")
    assert collector.got == []


async def test_a_place_in_a_private_network_is_left_alone(issued: Certificates) -> None:
    collector = Collector(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ours(issued))
    async with collector.serving() as port:
        with pytest.raises(PostError, match="leads to a network that may not be connected to"):
            await HttpsPost(names(), trusting(issued.authority), port=port)(URI, b"packed")
    assert collector.got == []


@pytest.mark.parametrize(
    "uri",
    [
        "http://reports.example.org/",
        "https://user@reports.example.org/",
        "https://reports.example.org:8443/",
        "https://reports.example.org:99999/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https:///path",
        "https://reports.example.org/ HTTP/1.1\r\nX: y",
        "https://repörts.example.org/",
        "https://reports.example.org/" + "x" * 2000,
    ],
)
def test_places_that_nobody_needs(uri: str) -> None:
    with pytest.raises(PostError):
        place(uri)


def test_places() -> None:
    assert place("HTTPS://Reports.Example.org") == ("reports.example.org", "/")
    assert place("https://reports.example.org:443/a?b=c#d") == ("reports.example.org", "/a?b=c")


async def test_the_reporter_posts_what_it_mails_and_remembers_who_refused(issued: Certificates, tmp_path: Path) -> None:
    post = Post(
        {
            "_smtp._tls.a.example": [b"v=TLSRPTv1; rua=https://reports.example.org/x,mailto:t@a.example"],
            "_smtp._tls.b.example": [b"v=TLSRPTv1; rua=https://nowhere.example.org/"],
        }
    )
    post.at[HOST] = ["127.0.0.1"]
    wall = Wall()
    collector = Collector(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", ours(issued))
    async with collector.serving() as port:
        reporter = TlsReporter(
            TlsReportOptions(send=True, organization="Us", contact="tls@us.example"),
            hostname="us.example",
            path=tmp_path / "reports.json",
            resolver=post,
            acceptor=post,
            clock=wall,
            rng=Random(1),
            post=HttpsPost(post, trusting(issued.authority), lambda address: True, port=port),
        )
        day = Day(MIDNIGHT - DAY)
        day.domains = {"a.example": [PolicyCount("no-policy-found", (), (), 3)], "b.example": []}
        assert await reporter.send(day) == 2
    ((_, body),) = collector.got
    told = json.loads(gzip.decompress(body))
    assert told["policies"][0]["summary"]["total-successful-session-count"] == 3
    assert [each.recipients[0].address for each in post.sent] == ["t@a.example"]
    assert list(reporter.refused) == ["b.example"] and "nowhere.example.org" in reporter.refused["b.example"]
