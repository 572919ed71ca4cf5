"""What mail to a domain comes to, by what its names, its web server and its hosts say: DANE and MTA-STS, end to end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
import trustme

from postroad.config.schema import DnsOptions, Duration
from postroad.deliver import HttpsFetch, StsPolicies, TlsPolicies
from postroad.deliver.tlsrpt import Day, TlsCounts
from postroad.message import Stage, Verdict
from postroad.net import DnsResolver
from tests.deliver.peers import DOMAIN, SHORT, Peer, Scene, peers, scene
from tests.deliver.supply import Shelf, message
from tests.deliver.tls.peers import HOST, Certificates, TlsPeer, server_context
from tests.deliver.tls.policyhost import PolicyHost, answer, policy, tlsa, trusting
from tests.net.nameserver import NameServer, fails, serving, silent

D, W = Verdict.DELIVERED, Verdict.DEFERRED
ZONE = f"{DOMAIN}. 300 IN MX 10 {HOST}.\n{HOST}. 300 IN A 127.0.0.1\nmta-sts.{DOMAIN}. 300 IN A 127.0.0.1\n"
STS = f'_mta-sts.{DOMAIN}. 300 IN TXT "v=STSv1; id=1"\n'
TLSA = f"_25._tcp.{HOST}. 300 IN TLSA "


class Wall:
    """Implements Clock."""

    def __init__(self) -> None:
        self.now = 1.7e9

    def wall(self) -> float:
        return self.now


class Domain:
    """All that a domain has. names: its name server; web: its policy host; peer: its one mail host."""

    def __init__(self, issued: Certificates, leaf: trustme.LeafCert | None) -> None:
        self.issued = issued
        self.leaf = leaf or issued.right()
        self.names = NameServer(ZONE)
        self.names.signed = {DOMAIN}
        self.web = PolicyHost(answer(policy()), issued.authority.issue_cert(f"mta-sts.{DOMAIN}"))
        self.peer: Peer = TlsPeer(server_context(self.leaf))
        self.wall = Wall()
        self.dns_time = 20.0

    def add(self, zone: str) -> None:
        self.names.records += NameServer(zone).records

    @asynccontextmanager
    async def at(
        self,
        *numbers: int,
        validating: bool = True,
        fetch_time: float = 20.0,
        folder: str = "sts",
        gateway: str = "",
        **options: Any,
    ) -> AsyncIterator[Scene]:
        """gateway: the host that all mail goes to, on the peer's port."""
        shelf = Shelf(message(number) for number in numbers)
        async with serving(self.names) as servers, self.web.serving() as web, peers(self.peer) as port:
            for record in self.names.records:
                # The port is part of a TLSA record's name.
                if record.rname.matchSuffix(f"_tcp.{HOST}."):
                    record.rname = f"_{port}._tcp.{HOST}."
            self.names.faults |= {key.replace("_25.", f"_{port}."): fault for key, fault in self.names.faults.items()}
            settings = DnsOptions(
                servers=servers,
                validating=validating,
                timeout=Duration(self.dns_time),
                attempts=1,
            )
            resolver = DnsResolver(settings, rng=Random(1))
            fetch = HttpsFetch(
                resolver, trusting(self.issued.authority), lambda address: True, port=web, time=fetch_time
            )
            sts = StsPolicies(self.issued.folder / folder, resolver, fetch, self.wall)
            async with scene(
                port,
                shelf=shelf,
                resolver=resolver,
                gateway=f"{gateway}:{port}" if gateway else "",
                policies=TlsPolicies(resolver, sts),
                tls_ca=self.issued.file,
                **options,
            ) as at:
                yield at
            await sts.close()
            await resolver.close()


class Case(NamedTuple):
    """tune: what is special about the domain. shown: how the delivery was encrypted, or words of the deferral."""

    name: str
    tune: Callable[[Domain], object]
    verdict: Verdict
    shown: str
    leaf: Callable[[Certificates], trustme.LeafCert] = Certificates.right
    options: dict[str, Any] = {}  # noqa: RUF012 read only
    stage: Stage | None = None


def own(domain: Domain) -> bytes:
    return domain.leaf.cert_chain_pems[0].bytes()


def authority(domain: Domain) -> bytes:
    return domain.issued.authority.cert_pem.bytes()


