"""One question to one name server, over UDP and, when the answer did not fit, over TCP (RFC 1035 4.2, RFC 7766).

Off-path forgers must guess our port (a new socket for each question; the system picks it at random) and the id, and
must repeat the question; what does not match is ignored and waiting goes on (RFC 5452).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from random import Random
from typing import NamedTuple, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype

# What fits an unfragmented packet everywhere (DNS flag day 2020).
_PAYLOAD = 1232
# Packets that do not match before we stop listening: someone is shooting at this socket.
_MAX_STRAYS = 100


class Server(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NoAnswer(Exception):
    """This server gave no usable answer. The message says why."""


async def ask(
    server: Server, name: dns.name.Name, kind: dns.rdatatype.RdataType, *, timeout: float, rng: Random, ad: bool = False
) -> dns.message.QueryMessage:
    """The server's answer, any rcode but FORMERR. timeout: seconds for UDP, and again for TCP. ad: ask whether the
    answer is authentic (RFC 6840 5.7). Raises NoAnswer."""
    answer = await _ask_once(server, name, kind, timeout, rng, edns=True, ad=ad)
    if answer.rcode() in (dns.rcode.FORMERR, dns.rcode.NOTIMP):
        # A server older than EDNS (RFC 6891 7).
        answer = await _ask_once(server, name, kind, timeout, rng, edns=False, ad=ad)
    return answer


async def _ask_once(
    server: Server,
    name: dns.name.Name,
    kind: dns.rdatatype.RdataType,
    timeout: float,
    rng: Random,
    *,
    edns: bool,
    ad: bool,
) -> dns.message.QueryMessage:
    edns_version = 0 if edns else -1
    query = dns.message.make_query(name, kind, use_edns=edns_version, payload=_PAYLOAD, id=rng.getrandbits(16))
    if ad:
        query.flags |= dns.flags.AD
    wire = query.to_wire()
    answer = await _within(timeout, _over_udp(server, query, wire), "no answer")
    if answer.flags & dns.flags.TC:
        answer = await _within(timeout, _over_tcp(server, query, wire), "no answer over TCP")
    return answer


async def _within(timeout: float, answer: Awaitable[dns.message.QueryMessage], text: str) -> dns.message.QueryMessage:
    try:
        async with asyncio.timeout(timeout):
            return await answer
    except TimeoutError:
        raise NoAnswer(f"{text} within {timeout:g} s") from None
    except OSError as error:
        raise NoAnswer(error.strerror or str(error)) from None


def _read(wire: bytes, query: dns.message.QueryMessage) -> dns.message.QueryMessage | None:
    """The answer to the query in these octets; None when they are something else."""
    if len(wire) < 12 or wire[:2] != query.id.to_bytes(2, "big"):
        return None
    truncated = wire[2] & 0x82 == 0x82  # QR and TC
    if truncated and wire[4:6] == b"\0\0":
        # Some servers leave the question out too. All it can make us do is to ask over TCP.
        return _truncated(query)
    try:
        answer = dns.message.from_wire(wire, ignore_trailing=True, raise_on_truncation=False)
    except dns.exception.DNSException:
        return _truncated(query) if truncated else None  # cut in the middle of a record
    except (ValueError, IndexError):  # hostile octets that dnspython does not foresee
        return None
    if not isinstance(answer, dns.message.QueryMessage) or not query.is_response(answer):
        return None
    if answer.rcode() == dns.rcode.NOERROR and not answer.question:
        return None
    return answer


def _truncated(query: dns.message.QueryMessage) -> dns.message.QueryMessage:
    answer = cast(dns.message.QueryMessage, dns.message.make_response(query))
    answer.flags |= dns.flags.TC
    return answer


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, query: dns.message.QueryMessage, answer: asyncio.Future[dns.message.QueryMessage]) -> None:
        self._query = query
        self._answer = answer
        self._strays = 0

    def datagram_received(self, data: bytes, addr: object) -> None:
        if self._answer.done():
            return
        answer = _read(data, self._query)
        if answer is not None:
            self._answer.set_result(answer)
            return
        self._strays += 1
        if self._strays > _MAX_STRAYS:
            self._answer.set_exception(NoAnswer("too many answers to something we did not ask"))

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc)


async def _over_udp(server: Server, query: dns.message.QueryMessage, wire: bytes) -> dns.message.QueryMessage:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[dns.message.QueryMessage] = loop.create_future()
    # A connected socket: the kernel drops what other addresses send, and reports a closed port at once.
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(query, answer), remote_addr=(server.host, server.port)
    )
    try:
        transport.sendto(wire)
        return await answer
    finally:
        transport.close()
        if answer.done() and not answer.cancelled():
            answer.exception()  # it was retrieved, whoever awaits it


class _Stream(asyncio.Protocol):
    def __init__(self, query: dns.message.QueryMessage, answer: asyncio.Future[dns.message.QueryMessage]) -> None:
        self._query = query
        self._answer = answer
        self._octets = bytearray()

    def data_received(self, data: bytes) -> None:
        if self._answer.done():
            return
        self._octets += data  # bounded: done at 2 + 65535 octets at the latest
        if len(self._octets) < 2:
            return
        end = 2 + int.from_bytes(self._octets[:2], "big")
        if len(self._octets) < end:
            return
        answer = _read(bytes(self._octets[2:end]), self._query)
        if answer is None or answer.flags & dns.flags.TC:
            self._answer.set_exception(NoAnswer("a broken answer over TCP"))
        else:
            self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_exception(NoAnswer("the server closed the connection without an answer"))


async def _over_tcp(server: Server, query: dns.message.QueryMessage, wire: bytes) -> dns.message.QueryMessage:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[dns.message.QueryMessage] = loop.create_future()
    transport, _ = await loop.create_connection(lambda: _Stream(query, answer), server.host, server.port)
    try:
        transport.write(len(wire).to_bytes(2, "big") + wire)
        return await answer
    finally:
        transport.abort()
        if answer.done() and not answer.cancelled():
            answer.exception()
