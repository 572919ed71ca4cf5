"""Mail hosts and addresses from real name servers, with a cache.

dnspython reads and writes the messages; the sockets are the running loop's own. The servers are recursive resolvers: we
follow what they answer and never walk the tree ourselves.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.TLSA
import dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA

from postroad.config.schema import DnsOptions
from postroad.net.dnscache import Kept, LookupCache
from postroad.net.dnswire import NoAnswer, Server, ask
from postroad.net.endpoint import split_host_port
from postroad.net.names import DnsFailure, MxHost, NoSuchDomain, NullMx, Tlsa

# Aliases followed in all, over all questions: RFC 1034 3.6.2 forbids chains, the world has short ones.
_MAX_ALIASES = 8
# Records kept of an answer. There can be thousands, and the cache holds many names; nobody tries fifty hosts.
_MAX_RECORDS = 50
# A negative answer kept longer than this does harm (RFC 2308 5).
_MAX_NEGATIVE = 3 * 3600.0
_HOST_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?\Z")


class _Kind(Enum):
    FOUND = 1
    NO_NAME = 2  # NXDOMAIN
    NO_DATA = 3  # the name exists, without records of this type
    FAILED = 4


class _Answer(NamedTuple):
    """What is known of a (name, type). why: for FAILED, what the servers did. authentic: a validating resolver of this
    machine says so. name: where the aliases end, "" when there are none."""

    kind: _Kind
    records: tuple[dns.rdata.Rdata, ...] = ()
    why: str = ""
    authentic: bool = False
    name: str = ""


class DnsResolver:
    """options.servers: empty means those of `resolv_conf`. rng: draws question ids; `random.SystemRandom()` wherever
    the answers come over a network. ipv6: look up AAAA records too."""

    def __init__(
        self, options: DnsOptions, *, rng: Random, ipv6: bool = True, resolv_conf: str = "/etc/resolv.conf"
    ) -> None:
        texts = options.servers or _system_servers(resolv_conf)
        self.servers = [Server(*split_host_port(text, 53)) for text in texts]
        self._trusted = {each for each in self.servers if options.validating and _is_loopback(each.host)}
        self._first = 0  # the server that answered last: a dead one must not cost its time-out every time
        self._options = options
        self._rng = rng
        self._ipv6 = ipv6
        self._cache: LookupCache[_Answer] = LookupCache(options.cache_size)

    async def mx(self, domain: str) -> list[MxHost]:
        """See `postroad.net.names.Resolver`. Names that can't be a host's (an IP address, odd characters) are left out;
        when none is left the domain can't be reached, and NoSuchDomain says so."""
        answer = await self._look_up(domain, dns.rdatatype.MX)
        if answer.kind is _Kind.FAILED:
            raise DnsFailure(answer.why)
        if answer.kind is _Kind.NO_NAME:
            raise NoSuchDomain(f"{domain} does not exist")
        if answer.kind is _Kind.NO_DATA:
            try:
                await self.addresses(domain)
            except NoSuchDomain:
                raise NoSuchDomain(f"{domain} has neither a mail host nor an address") from None
            return [MxHost(0, domain)]
        records = [cast(dns.rdtypes.ANY.MX.MX, record) for record in answer.records]
        if len(records) == 1 and records[0].exchange == dns.name.root:
            raise NullMx(domain)
        hosts = [
            MxHost(record.preference, name) for record in records if (name := _host_name(record.exchange)) is not None
        ]
        if not hosts:
            raise NoSuchDomain(f"{domain} names no usable mail host: {records[0].exchange.to_text()[:80]!r} is no host")
        return sorted(hosts, key=lambda mx: mx.preference)

    async def addresses(self, host: str) -> list[str]:
        """See `postroad.net.names.Resolver`. One family's failure does not hide the other's addresses."""
        kinds = [dns.rdatatype.A]
        if self._ipv6:
            kinds.insert(0, dns.rdatatype.AAAA)
        answers = await asyncio.gather(*(self._look_up(host, kind) for kind in kinds))
        found = [
            cast("dns.rdtypes.IN.A.A | dns.rdtypes.IN.AAAA.AAAA", record).address
            for answer in answers
            for record in answer.records
        ]
        if found:
            return [str(ipaddress.ip_address(address)) for address in found]
        for answer in answers:
            if answer.kind is _Kind.FAILED:
                raise DnsFailure(answer.why)
        raise NoSuchDomain(f"{host} has no address")

    async def txt(self, name: str) -> list[bytes]:
        """See `postroad.net.names.PolicyResolver`."""
        answer = await self._look_up(name, dns.rdatatype.TXT)
        if answer.kind is _Kind.FAILED:
            raise DnsFailure(answer.why)
        return [b"".join(cast(dns.rdtypes.ANY.TXT.TXT, record).strings) for record in answer.records]

    async def records(self, name: str, kind: Literal["A", "AAAA", "CNAME", "MX", "PTR"]) -> list[str]:
        """What stands at a name, and nothing put in its place: addresses, or host names by rising preference ("" is
        the root). [] when there is nothing. Raises DnsFailure."""
        answer = await self._look_up(name, dns.rdatatype.from_text(kind))
        if answer.kind is _Kind.FAILED:
            raise DnsFailure(answer.why)
        found = []
        for record in answer.records:
            if kind in ("A", "AAAA"):
                found.append(cast("dns.rdtypes.IN.A.A | dns.rdtypes.IN.AAAA.AAAA", record).address)
            elif kind == "MX":
                found.append(_text(cast(dns.rdtypes.ANY.MX.MX, record).exchange))
            else:
                found.append(_text(cast(dns.rdtypes.ANY.PTR.PTR, record).target))
        return found

    async def exists(self, name: str) -> bool:
        """Is there such a name, or any below it (RFC 8020)? A name without addresses may exist. Raises DnsFailure."""
        answer = await self._look_up(name, dns.rdatatype.A)
        if answer.kind is _Kind.FAILED:
            raise DnsFailure(answer.why)
        return answer.kind is not _Kind.NO_NAME

    async def authentic_hosts(self, domain: str) -> frozenset[str]:
        """See `postroad.net.names.PolicyResolver`."""
        answer = await self._look_up(domain, dns.rdatatype.MX)
        if not answer.authentic:
            return frozenset()
        return frozenset(mx.name for mx in await self.mx(domain))

    async def authentic_names(self, host: str) -> list[str]:
        """See `postroad.net.names.PolicyResolver`."""
        kinds = [dns.rdatatype.AAAA, dns.rdatatype.A] if self._ipv6 else [dns.rdatatype.A]
        answers = await asyncio.gather(*(self._look_up(host, kind) for kind in kinds))
        found = [answer for answer in answers if answer.kind is _Kind.FOUND]
        for answer in answers:
            if answer.kind is _Kind.FAILED and not found:
                raise DnsFailure(answer.why)
        if found and all(answer.authentic for answer in found):
            return list(dict.fromkeys((*(answer.name for answer in found if answer.name), host)))
        if any(answer.name for answer in found) and (await self._look_up(host, dns.rdatatype.CNAME)).authentic:
            # The alias is, though what it leads to is not (RFC 7672 2.2.2).
            return [host]
        return []

    async def tlsa(self, host: str, port: int) -> list[Tlsa]:
        """See `postroad.net.names.PolicyResolver`."""
        answer = await self._look_up(f"_{port}._tcp.{host}", dns.rdatatype.TLSA)
        if answer.kind is _Kind.FAILED:
            raise DnsFailure(answer.why)
        if not answer.authentic:
            return []
        records = [cast(dns.rdtypes.ANY.TLSA.TLSA, record) for record in answer.records]
        return [Tlsa(int(r.usage), int(r.selector), int(r.mtype), r.cert) for r in records]

    async def close(self) -> None:
        """Cancel the look-ups under way."""
        await self._cache.close()

    async def _look_up(self, name: str, kind: dns.rdatatype.RdataType) -> _Answer:
        return await self._cache.get((name, kind), lambda: self._ask_servers(name, kind))

    async def _ask_servers(self, name: str, kind: dns.rdatatype.RdataType) -> Kept[_Answer]:
        """Look a name up, following aliases that a server leaves to us."""
        options = self._options
        try:
            target = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            return Kept(_Answer(_Kind.NO_NAME), float(options.negative_ttl))
        shortest = float(options.max_ttl)
        aliases = 0
        authentic = True
        while True:
            reply = await self._ask_all(target, kind)
            if isinstance(reply, str):
                return Kept(_Answer(_Kind.FAILED, why=reply), float(options.failure_ttl))
            authentic = authentic and bool(reply.flags & dns.flags.AD)
            try:
                chain = reply.resolve_chaining()
            except dns.exception.DNSException as error:
                return self._broken(f"a broken answer ({type(error).__name__})")
            aliases += len(chain.cnames)
            if aliases > _MAX_ALIASES:
                return self._broken(f"more than {_MAX_ALIASES} aliases")
            shortest = min(shortest, *(float(alias.ttl) for alias in chain.cnames), float(options.max_ttl))
            if chain.answer is not None:
                ttl = min(shortest, float(chain.answer.ttl))
                final = _text(chain.canonical_name) if aliases else ""
                answer = _Answer(_Kind.FOUND, _best(chain.answer), "", authentic, final)
                return Kept(answer, max(ttl, float(options.min_ttl)))
            if reply.rcode() == dns.rcode.NXDOMAIN:
                return Kept(_Answer(_Kind.NO_NAME, authentic=authentic), self._negative_ttl(reply, shortest))
            if not chain.cnames or _has_soa(reply):
                return Kept(_Answer(_Kind.NO_DATA, authentic=authentic), self._negative_ttl(reply, shortest))
            target = chain.canonical_name

    def _broken(self, why: str) -> Kept[_Answer]:
        return Kept(_Answer(_Kind.FAILED, why=why), float(self._options.failure_ttl))

    async def _ask_all(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.message.QueryMessage | str:
        """The first usable answer of the servers, in rounds; else what the last one did."""
        why = "no name server is configured"
        timeout = float(self._options.timeout)
        count = len(self.servers)
        first = self._first
        for _ in range(self._options.attempts):
            for number in range(first, first + count):
                server = self.servers[number % count]
                try:
                    reply = await ask(server, name, kind, timeout=timeout, rng=self._rng, ad=server in self._trusted)
                except NoAnswer as error:
                    why = f"{server}: {error}"
                    continue
                if reply.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                    self._first = number % count
                    if server not in self._trusted:
                        reply.flags &= ~dns.flags.AD  # anybody on the way may have set it
                    return reply
                why = f"{server}: {dns.rcode.to_text(reply.rcode())}"
        return why

    def _negative_ttl(self, reply: dns.message.QueryMessage, shortest: float) -> float:
        """RFC 2308 5: the lesser of the SOA's own TTL and its MINIMUM."""
        ttl = float(self._options.negative_ttl)
        for rrset in reply.authority:
            if rrset.rdtype == dns.rdatatype.SOA and rrset:
                ttl = float(min(rrset.ttl, rrset[0].minimum))
        return max(min(ttl, shortest, _MAX_NEGATIVE), float(self._options.min_ttl))


def _best(records: Iterable[dns.rdata.Rdata]) -> tuple[dns.rdata.Rdata, ...]:
    """The first _MAX_RECORDS; of mail hosts the most preferred."""
    return tuple(sorted(records, key=lambda record: getattr(record, "preference", 0))[:_MAX_RECORDS])


def _has_soa(reply: dns.message.QueryMessage) -> bool:
    return any(rrset.rdtype == dns.rdatatype.SOA for rrset in reply.authority)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _host_name(name: dns.name.Name) -> str | None:
    """A host's name in lower case without the final dot; None for what can't be one, an IP address above all."""
    text = _text(name)
    labels = text.split(".")
    if not all(_HOST_LABEL.match(label) for label in labels) or labels[-1].isdigit():
        return None
    return text


def _system_servers(path: str) -> list[str]:
    try:
        text = Path(path).read_text("utf-8", "replace")
    except OSError:
        text = ""
    found = [words[1] for line in text.splitlines() if len(words := line.split()) > 1 and words[0] == "nameserver"]
    return [f"[{host}]" if ":" in host else host for host in found] or ["127.0.0.1"]
