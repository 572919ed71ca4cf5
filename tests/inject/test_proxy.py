"""The PROXY protocol and XCLIENT: parsing whatever comes, and sessions of clients behind balancers and relays."""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.config.schema import Duration, PeerOptions
from postroad.inject import BadCommand, SmtpListener
from postroad.inject.proxy import MAX_HEADER, ProxyError, read_header
from postroad.inject.xclient import Client as Known
from postroad.inject.xclient import parse_xclient
from tests.inject.kit import Client, MemoryAcceptor
from tests.inject.trusted import Authority, listening

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def version_2(source: str, port: int, tlvs: bytes = b"", command: int = 1) -> bytes:
    ip = ipaddress.ip_address(source)
    ours = ipaddress.ip_address("192.0.2.1" if ip.version == 4 else "2001:db8::1")
    body = ip.packed + ours.packed + struct.pack("!HH", port, 25) + tlvs
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, 0x11 if ip.version == 4 else 0x21, len(body)) + body


@pytest.mark.parametrize(
    ("header", "address", "port"),
    [
        (b"PROXY TCP4 198.51.100.7 192.0.2.1 56324 25\r\n", "198.51.100.7", 56324),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 25\r\n", "2001:db8::7", 56324),
        (b"PROXY UNKNOWN\r\n", "", 0),
        (b"PROXY UNKNOWN ffff:f:f::1 ffff::2 65535 65535\r\n", "", 0),
        (version_2("198.51.100.7", 56324), "198.51.100.7", 56324),
        (version_2("2001:db8::7", 1, b"\x20\0\x05abcde"), "2001:db8::7", 1),
        (version_2("198.51.100.7", 1, command=0), "", 0),
        (SIGNATURE + b"\x20\0\0\0", "", 0),
        (SIGNATURE + b"\x21\0\0\0", "", 0),
    ],
)
def test_a_header_and_every_cut_of_it(header: bytes, address: str, port: int) -> None:
    assert read_header(header + b"EHLO") == (len(header), address, port)
    for cut in range(len(header)):
        assert read_header(header[:cut]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"EHLO c.example\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 56324\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 65536 25\r\n",
        b"PROXY TCP4 2001:db8::7 192.0.2.1 1 25\r\n",
        b"PROXY TCP6 198.51.100.7 2001:db8::1 1 25\r\n",
        b"PROXY TCP4 198.51.100.777 192.0.2.1 1 25\r\n",
        b"PROXY  TCP4 198.51.100.7 192.0.2.1 1 25\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 1 25\n",
        b"PROXY UDP4 198.51.100.7 192.0.2.1 1 25\r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + b"\x11\x11\0\x0c" + bytes(12),
        SIGNATURE + b"\x22\x11\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x12\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\0\x0b" + bytes(11),
        SIGNATURE + b"\x21\x11\xff\xff",
        SIGNATURE[:-1] + b"\0" + bytes(16),
    ],
)
def test_what_is_no_header(data: bytes) -> None:
    with pytest.raises(ProxyError):
        read_header(data)


@given(
    st.binary(max_size=300)
    | st.binary(max_size=300).map(lambda tail: SIGNATURE + tail)
    | st.binary(max_size=120).map(lambda t: b"PROXY " + t)
)
def test_whatever_comes_is_a_header_or_refused_or_short(data: bytes) -> None:
    try:
        client = read_header(data)
    except ProxyError:
        return
    if client is None:
        assert len(data) < MAX_HEADER
    else:
        assert 0 < client.used <= len(data)
        assert not client.address or ipaddress.ip_address(client.address)


@given(st.ip_addresses(), st.integers(0, 65_535), st.binary(max_size=60), st.data())
def test_every_client_is_read_as_it_was_written(source: Any, port: int, tlvs: bytes, data: st.DataObject) -> None:
    header = version_2(str(source), port, tlvs)
    assert read_header(header) == (len(header), str(source), port)
    cut = data.draw(st.integers(0, len(header) - 1))
    assert read_header(header[:cut]) is None


@contextlib.asynccontextmanager
async def serving(**changes: Any) -> AsyncIterator[tuple[SmtpListener, MemoryAcceptor]]:
    acceptor = MemoryAcceptor()
    listener = listening(acceptor, **changes)
    await listener.start()
    try:
        yield listener, acceptor
    finally:
        await listener.close()


RELAY = [PeerOptions(network="198.51.100.0/24", relay=True), PeerOptions(network="203.0.113.0/24", allow=False)]


@pytest.mark.parametrize("header", [b"PROXY TCP4 198.51.100.7 192.0.2.1 1 25\r\n", version_2("198.51.100.7", 1)])
async def test_the_client_behind_a_balancer_is_the_peer(header: bytes) -> None:
    async with serving(proxy_networks=["127.0.0.0/8"], peers=RELAY) as (listener, acceptor):
        client = await Client.connect(listener)
        for at in range(len(header)):
            client.writer.write(header[at : at + 1])
            await client.writer.drain()
        await client.hello()
        assert (await client.send()).code == 250
        assert acceptor.transactions[0].connection["remote_addr"] == "198.51.100.7"
        assert b"([198.51.100.7])" in acceptor.transactions[0].body.trace
        await client.close()


