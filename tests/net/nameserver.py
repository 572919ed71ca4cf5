"""A name server on the loopback made with dnslib (another implementation than the one under test), over UDP and TCP."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from dnslib import QTYPE, RCODE, RR, DNSRecord

Fault = Callable[[DNSRecord, DNSRecord], list[bytes]]
"""(query, right answer) -> the packets to send instead."""


class NameServer:
    """zone: "NAME TYPE" -> records in zone-file form. Names of the zone that lack the type get NODATA, others NXDOMAIN.

    faults: by "NAME TYPE"; asked: how often each was asked over udp and tcp.
    """

    def __init__(self, zone: str = "") -> None:
        self.records: list[RR] = list(RR.fromZone(zone))
        self.faults: dict[str, Fault] = {}
        self.soa = "example. 300 IN SOA ns.example. root.example. 1 3600 600 86400 120"
        self.asked: Counter[str] = Counter()
        self.chase = True  # follow aliases within the answer
        self.largest_udp = 1232
        self.signed: set[str] = set()  # ends of names whose answers are authentic, as a validating resolver says
        self.port = 0
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(20):
            self._tcp = await asyncio.start_server(self._serve_tcp, "127.0.0.1", 0)
            self.port = self._tcp.sockets[0].getsockname()[1]
            try:
                self._udp, _ = await loop.create_datagram_endpoint(
                    lambda: _Udp(self), local_addr=("127.0.0.1", self.port)
                )
                return
            except OSError:  # someone else has this port of the other protocol
                self._tcp.close()
                await self._tcp.wait_closed()
        raise OSError("no port is free for both UDP and TCP")

    async def stop(self) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
            await self._tcp.wait_closed()

    def answer(self, query: DNSRecord) -> DNSRecord:
        reply = query.reply()
        name = query.q.qname
        kind = query.q.qtype
        for _ in range(50):
            of_name = [rr for rr in self.records if rr.rname == name]
            right = [rr for rr in of_name if rr.rtype == kind]
            alias = [rr for rr in of_name if rr.rtype == QTYPE.CNAME]
            for rr in right or alias:
                reply.add_answer(rr)
            if right or not alias:
                break
            name = alias[0].rdata.label
            if not self.chase:
                return reply
        if not right:
            if not of_name:
                reply.header.rcode = RCODE.NXDOMAIN
            if self.soa:
                reply.add_auth(*RR.fromZone(self.soa))
        names = [str(query.q.qname), *(str(rr.rname) for rr in reply.rr)]
        reply.header.ad = int(all(each.rstrip(".").endswith(tuple(self.signed)) for each in names))
        return reply

    def packets(self, octets: bytes, over: str) -> list[bytes]:
        query = DNSRecord.parse(octets)
        key = f"{str(query.q.qname).rstrip('.')} {QTYPE[query.q.qtype]}"
        self.asked[f"{key} {over}"] += 1
        right = self.answer(query)
        fault = self.faults.get(f"{key} {over}") or self.faults.get(key)
        if fault is not None:
            return fault(query, right)
        packed = bytes(right.pack())
        if over == "udp" and len(packed) > self.largest_udp:
            packed = bytes(right.truncate().pack())
        return [packed]

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            length = int.from_bytes(await reader.readexactly(2), "big")
            for packet in self.packets(await reader.readexactly(length), "tcp"):
                writer.write(len(packet).to_bytes(2, "big") + packet)
            await writer.drain()
            await reader.read()  # the client closes
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for packet in self._server.packets(data, "udp"):
            self._transport.sendto(packet, addr)


@asynccontextmanager
async def serving(*servers: NameServer) -> AsyncIterator[list[str]]:
    """Start the servers; "HOST:PORT" of each."""
    try:
        for server in servers:
            await server.start()
        yield [f"127.0.0.1:{server.port}" for server in servers]
    finally:
        for server in servers:
            await server.stop()


def fails(rcode: str) -> Fault:
    def fault(query: DNSRecord, right: DNSRecord) -> list[bytes]:
        reply = query.reply()
        reply.header.rcode = getattr(RCODE, rcode)
        return [reply.pack()]

    return fault


def silent(query: DNSRecord, right: DNSRecord) -> list[bytes]:
    return []
