"""A fake name server on loopback, over UDP and TCP, with a zone that may change and misbehave at run time."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast, get_args

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Fault = Literal["servfail", "refused", "nxdomain", "timeout", "truncate", "garbage", "wrong-id"]
"""servfail, refused, nxdomain: that answer code. timeout: silence. truncate: answers by UDP are empty and say "ask by
TCP". garbage: octets that are no DNS message. wrong-id: a good answer to another query's id."""

_FAULTS: tuple[Fault, ...] = get_args(Fault)
_CODES = {"servfail": dns.rcode.SERVFAIL, "refused": dns.rcode.REFUSED, "nxdomain": dns.rcode.NXDOMAIN}
_MAX_CHAIN = 8
_MAX_COUNTED = 100_000
_MAX_TCP = 65_535
_PLAIN_UDP = 512


class ZoneError(ValueError):
    """A zone entry that can't be meant. The text names it."""


class _Misbehaviour(NamedTuple):
    fault: Fault | None
    delay: float


class Zone:
    """Records and faults by name. Names are written without the final dot, in any case; targets inside record texts
    are absolute with or without it. `*.example.test` stands for every name below that has no records of its own."""

    def __init__(self) -> None:
        self._records: dict[dns.name.Name, dict[dns.rdatatype.RdataType, dns.rrset.RRset]] = {}
        self._faults: dict[tuple[dns.name.Name, dns.rdatatype.RdataType | None], _Misbehaviour] = {}
        self._parents: Counter[dns.name.Name] = Counter()

    @classmethod
    def from_dict(cls, names: Mapping[str, Mapping[str, Any]]) -> Zone:
        """{"bigmail.test": {"MX": ["10 mx.bigmail.test"], "ttl": 60, "fault": "servfail", "delay": 0.5}}: every key in
        capitals is a record type with a list of texts; fault and delay are for the whole name. Raises ZoneError."""
        zone = cls()
        for name, entry in names.items():
            rest = dict(entry)
            ttl, fault, delay = rest.pop("ttl", 60), rest.pop("fault", None), rest.pop("delay", 0.0)
            for rdtype, texts in rest.items():
                zone.set(name, rdtype, texts, ttl=ttl)
            if fault or delay:
                zone.fault(name, fault, delay=delay)
        return zone

    def set(self, name: str, rdtype: str, texts: Sequence[str], *, ttl: int = 60) -> None:
        """Replace the records of this name and type; no texts: remove them. Raises ZoneError."""
        owner, kind = _name(name), _type(rdtype)
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise ZoneError(f"{name} {rdtype}: a list of record texts is wanted")
        if not texts:
            self._drop(owner, kind)
            return
        try:
            rrset = dns.rrset.from_text_list(
                owner, ttl, dns.rdataclass.IN, kind, list(texts), origin=dns.name.root, relativize=False
            )
        except (dns.exception.DNSException, ValueError) as error:
            raise ZoneError(f"{name} {rdtype}: {error}") from None
        if owner not in self._records:
            self._count(owner, 1)
        self._records.setdefault(owner, {})[kind] = rrset

    def remove(self, name: str) -> None:
        """Forget all records of the name."""
        owner = _name(name)
        for kind in list(self._records.get(owner, ())):
            self._drop(owner, kind)

    def fault(self, name: str, fault: Fault | None, *, rdtype: str = "", delay: float = 0.0) -> None:
        """Misbehave for this name, and this type or all of them: `fault` happens after `delay` seconds. None and no
        delay: behave again. A name "." stands for all names without a fault of their own. Raises ZoneError."""
        if fault is not None and fault not in _FAULTS:
            raise ZoneError(f"{name}: there is no fault {fault!r}; known: {', '.join(_FAULTS)}")
        key = (_name(name), _type(rdtype) if rdtype else None)
        if fault is None and not delay:
            self._faults.pop(key, None)
        else:
            self._faults[key] = _Misbehaviour(fault, delay)

    def misbehaviour(self, owner: dns.name.Name, kind: dns.rdatatype.RdataType) -> tuple[Fault | None, float]:
        """What is wrong with this question: the fault and the delay in seconds."""
        if self._faults:
            for key in ((owner, kind), (owner, None), (dns.name.root, kind), (dns.name.root, None)):
                if key in self._faults:
                    return self._faults[key]
        return None, 0.0

    def answer(self, owner: dns.name.Name, kind: dns.rdatatype.RdataType) -> tuple[list[dns.rrset.RRset], bool]:
        """The answer section, following CNAMEs, and whether the (last) name exists."""
        found: list[dns.rrset.RRset] = []
        for _ in range(_MAX_CHAIN):
            records = self._lookup(owner)
            if records is None:
                return found, self._parents[owner] > 0
            rrset = records.get(kind)
            if rrset is not None:
                return [*found, _owned(rrset, owner)], True
            alias = records.get(dns.rdatatype.CNAME)
            if alias is None:
                return found, True
            found.append(_owned(alias, owner))
            owner = cast(Any, alias[0]).target
        return found, True

    def _lookup(self, owner: dns.name.Name) -> dict[dns.rdatatype.RdataType, dns.rrset.RRset] | None:
        records = self._records.get(owner)
        if records is not None or self._parents[owner]:
            return records
        parent = owner
        while len(parent.labels) > 1:
            parent = parent.parent()
            records = self._records.get(dns.name.Name((b"*", *parent.labels)))
            if records is not None:
                return records
        return None

    def _drop(self, owner: dns.name.Name, kind: dns.rdatatype.RdataType) -> None:
        records = self._records.get(owner)
        if records is not None and records.pop(kind, None) is not None and not records:
            del self._records[owner]
            self._count(owner, -1)

    def _count(self, owner: dns.name.Name, step: int) -> None:
        """A name with something below it exists, even without records (RFC 8020)."""
        while len(owner.labels) > 1:
            owner = owner.parent()
            self._parents[owner] += step


