"""Domains that share hosts, and not their TLS policy."""

from __future__ import annotations

from typing import Any

from postroad.deliver import TlsPolicies
from postroad.message import Verdict
from postroad.net import Tlsa
from tests.deliver.peers import DOMAIN, scene
from tests.deliver.simulated import simulated
from tests.deliver.test_rollup import ALL, BIG, OTHERS, names, stock
from tests.deliver.tls.peers import Certificates, TlsPeer, server_context
from tests.deliver.tls.test_simulated import Signed


def test_each_message_goes_by_the_tls_policy_of_its_own_domain(issued: Certificates) -> None:
    """The hosts are the same, and have TLSA records that they do not match. Those count for the domains whose MX is
    signed (RFC 7672 2.2.1), whose mail waits; the others' goes out, and no path has both kinds."""
    signed = {DOMAIN, OTHERS[1]}

    class Some(Signed):
        async def authentic_hosts(self, domain: str) -> frozenset[str]:
            return await super().authentic_hosts(domain) if domain in signed else frozenset()

    async def deliver() -> None:
        peer = await TlsPeer(server_context(issued.right())).start()
        found = Some()
        names(found)
        found.records = [Tlsa(3, 1, 1, b"\0" * 32)]
        shelf = stock(1)
        options: dict[str, Any] = {"resolver": found, "policies": TlsPolicies(found, None)}
        async with scene(peer.port, shelf=shelf, provider=[BIG], queues=shelf, **options) as at:
            for domain in ALL:
                at.wake(domain)
            await shelf.until(5)
        verdicts = {domain: shelf.outcome(1 + number).verdict for number, domain in enumerate(ALL)}
        assert {domain for domain, verdict in verdicts.items() if verdict is Verdict.DEFERRED} == signed
        assert set(verdicts.values()) == {Verdict.DEFERRED, Verdict.DELIVERED}
        shared = {
            name: {domain for what, domain, at in shelf.told if at == name and what == "join"}
            for _, _, name in shelf.told
        }
        assert set(ALL) - signed in shared.values()
        assert all(some <= signed or not some & signed for some in shared.values())
        await peer.stop()

    simulated(deliver())
