"""DANE with a real validating resolver in front of real signed zones."""

from __future__ import annotations

from random import Random

import pytest

from postroad.config.schema import DnsOptions
from postroad.deliver import TlsPolicies
from postroad.message import Verdict
from postroad.net import DnsFailure, DnsResolver
from tests.deliver.peers import peers, scene
from tests.deliver.supply import Shelf, message
from tests.deliver.tls.dnssec import resolving, signed
from tests.deliver.tls.peers import Certificates, TlsPeer, server_context
from tests.deliver.tls.policyhost import tlsa

D, W = Verdict.DELIVERED, Verdict.DEFERRED

# domain -> (how it ends, what is shown)
ENDS = {
    "right.example.net": (D, "verified=dane"),
    "wrong.example.net": (W, "not the one of its TLSA records"),
    "bogus.example.net": (W, "the DNS gave no answer about the TLSA records"),
    "none.example.net": (D, "verified=no"),
    "unusable.example.net": (D, "verified=no"),
    "alias.example.net": (D, "verified=dane"),
    "elsewhere.example.net": (D, "verified=no"),  # signed MX, host in an unsigned zone
    "unsigned.example.org": (D, "verified=no"),
}


async def test_what_domains_come_to(issued: Certificates) -> None:
    leaf = issued.unknown_issuer()
    right = tlsa(3, leaf.cert_chain_pems[0].bytes(), selector=1)
    wrong = tlsa(3, issued.authority.cert_pem.bytes(), selector=1)
    peer = TlsPeer(server_context(leaf))
    async with peers(peer) as port:
        names = ("right", "wrong", "bogus", "none", "unusable", "alias")
        lines = [f"{name} 300 IN MX 10 mx-{name}" for name in names]
        lines += [f"mx-{name} 300 IN A 127.0.0.1" for name in names if name != "alias"]
        lines += [f"_{port}._tcp.mx-{name} 300 IN TLSA {right}" for name in ("right", "bogus")]
        lines += [f"_{port}._tcp.mx-wrong 300 IN TLSA {wrong}", f"_{port}._tcp.mx-unusable 300 IN TLSA 0{right[1:]}"]
        lines += ["mx-alias 300 IN CNAME mx-right", "elsewhere 300 IN MX 10 mx.example.org."]
        zone, anchor = signed("example.net", "\n".join(lines) + "\n", spoiled=f"_{port}._tcp.mx-bogus.example.net TLSA")
        plain = (
            "$ORIGIN example.org.\n@ 300 IN SOA ns hostmaster 1 3600 600 86400 60\n@ 300 IN NS ns\n"
            "ns 300 IN A 127.0.0.1\nunsigned 300 IN MX 10 mx\nmx 300 IN A 127.0.0.1\n"
            f"_{port}._tcp.mx 300 IN TLSA {wrong}\n"
        )
        shelf = Shelf(message(number, domain=domain) for number, domain in enumerate(ENDS, 1))
        async with resolving(issued.folder, {"example.net": zone, "example.org": plain}, anchor) as server:
            resolver = DnsResolver(DnsOptions(servers=[server], validating=True), rng=Random(1))
            policies = TlsPolicies(resolver, None)
            async with scene(port, shelf=shelf, resolver=resolver, policies=policies) as at:
                for domain in ENDS:
                    at.wake(domain)
                await shelf.until(len(ENDS))
            with pytest.raises(DnsFailure):
                await resolver.tlsa("mx-bogus.example.net", port)
            await resolver.close()
    for number, (domain, (verdict, shown)) in enumerate(ENDS.items(), 1):
        outcome = shelf.outcome(number)
        assert (domain, outcome.verdict) == (domain, verdict), outcome
        assert shown in (outcome.tls if verdict is D else str(outcome.reply)), (domain, outcome)


async def test_without_our_word_nobody_is_believed(issued: Certificates) -> None:
    """The same resolver, not declared to validate."""
    zone, anchor = signed("example.net", "@ 300 IN MX 10 mx\nmx 300 IN A 127.0.0.1\n")
    async with resolving(issued.folder, {"example.net": zone}, anchor) as server:
        found = []
        for validating in (False, True):
            resolver = DnsResolver(DnsOptions(servers=[server], validating=validating), rng=Random(1))
            found.append(
                (await resolver.authentic_hosts("example.net"), await resolver.authentic_names("mx.example.net"))
            )
            await resolver.close()
    assert found == [(frozenset(), []), ({"mx.example.net"}, ["mx.example.net"])]
