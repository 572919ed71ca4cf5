"""Domains that lead to the same hosts in the same way share one path; others don't, and each gets its own policy."""

from __future__ import annotations

import asyncio
from collections import Counter

from postroad.config.schema import DomainOptions, ProviderOptions, Rate
from postroad.message import Verdict
from postroad.net import MxHost
from tests.deliver.common import CommonShelf
from tests.deliver.peers import DOMAIN, Names, Peer, peers, scene
from tests.deliver.simulated import simulated
from tests.deliver.supply import message

BIG = ProviderOptions(name="big", domains=["*"], rollup=True)
NAME = f"big (mx1.{DOMAIN})"
OTHERS = [f"d{number}.example" for number in range(4)]
ALL = [DOMAIN, *OTHERS]


def names(found: Names | None = None) -> Names:
    """All of them have the same two hosts, in one order under different preferences."""
    found = found or Names()
    found.point(DOMAIN, "127.0.0.1")
    for number, domain in enumerate(OTHERS):
        found.hosts[domain] = [MxHost(10 + number, f"mx1.{DOMAIN}")]
    return found


def stock(each: int, domains: list[str] = ALL) -> CommonShelf:
    return CommonShelf(
        message(1 + at * each + number, domain=domain) for at, domain in enumerate(domains) for number in range(each)
    )


def delivered(shelf: CommonShelf) -> list[int]:
    """Messages delivered, each of them once."""
    ends = [number for number, outcomes in shelf.outcomes.items() if outcomes[-1].verdict is Verdict.DELIVERED]
    assert all(len([o for o in shelf.outcomes[number] if o.counts]) == 1 for number in ends)
    return sorted(ends)


async def test_one_session_carries_mail_of_them_all() -> None:
    peer, shelf = Peer(), stock(4)
    async with (
        peers(peer) as port,
        scene(port, shelf=shelf, names=names(), provider=[BIG], queues=shelf, max_connections=1) as at,
    ):
        for domain in ALL:
            at.wake(domain)
        await shelf.until(20)
        path = at.deliverer.path("default", OTHERS[2])
        assert path is not None and path.key == ("default", NAME) and len(path.connections) == 1
        assert {at.deliverer.path("default", domain) for domain in ALL} == {path}
        assert at.deliverer.stats().paths == 1
    assert delivered(shelf) == list(range(1, 21)) and peer.most_open == 1 and peer.connections == 1
    assert Counter(each.rcpt.rpartition(b"@")[2] for each in peer.received).total() == 20


async def test_options_of_its_own_make_a_path_of_its_own() -> None:
    """A table that changes how a session is held, one that sets a rate, a limit of the domain alone: each is enough."""
    tables = [
        DomainOptions(match=OTHERS[0], tls="no"),
        DomainOptions(match=OTHERS[1], message_rate=Rate([(1000, 1.0)])),
        DomainOptions(match=OTHERS[2], domain_max_connections=1),
    ]
    peer, shelf = Peer(), stock(2)
    async with (
        peers(peer) as port,
        scene(port, shelf=shelf, names=names(), provider=[BIG], domain=tables, queues=shelf) as at,
    ):
        for domain in ALL:
            at.wake(domain)
        await shelf.until(10)
    assert {domain for what, domain, _ in shelf.told if what == "join"} == {DOMAIN, OTHERS[3]}
    assert delivered(shelf) == list(range(1, 11))


async def test_without_rollup_nothing_is_shared() -> None:
    peer, shelf = Peer(), stock(1)
    apart = ProviderOptions(name="big", domains=["*"])
    async with (
        peers(peer) as port,
        scene(port, shelf=shelf, names=names(), provider=[apart], queues=shelf) as at,
    ):
        for domain in ALL:
            at.wake(domain)
        await shelf.until(5)
    assert shelf.told == []


def test_who_moves_to_other_hosts_takes_along_what_still_waits() -> None:
    """While it waits behind others' mail. What was on the wire ends there; nothing comes twice."""

    async def deliver() -> None:
        old, new = Peer(), Peer()
        old.delays["content"] = 15.0
        shelf = stock(4)
        found = names()
        found.at["mx.new.example"] = ["127.0.0.2"]
        async with (
            peers(old, new) as port,
            scene(port, shelf=shelf, names=found, provider=[BIG], queues=shelf, max_connections=1) as at,
        ):
            for domain in ALL:
                at.wake(domain)
            await asyncio.sleep(20)
            found.hosts[OTHERS[0]] = [MxHost(10, "mx.new.example")]
            await shelf.until(20)
        assert delivered(shelf) == list(range(1, 21))
        assert ("part", OTHERS[0], NAME) in shelf.told
        assert new.received and {each.rcpt.rpartition(b"@")[2][:-1] for each in new.received} == {b"d0.example"}
        assert len(old.received) + len(new.received) == 20

    simulated(deliver())


def test_a_domain_that_is_gone_fails_alone() -> None:
    async def deliver() -> None:
        peer = Peer()
        peer.delays["content"] = 15.0
        shelf = stock(4)
        found = names()
        async with (
            peers(peer) as port,
            scene(port, shelf=shelf, names=found, provider=[BIG], queues=shelf, max_connections=1) as at,
        ):
            for domain in ALL:
                at.wake(domain)
            await asyncio.sleep(20)
            del found.hosts[OTHERS[3]]
            await shelf.until(20)
        verdicts = Counter(shelf.outcome(number).verdict for number in range(1, 17))
        assert verdicts == {Verdict.DELIVERED: 16}
        last = [shelf.outcome(number).verdict for number in range(17, 21)]
        assert Verdict.FAILED in last and len(peer.received) == 16 + last.count(Verdict.DELIVERED)

    simulated(deliver())
