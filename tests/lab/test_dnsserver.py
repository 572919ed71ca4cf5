"""The fake name server, asked by dnspython's own resolver and by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import pytest

from postroad.lab.dnsserver import LabDns, Zone, ZoneError

NAMES: dict[str, dict[str, Any]] = {
    "bigmail.test": {"MX": ["10 mx1.bigmail.test", "20 mx2.bigmail.test."], "TXT": ['"v=spf1 -all"'], "ttl": 77},
    "mx1.bigmail.test": {"A": ["127.0.1.1", "127.0.1.2"], "AAAA": ["::1"]},
    "nomail.test": {"MX": ["0 ."]},
    "alias.test": {"CNAME": ["other.test"]},
    "other.test": {"CNAME": ["bigmail.test."]},
    "loop.test": {"CNAME": ["loop.test"]},
    "deep.down.under.test": {"A": ["127.0.0.9"]},
    "*.many.test": {"A": ["127.0.0.8"]},
    "own.many.test": {"TXT": ["own"]},
    "large.test": {"TXT": [f'"{number} {"x" * 200}"' for number in range(20)]},
}


@asynccontextmanager
async def served(zone: Zone | None = None) -> AsyncIterator[tuple[LabDns, dns.asyncresolver.Resolver]]:
    server = LabDns(zone or Zone.from_dict(NAMES))
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = await server.start()
    resolver.lifetime = 10
    try:
        yield server, resolver
    finally:
        await server.stop()


async def texts(resolver: dns.asyncresolver.Resolver, name: str, rdtype: str) -> list[str]:
    return sorted(str(record) for record in await resolver.resolve(name, rdtype))


async def test_records_of_every_kind() -> None:
    async with served() as (_, resolver):
        assert await texts(resolver, "bigmail.test", "MX") == ["10 mx1.bigmail.test.", "20 mx2.bigmail.test."]
        assert await texts(resolver, "BigMail.TEST", "TXT") == ['"v=spf1 -all"']
        assert await texts(resolver, "mx1.bigmail.test", "A") == ["127.0.1.1", "127.0.1.2"]
        assert await texts(resolver, "mx1.bigmail.test", "AAAA") == ["::1"]
        assert await texts(resolver, "nomail.test", "MX") == ["0 ."]
        answer = await resolver.resolve("bigmail.test", "MX")
        assert answer.rrset is not None and answer.rrset.ttl == 77


async def test_aliases_are_followed_and_do_not_loop() -> None:
    async with served() as (_, resolver):
        answer = await resolver.resolve("alias.test", "MX")
        assert str(answer.canonical_name) == "bigmail.test."
        assert len(answer) == 2
        with pytest.raises((dns.resolver.NoAnswer, dns.exception.DNSException)):
            await resolver.resolve("loop.test", "A")


async def test_absence_and_its_two_kinds() -> None:
    async with served() as (_, resolver):
        for name in ("gone.test", "gone.bigmail.test", "example"):
            with pytest.raises(dns.resolver.NXDOMAIN) as absent:
                await resolver.resolve(name, "MX")
            (response,) = absent.value.responses().values()  # type: ignore[no-untyped-call]
            assert response.authority[0].ttl == 5
        for name, rdtype in (("bigmail.test", "A"), ("under.test", "A"), ("own.many.test", "A")):
            with pytest.raises(dns.resolver.NoAnswer):
                await resolver.resolve(name, rdtype)


async def test_wildcards() -> None:
    async with served() as (_, resolver):
        assert await texts(resolver, "a.many.test", "A") == ["127.0.0.8"]
        assert await texts(resolver, "a.b.many.test", "A") == ["127.0.0.8"]
        with pytest.raises(dns.resolver.NoAnswer):
            await resolver.resolve("many.test", "A")


async def test_large_answers_come_by_tcp() -> None:
    async with served() as (_, resolver):
        assert len(await resolver.resolve("large.test", "TXT")) == 20
        query = dns.message.make_query("large.test", "TXT")
        port = resolver.port
        small = await dns.asyncquery.udp(query, "127.0.0.1", port=port, timeout=10)
        assert small.flags & dns.flags.TC
        whole = await dns.asyncquery.tcp(query, "127.0.0.1", port=port, timeout=10)
        assert not whole.flags & dns.flags.TC
        assert len(whole.answer[0]) == 20


async def test_the_zone_changes_at_run_time() -> None:
    async with served() as (server, resolver):
        server.zone.set("new.test", "A", ["127.0.0.1"])
        assert await texts(resolver, "new.test", "A") == ["127.0.0.1"]
        server.zone.set("new.test", "A", ["127.0.0.2"])
        assert await texts(resolver, "new.test", "A") == ["127.0.0.2"]
        server.zone.set("new.test", "A", [])
        with pytest.raises(dns.resolver.NXDOMAIN):
            await resolver.resolve("new.test", "A")
        server.zone.remove("bigmail.test")
        with pytest.raises(dns.resolver.NoAnswer):
            # Not gone: mx1 is below it.
            await resolver.resolve("bigmail.test", "MX")
        assert server.queries["new.test", "A"] == 3


async def ask(port: int, name: str, rdtype: str = "A", timeout: float = 10) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype)
    return await dns.asyncquery.udp(query, "127.0.0.1", port=port, timeout=timeout)


async def test_faults_by_name_and_type_and_their_end() -> None:
    async with served() as (server, resolver):
        port, zone = resolver.port, server.zone
        zone.fault("mx1.bigmail.test", "servfail", rdtype="AAAA")
        assert (await ask(port, "mx1.bigmail.test", "AAAA")).rcode() == dns.rcode.SERVFAIL
        assert (await ask(port, "mx1.bigmail.test", "A")).rcode() == dns.rcode.NOERROR
        zone.fault("mx1.bigmail.test", None, rdtype="AAAA")
        assert (await ask(port, "mx1.bigmail.test", "AAAA")).rcode() == dns.rcode.NOERROR
        zone.fault("bigmail.test", "refused")
        assert (await ask(port, "bigmail.test", "MX")).rcode() == dns.rcode.REFUSED
        zone.fault("bigmail.test", "nxdomain")
        assert (await ask(port, "bigmail.test", "MX")).rcode() == dns.rcode.NXDOMAIN
        zone.fault(".", "servfail")
        assert (await ask(port, "nomail.test", "MX")).rcode() == dns.rcode.SERVFAIL
        assert (await ask(port, "bigmail.test", "MX")).rcode() == dns.rcode.NXDOMAIN


async def test_truncation_forces_tcp() -> None:
    async with served() as (server, resolver):
        server.zone.fault("bigmail.test", "truncate")
        answer = await ask(resolver.port, "bigmail.test", "MX")
        assert answer.flags & dns.flags.TC and not answer.answer
        assert len(await resolver.resolve("bigmail.test", "MX")) == 2


async def test_answers_that_are_none() -> None:
    async with served() as (server, resolver):
        server.zone.fault("bigmail.test", "wrong-id")
        with pytest.raises(dns.query.BadResponse):
            await ask(resolver.port, "bigmail.test", "MX")
        server.zone.fault("bigmail.test", "garbage")
        with pytest.raises(dns.exception.DNSException):
            await ask(resolver.port, "bigmail.test", "MX")
        server.zone.fault("bigmail.test", "timeout")
        with pytest.raises(dns.exception.Timeout):
            await ask(resolver.port, "bigmail.test", "MX", timeout=0.05)
        assert server.queries["bigmail.test", "MX"] == 3


async def test_a_delayed_answer_does_not_hold_up_others() -> None:
    async with served() as (server, resolver):
        server.zone.fault("bigmail.test", None, delay=0.05)
        slow = asyncio.create_task(ask(resolver.port, "bigmail.test", "MX"))
        assert len((await slow).answer) == 1
        server.zone.fault("bigmail.test", None, delay=3600)
        stuck = asyncio.create_task(ask(resolver.port, "bigmail.test", "MX", timeout=3600))
        while server.queries["bigmail.test", "MX"] < 2:
            assert (await ask(resolver.port, "nomail.test", "MX")).answer
        assert not stuck.done()
        stuck.cancel()


async def test_stopping_drops_delayed_answers_and_open_streams() -> None:
    async with served() as (server, resolver):
        server.zone.fault("bigmail.test", None, delay=3600)
        reader, writer = await asyncio.open_connection("127.0.0.1", resolver.port)
        wire = dns.message.make_query("bigmail.test", "MX").to_wire()
        known = dns.message.make_query("nomail.test", "MX").to_wire()
        writer.write(b"".join(len(one).to_bytes(2, "big") + one for one in (wire, known)))
        # The answer to the second proves that the first was read.
        assert await reader.readexactly(2)
        await server.stop()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(10_000)
        writer.close()


async def test_octets_that_are_no_query_are_ignored() -> None:
    async with served() as (server, resolver):
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", resolver.port)
        )
        response = dns.message.make_response(dns.message.make_query("bigmail.test", "MX")).to_wire()
        for junk in (b"", b"x", b"\xff" * 600, response):
            transport.sendto(junk)
        assert len(await resolver.resolve("bigmail.test", "MX")) == 2
        assert server.queries.total() == 1
        transport.close()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"x.test": {"A": ["nonsense"]}}, "x.test A"),
        ({"x.test": {"A": "127.0.0.1"}}, "a list"),
        ({"x.test": {"NOSUCH": ["1"]}}, "NOSUCH"),
        ({"x.test": {"fault": "explode"}}, "known: servfail"),
        ({"x" * 64 + ".test": {"A": ["127.0.0.1"]}}, "domain name"),
    ],
)
def test_entries_that_cannot_be_meant(names: dict[str, dict[str, Any]], told: str) -> None:
    with pytest.raises(ZoneError, match=told):
        Zone.from_dict(names)


async def test_loopback_only() -> None:
    with pytest.raises(ValueError, match="loopback"):
        await LabDns(Zone()).start("0.0.0.0")