def stranger(domain: Domain) -> bytes:
    return domain.issued.stranger.cert_pem.bytes()


def dane(usage: int, which: Callable[[Domain], bytes], **how: int) -> Callable[[Domain], None]:
    return lambda domain: domain.add(TLSA + tlsa(usage, which(domain), **how) + "\n")


def both(*tunes: Callable[[Domain], object]) -> Callable[[Domain], None]:
    def tune(domain: Domain) -> None:
        for each in tunes:
            each(domain)

    return tune


def plain(domain: Domain) -> None:
    domain.peer = Peer()


def unsigned(domain: Domain) -> None:
    domain.names.signed = {"nothing.example"}


def mx_unsigned(domain: Domain) -> None:
    domain.names.signed = {HOST}


def host_unsigned(domain: Domain) -> None:
    domain.names.signed = {DOMAIN}
    domain.names.faults[f"{HOST} A"] = lambda query, right: [without_ad(right)]


def without_ad(right: Any) -> bytes:
    right.header.ad = 0
    return bytes(right.pack())


def tlsa_fault(fault: Any) -> Callable[[Domain], None]:
    return lambda domain: domain.names.faults.__setitem__(f"_25._tcp.{HOST} TLSA", fault)


def unanswered(domain: Domain) -> None:
    domain.dns_time = 1.0
    tlsa_fault(silent)(domain)


def malformed(domain: Domain) -> None:
    """Shorter than its digest can be. dnspython takes no part of such an answer, which is on the safe side."""
    domain.dns_time = 1.0
    domain.add(f"{TLSA}3 0 1 {'00' * 31}\n")


def sts(reply: bytes) -> Callable[[Domain], None]:
    def tune(domain: Domain) -> None:
        domain.add(STS)
        domain.web.reply = reply

    return tune


def web_certificate(issue: Callable[[Certificates], trustme.LeafCert]) -> Callable[[Domain], None]:
    def tune(domain: Domain) -> None:
        domain.web = PolicyHost(answer(policy()), issue(domain.issued))

    return both(tune, lambda domain: domain.add(STS))


def web_of_a_stranger(issued: Certificates) -> trustme.LeafCert:
    return issued.stranger.issue_cert(f"mta-sts.{DOMAIN}")


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"%x\r\n%s\r\n0\r\n\r\n" % (len(policy()), policy())
)
ENFORCE = sts(answer(policy("enforce")))
TESTING = sts(answer(policy("testing")))
OTHER_HOSTS = policy("enforce", "mx.example.org")
UNUSABLE = f"{TLSA}0 0 1 {'00' * 32}\n{TLSA}1 0 1 {'00' * 32}\n{TLSA}3 9 1 {'00' * 32}\n{TLSA}3 0 9 {'00' * 32}\n"
OTHER_NAME, UNKNOWN, EXPIRED = Certificates.other_name, Certificates.unknown_issuer, Certificates.expired
SHAKE = Stage.TLS_HANDSHAKE
MUST_HOST: dict[str, Any] = {"tls": "required", "tls_verify": "host"}

