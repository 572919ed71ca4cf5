"""The resolver against a real name server that another library makes, and that goes wrong on demand."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dnslib import DNSRecord

from postroad.config.schema import DnsOptions
from postroad.net import DnsFailure, DnsResolver, MxHost, NoSuchDomain, NullMx
from tests.net.nameserver import Fault, NameServer, fails, serving, silent

ZONE = """
good.example. 300 IN MX 20 mx2.good.example.
good.example. 300 IN MX 10 MX1.Good.Example.
mx1.good.example. 300 IN A 192.0.2.1
mx1.good.example. 300 IN AAAA 2001:DB8:0:0::1
mx2.good.example. 300 IN A 192.0.2.2
mx2.good.example. 300 IN A 192.0.2.3
bare.example. 300 IN A 192.0.2.4
bare6.example. 300 IN AAAA 2001:db8::4
empty.example. 300 IN TXT "nothing to see"
null.example. 300 IN MX 0 .
nullish.example. 300 IN MX 0 .
nullish.example. 300 IN MX 10 mx1.good.example.
literal.example. 300 IN MX 10 192.0.2.9.
mixed.example. 300 IN MX 5 192.0.2.9.
mixed.example. 300 IN MX 10 mx1.good.example.
alias.example. 300 IN CNAME good.example.
dangling.example. 300 IN CNAME nowhere.example.
loop.example. 300 IN CNAME pool.example.
pool.example. 300 IN CNAME loop.example.
""" + "\n".join(f"c{i}.example. 300 IN CNAME c{i + 1}.example." for i in range(30))

GOOD = [MxHost(10, "mx1.good.example"), MxHost(20, "mx2.good.example")]


def resolver(servers: list[str], **options: Any) -> DnsResolver:
    settings = DnsOptions(**{"servers": servers, "timeout": 20.0, **options})
    return DnsResolver(settings, rng=Random(1), resolv_conf="/nonexistent")


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("good.example", GOOD),
        ("bare.example", [MxHost(0, "bare.example")]),
        ("bare6.example", [MxHost(0, "bare6.example")]),
        ("alias.example", GOOD),
        ("nullish.example", [MxHost(10, "mx1.good.example")]),
        ("mixed.example", [MxHost(10, "mx1.good.example")]),
        ("null.example", NullMx),
        ("empty.example", NoSuchDomain),
        ("gone.example", NoSuchDomain),
        ("literal.example", NoSuchDomain),
        ("dangling.example", NoSuchDomain),
        ("loop.example", DnsFailure),
        ("c0.example", DnsFailure),
        ("a..b", NoSuchDomain),
        ("x" * 64 + ".example", NoSuchDomain),
    ],
)
async def test_mail_hosts(domain: str, expected: list[MxHost] | type[Exception]) -> None:
    async with serving(NameServer(ZONE)) as servers:
        names = resolver(servers)
        if isinstance(expected, list):
            assert await names.mx(domain) == expected
        else:
            with pytest.raises(expected) as caught:
                await names.mx(domain)
            assert str(caught.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("mx1.good.example", ["2001:db8::1", "192.0.2.1"]),
        ("mx2.good.example", ["192.0.2.2", "192.0.2.3"]),
        ("bare6.example", ["2001:db8::4"]),
        ("empty.example", NoSuchDomain),
        ("gone.example", NoSuchDomain),
        ("loop.example", DnsFailure),
    ],
)
async def test_addresses(host: str, expected: list[str] | type[Exception]) -> None:
    async with serving(NameServer(ZONE)) as servers:
        names = resolver(servers)
        if isinstance(expected, list):
            found = await names.addresses(host)
            assert sorted(found) == sorted(expected)
            assert [":" in address for address in found] == [":" in address for address in expected]
        else:
            with pytest.raises(expected):
                await names.addresses(host)


async def test_a_literal_in_an_mx_is_named() -> None:
    async with serving(NameServer(ZONE)) as servers:
        with pytest.raises(NoSuchDomain, match=r"192\.0\.2\.9"):
            await resolver(servers).mx("literal.example")


async def test_without_ipv6_no_such_address_is_asked_for() -> None:
    server = NameServer(ZONE)
    async with serving(server) as servers:
        names = DnsResolver(DnsOptions(servers=servers), rng=Random(1), ipv6=False)
        assert await names.addresses("mx1.good.example") == ["192.0.2.1"]
    assert set(server.asked) == {"mx1.good.example A udp"}


async def test_aliases_that_the_server_leaves_to_us() -> None:
    server = NameServer(ZONE)
    server.chase = False
    async with serving(server) as servers:
        names = resolver(servers)
        assert await names.mx("alias.example") == GOOD
        with pytest.raises(DnsFailure):
            await names.mx("c0.example")
        with pytest.raises(DnsFailure):
            await names.mx("loop.example")
    assert sum(server.asked.values()) < 30


async def test_one_family_failing_does_not_hide_the_other() -> None:
    server = NameServer(ZONE)
    server.faults["mx2.good.example AAAA"] = fails("SERVFAIL")
    server.faults["bare6.example A"] = fails("SERVFAIL")
    server.faults["empty.example A"] = fails("SERVFAIL")
    async with serving(server) as servers:
        names = resolver(servers)
        assert sorted(await names.addresses("mx2.good.example")) == ["192.0.2.2", "192.0.2.3"]
        assert await names.addresses("bare6.example") == ["2001:db8::4"]
        with pytest.raises(DnsFailure):  # it may have an address: not for us to say that it has none
            await names.addresses("empty.example")


def wrong_id(query: DNSRecord, right: DNSRecord) -> list[bytes]:
    packed = bytearray(right.pack())
    packed[0] ^= 0xFF
    return [bytes(packed)]


def other_question(query: DNSRecord, right: DNSRecord) -> list[bytes]:
    forged = DNSRecord.question("other.example", "MX").reply()
    forged.header.id = query.header.id
    return [forged.pack()]


def a_query(query: DNSRecord, right: DNSRecord) -> list[bytes]:
    return [query.pack()]


def garbage(query: DNSRecord, right: DNSRecord) -> list[bytes]:
    return [b"", b"\x00", query.header.id.to_bytes(2, "big") + b"\x81\x80" + b"\xff" * 40, b"\xc0\x0c" * 300]


def bare_header(query: DNSRecord, right: DNSRecord) -> list[bytes]:
    return [query.header.id.to_bytes(2, "big") + b"\x81\x80" + b"\0" * 8]


LIES: list[Fault] = [wrong_id, other_question, a_query, garbage, bare_header]


@pytest.mark.parametrize("lie", LIES)
async def test_forged_answers_are_not_believed_and_the_true_one_is(lie: Fault) -> None:
    server = NameServer(ZONE)
    server.faults["good.example MX"] = lambda query, right: [*lie(query, right), right.pack()]
    async with serving(server) as servers:
        assert await resolver(servers).mx("good.example") == GOOD


@pytest.mark.parametrize("fault", [*LIES, silent])
async def test_lies_and_silence_are_no_answer(fault: Fault) -> None:
    server = NameServer(ZONE)
    server.faults["good.example MX"] = fault
    async with serving(server) as servers:
        with pytest.raises(DnsFailure, match="no answer within"):
            await resolver(servers, timeout=0.05, attempts=2).mx("good.example")
    assert server.asked["good.example MX udp"] == 2


async def test_a_flood_of_forgeries_ends_the_wait() -> None:
    server = NameServer(ZONE)
    server.faults["good.example MX"] = lambda query, right: wrong_id(query, right) * 150
    async with serving(server) as servers:
        with pytest.raises(DnsFailure, match="did not ask"):
            await resolver(servers, attempts=1).mx("good.example")


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"])
async def test_failures_are_told_apart(rcode: str) -> None:
    server = NameServer(ZONE)
    server.faults["good.example MX"] = fails(rcode)
    async with serving(server) as servers:
        with pytest.raises(DnsFailure, match=rcode):
            await resolver(servers).mx("good.example")


async def test_a_closed_port_is_noticed_at_once() -> None:
    server = NameServer(ZONE)
    async with serving(server) as servers:
        pass
    with pytest.raises(DnsFailure, match="refused"):
        await resolver(servers).mx("good.example")


async def test_the_next_server_is_asked_and_remembered() -> None:
    bad, good = NameServer(ZONE), NameServer(ZONE)
    bad.faults["good.example MX"] = fails("SERVFAIL")
    async with serving(bad, good) as servers:
        names = resolver(servers)
        assert await names.mx("good.example") == GOOD
        assert await names.mx("nullish.example")
    assert sum(bad.asked.values()) == 1 and sum(good.asked.values()) == 2


async def test_a_server_older_than_edns() -> None:
    server = NameServer(ZONE)
    server.faults["good.example MX"] = lambda query, right: (
        fails("FORMERR")(query, right) if query.ar else [right.pack()]
    )
    async with serving(server) as servers:
        assert await resolver(servers).mx("good.example") == GOOD


def large_zone() -> NameServer:
    return NameServer("\n".join(f"big.example. 300 IN MX 10 mail-host-number-{i}.big.example." for i in range(45)))


async def test_of_a_flood_of_records_the_best_are_kept() -> None:
    """An answer over TCP can hold thousands, a megabyte in memory; a stranger who has us look up a hundred thousand
    such names must not fill the memory."""
    records = [f"flood.example. 300 IN MX {9000 - number} m{number}.flood.example." for number in range(1000)]
    records += [f"flood.example. 300 IN A 192.0.{number // 250}.{number % 250}" for number in range(1000)]
    async with serving(NameServer("\n".join(records))) as servers:
        names = resolver(servers)
        hosts = await names.mx("flood.example")
        addresses = await names.addresses("flood.example")
    assert hosts == [MxHost(8001 + number, f"m{999 - number}.flood.example") for number in range(50)]
    assert len(addresses) == 50


async def test_large_answers_come_over_tcp() -> None:
    server = large_zone()
    async with serving(server) as servers:
        assert len(await resolver(servers).mx("big.example")) == 45
    assert server.asked == {"big.example MX udp": 1, "big.example MX tcp": 1}


async def test_a_packet_cut_in_the_middle_of_a_record() -> None:
    server = large_zone()

    def cut(query: DNSRecord, right: DNSRecord) -> list[bytes]:
        packed = bytearray(right.pack())
        packed[2] |= 0x02
        return [bytes(packed[:500])]

    server.faults["big.example MX udp"] = cut
    async with serving(server) as servers:
        assert len(await resolver(servers).mx("big.example")) == 45


@pytest.mark.parametrize("fault", [silent, wrong_id, garbage])
async def test_tcp_that_goes_wrong(fault: Fault) -> None:
    server = large_zone()
    server.faults["big.example MX tcp"] = fault
    async with serving(server) as servers:
        with pytest.raises(DnsFailure):
            await resolver(servers, timeout=0.1, attempts=1).mx("big.example")


# --- the cache --------------------------------------------------------------------------------------------------------


async def test_answers_good_and_bad_are_kept() -> None:
    server = NameServer(ZONE)
    server.faults["sick.example MX"] = fails("SERVFAIL")
    async with serving(server) as servers:
        names = resolver(servers, attempts=1)
        for _ in range(3):
            await names.mx("good.example")
            with pytest.raises(NoSuchDomain):
                await names.mx("gone.example")
            with pytest.raises(DnsFailure):
                await names.mx("sick.example")
    assert {key: count for key, count in server.asked.items() if "MX" in key} == {
        "good.example MX udp": 1,
        "gone.example MX udp": 1,
        "sick.example MX udp": 1,
    }


async def test_one_look_up_serves_all_who_ask_at_once() -> None:
    server = NameServer(ZONE)
    async with serving(server) as servers:
        names = resolver(servers)
        found = await asyncio.gather(*(names.mx("good.example") for _ in range(50)))
    assert found == [GOOD] * 50 and server.asked.total() == 1


async def test_one_who_leaves_does_not_spoil_it_for_the_others() -> None:
    server = NameServer(ZONE)
    async with serving(server) as servers:
        names = resolver(servers)
        first = asyncio.ensure_future(names.mx("good.example"))
        second = asyncio.ensure_future(names.mx("good.example"))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == GOOD
    assert server.asked.total() == 1


async def test_closing_ends_the_look_ups() -> None:
    server = NameServer(ZONE)
    server.faults["good.example MX"] = silent
    async with serving(server) as servers:
        names = resolver(servers)
        waiting = asyncio.ensure_future(names.mx("good.example"))
        for _ in range(3):
            await asyncio.sleep(0)
        await names.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting


class Fast(asyncio.SelectorEventLoop):
    """A loop whose clock can be set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0
        super().__init__()

    def time(self) -> float:
        return super().time() + self.ahead


