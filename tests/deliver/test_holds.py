"""Curfews hold the mail of a path, and let it go at their end; blackholes end it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from postroad.config.schema import BindingOptions, Config, DeliveryOptions, DomainOptions
from postroad.deliver import look
from postroad.message import Stage, Verdict
from tests.deliver.peers import DOMAIN, OPTIONS, Names, Peer, Wrong, peers, scene
from tests.deliver.supply import Shelf, message

NIGHT = "22:00-07:00 UTC"
END = datetime(2026, 11, 25, 7, tzinfo=UTC).timestamp()


class Watch:
    """A clock that shows `end - before` now, and goes on with the loop's time."""

    def __init__(self, before: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._origin = END - before - self._loop.time()

    def wall(self) -> float:
        return self._origin + self._loop.time()


async def test_mail_waits_for_the_end_of_a_curfew_and_then_goes() -> None:
    peer = Peer()
    clock = Watch(before=0.3)
    async with (
        peers(peer) as port,
        scene(port, shelf=Shelf([message(n) for n in range(3)]), clock=clock, curfew=[NIGHT]) as at,
    ):
        at.wake()
        await asyncio.sleep(0)
        seen = look(at.deliverer, "default", DOMAIN, 3, asyncio.get_running_loop().time())
        assert seen is not None and seen.curfew_until == END and not seen.hosts
        await at.shelf.until(3)
        assert clock.wall() >= END
        assert {outcome.verdict for (outcome,) in at.shelf.outcomes.values()} == {Verdict.DELIVERED}
    assert peer.connections >= 1


async def test_a_connection_takes_nothing_more_when_a_curfew_begins() -> None:
    """The first message is on the wire when it begins; the second one stays in the queue, untouched."""
    peer = Peer()
    clock = Watch(before=-3600.0)

    def judge(step: str, line: bytes, connection: int) -> None:
        if step == "content":
            clock._origin += 15 * 3600

    peer.judge = judge
    shelf = Shelf([message(1), message(2)])
    async with peers(peer) as port, scene(port, shelf=shelf, clock=clock, curfew=[NIGHT], max_connections=1) as at:
        await at.run(1)
        await peer.gone.wait()
        assert list(at.shelf.outcomes) == [1]
        assert at.shelf.waiting("default", DOMAIN) == 1
    assert len(peer.received) == 1


async def test_a_message_between_two_hosts_is_deferred_rather_than_kept_in_flight() -> None:
    """Its first host says "not now" as the curfew begins: the second host is not asked."""
    first, second = Peer(mail=b"450 4.3.2 not now\r\n"), Peer()
    clock = Watch(before=-3600.0)

    def judge(step: str, line: bytes, connection: int) -> None:
        if step == "mail":
            clock._origin += 15 * 3600

    first.judge = judge
    two = Names()
    two.point(DOMAIN, "127.0.0.1", "127.0.0.2")
    async with (
        peers(first, second) as port,
        scene(port, shelf=Shelf([message()]), names=two, clock=clock, curfew=[NIGHT]) as at,
    ):
        await at.run(1)
        assert (at.shelf.outcome().verdict, at.shelf.outcome().reply.code) == (Verdict.DEFERRED, 450)
    assert second.connections == 0


async def test_a_curfew_of_one_binding_is_none_of_the_others() -> None:
    peer = Peer()
    shelf = Shelf([message(1, binding="quiet"), message(2, binding="loud")])
    bindings = [BindingOptions(name="quiet", curfew=[NIGHT]), BindingOptions(name="loud")]
    async with peers(peer) as port, scene(port, shelf=shelf, bindings=bindings, clock=Watch(before=60.0)) as at:
        at.wake(binding="quiet")
        at.wake(binding="loud")
        await at.shelf.until(1)
        assert list(at.shelf.outcomes) == [2]
        assert at.shelf.waiting("quiet", DOMAIN) == 1


async def test_a_reload_that_ends_a_curfew_lets_the_mail_go() -> None:
    peer = Peer()
    shelf = Shelf([message()])
    async with peers(peer) as port, scene(port, shelf=shelf, curfew=[NIGHT], clock=Watch(before=3600.0)) as at:
        at.wake()
        await asyncio.sleep(0)
        at.deliverer.reconfigure(Config(delivery=DeliveryOptions(**OPTIONS | {"port": port})))
        await at.shelf.until(1)
        assert at.shelf.outcome().verdict is Verdict.DELIVERED


@pytest.mark.parametrize(("kind", "silent"), [("discard", True), ("fail", False)])
async def test_a_blackhole_ends_the_mail_and_sends_nothing(kind: str, silent: bool) -> None:
    peer = Peer()
    async with (
        peers(peer) as port,
        scene(port, shelf=Shelf(map(message, range(300))), blackhole=kind) as at,
    ):
        await at.run(300)
        told = {(o.verdict, o.reply.code, o.stage, o.internal, o.silent) for (o,) in at.shelf.outcomes.values()}
        assert told == {(Verdict.FAILED, 551, Stage.NOT_CONNECTED, True, silent)}
        assert (at.deliverer.stats().blackholed, at.deliverer.stats().failed) == (300, 300)
        assert at.names.asked == []
    assert peer.connections == 0


async def test_a_path_that_becomes_a_blackhole_takes_nothing_more_from_the_queue_to_send() -> None:
    peer = Peer()
    blackhole = [DomainOptions(match=DOMAIN, blackhole="discard")]
    shelf = Shelf([message(1)])
    async with peers(peer) as port, scene(port, shelf=shelf) as at:
        await at.run(1)
        delivery = DeliveryOptions(**OPTIONS | {"port": port})
        at.deliverer.reconfigure(Config(delivery=delivery, domain=blackhole))
        shelf.put(message(2))
        await at.run(2)
        assert [at.shelf.outcome(n).verdict for n in (1, 2)] == [Verdict.DELIVERED, Verdict.FAILED]
    assert len(peer.received) == 1


async def test_an_attempt_that_was_begun_with_other_options_ends_at_the_reload() -> None:
    """Its host says nothing; what comes next is made with the options that count now."""
    first, second = Peer(banner=Wrong.STALL), Peer()
    async with peers(first, second) as port, scene(port, shelf=Shelf([message()]), gateway=f"127.0.0.1:{port}") as at:
        at.wake()
        await first.came.wait()
        other = DeliveryOptions(**OPTIONS | {"port": port, "gateway": f"127.0.0.2:{port}"})
        at.deliverer.reconfigure(Config(delivery=other))
        await at.shelf.until(1)
        assert at.shelf.outcome().peer == "127.0.0.2"
        await first.gone.wait()
    assert (first.connections, second.connections) == (1, 1)
