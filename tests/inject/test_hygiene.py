"""Checks of strangers: each alone, against a real name server, and on a listener that switches it on."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import pytest
from dnslib import RCODE, DNSRecord

from postroad.config.schema import DnsListOptions, DnsOptions, Duration, ListenerOptions, PeerOptions, Rate
from postroad.inject import SmtpListener
from postroad.inject.hygiene import Audit, Facts, Hygiene, check_hello, check_hello_dns, check_lists, check_sender
from postroad.net import DnsResolver
from tests.inject.kit import Client, MemoryAcceptor
from tests.inject.trusted import PASSWORD, USER, coded, listening
from tests.net.nameserver import NameServer

ZONE = """
good.example. 300 IN MX 10 mx.good.example.
mx.good.example. 300 IN A 192.0.2.1
null.example. 300 IN MX 0 .
addressed.example. 300 IN A 192.0.2.2
7.100.51.198.bl.example. 300 IN A 127.0.0.2
8.100.51.198.bl.example. 300 IN A 127.255.255.254
9.100.51.198.bl.example. 300 IN A 192.0.2.66
1.0.0.127.bl.example. 300 IN A 127.0.0.4
spam.example.dbl.example. 300 IN A 127.0.0.2
b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example. 300 IN A 127.0.0.3
"""


def servfail(query: DNSRecord, answer: DNSRecord) -> list[bytes]:
    reply = query.reply()
    reply.header.rcode = RCODE.SERVFAIL
    return [bytes(reply.pack())]


@contextlib.asynccontextmanager
async def resolving() -> AsyncIterator[DnsResolver]:
    server = NameServer(ZONE)
    for kind in ("A", "AAAA", "MX"):
        for name in ("broken.example.", "10.100.51.198.bl.example."):
            server.faults[f"{name} {kind}"] = server.faults[f"{name[:-1]} {kind}"] = servfail
    await server.start()
    options = DnsOptions(servers=[f"127.0.0.1:{server.port}"], attempts=1)
    resolver = DnsResolver(options, rng=Random(1))
    try:
        yield resolver
    finally:
        await resolver.close()
        await server.stop()


@pytest.mark.parametrize(
    ("hello", "wrong"),
    [
        ("c.example", ""),
        ("[198.51.100.7]", ""),
        ("[192.0.2.1]", "not yours"),
        ("[nonsense]", "not yours"),
        ("[IPv6:2001:db8::1]", "not yours"),
        ("localhost", "no full"),
        ("198.51.100.7", "no full"),
        ("a_b..c", "no full"),
        ("MX.example", "mine"),
    ],
)
def test_hello_names(hello: str, wrong: str) -> None:
    reply = check_hello(Facts("198.51.100.7", hello), "mx.example")
    assert wrong in str(reply) if wrong else reply is None
    assert reply is None or reply.code == 550


def test_an_ipv6_literal_may_be_written_in_any_way() -> None:
    assert check_hello(Facts("2001:db8::1", "[IPv6:2001:DB8:0::1]"), "mx.example") is None


@pytest.mark.parametrize(
    ("hello", "code"),
    [("mx.good.example", 0), ("good.example", 0), ("none.example", 550), ("broken.example", 450), ("[192.0.2.1]", 0)],
)
async def test_hello_names_in_dns(hello: str, code: int) -> None:
    async with resolving() as resolver:
        reply = await check_hello_dns(Facts("198.51.100.7", hello), resolver)
    assert (reply.code if reply is not None else 0) == code


@pytest.mark.parametrize(
    ("domain", "start"),
    [
        ("good.example", ""),
        ("addressed.example", ""),
        ("null.example", "550 5.7.27"),
        ("none.example", "550 5.1.8"),
        ("broken.example", "450 4.1.8"),
        ("[192.0.2.1]", ""),
    ],
)
async def test_senders(domain: str, start: str) -> None:
    async with resolving() as resolver:
        reply = await check_sender(Facts("198.51.100.7", "c.example", f"a@{domain}", domain), resolver)
    assert str(reply).startswith(start) if start else reply is None


async def test_the_null_sender_is_never_looked_up() -> None:
    async with resolving() as resolver:
        assert await check_sender(Facts("198.51.100.7", "c.example"), resolver) is None


@pytest.mark.parametrize(
    ("peer", "answers", "listed"),
    [
        ("198.51.100.7", [], True),
        ("198.51.100.7", ["127.0.0.2"], True),
        ("198.51.100.7", ["127.0.0.4/30"], False),
        ("198.51.100.6", [], False),
        ("198.51.100.8", [], False),  # the list says that it does not answer us
        ("198.51.100.9", [], False),  # a zone that somebody has parked
        ("198.51.100.10", [], False),  # SERVFAIL
        ("2001:db8::5678:9ab", [], False),
        ("2001:db8::567:89ab", [], True),
        ("unknown", [], False),
    ],
)
async def test_lists_of_addresses(peer: str, answers: list[str], listed: bool) -> None:
    async with resolving() as resolver:
        reply = await check_lists(Facts(peer), [DnsListOptions(zone="bl.example", answers=answers)], resolver)
    assert (reply is not None) == listed
    assert reply is None or str(reply) == "554 5.7.1 Listed by bl.example"


@pytest.mark.parametrize(
    ("facts", "listed"),
    [
        (Facts("198.51.100.6", "c.example", "a@spam.example", "spam.example"), True),
        (Facts("198.51.100.6", "spam.example", "", ""), True),
        (Facts("198.51.100.6", "c.example", "a@good.example", "good.example"), False),
        (Facts("198.51.100.6", "[192.0.2.1]", "", ""), False),
    ],
)
async def test_lists_of_domains(facts: Facts, listed: bool) -> None:
    lists = [DnsListOptions(zone="dbl.example", kind="domain", text="We do not want this")]
    async with resolving() as resolver:
        reply = await check_lists(facts, lists, resolver)
    assert (str(reply) == "554 5.7.1 We do not want this") == listed


def test_dns_without_a_resolver_is_told_at_the_start() -> None:
    with pytest.raises(ValueError, match="need a resolver"):
        Hygiene(ListenerOptions(sender_check=True), "mx.example", None)


def test_audit_counts_by_window_and_address() -> None:
    audit = Audit({"message": Rate(((2, 60.0), (3, 3600.0)))})
    codes = [audit.count("192.0.2.1", "message", now) for now in (0, 1, 2, 61, 62, 4000)]
    assert [reply.code if reply else 0 for reply in codes] == [0, 0, 450, 450, 450, 0]
    assert audit.count("192.0.2.2", "message", 2) is None
    assert audit.count("192.0.2.1", "recipient", 2) is None, "what has no rate is not counted"


def test_errors_close_the_door() -> None:
    audit = Audit({"error": Rate(((2, 60.0),))})
    assert audit.count("192.0.2.1", "connection", 0) is None
    assert audit.count("192.0.2.1", "error", 1) is None
    assert audit.count("192.0.2.1", "connection", 2) is None
    assert audit.count("192.0.2.1", "error", 3) is None
    reply = audit.count("192.0.2.1", "connection", 4)
    assert reply is not None and reply.code == 421
    assert audit.count("192.0.2.1", "connection", 62) is None


def test_audit_is_bounded_and_ipv6_counts_by_network() -> None:
    audit = Audit({"message": Rate(((1, 60.0),))}, capacity=10)
    for number in range(1000):
        audit.count(f"10.0.{number // 250}.{number % 250}", "message", 0.0)
    assert len(audit) == 10
    assert audit.count("2001:db8::1", "message", 0.0) is None
    assert audit.count("2001:db8::2", "message", 0.0) is not None


@contextlib.asynccontextmanager
async def serving(**changes: Any) -> AsyncIterator[tuple[SmtpListener, MemoryAcceptor]]:
    acceptor = MemoryAcceptor()
    async with resolving() as resolver:
        listener = listening(acceptor, resolver=resolver, relay_domains=["ours.example"], **changes)
        await listener.start()
        try:
            yield listener, acceptor
        finally:
            await listener.close()


async def greeted(listener: SmtpListener) -> Client:
    client = await Client.connect(listener)
    await client.hello()
    return client


async def test_a_listener_that_checks_senders_keeps_replies_in_order() -> None:
    async with serving(sender_check=True) as (listener, acceptor):
        client = await greeted(listener)
        client.writer.write(
            b"MAIL FROM:<a@none.example>\r\nRCPT TO:<x@ours.example>\r\nRSET\r\n"
            b"MAIL FROM:<a@good.example>\r\nRCPT TO:<x@ours.example>\r\n"
        )
        assert [(await client.read()).code for _ in range(5)] == [550, 503, 250, 250, 250]
        assert [rejection.reply.code for rejection in acceptor.rejections] == [550]
        await client.close()


async def test_a_listed_address_is_refused_unless_it_is_no_stranger() -> None:
    lists = [DnsListOptions(zone="bl.example")]
    async with serving(dns_lists=lists, auth=True, auth_without_tls=True) as (listener, _):
        client = await greeted(listener)
        assert str(await client.say(b"MAIL FROM:<a@good.example>\r\n")) == "554 5.7.1 Listed by bl.example"
        assert (await client.say(b"AUTH PLAIN " + coded(f"\0{USER}\0{PASSWORD}") + b"\r\n")).code == 235
        assert (await client.say(b"MAIL FROM:<a@good.example>\r\n")).code == 250
        await client.close()
    for peer in (PeerOptions(network="127.0.0.0/8", relay=True), PeerOptions(network="127.0.0.0/8", hygiene=False)):
        async with serving(dns_lists=lists, peers=[peer]) as (listener, _):
            client = await greeted(listener)
            assert (await client.say(b"MAIL FROM:<a@good.example>\r\n")).code == 250
            await client.close()


async def test_who_leaves_while_dns_is_asked_harms_nobody() -> None:
    async with serving(sender_check=True) as (listener, _):
        client = await greeted(listener)
        client.writer.write(b"MAIL FROM:<a@good.example>\r\n")
        client.writer.transport.abort()
        other = await greeted(listener)
        assert (await other.say(b"MAIL FROM:<a@good.example>\r\n")).code == 250
        await other.close()


async def test_early_talkers_are_refused_and_the_patient_are_greeted() -> None:
    async with serving(early_talk_delay=Duration(0.02)) as (listener, _):
        await (await greeted(listener)).close()
    async with serving(early_talk_delay=Duration(60)) as (listener, _):
        client = await Client.connect(listener)
        client.writer.write(b"EHLO c.example\r\n")
        assert str(await client.read()).startswith("554 5.7.1")
        assert await client.ended() == b""
        await client.close()


Trial = Callable[[Client], Any]


@pytest.mark.parametrize(
    ("option", "lines", "codes"),
    [
        ("peer_message_rate", [b"MAIL FROM:<a@b.example>", b"RSET"] * 3, [250, 250, 250, 250, 450, 250]),
        (
            "peer_recipient_rate",
            [b"MAIL FROM:<a@b.example>", *[b"RCPT TO:<a@ours.example>"] * 3],
            [250, 250, 250, 450],
        ),
    ],
)
async def test_rates_of_one_address(option: str, lines: list[bytes], codes: list[int]) -> None:
    async with serving(**{option: Rate(((2, 3600.0),))}) as (listener, _):
        client = await greeted(listener)
        assert [(await client.say(line + b"\r\n")).code for line in lines] == codes
        await client.close()


async def test_too_many_connections_or_errors() -> None:
    async with serving(peer_connection_rate=Rate(((1, 3600.0),))) as (listener, _):
        await (await greeted(listener)).close()
        client = await Client.connect(listener)
        assert (await client.read()).code == 421
        await client.close()
    async with serving(peer_error_rate=Rate(((1, 3600.0),)), error_delay=Duration(0.01)) as (listener, _):
        client = await greeted(listener)
        await client.say(b"MAIL FROM:<a@b.example>\r\n")
        assert (await client.say(b"RCPT TO:<a@theirs.example>\r\n")).code == 550
        await client.close()
        client = await Client.connect(listener)
        assert str(await client.read()).startswith("421 4.7.0 Too many errors")
        await client.close()