@pytest.mark.parametrize(
    ("question", "options", "kept"),
    [
        ("good.example", {}, 300),  # its own TTL
        ("good.example", {"max_ttl": 60}, 60),
        ("good.example", {"min_ttl": 900}, 900),
        ("gone.example", {}, 120),  # the SOA's minimum
        ("gone.example", {"min_ttl": 500}, 500),
        ("sick.example", {"failure_ttl": 7}, 7),
    ],
)
def test_how_long_answers_are_kept(question: str, options: dict[str, float], kept: float) -> None:
    async def ask() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Fast)
        server = NameServer(ZONE)
        server.faults["sick.example MX"] = fails("SERVFAIL")
        async with serving(server) as servers:
            names = resolver(servers, attempts=1, **options)
            key = f"{question} MX udp"
            for ahead, asked in ((0, 1), (kept - 5, 1), (kept + 5, 2)):
                loop.ahead = float(ahead)
                with suppress(NoSuchDomain, DnsFailure):
                    await names.mx(question)
                assert server.asked[key] == asked, ahead

    with asyncio.Runner(loop_factory=Fast) as runner:
        runner.run(ask())


async def test_the_cache_is_bounded() -> None:
    server = NameServer("\n".join(f"d{i}.example. 300 IN MX 10 mx.example." for i in range(150)))
    async with serving(server) as servers:
        names = resolver(servers, cache_size=100)
        for number in [*range(100), 0, *range(100, 150)]:
            await names.mx(f"d{number}.example")
        await names.mx("d0.example")  # used lately: still there
        await names.mx("d1.example")  # not used for the longest time: gone
    assert server.asked["d0.example MX udp"] == 1
    assert server.asked["d1.example MX udp"] == 2


async def test_the_system_is_asked_for_servers(tmp_path: Path) -> None:
    server = NameServer(ZONE)
    conf = tmp_path / "resolv.conf"
    conf.write_text("# comment\nsearch example\nnameserver 127.0.0.1\nnameserver ::1\nnameserver\noptions ndots:1\n")
    names = DnsResolver(DnsOptions(), rng=Random(1), resolv_conf=str(conf))
    assert [str(each) for each in names.servers] == ["127.0.0.1:53", "[::1]:53"]
    assert [str(each) for each in resolver([]).servers] == ["127.0.0.1:53"]
    async with serving(server) as servers:
        assert await resolver(servers).mx("good.example") == GOOD


async def test_a_name_without_addresses_exists() -> None:
    server = NameServer('text.example. 300 IN TXT "x"\nhost.example. 300 IN A 192.0.2.1')
    async with serving(server) as servers:
        names = resolver(servers)
        found = [await names.exists(name) for name in ("text.example", "host.example", "gone.example")]
    assert found == [True, True, False]
