"""Mail that would be sent to our own doors ends, however DNS or a gateway leads there."""

from __future__ import annotations

import pytest

from postroad.deliver.ourselves import Doors, is_local
from postroad.deliver.plan import Target, Unroutable
from postroad.message import Verdict
from postroad.net import MxHost
from tests.deliver.peers import DOMAIN, Names, Peer, peers, scene
from tests.deliver.supply import Shelf, message


def doors(*places: tuple[str, int]) -> Doors:
    return Doors(places, local=lambda address: address in ("192.0.2.10", "2001:db8::10"))


@pytest.mark.parametrize(
    ("address", "port", "ours"),
    [
        ("192.0.2.9", 25, True),
        ("::ffff:192.0.2.9", 25, True),
        ("192.0.2.9", 26, False),
        ("192.0.2.8", 25, False),
        ("192.0.2.10", 2525, True),  # by the wildcard
        ("192.0.2.11", 2525, False),
        ("0.0.0.0", 2525, True),
        ("2001:db8::10", 2525, False),  # the wildcard is of the other family
        ("2001:DB8:0::9", 25, True),
        ("2001:db8::10", 587, True),
    ],
)
def test_what_leads_to_us(address: str, port: int, ours: bool) -> None:
    found = doors(("192.0.2.9", 25), ("0.0.0.0", 2525), ("2001:db8::9", 25), ("::", 587))
    assert found.lead_to_us(address, port) is ours


def test_mail_moves_only_to_hosts_that_are_preferred_to_us() -> None:
    targets = [Target(10, "a", "192.0.2.1"), Target(20, "us", "192.0.2.9"), Target(20, "b", "192.0.2.2")]
    assert doors(("192.0.2.9", 25)).before_us("d", targets, 25) == targets[:1]
    assert doors(("192.0.2.9", 25)).before_us("d", targets, 26) == targets
    with pytest.raises(Unroutable, match=r"5\.4\.6 mail for d loops back"):
        doors(("192.0.2.9", 25)).before_us("d", targets[1:], 25)


def test_the_system_knows_its_addresses() -> None:
    assert is_local("127.0.0.1")
    assert not is_local("192.0.2.1") and not is_local("2001:db8::1") and not is_local("no address")


@pytest.mark.parametrize("wildcard", [False, True])
async def test_a_domain_whose_mx_is_our_own_door_fails(wildcard: bool) -> None:
    us = Peer()
    async with peers(us) as port, scene(port, shelf=Shelf([message()])) as at:
        at.deliverer.doors([("0.0.0.0" if wildcard else "127.0.0.1", port)])
        await at.run(1)
        outcome = at.shelf.outcome()
        assert (outcome.verdict, str(outcome.reply)[:9], outcome.internal) == (Verdict.FAILED, "550 5.4.6", True)
    assert us.connections == 0


async def test_a_gateway_that_is_our_own_door_fails() -> None:
    us = Peer()
    async with peers(us) as port, scene(port, shelf=Shelf([message()]), gateway=f"127.0.0.1:{us.port}") as at:
        at.deliverer.doors([("127.0.0.1", port)])
        await at.run(1)
        assert str(at.shelf.outcome().reply).startswith("550 5.4.6")
    assert us.connections == 0


async def test_a_backup_host_sends_to_the_better_one_alone() -> None:
    better, us = Peer(), Peer()
    names = Names()
    names.hosts[DOMAIN] = [MxHost(20, "mx2"), MxHost(10, "mx1")]
    names.at = {"mx1": ["127.0.0.1"], "mx2": ["127.0.0.2"]}
    async with peers(better, us) as port, scene(port, shelf=Shelf([message()]), names=names) as at:
        at.deliverer.doors([("127.0.0.2", port)])
        better.answers["banner"] = b"421 4.3.2 not now\r\n"
        await at.run(1)
        assert at.shelf.outcome().verdict is Verdict.DEFERRED
    assert (better.connections, us.connections) == (1, 0)