class LabDns:
    """Answers from a zone as an authority for everything. `queries` counts questions by (name, type)."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.queries: Counter[tuple[str, str]] = Counter()
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._streams: set[_Stream] = set()
        self._delayed: set[asyncio.TimerHandle] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen on one port for UDP and TCP; 0 takes a free one. Returns it. Raises OSError, and ValueError for an
        address that is not loopback."""
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"the lab's name server listens on loopback only, not on {host}")
        loop = asyncio.get_running_loop()
        for attempt in range(20):
            tcp = await loop.create_server(lambda: _Stream(self), host, port)
            chosen = int(tcp.sockets[0].getsockname()[1])
            try:
                self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), (host, chosen))
            except OSError:
                # Free for TCP is not yet free for UDP.
                tcp.close()
                await tcp.wait_closed()
                if port or attempt == 19:
                    raise
                continue
            self._tcp = tcp
            return chosen
        raise AssertionError("unreachable")

    async def stop(self) -> None:
        """Stop listening; answers still delayed are dropped."""
        for timer in self._delayed:
            timer.cancel()
        self._delayed.clear()
        if self._udp:
            self._udp.close()
            self._udp = None
        if self._tcp:
            self._tcp.close()
            for stream in list(self._streams):
                stream.hang_up()
            await self._tcp.wait_closed()
            self._tcp = None

    def ask(self, wire: bytes, send: Callable[[bytes], None], *, udp: bool) -> None:
        """Answer one query by `send`, now, later or never."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return
        if query.flags & dns.flags.QR or len(query.question) != 1:
            return
        question = query.question[0]
        if len(self.queries) < _MAX_COUNTED:
            self.queries[question.name.to_text(True).lower(), dns.rdatatype.to_text(question.rdtype)] += 1
        fault, delay = self.zone.misbehaviour(question.name, question.rdtype)
        if fault == "timeout":
            return
        answer = self._answer(query, question, fault, udp=udp)
        if not delay:
            send(answer)
            return

        def later() -> None:
            self._delayed.discard(timer)
            send(answer)

        timer = asyncio.get_running_loop().call_later(delay, later)
        self._delayed.add(timer)

    def _answer(
        self, query: dns.message.Message, question: dns.rrset.RRset, fault: Fault | None, *, udp: bool
    ) -> bytes:
        if fault == "garbage":
            return query.id.to_bytes(2, "big") + b"\x84\x00\xff\xff\xff\xff" + b"\xc0" * 20
        response = dns.message.make_response(query, recursion_available=True)
        if fault == "wrong-id":
            response.id = query.id ^ 0x5555
        if fault in _CODES:
            response.set_rcode(_CODES[fault])
            return response.to_wire()
        if fault == "truncate" and udp:
            response.flags |= dns.flags.TC
            return response.to_wire()
        response.flags |= dns.flags.AA
        answer, exists = self.zone.answer(question.name, question.rdtype)
        response.answer.extend(answer)
        if not exists:
            response.set_rcode(dns.rcode.NXDOMAIN)
        if not answer or not exists or answer[-1].rdtype != question.rdtype:
            response.authority.append(_soa(question.name))
        limit = max(_PLAIN_UDP, query.payload) if udp else _MAX_TCP
        return response.to_wire(max_size=limit, prefer_truncation=True)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: LabDns) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._server.ask(data, lambda answer: self._send(answer, addr), udp=True)

    def _send(self, answer: bytes, addr: tuple[str | Any, int]) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.sendto(answer, addr)


class _Stream(asyncio.Protocol):
    """DNS over TCP: two octets of length before each message (RFC 1035 4.2.2)."""

    def __init__(self, server: LabDns) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._input = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server._streams.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server._streams.discard(self)

    def hang_up(self) -> None:
        if self._transport:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        data = self._input + data
        while len(data) >= 2 and len(data) >= (end := 2 + int.from_bytes(data[:2], "big")):
            self._server.ask(data[2:end], self._send, udp=False)
            data = data[end:]
        self._input = data

    def _send(self, answer: bytes) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(len(answer).to_bytes(2, "big") + answer)


def _name(text: str) -> dns.name.Name:
    try:
        return dns.name.from_text(text.lower())
    except dns.exception.DNSException as error:
        raise ZoneError(f"{text!r} is no domain name: {error}") from None


def _type(text: str) -> dns.rdatatype.RdataType:
    try:
        return dns.rdatatype.from_text(text)
    except (dns.exception.DNSException, ValueError) as error:
        raise ZoneError(f"{text!r} is no record type: {error}") from None


def _owned(rrset: dns.rrset.RRset, owner: dns.name.Name) -> dns.rrset.RRset:
    """The same records under the name that was asked for, which may be one that a wildcard covers."""
    if rrset.name == owner:
        return rrset
    copy = dns.rrset.RRset(owner, rrset.rdclass, rrset.rdtype)
    for rdata in rrset:
        copy.add(rdata, rrset.ttl)
    return copy


def _soa(name: dns.name.Name) -> dns.rrset.RRset:
    """Says how long an absence may be remembered (RFC 2308): 5 seconds, since the lab changes while it runs."""
    apex = dns.name.Name(name.labels[-2:]) if len(name.labels) > 1 else dns.name.root
    return dns.rrset.from_text(apex, 5, "IN", "SOA", "ns.lab.test. hostmaster.lab.test. 1 60 60 60 5")