async def test_the_balancers_own_checks_and_refused_networks() -> None:
    async with serving(proxy_networks=["127.0.0.0/8"], peers=RELAY) as (listener, _):
        check = await Client.connect(listener)
        check.writer.write(version_2("198.51.100.7", 1, command=0))
        assert (await check.read()).code == 220
        await check.close()
        refused = await Client.connect(listener)
        refused.writer.write(version_2("203.0.113.9", 1))
        assert (await refused.read()).code == 554
        await refused.close()


@pytest.mark.parametrize("said", [b"EHLO c.example\r\n", b"PROXY nonsense\r\n", SIGNATURE + b"\x21\x11\xff\xff"])
async def test_without_a_header_there_is_no_session(said: bytes) -> None:
    async with serving(proxy_networks=["127.0.0.0/8"]) as (listener, _):
        client = await Client.connect(listener)
        client.writer.write(said)
        with contextlib.suppress(ConnectionError):
            assert await client.ended() == b""
        await client.close()


async def test_a_header_that_never_comes_is_not_waited_for_long() -> None:
    async with serving(proxy_networks=["127.0.0.0/8"], proxy_time=Duration(0.01)) as (listener, _):
        client = await Client.connect(listener)
        with contextlib.suppress(ConnectionError):
            assert await client.ended() == b""
        await client.close()


async def test_who_is_not_trusted_can_not_speak_for_others() -> None:
    async with serving(proxy_networks=["10.0.0.0/8"], xclient_networks=["10.0.0.0/8"], peers=RELAY) as (listener, _):
        client = await Client.connect(listener)
        assert (await client.say(b"")).code == 220
        assert (await client.say(b"PROXY TCP4 198.51.100.7 192.0.2.1 1 25\r\n")).code == 500
        answer = await client.say(b"EHLO c.example\r\n")
        assert not any(line.startswith("XCLIENT") for line in answer.lines)
        assert (await client.say(b"XCLIENT ADDR=198.51.100.7\r\n")).code == 502
        await client.close()


async def test_proxy_header_and_client_hello_in_one_packet(tmp_path: Path) -> None:
    """The octets behind the header belong to TLS."""

    authority = Authority(tmp_path)
    async with serving(authority=authority, tls="implicit", proxy_networks=["127.0.0.0/8"]) as (listener, _):
        client = await Client.connect(listener)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = authority.client().wrap_bio(incoming, outgoing, server_hostname="mx.example")
        client.writer.write(version_2("198.51.100.7", 1))
        while True:
            try:
                line = tls.read(1000)
                break
            except ssl.SSLWantReadError:
                client.writer.write(outgoing.read())
                incoming.write(await client.reader.read(65_536))
        assert line.startswith(b"220 mx.example")
        await client.close()


async def test_xclient_begins_anew_as_the_client() -> None:
    async with serving(xclient_networks=["127.0.0.0/8"], peers=RELAY, auth=True) as (listener, acceptor):
        client = await Client.connect(listener)
        await client.read()
        assert any(line.startswith("XCLIENT NAME ADDR") for line in (await client.say(b"EHLO r.example\r\n")).lines)
        answer = await client.say(b"XCLIENT NAME=host.example ADDR=198.51.100.7 LOGIN=app+40c.example\r\n")
        assert answer.code == 220
        assert (await client.say(b"MAIL FROM:<a@b.example>\r\n")).code == 503
        assert (await client.say(b"EHLO c.example\r\n")).code == 250
        assert (await client.send()).code == 250
        (transaction,) = acceptor.transactions
        assert transaction.connection["remote_addr"] == "198.51.100.7"
        assert transaction.connection["auth_user"] == "app@c.example"
        assert b"from c.example (host.example [198.51.100.7])" in transaction.body.trace

        assert (await client.say(b"XCLIENT ADDR=192.0.2.99\r\n")).code == 220
        assert (await client.say(b"EHLO c.example\r\n")).code == 250
        assert (await client.say(b"MAIL FROM:<a@b.example>\r\n")).code == 250
        assert (await client.say(b"XCLIENT ADDR=198.51.100.7\r\n")).code == 503
        assert (await client.say(b"RCPT TO:<c@d.example>\r\n")).code == 550, "the login went with the other client"
        await client.close()


async def test_xclient_can_not_bring_in_who_is_shut_out() -> None:
    async with serving(xclient_networks=["127.0.0.0/8"], peers=RELAY) as (listener, _):
        client = await Client.connect(listener)
        await client.hello()
        assert (await client.say(b"XCLIENT ADDR=203.0.113.9\r\n")).code == 554
        assert await client.ended() == b""
        await client.close()


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("ADDR=192.0.2.1", Known(addr="192.0.2.1")),
        ("addr=IPV6:2001:DB8::1 port=25", Known(addr="2001:db8::1", port="25")),
        ("NAME=[UNAVAILABLE] LOGIN=[TEMPUNAVAIL]", Known(name="", login="")),
        ("HELO=a+2Bb PROTO=esmtp", Known(helo="a+b", proto="ESMTP")),
        ("DESTADDR=192.0.2.1 DESTPORT=25", Known(destaddr="192.0.2.1", destport="25")),
    ],
)
def test_xclient_attributes(text: str, known: Known) -> None:
    assert parse_xclient(text) == known


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ADDR",
        "ADDR=",
        "ADDR=x",
        "PORT=99999",
        "PROTO=HTTP",
        "NAME=a+0D+0Ab",
        "NAME=a NAME=b",
        "USER=x",
        "LOGIN=a+20b",
    ],
)
def test_what_xclient_does_not_take(text: str) -> None:
    with pytest.raises(BadCommand):
        parse_xclient(text)
