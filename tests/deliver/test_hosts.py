"""Which host gets a message, and what happens when none does. Real sockets; each host is a loopback address."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from postroad.config.schema import NOT_PUBLIC, BindingOptions
from postroad.deliver import forgive, look
from postroad.deliver.sweep import BULK
from postroad.message import Stage, Verdict
from postroad.net import MxHost
from tests.deliver.peers import DNS_DOWN, DOMAIN, HOSTNAME, NO_MAIL, Names, Peer, free_port, peers, scene
from tests.deliver.supply import Shelf, message

D, T, F = Verdict.DELIVERED, Verdict.DEFERRED, Verdict.FAILED
BUSY = b"421 4.3.2 too busy\r\n"
NEVER = b"554 5.7.1 not you\r\n"
LATER = b"450 4.2.0 later\r\n"
TWO = ("127.0.0.1", "127.0.0.2")


def names(*addresses: str) -> Names:
    found = Names()
    found.point(DOMAIN, *addresses)
    return found


async def test_the_next_host_is_tried_when_the_best_is_down() -> None:
    backup = Peer()
    async with (
        peers(backup, hosts=["127.0.0.2"]) as port,
        scene(port, shelf=Shelf([message()]), names=names(*TWO)) as at,
    ):
        await at.run(1)
        outcome = at.shelf.outcome()
        assert (outcome.verdict, outcome.host, outcome.peer) == (D, f"mx2.{DOMAIN}", "127.0.0.2")


@pytest.mark.parametrize("banner", [BUSY, LATER, NEVER])
async def test_the_next_host_is_tried_when_the_best_has_no_time_for_us(banner: bytes) -> None:
    best, backup = Peer(banner=banner), Peer()
    async with peers(best, backup) as port, scene(port, shelf=Shelf([message()]), names=names(*TWO)) as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is D
    assert (best.connections, len(backup.received)) == (1, 1)


@pytest.mark.parametrize(
    ("banners", "verdict", "code"),
    [
        ((NEVER, NEVER), F, 554),
        ((NEVER, BUSY), T, 421),
        ((BUSY, NEVER), T, 421),  # one host's "never" is not the domain's
        ((BUSY, LATER), T, 450),
    ],
)
async def test_no_host_has_time_for_us(banners: tuple[bytes, bytes], verdict: Verdict, code: int) -> None:
    given = [Peer(banner=banner) for banner in banners]
    async with peers(*given) as port, scene(port, shelf=Shelf([message()]), names=names(*TWO)) as at:
        await at.run(1)
        outcome = at.shelf.outcome()
        assert (outcome.verdict, outcome.reply.code, outcome.stage, outcome.internal) == (
            verdict,
            code,
            Stage.BANNER,
            False,
        )


async def test_when_every_host_fails_one_attempt_speaks_for_all_that_wait() -> None:
    down = Peer(banner=BUSY)
    async with peers(down) as port, scene(port, shelf=Shelf(map(message, range(1000)))) as at:
        await at.run(1000)
        assert {o.verdict for (o,) in at.shelf.outcomes.values()} == {T}
        assert at.deliverer.stats().deferred == 1000
    assert down.connections == 1


async def test_what_waits_beyond_one_sweep_is_put_off_with_its_path() -> None:
    """Neither an event nor a read for each of them, and no second look before a host may be tried again."""
    down = Peer(banner=BUSY)
    shelf = Shelf(map(message, range(3 * BULK)))
    async with peers(down) as port, scene(port, shelf=shelf, host_failure_retry=0.3) as at:
        await at.run(BULK)
        assert (down.connections, len(shelf.outcomes), shelf.waiting("default", DOMAIN)) == (1, BULK, 2 * BULK)
        shelf.put(message(3 * BULK))
        at.deliverer.wake("default", DOMAIN)  # new mail changes nothing about that
        await asyncio.sleep(0)
        for _ in range(10_000):
            path = at.deliverer.path("default", DOMAIN)
            if path is None or not path.sweeping:
                break
            await asyncio.sleep(0)
        assert len(shelf.outcomes) == BULK
        seen = look(at.deliverer, "default", DOMAIN, 2 * BULK + 1, asyncio.get_running_loop().time())
        assert seen is not None and seen.put_off_for > 0 and "4.3.2 too busy" in seen.hosts[0].reason
        await at.run(2 * BULK)
        assert down.connections == 2
        down.answers["banner"] = b"220 here again\r\n"
        await at.run(3 * BULK + 1)
        assert {one[-1].verdict for number, one in shelf.outcomes.items() if number >= 2 * BULK} == {D}


async def test_a_domain_that_dns_does_not_tell_of_is_put_off_too() -> None:
    shelf = Shelf(map(message, range(2 * BULK)))
    down = Names()
    down.hosts[DOMAIN] = DNS_DOWN
    async with scene(free_port(), shelf=shelf, names=down, host_failure_retry=0.2) as at:
        await at.run(BULK)
        seen = look(at.deliverer, "default", DOMAIN, BULK, asyncio.get_running_loop().time())
        assert seen is not None and seen.hosts == [] and len(shelf.outcomes) < 2 * BULK
        await at.run(2 * BULK)
        assert {one[-1].verdict for one in shelf.outcomes.values()} == {T}


async def test_a_flush_ends_what_was_put_off() -> None:
    down = Peer(banner=BUSY)
    shelf = Shelf(map(message, range(BULK + 5)))
    async with peers(down) as port, scene(port, shelf=shelf) as at:
        await at.run(BULK)
        down.answers["banner"] = b"220 here again\r\n"
        assert forgive(at.deliverer, "default", DOMAIN) == 1
        await at.run(BULK + 5)
        assert {shelf.outcomes[number][-1].verdict for number in range(BULK, BULK + 5)} == {D}


async def test_what_fails_for_good_ends_all_at_once() -> None:
    never = Peer(banner=NEVER)
    shelf = Shelf(map(message, range(BULK + 5)))
    async with peers(never) as port, scene(port, shelf=shelf) as at:
        await at.run(BULK + 5)
        assert never.connections == 1 and {one[-1].verdict for one in shelf.outcomes.values()} == {F}


async def test_nobody_listens() -> None:
    async with scene(free_port(), shelf=Shelf([message()])) as at:
        await at.run(1)
        outcome = at.shelf.outcome()
        assert (outcome.verdict, outcome.stage, outcome.internal, outcome.peer) == (
            T,
            Stage.NOT_CONNECTED,
            True,
            "127.0.0.1",
        )
        assert outcome.reply.text.startswith("4.4.1 ") and "refused" in outcome.reply.text


async def test_a_path_whose_hosts_all_failed_says_so_without_trying_for_a_while() -> None:
    down = Peer(banner=BUSY)
    async with peers(down) as port, scene(port, shelf=Shelf([message(1)]), host_failure_retry=500) as at:
        await at.run(1)
        at.shelf.put(message(2))
        await at.run(2)
        outcome = at.shelf.outcome(2)
        assert outcome.verdict is T and outcome.internal and outcome.counts
        assert "too busy" in outcome.reply.text
        assert outcome.retry_after is not None and 490 < outcome.retry_after <= 500
    assert down.connections == 1


async def test_a_host_that_failed_is_tried_again_later() -> None:
    host = Peer(banner=BUSY)
    async with peers(host) as port, scene(port, shelf=Shelf([message(1)]), host_failure_retry=0) as at:
        await at.run(1)
        host.answers["banner"] = b"220 well again\r\n"
        at.shelf.put(message(2))
        await at.run(2)
        assert (at.shelf.outcome(1).verdict, at.shelf.outcome(2).verdict) == (T, D)


async def test_mail_comes_back_to_the_best_host() -> None:
    """While it is down its backup serves, and not for ever, though there is always something to send."""
    best, backup = Peer(banner=BUSY), Peer()
    options: dict[str, Any] = {"host_failure_retry": 0.02, "max_connections": 1}
    async with peers(best, backup) as port, scene(port, shelf=Shelf(), names=names(*TWO), **options) as at:
        sent = 0
        while not best.received:
            assert sent < 20_000
            sent += 1
            at.shelf.put(message(sent))
            await at.run(sent)
            if backup.received:
                best.answers["banner"] = b"220 well again\r\n"
        assert backup.received


async def test_a_message_refused_for_now_is_offered_to_one_other_host() -> None:
    first, second, third = Peer(mail=LATER), Peer(mail=LATER), Peer()
    three = names("127.0.0.1", "127.0.0.2", "127.0.0.3")
    async with peers(first, second, third) as port, scene(port, shelf=Shelf([message()]), names=three) as at:
        await at.run(1)
        outcome = at.shelf.outcome()
        assert (outcome.verdict, outcome.reply.code, outcome.peer) == (T, 450, "127.0.0.2")
    assert (first.connections, second.connections, third.connections) == (1, 1, 0)


@pytest.mark.parametrize("most", [1, 5])
async def test_the_other_host_takes_what_the_first_refused_for_now(most: int) -> None:
    first, second = Peer(mail=LATER), Peer()
    shelf = Shelf(map(message, range(30)))
    async with peers(first, second) as port, scene(port, shelf=shelf, names=names(*TWO), max_connections=most) as at:
        await at.run(30)
        assert {o.verdict for (o,) in shelf.outcomes.values()} <= {D, T}
        assert sum(o.verdict is D for (o,) in shelf.outcomes.values()) == len(second.received) > 0
    assert not first.received


async def test_a_recipient_refused_for_now_is_not_offered_around() -> None:
    first, second = Peer(rcpt=LATER), Peer()
    async with peers(first, second) as port, scene(port, shelf=Shelf([message()]), names=names(*TWO)) as at:
        await at.run(1)
        assert at.shelf.outcome().reply.code == 450
    assert second.connections == 0


async def test_international_mail_finds_the_host_that_takes_it() -> None:
    first = Peer()
    second = Peer(ehlo=b"250-peer.example.net\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")
    shelf = Shelf([message(recipient="дом@example.net", smtputf8=True)])
    async with peers(first, second) as port, scene(port, shelf=shelf, names=names(*TWO)) as at:
        await at.run(1)
        assert shelf.outcome().verdict is D
    (received,) = second.received
    assert received.rcpt == "RCPT TO:<дом@example.net>".encode()
    assert received.mail.endswith(b" SMTPUTF8")


async def test_international_mail_that_no_host_takes() -> None:
    shelf = Shelf([message(recipient="дом@example.net", smtputf8=True)])
    async with peers(Peer(), Peer()) as port, scene(port, shelf=shelf, names=names(*TWO)) as at:
        await at.run(1)
        outcome = shelf.outcome()
        assert (outcome.verdict, outcome.reply.text[:5], outcome.internal) == (F, "5.6.7", True)


@pytest.mark.parametrize(
    ("hosts", "verdict", "code", "enhanced"),
    [
        (None, F, 550, "5.1.2"),
        (NO_MAIL, F, 556, "5.1.10"),
        (DNS_DOWN, T, 451, "4.4.3"),
        ([MxHost(10, "gone.example.net")], F, 550, "5.4.4"),
        ([MxHost(10, "silent.example.net")], T, 451, "4.4.3"),
        ([MxHost(10, "gone.example.net"), MxHost(10, "silent.example.net")], T, 451, "4.4.3"),
        ([MxHost(10, HOSTNAME)], F, 550, "5.4.6"),
    ],
)
async def test_what_dns_says(
    hosts: list[MxHost] | Exception | None, verdict: Verdict, code: int, enhanced: str
) -> None:
    found = Names()
    found.at["silent.example.net"] = DNS_DOWN
    if hosts is not None:
        found.hosts[DOMAIN] = hosts
    async with scene(free_port(), shelf=Shelf(map(message, range(3))), names=found) as at:
        await at.run(3)
        for (outcome,) in at.shelf.outcomes.values():
            assert (outcome.verdict, outcome.reply.code, outcome.stage) == (verdict, code, Stage.NOT_CONNECTED)
            assert outcome.reply.text.startswith(f"{enhanced} ") and outcome.internal
    assert found.asked == [DOMAIN]


async def test_one_host_without_address_does_not_hide_another() -> None:
    found = Names()
    found.hosts[DOMAIN] = [MxHost(5, "gone"), MxHost(6, "silent"), MxHost(10, "good")]
    found.at |= {"silent": DNS_DOWN, "good": ["127.0.0.1"]}
    async with peers(Peer()) as port, scene(port, shelf=Shelf([message()]), names=found) as at:
        await at.run(1)
        assert at.shelf.outcome().host == "good"


async def test_a_resolver_that_breaks_leaves_no_mail_standing() -> None:
    found = Names()
    found.hosts[DOMAIN] = RuntimeError("no such thing was agreed on")
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    async with scene(free_port(), shelf=Shelf([message()]), names=found) as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is T
    assert [type(each["exception"]) for each in told] == [RuntimeError]


async def test_by_default_no_mail_goes_to_private_networks() -> None:
    peer = Peer()
    async with peers(peer) as port, scene(port, shelf=Shelf([message()]), prohibited_hosts=list(NOT_PUBLIC)) as at:
        await at.run(1)
        outcome = at.shelf.outcome()
        assert (outcome.verdict, outcome.reply.code, outcome.reply.text[:5]) == (F, 550, "5.4.6")
    assert peer.connections == 0


async def test_a_domain_literal_is_its_own_host() -> None:
    shelf = Shelf([message(domain="[127.0.0.1]")])
    async with peers(Peer()) as port, scene(port, shelf=shelf) as at:
        await at.run(1, "[127.0.0.1]")
        assert shelf.outcome().verdict is D
        assert not at.names.asked


@pytest.mark.parametrize("host", ["127.0.0.1", "relay.example"])
async def test_a_gateway_gets_everything(host: str) -> None:
    found = Names()
    found.at["relay.example"] = ["127.0.0.1"]
    peer = Peer()
    shelf = Shelf([message(1), message(2, domain="other.example")])
    async with (
        peers(peer) as port,
        scene(1, shelf=shelf, names=found, gateway=f"{host}:{port}", prohibited_hosts=list(NOT_PUBLIC)) as at,
    ):
        at.wake(DOMAIN)
        await at.run(2, "other.example")
        assert [o.verdict for (o,) in shelf.outcomes.values()] == [D, D]
        assert shelf.outcome().host == host
    assert len(peer.received) == 2 and not found.asked


@pytest.mark.parametrize("error", [None, DNS_DOWN])
async def test_an_unknown_gateway_bounces_nothing(error: Exception | None) -> None:
    found = Names()
    if error is not None:
        found.at["relay.example"] = error
    async with scene(1, shelf=Shelf([message()]), names=found, gateway="relay.example") as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is T


async def test_a_binding_gives_source_address_and_name() -> None:
    peer = Peer()
    ours = BindingOptions(name="ours", source_address="127.0.0.9", ehlo_hostname="ours.example")
    shelf = Shelf([message(1, binding="ours"), message(2)])
    async with peers(peer) as port, scene(port, shelf=shelf, bindings=[ours], ehlo_hostname="option.example") as at:
        at.wake(binding="ours")
        await at.run(2)
        assert (shelf.outcome(1).source, shelf.outcome(2).source) == ("127.0.0.9", "127.0.0.1")
    assert {received.peer for received in peer.received} == {"127.0.0.9", "127.0.0.1"}
    assert {commands[0] for commands in peer.commands.values()} == {b"EHLO ours.example", b"EHLO option.example"}


async def test_a_source_address_that_is_not_ours() -> None:
    async with (
        peers(Peer()) as port,
        scene(port, shelf=Shelf([message()]), source_address="192.0.2.1") as at,
    ):
        await at.run(1)
        outcome = at.shelf.outcome()
        assert (outcome.verdict, outcome.source, outcome.reply.text[:5]) == (T, "192.0.2.1", "4.4.1")
        assert "192.0.2.1" in outcome.reply.text


async def test_equal_hosts_share_the_connections() -> None:
    found = Names()
    found.hosts[DOMAIN] = [MxHost(10, "a"), MxHost(10, "b")]
    found.at |= {"a": ["127.0.0.1"], "b": ["127.0.0.2"]}
    one, two = Peer(), Peer()
    shelf = Shelf(map(message, range(400)))
    async with peers(one, two) as port, scene(port, shelf=shelf, names=found, max_connections=8) as at:
        await at.run(400)
    assert abs(one.connections - two.connections) <= 1 and one.connections + two.connections > 4


async def test_all_paths_leave_out_a_host_that_failed_one_of_them() -> None:
    """The second domain, on the same host, gets its answer without another connection."""
    down = Peer(banner=BUSY)
    both = names("127.0.0.1")
    both.hosts["other.example"] = [MxHost(10, f"mx1.{DOMAIN}")]
    shelf = Shelf([message(1), message(2, domain="other.example")])
    async with peers(down) as port, scene(port, shelf=shelf, names=both) as at:
        await at.run(1)
        await at.run(2, "other.example")
        assert at.shelf.outcome(2).reply.code == 451 and "failed a short time ago" in at.shelf.outcome(2).reply.text
        assert at.deliverer.stats().avoided == 1
    assert down.connections == 1


async def test_a_flush_tries_hosts_that_failed_even_if_the_path_had_been_forgotten() -> None:
    host = Peer(banner=BUSY)
    async with peers(host) as port, scene(port, shelf=Shelf([message(1)])) as at:
        await at.run(1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert at.deliverer.stats().paths == 0
        host.answers["banner"] = Peer().answers["banner"]
        forgive(at.deliverer, "default", DOMAIN)
        at.shelf.put(message(2))
        await at.run(2)
        assert at.shelf.outcome(2).verdict is D
        assert at.deliverer.stats().avoided == 0
