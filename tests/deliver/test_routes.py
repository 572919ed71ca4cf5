"""Where the operator sends mail: routes in their order, shared, to the MX of others; LMTP on TCP and Unix sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from postroad.config import load
from postroad.config.schema import BindingOptions, Config
from postroad.config.ways import OWN_MX, Way, parse_way
from postroad.message import Verdict
from postroad.net import MxHost
from tests.deliver.peers import DNS_DOWN, DOMAIN, HOSTNAME, NO_MAIL, Names, Peer, free_port, peers, scene
from tests.deliver.supply import Shelf, message

D, T, F = Verdict.DELIVERED, Verdict.DEFERRED, Verdict.FAILED
BUSY = b"421 4.3.2 too busy\r\n"


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("relay.example", Way("relay.example", 0, False, 3)),
        ("relay.example:587", Way("relay.example", 587, False, 3)),
        ("192.0.2.1:587?pref=10", Way("192.0.2.1", 587, False, 10)),
        ("[2001:db8::1]:24", Way("2001:db8::1", 24, False, 3)),
        ("smtp://example.org?type=mx&pref=0", Way("example.org", 0, True, 0)),
        ("__mx__", Way(OWN_MX, 0, False, 3)),
        ("unix:/run/lmtp?pref=1", Way("/run/lmtp", 0, False, 1)),
    ],
)
def test_what_a_route_says(text: str, way: Way) -> None:
    assert parse_way(text, 3) == way


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "relay:0",
        "relay:65536",
        "relay?pref=x",
        "relay?prio=1",
        "relay?type=txt",
        "unix:run",
        "2001:db8::1",
        "__mx__?type=mx",
        "unix:/run/lmtp?type=mx",
        "relay:25:26",
    ],
)
def test_what_no_route_says(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|is neither|can't be|no type"):
        parse_way(text, 0)


async def test_routes_from_included_files_until_they_change(tmp_path: Path) -> None:
    """A table of static routes: ordinary domains in files of their own. Nothing is looked up for it."""
    old, new, named = Peer(), Peer(), Peer()
    async with peers(old, new, named) as port:
        main, table = tmp_path / "postroad.toml", tmp_path / "routes.d" / "customers.toml"
        table.parent.mkdir()
        main.write_text('include = ["routes.d/*.toml"]\n')

        def write(host: str) -> Config:
            table.write_text(
                f'[[domain]]\nmatch = "*.customer.example"\nroutes = ["{host}:{port}"]\n'
                f'[[domain]]\nmatch = "named.customer.example"\nroutes = ["127.0.0.3:{port}"]\n'
            )
            return load(main).config

        async with scene(free_port(), shelf=Shelf()) as at:
            at.deliverer.reconfigure(write("127.0.0.1"))
            steps = [("a.customer.example", old), ("named.customer.example", named), ("b.customer.example", new)]
            for number, (domain, peer) in enumerate(steps, 1):
                if peer is new:
                    at.deliverer.reconfigure(write("127.0.0.2"))
                at.shelf.put(message(number, domain=domain))
                await at.run(number, domain)
                assert [received.rcpt for received in peer.received] == [f"RCPT TO:<user{number}@{domain}>".encode()]
            assert not at.names.asked


async def test_the_next_route_when_the_first_fails() -> None:
    first, second = Peer(banner=BUSY), Peer()
    async with peers(first, second) as port:
        routes = [f"127.0.0.1:{port}", f"127.0.0.2:{port}"]
        async with scene(free_port(), shelf=Shelf([message()]), routes=routes) as at:
            await at.run(1)
            assert at.shelf.outcome().verdict is D and at.shelf.outcome().peer == "127.0.0.2"
            assert not at.names.asked
    assert first.connections == 1


async def test_a_route_that_is_not_known_is_passed_over() -> None:
    peer = Peer()
    async with peers(peer) as port:
        routes = ["absent.example", f"127.0.0.1:{port}"]
        async with scene(free_port(), shelf=Shelf([message()]), routes=routes) as at:
            await at.run(1)
            assert at.shelf.outcome().verdict is D


async def test_equal_routes_share_the_mail() -> None:
    one, two = Peer(), Peer()
    async with peers(one, two) as port:
        routes = [f"127.0.0.1:{port}?pref=5", f"127.0.0.2:{port}?pref=5"]
        async with scene(free_port(), shelf=Shelf(map(message, range(500))), routes=routes, max_connections=4) as at:
            await at.run(500)
    assert one.connections and two.connections and len(one.received) + len(two.received) == 500


async def test_each_route_has_its_own_port() -> None:
    one, two = await Peer(banner=BUSY).start(), await Peer().start()
    routes = [f"127.0.0.1:{one.port}", f"127.0.0.2:{two.port}", f"127.0.0.3:{one.port}"]
    await two.stop()
    await two.start("127.0.0.2", two.port)
    try:
        async with scene(free_port(), shelf=Shelf([message()]), routes=routes) as at:
            await at.run(1)
            assert at.shelf.outcome().verdict is D
    finally:
        await one.stop()
        await two.stop()


async def test_behind_the_gateway_the_hosts_of_the_domain() -> None:
    gateway, own = Peer(banner=BUSY), Peer()
    names = Names()
    names.point(DOMAIN, "127.0.0.2")
    names.at["relay.example"] = ["127.0.0.1"]
    async with peers(gateway, own) as port:
        routes = ["relay.example", "__mx__"]
        async with scene(port, shelf=Shelf([message()]), names=names, routes=routes) as at:
            await at.run(1)
            assert (at.shelf.outcome().verdict, at.shelf.outcome().host) == (D, f"mx1.{DOMAIN}")
    assert gateway.connections == 1


async def test_the_mx_of_another_domain() -> None:
    peer = Peer()
    names = Names()
    names.point("provider.example", "127.0.0.1")
    routes = ["provider.example?type=mx"]
    async with peers(peer) as port, scene(port, shelf=Shelf([message()]), names=names, routes=routes) as at:
        await at.run(1)
        assert at.shelf.outcome().host == "mx1.provider.example"


async def test_networks_are_prohibited_to_domains_and_not_to_the_operator() -> None:
    own, gateway = Peer(), Peer()
    names = Names()
    names.point(DOMAIN, "127.0.0.1")
    async with peers(own, gateway) as port:
        routes = ["__mx__", f"127.0.0.2:{port}"]
        prohibited = ["127.0.0.0/8"]
        async with scene(port, shelf=Shelf([message()]), names=names, routes=routes, prohibited_hosts=prohibited) as at:
            await at.run(1)
            assert at.shelf.outcome().peer == "127.0.0.2"
    assert own.connections == 0


@pytest.mark.parametrize(
    ("hosts", "routes", "verdict", "code"),
    [
        (NO_MAIL, ["__mx__"], F, 556),
        (NO_MAIL, ["absent.example", "__mx__"], T, 451),
        (DNS_DOWN, ["__mx__"], T, 451),
        ([MxHost(0, HOSTNAME)], ["__mx__"], F, 550),
        ([], ["absent.example"], T, 451),
    ],
)
async def test_no_route_leads_anywhere(
    hosts: list[MxHost] | Exception, routes: list[str], verdict: Verdict, code: int
) -> None:
    names = Names()
    names.hosts[DOMAIN] = hosts
    async with scene(free_port(), shelf=Shelf([message()]), names=names, routes=routes) as at:
        await at.run(1)
        assert (at.shelf.outcome().verdict, at.shelf.outcome().reply.code) == (verdict, code)


async def test_a_route_to_our_own_door() -> None:
    us = Peer()
    async with peers(us) as port, scene(free_port(), shelf=Shelf([message()]), routes=[f"127.0.0.1:{port}"]) as at:
        at.deliverer.doors([("127.0.0.1", port)])
        await at.run(1)
        assert "5.4.6" in at.shelf.outcome().reply.text
    assert us.connections == 0


# --- LMTP -------------------------------------------------------------------------------------------------------------


def lmtp(**answers: bytes) -> Peer:
    return Peer(lhlo=b"250-peer.example.net\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES\r\n", **answers)


def to_lmtp(port: int) -> dict[str, Any]:
    return {"delivery_method": "lmtp", "lmtp_port": port, "max_connections": 1}


async def test_lmtp() -> None:
    peer = lmtp()
    peer.judge = lambda step, line, connection: b"550 5.1.1 no\r\n" if b"user1@" in line else None
    shelf = Shelf(map(message, range(3)))
    async with peers(peer) as port, scene(free_port(), shelf=shelf, **to_lmtp(port)) as at:
        await at.run(3)
        assert [at.shelf.outcome(number).verdict for number in range(3)] == [D, F, D]
    assert peer.commands[1][0] == b"LHLO us.example"


async def test_the_reply_of_an_lmtp_server_to_the_content_is_the_recipients() -> None:
    peer = lmtp(content=b"452 4.2.2 mailbox full\r\n")
    async with peers(peer) as port, scene(free_port(), shelf=Shelf([message()]), **to_lmtp(port)) as at:
        await at.run(1)
        assert (at.shelf.outcome().verdict, at.shelf.outcome().reply.code) == (T, 452)


async def test_a_host_without_lmtp_is_not_talked_to_in_smtp() -> None:
    peer = Peer(lhlo=b"500 what?\r\n")
    async with peers(peer) as port, scene(free_port(), shelf=Shelf([message()]), **to_lmtp(port)) as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is F
    assert [line[:4] for line in peer.commands[1]] == [b"LHLO", b"QUIT"]


async def test_lmtp_on_a_unix_socket(tmp_path: Path) -> None:
    peer = lmtp()
    path = tmp_path / "lmtp"
    server = await asyncio.start_unix_server(peer._serve, path, limit=1 << 24)
    try:
        routes = [f"unix:{path}"]
        async with scene(free_port(), shelf=Shelf([message()]), routes=routes, delivery_method="lmtp") as at:
            await at.run(1)
            assert (at.shelf.outcome().verdict, at.shelf.outcome().peer) == (D, str(path))
    finally:
        server.close()
        await server.wait_closed()


async def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    async with scene(free_port(), shelf=Shelf([message()]), routes=[f"unix:{tmp_path}/absent"]) as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is T and "absent" in at.shelf.outcome().reply.text


# --- whom a domain names ----------------------------------------------------------------------------------------------


async def test_a_binding_of_the_other_family_waits_for_an_address_it_can_use() -> None:
    peer = Peer()
    bindings = [BindingOptions(name="six", source_address6="::1")]
    async with peers(peer) as port, scene(port, shelf=Shelf([message(binding="six")]), bindings=bindings) as at:
        at.wake(binding="six")
        await at.shelf.until(1)
        outcome = at.shelf.outcome()
    assert (outcome.verdict, outcome.reply.code) == (T, 451) and "4.4.4" in outcome.reply.text
    assert peer.connections == 0


async def test_a_binding_of_one_family_passes_hosts_of_the_other_over() -> None:
    four, six = Peer(), Peer()
    names = Names()
    names.point(DOMAIN, "127.0.0.1", "::1")
    bindings = [BindingOptions(name="six", source_address6="::1")]
    shelf = Shelf([message(binding="six")])
    async with (
        peers(four, six, hosts=["127.0.0.1", "::1"]) as port,
        scene(port, shelf=shelf, names=names, bindings=bindings) as at,
    ):
        at.wake(binding="six")
        await at.shelf.until(1)
        assert (shelf.outcome().verdict, shelf.outcome().host) == (D, f"mx2.{DOMAIN}")
    assert four.connections == 0