DANE_CASES = [
    Case("ee-cert-256", dane(3, own), D, "verified=dane"),
    Case("ee-cert-512", dane(3, own, matching=2), D, "verified=dane"),
    Case("ee-cert-full", dane(3, own, matching=0), D, "verified=dane"),
    Case("ee-key-256", dane(3, own, selector=1), D, "verified=dane"),
    Case("ee-key-full", dane(3, own, selector=1, matching=0), D, "verified=dane"),
    Case("ee-needs-no-name", dane(3, own), D, "verified=dane", OTHER_NAME),
    Case("ee-needs-no-date", dane(3, own), D, "verified=dane", EXPIRED),
    Case("ee-needs-no-authority", dane(3, own), D, "verified=dane", UNKNOWN),
    Case("ee-wrong", dane(3, stranger), W, "4.7.5", stage=SHAKE),
    Case("ee-one-of-two", both(dane(3, stranger), dane(3, own)), D, "verified=dane"),
    Case("ta-cert", dane(2, authority), W, "4.7.5", stage=SHAKE),  # the host does not send its authority's certificate
    Case("ta-full", dane(2, authority, matching=0), D, "verified=dane"),
    Case("ta-full-other-name", dane(2, authority, matching=0), W, "is not for", OTHER_NAME, stage=SHAKE),
    Case("ta-full-expired", dane(2, authority, matching=0), W, "4.7.5", EXPIRED, stage=SHAKE),
    Case("ta-full-stranger", dane(2, stranger, matching=0), W, "4.7.5", stage=SHAKE),
    Case("no-starttls", both(dane(3, own), plain), W, "4.7.4", stage=Stage.STARTTLS),
    Case("all-unusable", lambda domain: domain.add(UNUSABLE), D, "verified=no", UNKNOWN),
    Case("all-unusable-no-starttls", both(lambda domain: domain.add(UNUSABLE), plain), W, "4.7.4"),
    Case("bogus", both(dane(3, own), tlsa_fault(fails("SERVFAIL"))), W, "4.7.5 no mail host"),
    Case("silent", both(dane(3, own), unanswered), W, "4.7.5 no mail host"),
    Case("malformed", malformed, W, "4.7.5 no mail host"),
    Case("absent-and-bogus", tlsa_fault(fails("SERVFAIL")), W, "4.7.5 no mail host"),
    Case("unsigned", both(dane(3, stranger), unsigned), D, "verified=no"),
    Case("mx-unsigned", both(dane(3, stranger), mx_unsigned), D, "verified=no"),
    Case("host-unsigned", both(dane(3, stranger), host_unsigned, tlsa_fault(fails("SERVFAIL"))), D, "verified=no"),
    Case("off", dane(3, stranger), D, "verified=no", options={"dane": False}),
    Case("no-tls-at-all", dane(3, own), D, "", options={"tls": "no"}),
    Case("options-ask-for-more", dane(3, own), D, "verified=dane", OTHER_NAME, MUST_HOST),
    Case("not-validating", dane(3, stranger), D, "verified=no", options={"validating": False}),
]

STS_CASES = [
    Case("enforce", ENFORCE, D, "verified=host"),
    Case("enforce-other-name", ENFORCE, W, "4.7.5", OTHER_NAME, stage=SHAKE),
    Case("enforce-unknown", ENFORCE, W, "4.7.5", UNKNOWN, stage=SHAKE),
    Case("enforce-expired", ENFORCE, W, "expired", EXPIRED, stage=SHAKE),
    Case("enforce-no-starttls", both(ENFORCE, plain), W, "4.7.4", stage=Stage.STARTTLS),
    Case("enforce-other-hosts", sts(answer(OTHER_HOSTS)), W, "does not allow", stage=Stage.NOT_CONNECTED),
    Case("testing", TESTING, D, "verified=host"),
    Case("testing-unknown", TESTING, D, "verified=no", UNKNOWN),
    Case("testing-no-starttls", both(TESTING, plain), D, ""),
    Case("testing-other-hosts", sts(answer(policy("testing", "mx.example.org"))), D, "verified=no", UNKNOWN),
    Case("testing-where-more-is-asked", TESTING, W, "4.7.5", UNKNOWN, MUST_HOST),
    Case("none", sts(answer(b"version: STSv1\nmode: none\nmax_age: 100\n")), D, "verified=no", UNKNOWN),
    Case("not-announced", lambda domain: None, D, "verified=no", UNKNOWN),
    Case("off", ENFORCE, D, "verified=no", UNKNOWN, {"mta_sts": False}),
    Case("no-tls-at-all", ENFORCE, D, "", options={"tls": "no"}),
    Case("404", sts(answer(policy(), status="404 Not Found")), D, "verified=no", UNKNOWN),
    Case("redirect", sts(answer(policy(), status="301 Moved")), D, "verified=no", UNKNOWN),
    Case("html", sts(answer(policy(), kind="text/html")), D, "verified=no", UNKNOWN),
    Case("large", sts(answer(policy() + b"x: y\r\n" * 20_000)), D, "verified=no", UNKNOWN),
    Case("cut", sts(answer(policy())[:-5]), D, "verified=no", UNKNOWN),
    Case("no-http", sts(b"220 hello\r\n"), D, "verified=no", UNKNOWN),
    Case("no-policy", sts(answer(b"hello")), D, "verified=no", UNKNOWN),
    Case("chunked", sts(CHUNKED), D, "verified=host"),
    Case("no-length", sts(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + policy()), D, "verified=host"),
    Case("web-other-name", web_certificate(Certificates.right), D, "verified=no", UNKNOWN),
    Case("web-unknown", web_certificate(web_of_a_stranger), D, "verified=no", UNKNOWN),
]

