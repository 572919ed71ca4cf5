# ruff: noqa: ASYNC110 (polling is fine where waiting costs nothing)
"""Idle connections of a domain that mail for another one may use: when they are taken over, when not, and that every
limit holds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.config.schema import BindingOptions, Config, InnerDomain, Rate
from postroad.deliver.siblings import Siblings, alike
from postroad.deliver.steps import Demand
from postroad.deliver.tls import Policy, PolicyKind, Proof, Request, Rung
from postroad.message import Verdict
from postroad.net import MxHost
from postroad.shaping import Borrower, Lender, Limits
from tests.deliver.peers import DOMAIN, Names, Peer, Scene, peers, scene
from tests.deliver.simulated import ADDRESSES, simulated
from tests.deliver.supply import Shelf, message

OTHER, THIRD = "other.example", "third.example"
HOST = f"mx1.{DOMAIN}"


def names(*domains: str) -> Names:
    """All of them have the same host."""
    found = Names()
    found.point(DOMAIN, "127.0.0.1")
    for domain in domains:
        found.hosts[domain] = [MxHost(10, HOST)]
    return found


def ours(**of_other: Any) -> list[BindingOptions]:
    """A binding with options of its own for mail to OTHER."""
    return [BindingOptions(name="ours", domain=[InnerDomain(match=OTHER, **of_other)])]


async def two(at: Scene, binding: str = "default") -> None:
    """A message to DOMAIN, and when it has arrived one to OTHER."""
    at.shelf.put(message(1, binding=binding))
    at.wake(binding=binding)
    await at.shelf.until(1)
    at.shelf.put(message(2, domain=OTHER, binding=binding))
    at.wake(OTHER, binding)
    await at.shelf.until(2)
    assert [at.shelf.outcome(number).verdict for number in (1, 2)] == [Verdict.DELIVERED] * 2


async def test_an_idle_connection_serves_another_domain_of_the_same_host() -> None:
    peer = Peer()
    found = names()
    found.hosts[OTHER] = [MxHost(5, "their-name.example")]
    found.at["their-name.example"] = ["127.0.0.1"]
    async with peers(peer) as port, scene(port, shelf=Shelf(), names=found) as at:
        await two(at)
        stats = at.deliverer.stats()
        assert (stats.opened, stats.reused) == (1, 1)
        # It tells its host by the name that the domain has for it.
        assert (at.shelf.outcome(2).host, at.shelf.outcome(2).peer) == ("their-name.example", "127.0.0.1")
        giver, taker = (at.deliverer.path("default", domain) for domain in (DOMAIN, OTHER))
        assert taker is not None and (len(taker.connections), taker.allowance.connections) == (1, 1)
        assert giver is None or not (giver.connections or giver.allowance.connections)
    assert peer.connections == 1 and len(peer.received) == 2
    assert [line[:4] for line in peer.commands[1]] == [
        b"EHLO",
        b"MAIL",
        b"RCPT",
        b"DATA",
        b"MAIL",
        b"RCPT",
        b"DATA",
        b"QUIT",
    ]


async def test_it_goes_back_and_forth() -> None:
    peer = Peer()
    async with peers(peer) as port, scene(port, shelf=Shelf(), names=names(OTHER, THIRD)) as at:
        for number in range(30):
            domain = (DOMAIN, OTHER, THIRD)[number % 3]
            at.shelf.put(message(number, domain=domain))
            await at.run(number + 1, domain)
        assert (at.deliverer.stats().opened, at.deliverer.stats().reused) == (1, 29)
    assert peer.connections == 1 and len(peer.received) == 30


@pytest.mark.parametrize(
    "of_other",
    [
        {"reuse_connections": False},
        {"mail_timeout": 7},
        {"tls": "no"},
        {"ehlo_hostname": "another.example"},
        {"max_deliveries_per_connection": 9},
        {"max_recipients_per_batch": 2},
        {"routes": ["127.0.0.1"]},
    ],
)
async def test_a_domain_with_other_wishes_has_its_own_connection(of_other: dict[str, Any]) -> None:
    peer = Peer()
    async with peers(peer) as port, scene(port, shelf=Shelf(), names=names(OTHER), bindings=ours(**of_other)) as at:
        await two(at, "ours")
        assert at.deliverer.stats().reused == 0
    assert peer.connections == 2


@pytest.mark.parametrize(
    "of_other",
    [{"max_connections": 3}, {"path_message_rate": Rate(((1, 3600.0),))}, {"connection_growth": "high"}],
)
async def test_limits_of_their_own_part_no_siblings(of_other: dict[str, Any]) -> None:
    peer = Peer()
    async with peers(peer) as port, scene(port, shelf=Shelf(), names=names(OTHER), bindings=ours(**of_other)) as at:
        await two(at, "ours")
    assert peer.connections == 1


async def test_other_bindings_and_ports_are_no_siblings() -> None:
    first, second = Peer(), Peer()
    bindings = [BindingOptions(name=name) for name in ("one", "two")]
    await second.start()
    async with peers(first) as port, scene(port, shelf=Shelf(), names=names(), bindings=bindings) as at:
        for number, binding in enumerate(("one", "two"), 1):
            at.shelf.put(message(number, binding=binding))
            at.wake(binding=binding)
            await at.shelf.until(number)
    assert first.connections == 2
    routes = [f"127.0.0.1:{second.port}?pref=0", f"127.0.0.1:{first.port}?pref=1"]
    async with peers(Peer()) as port, scene(port, shelf=Shelf(), names=names(OTHER), routes=routes) as at:
        await two(at)
    assert second.connections == 1 and len(second.received) == 2
    await second.stop()


async def test_no_sibling_of_a_worse_host_is_used() -> None:
    best, backup = Peer(), Peer()
    found = names()
    found.at["backup.example"] = ["127.0.0.2"]
    found.hosts[DOMAIN] = [MxHost(10, "backup.example")]
    found.hosts[OTHER] = [MxHost(10, HOST), MxHost(20, "backup.example")]
    async with peers(best, backup) as port, scene(port, shelf=Shelf(), names=found) as at:
        await two(at)
    assert (len(best.received), len(backup.received)) == (1, 1)


async def test_the_count_of_deliveries_goes_on() -> None:
    peer = Peer()
    options: dict[str, Any] = {"max_deliveries_per_connection": 2}
    async with peers(peer) as port, scene(port, shelf=Shelf(), names=names(OTHER, THIRD), **options) as at:
        await two(at)
        at.shelf.put(message(3, domain=THIRD))
        await at.run(3, THIRD)
    assert peer.connections == 2
    assert [sum(line.startswith(b"MAIL") for line in peer.commands[number]) for number in (1, 2)] == [2, 1]


async def test_a_connection_that_mail_waits_for_is_left_alone() -> None:
    """It is idle because its domain may not send now."""
    peer = Peer()
    options: dict[str, Any] = {"path_message_rate": Rate(((1, 3600.0),))}
    async with peers(peer) as port, scene(port, shelf=Shelf(), names=names(OTHER), **options) as at:
        at.shelf.put(message(1))
        at.shelf.put(message(3))
        await two(at)
        giver = at.deliverer.path("default", DOMAIN)
        assert giver is not None and len(giver.connections) == 1
    assert peer.connections == 2


@pytest.mark.parametrize("limit", ["host_max_connections", "binding_max_connections", "server_max_connections"])
async def test_under_a_limit_that_both_have_the_place_moves_with_it(limit: str) -> None:
    peer = Peer()
    options: dict[str, Any] = {limit: 1}
    async with peers(peer) as port, scene(port, shelf=Shelf(), names=names(OTHER), **options) as at:
        await two(at)
        assert at.deliverer.stats().opened == 1
    assert peer.connections == 1


async def test_rates_of_connections_count_only_what_is_opened() -> None:
    peer = Peer()
    options: dict[str, Any] = {"connection_rate": Rate(((1, 3600.0),))}
    async with peers(peer) as port, scene(port, shelf=Shelf(), names=names(OTHER), **options) as at:
        await two(at)
    assert peer.connections == 1


async def test_who_stood_in_line_comes_first() -> None:
    """A place for which another binding waits is not passed on among siblings."""
    peer = Peer()
    bindings = [BindingOptions(name=name) for name in ("one", "two")]
    options: dict[str, Any] = {"server_max_connections": 1}
    async with peers(peer) as port, scene(port, shelf=Shelf(), names=names(OTHER), bindings=bindings, **options) as at:
        content = asyncio.Event()
        peer.before["content"] = content
        at.shelf.put(message(1, binding="one"))
        at.wake(binding="one")
        await peer.came.wait()
        at.shelf.put(message(2, binding="two"))
        at.wake(binding="two")
        while (path := at.deliverer.path("two", DOMAIN)) is None or not path.allowance.waits:
            await asyncio.sleep(0)
        at.shelf.put(message(3, domain=OTHER, binding="one"))
        at.wake(OTHER, "one")
        content.set()
        await at.shelf.until(3)
        assert list(at.shelf.outcomes) == [1, 2, 3]


def test_a_new_secret_makes_a_new_session(tmp_path: Path) -> None:
    async def body() -> None:
        offer = b"250-peer.example.net\r\n250 AUTH PLAIN\r\n"
        peer = Peer(ehlo=offer, auth=b"235 2.7.0 welcome\r\n")
        secret = tmp_path / "secret"
        secret.write_text("one\n")
        options: dict[str, Any] = {"smtp_auth_user": "user", "smtp_auth_secret": f"file:{secret}", "tls": "no"}
        options |= {"smtp_auth_in_clear": True}
        async with peers(peer) as port, scene(port, shelf=Shelf(), names=names(OTHER, THIRD), **options) as at:
            await two(at)
            assert peer.connections == 1
            secret.write_text("two\n")
            at.shelf.put(message(3, domain=THIRD))
            await at.run(3, THIRD)
            assert peer.connections == 2

    asyncio.run(body())


async def test_the_same_with_places_that_are_lent() -> None:
    """One of several engines: the new place is granted, then the old one goes back."""
    loop = asyncio.get_running_loop()
    lenders: list[Lender] = []

    def lent(config: Config, now: Callable[[], float]) -> Limits:
        lender = Lender(now, lambda engine, item: void(loop.call_soon(borrower.take, item)))
        borrower = Borrower(
            lambda item: void(loop.call_soon(lender.take, 0, [item])),
            lambda seconds, what: loop.call_later(seconds, what),
        )
        lender.joined(0)
        lenders.append(lender)
        return Limits(config, now, borrower)

    peer = Peer()
    options: dict[str, Any] = {"host_max_connections": 5, "binding_max_connections": 5}
    async with peers(peer) as port, scene(port, shelf=Shelf(), names=names(OTHER), limits=lent, **options) as at:
        await two(at)
        assert (at.deliverer.stats().opened, at.deliverer.stats().reused) == (1, 1)
        for _ in range(10):
            await asyncio.sleep(0)
        counted = {name: open for name, (open, _) in lenders[0].open().items() if open}
        paths = {f"path default {OTHER}"}
        assert {*counted} == {*paths, "binding default", "server", "host 127.0.0.1"}
        assert set(counted.values()) == {1}
    assert peer.connections == 1


def void(result: object) -> None:
    """A callback gives nothing."""


POLICY = Policy((Rung.VERIFIED,), Proof.HOST, PolicyKind.STS)
WANTED = Request(Demand.TLS, POLICY, Rung.VERIFIED, None, "mx.example.net")
MAYBE = Policy((Rung.ENCRYPTED, Rung.PLAIN))


@pytest.mark.parametrize(
    ("one", "other", "do"),
    [
        (WANTED, WANTED, True),
        (WANTED, WANTED._replace(server_name="mx.example.org"), False),
        (WANTED, WANTED._replace(policy=POLICY._replace(kind=PolicyKind.NONE)), False),
        (WANTED, WANTED._replace(policy=POLICY._replace(proof=Proof.CA)), False),
        (WANTED, Request(Demand.TLS, POLICY, Rung.ENCRYPTED, None, "mx.example.net"), False),
        (WANTED._replace(policy=POLICY._replace(proof=Proof.DANE, examine=lambda chain: None)), WANTED, False),
        (
            Request(Demand.TLS_IF_OFFERED, MAYBE, Rung.ENCRYPTED, None, "mx.example.net"),
            Request(Demand.TLS_IF_OFFERED, MAYBE, Rung.ENCRYPTED, None, "mx.example.org"),
            True,
        ),
        (Request(Demand.TLS_IF_OFFERED, MAYBE, Rung.ENCRYPTED), Request(Demand.NO_TLS, MAYBE), False),
    ],
)
def test_what_sessions_must_have_in_common(one: Request, other: Request, do: bool) -> None:
    assert alike(one, other) is alike(other, one) is do


def test_what_nobody_has_in_common_is_forgotten() -> None:
    siblings = Siblings()
    kin = siblings.kin("a")
    assert siblings.kin("a") is kin and siblings.kin("b") is not kin
    del kin
    assert list(siblings.idle("a")) == []
    assert not siblings._kin


DOMAINS = tuple(f"d{number}.example" for number in range(5))


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "max_connections": st.sampled_from([1, 2, 8]),
            "host_max_connections": st.sampled_from([0, 1, 2]),
            "domain_max_connections": st.sampled_from([0, 1, 2]),
            "binding_max_connections": st.sampled_from([0, 1, 3]),
            "server_max_connections": st.sampled_from([1, 2, 100]),
            "max_deliveries_per_connection": st.sampled_from([0, 1, 3]),
        }
    ),
    st.integers(0, 2**16),
)
def test_all_limits_hold_and_all_mail_arrives(options: dict[str, Any], seed: int) -> None:
    rng = Random(seed)

    async def body() -> None:
        given = [Peer(), Peer()]
        found = Names()
        for number, domain in enumerate(DOMAINS):
            hosts = [MxHost(10, f"{'ab'[number % 2]}.host.example"), MxHost(10 * (1 + number % 3), "a.host.example")]
            found.hosts[domain] = hosts
        found.at = {"a.host.example": [ADDRESSES[0]], "b.host.example": [ADDRESSES[1]]}
        shelf = Shelf()
        async with peers(*given) as port, scene(port, shelf=shelf, names=found, **options) as at:
            count = 0
            for _ in range(25):
                for domain in rng.sample(DOMAINS, 2):
                    for _ in range(rng.choice([1, 1, 3])):
                        shelf.put(message(count := count + 1, domain=domain))
                    at.wake(domain)
                for _ in range(rng.randrange(4)):
                    await asyncio.sleep(rng.choice([0.0, 0.01, 0.3, 3.0]))
                    check(at, options)
            await shelf.until(count)
            check(at, options)
        assert len(given[0].received) + len(given[1].received) == count

    simulated(body(), seed)


def check(at: Scene, options: dict[str, Any]) -> None:
    """What limits count is what there is, and no more than there may be."""
    found = [path for domain in DOMAINS if (path := at.deliverer.path("default", domain)) is not None]
    hosts: Counter[str] = Counter()
    gates: Counter[object] = Counter()
    for path in found:
        dialing = [attempt for attempt in path.dialing if not attempt.established]
        assert path.allowance.connections == len(path.connections) + len(dialing)
        assert set(path.idle) <= set(path.connections)
        for connection in path.connections:
            hosts[connection.target.address] += 1
            kin = connection.kin
            assert kin is not None and (kin.idle.get(connection) is path.crew) == (connection in path.idle)
        for gate in path.allowance.gates:
            gates[gate] += path.allowance.connections
    for path in found:
        for gate in path.allowance.gates:
            assert gate.open == gates[gate] <= gate.most
            assert all(owner.connections for owner in gate.idle.values())
    most = options["host_max_connections"]
    assert not most or all(number <= most for number in hosts.values())