BOTH_CASES = [
    # DANE is never overridden, neither way.
    Case("dane-right-sts-wrong", both(dane(3, own), ENFORCE), D, "verified=dane", UNKNOWN),
    Case("dane-wrong-sts-right", both(dane(3, stranger), ENFORCE), W, "4.7.5", stage=SHAKE),
    Case("dane-bogus-sts-right", both(tlsa_fault(fails("SERVFAIL")), ENFORCE), W, "4.7.5"),
    Case("dane-wrong-sts-none", both(dane(3, stranger), TESTING), W, "4.7.5", stage=SHAKE),
    Case("dane-unusable-sts-right", both(lambda d: d.add(UNUSABLE), ENFORCE), D, "verified=host"),
    Case("dane-unusable-sts-wrong", both(lambda d: d.add(UNUSABLE), ENFORCE), W, "4.7.5", UNKNOWN),
    Case("dane-unusable-sts-testing", both(lambda d: d.add(UNUSABLE), TESTING, plain), W, "4.7.4"),
    Case("dane-right-sts-other-hosts", both(dane(3, own), sts(answer(OTHER_HOSTS))), D, "verified=dane"),
]


@pytest.mark.parametrize(
    "case",
    [*DANE_CASES, *STS_CASES, *BOTH_CASES],
    ids=[
        *(f"dane-{each.name}" for each in DANE_CASES),
        *(f"sts-{each.name}" for each in STS_CASES),
        *(f"both-{each.name}" for each in BOTH_CASES),
    ],
)
async def test_what_a_domain_comes_to(case: Case, issued: Certificates) -> None:
    domain = Domain(issued, case.leaf(issued))
    case.tune(domain)
    async with domain.at(1, **case.options) as at:
        await at.run(1)
        outcome = at.shelf.outcome()
    assert outcome.verdict is case.verdict, outcome
    peer = domain.peer
    if case.verdict is D:
        assert case.shown in outcome.tls
        assert bool(case.shown) == bool(outcome.tls)
        assert len(peer.received) == 1
    else:
        assert case.shown in str(outcome.reply)
        assert case.stage is None or outcome.stage is case.stage
        assert not any(line.startswith(b"MAIL") for lines in peer.commands.values() for line in lines)


GATEWAY_CASES = [
    Case("right", dane(3, own), D, "verified=dane", UNKNOWN),
    Case("wrong", dane(3, stranger), W, "4.7.5", stage=SHAKE),
    Case("mx-unsigned", both(dane(3, own), mx_unsigned), D, "verified=dane", UNKNOWN),  # nobody's MX led here
    Case("host-unsigned", both(dane(3, stranger), host_unsigned), D, "verified=no"),
    Case("no-starttls", both(dane(3, own), plain), W, "4.7.4", stage=Stage.STARTTLS),
    Case("bogus", both(dane(3, own), tlsa_fault(fails("SERVFAIL"))), W, "4.7.5"),
    Case("all-unusable", lambda domain: domain.add(UNUSABLE), D, "verified=no", UNKNOWN),
    Case("none", lambda domain: None, D, "verified=no", UNKNOWN),
    Case("off", dane(3, stranger), D, "verified=no", options={"dane": False}),
    Case("sts-is-about-mx", ENFORCE, D, "verified=no", UNKNOWN),
]


@pytest.mark.parametrize("case", GATEWAY_CASES, ids=[each.name for each in GATEWAY_CASES])
async def test_what_a_gateway_comes_to(case: Case, issued: Certificates) -> None:
    """The records of its own name count, whatever the domain publishes, and its sessions are in nobody's report."""
    domain = Domain(issued, case.leaf(issued))
    case.tune(domain)
    counts = TlsCounts(Day(0))
    async with domain.at(1, gateway=HOST, tls_counts=counts, **case.options) as at:
        await at.run(1)
        outcome = at.shelf.outcome()
    assert outcome.verdict is case.verdict, outcome
    if case.verdict is D:
        assert case.shown in outcome.tls
    else:
        assert case.shown in str(outcome.reply)
        assert case.stage is None or outcome.stage is case.stage
    assert counts.day.domains == {}


async def test_a_policy_outlives_its_record_and_its_web_server(issued: Certificates, tmp_path: Path) -> None:
    domain = Domain(issued, None)
    ENFORCE(domain)
    async with domain.at(1) as at:
        await at.run(1)
        assert "verified=host" in at.shelf.outcome(1).tls
    assert len(domain.web.asked) == 1

    # Another start, with all that an attacker could want: the record is gone, and the host is not the right one.
    domain.names = NameServer(ZONE)
    domain.peer = TlsPeer(server_context(issued.unknown_issuer()))
    async with domain.at(2) as at:
        await at.run(1)
        assert at.shelf.outcome(2).verdict is W
    # The record is back with another id, and the web server has nothing to say.
    domain.add(STS.replace("id=1", "id=2"))
    domain.web.reply = b""
    async with domain.at(3) as at:
        await at.run(1)
        assert at.shelf.outcome(3).verdict is W
    assert len(domain.web.asked) == 2
    # Its time is over.
    domain.wall.now += 604800
    async with domain.at(4) as at:
        await at.run(1)
        assert at.shelf.outcome(4).verdict is D


async def test_a_known_policy_is_not_fetched_again_until_its_id_changes_or_a_day_is_over(issued: Certificates) -> None:
    domain = Domain(issued, None)
    ENFORCE(domain)
    fetched = []
    for number, later in enumerate((0, 3600, 86400), 1):
        domain.wall.now += later
        async with domain.at(number) as at:
            await at.run(1)
        fetched.append(len(domain.web.asked))
    domain.names = NameServer(ZONE + STS.replace("id=1", "id=2"))
    async with domain.at(4) as at:
        await at.run(1)
    assert [*fetched, len(domain.web.asked)] == [1, 1, 2, 3]


async def test_a_slow_web_server_holds_mail_up_no_longer_than_it_may(issued: Certificates) -> None:
    domain = Domain(issued, issued.unknown_issuer())
    ENFORCE(domain)
    domain.web.hold = True
    async with domain.at(1, fetch_time=SHORT) as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is D


async def test_a_policy_host_in_a_private_network_is_left_alone(issued: Certificates) -> None:
    domain = Domain(issued, None)
    ENFORCE(domain)
    async with serving(domain.names) as servers, domain.web.serving() as port:
        resolver = DnsResolver(DnsOptions(servers=servers), rng=Random(1))
        policies = StsPolicies(issued.folder / "sts", resolver, HttpsFetch(resolver, port=port), domain.wall)
        found = await policies.find(DOMAIN)
        assert found.policy is None
        assert found.trouble is not None and "may not be connected to" in found.trouble.text
    assert not domain.web.asked


async def test_the_chain_is_followed_up_to_the_authority(issued: Certificates) -> None:
    """The host sends an intermediate authority, which is the one the record names."""
    middle = issued.authority.create_child_ca()
    leaf = middle.issue_cert(HOST)
    domain = Domain(issued, leaf)
    domain.add(TLSA + tlsa(2, leaf.cert_chain_pems[1].bytes(), selector=1) + "\n")
    async with domain.at(1) as at:
        await at.run(1)
        assert "verified=dane" in at.shelf.outcome().tls


async def test_an_alias_is_looked_up_where_it_ends(issued: Certificates) -> None:
    domain = Domain(issued, issued.authority.issue_cert("real.example.net"))
    alias = f"{HOST}. 300 IN CNAME real.example.net.\nreal.example.net. 300 IN A 127.0.0.1\n"
    domain.names.records = NameServer(f"{DOMAIN}. 300 IN MX 10 {HOST}.\n{alias}").records
    record = tlsa(2, authority(domain), matching=0)
    domain.peer = peer = TlsPeer(server_context(domain.leaf))
    async with domain.at(1) as at:
        domain.add(f"_{peer.port}._tcp.real.example.net. 300 IN TLSA {record}\n")
        await at.run(1)
        assert "verified=dane" in at.shelf.outcome().tls
    assert peer.names == ["real.example.net"]
