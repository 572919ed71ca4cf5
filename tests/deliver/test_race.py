"""A first connection to a host that says nothing, and the next host that is tried beside it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.config.schema import Duration
from postroad.lab.sim import LinkPlan, SimLoop
from postroad.message import Stage, Verdict
from postroad.net import MxHost
from tests.deliver.peers import DOMAIN, Answer, Names, Peer, Wrong, peers, scene
from tests.deliver.simulated import ADDRESSES, simulated
from tests.deliver.supply import Shelf, message

AFTER, BANNER = 10.0, 300.0
OPTIONS: dict[str, Any] = {"next_host_after": Duration(AFTER), "banner_timeout": Duration(BANNER)}


def names(count: int) -> Names:
    found = Names()
    found.point(DOMAIN, *ADDRESSES[:count])
    return found


def now() -> float:
    return asyncio.get_running_loop().time()


def mute() -> Peer:
    return Peer(banner=Wrong.STALL)


def test_the_next_host_takes_the_mail_of_one_that_does_not_greet() -> None:
    async def body() -> None:
        silent, good = mute(), Peer()
        shelf = Shelf(map(message, range(20)))
        async with peers(silent, good) as port, scene(port, shelf=shelf, names=names(2), **OPTIONS) as at:
            begun = now()
            await at.run(20)
            assert AFTER <= now() - begun < AFTER + 5
            assert {o.peer for (o,) in shelf.outcomes.values()} == {"127.0.0.2"}
            await silent.gone.wait()
            # It is avoided now, and says why.
            failure = at.deliverer.path("default", DOMAIN)
            assert failure is not None and (why := failure.route.failure("127.0.0.1")) is not None
            assert why.reply.text.startswith("4.4.2 ") and "10 s" in why.reply.text
        assert silent.connections == 1 and silent.most_open == 1

    simulated(body())


def test_the_first_host_is_used_if_it_greets_before_the_second() -> None:
    async def body() -> None:
        first, second = Peer(), mute()
        late = asyncio.Event()
        first.before["banner"] = late
        shelf = Shelf([message()])
        async with peers(first, second) as port, scene(port, shelf=shelf, names=names(2), **OPTIONS) as at:
            at.wake()
            await second.came.wait()
            late.set()
            await shelf.until(1)
            assert shelf.outcome().peer == "127.0.0.1"
            await second.gone.wait()
            path = at.deliverer.path("default", DOMAIN)
            assert path is not None
            # The second was not slow: nothing is known of it.
            assert path.route.failure("127.0.0.2") is None and len(path.connections) == 1

    simulated(body())


def test_one_more_host_after_each_wait_and_three_at_the_most() -> None:
    async def body() -> None:
        silent = [mute() for _ in range(4)]
        shelf = Shelf(map(message, range(9)))
        async with peers(*silent) as port, scene(port, shelf=shelf, names=names(4), **OPTIONS) as at:
            at.wake()
            begun = now()
            for count, each in enumerate(silent[:3]):
                await each.came.wait()
                assert now() - begun == pytest.approx(count * AFTER, abs=1)
            # The fourth has its turn when the first has failed for good.
            await silent[3].came.wait()
            assert now() - begun == pytest.approx(BANNER, abs=1)
            assert at.deliverer.stats().connecting == 3
            await shelf.until(9)
            outcome = shelf.outcome(0)
            assert (outcome.verdict, outcome.stage, outcome.internal) == (Verdict.DEFERRED, Stage.BANNER, True)
        assert [each.connections for each in silent] == [1, 1, 1, 1]

    simulated(body())


def test_a_host_that_refuses_is_passed_over_within_the_same_attempt() -> None:
    async def body() -> None:
        silent, shut, good = mute(), Peer(banner=b"554 5.3.2 no\r\n"), Peer()
        shelf = Shelf([message()])
        async with peers(silent, shut, good) as port, scene(port, shelf=shelf, names=names(3), **OPTIONS) as at:
            begun = now()
            await at.run(1)
            assert now() - begun < AFTER + 5
            assert shelf.outcome().peer == "127.0.0.3"

    simulated(body())


def test_what_all_hosts_said_counts_at_the_end() -> None:
    """A "never" of the host that was tried beside is not the domain's while another only said nothing."""

    async def body() -> None:
        silent, shut = mute(), Peer(banner=b"554 5.3.2 no\r\n")
        shelf = Shelf([message()])
        async with peers(silent, shut) as port, scene(port, shelf=shelf, names=names(2), **OPTIONS) as at:
            await at.run(1)
            assert shelf.outcome().verdict is Verdict.DEFERRED
        assert (silent.connections, shut.connections) == (1, 1)

    simulated(body())


@pytest.mark.parametrize("options", [{"max_connections": 1}, {"server_max_connections": 1}, {"next_host_after": 0}])
def test_without_a_place_for_a_second_connection_the_first_is_waited_for(options: dict[str, Any]) -> None:
    async def body() -> None:
        silent, good = mute(), Peer()
        shelf = Shelf([message()])
        options_ = OPTIONS | options
        async with peers(silent, good) as port, scene(port, shelf=shelf, names=names(2), **options_) as at:
            begun = now()
            await at.run(1)
            assert now() - begun >= BANNER
            assert shelf.outcome().peer == "127.0.0.2"

    simulated(body())


def test_a_host_that_accepts_no_connection_is_not_waited_for_either() -> None:
    """Where packets are lost, connect_timeout is the long wait."""

    async def body() -> None:
        good = Peer()
        await good.start("127.0.0.2")
        shelf = Shelf([message()])
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        loop.net.rule(lambda dial: LinkPlan("black hole") if dial.host == "127.0.0.1" else None)
        async with scene(good.port, shelf=shelf, names=names(2), **OPTIONS | {"connect_timeout": 120}) as at:
            begun = now()
            await at.run(1)
            assert now() - begun < AFTER + 5
        await good.stop()

    simulated(body())


def test_equal_hosts_are_raced_as_well_as_backups() -> None:
    async def body() -> None:
        found = Names()
        found.hosts[DOMAIN] = [MxHost(10, "a"), MxHost(10, "b")]
        found.at |= {"a": ["127.0.0.1"], "b": ["127.0.0.2"]}
        shelf = Shelf([message()])
        given = [mute(), mute()]
        async with peers(*given) as port, scene(port, shelf=shelf, names=found, **OPTIONS) as at:
            at.wake()
            for each in given:
                await each.came.wait()
            assert at.deliverer.stats().opened == 2

    simulated(body())


def test_stopping_ends_all_attempts() -> None:
    async def body() -> None:
        silent = [mute() for _ in range(3)]
        shelf = Shelf([message() for _ in range(3)])
        async with peers(*silent) as port, scene(port, shelf=shelf, names=names(3), **OPTIONS) as at:
            at.wake()
            await silent[2].came.wait()
        for each in silent:
            await each.gone.wait()
        assert not shelf.outcomes

    simulated(body())


BANNERS: list[tuple[float, Answer]] = [
    (seconds, answer)
    for seconds in (0.0, 5.0, 9.999, 10.0, 10.001, 20.0, 29.0, 31.0)
    for answer in (b"220 hello\r\n", b"421 4.3.2 no\r\n", b"554 5.3.2 never\r\n", Wrong.CLOSE)
]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(BANNERS), min_size=2, max_size=4),
    st.sampled_from([1, 2, 3, 8]),
    st.integers(1, 30),
    st.integers(0, 2**16),
)
def test_connections_never_exceed_what_was_granted(
    banners: list[tuple[float, Answer]], most: int, count: int, seed: int
) -> None:
    """Hosts greet at the same moment, or just before and after they are given up: every open connection counts."""

    async def body() -> None:
        given = [Peer(banner=answer) for _, answer in banners]
        for peer, (seconds, _) in zip(given, banners, strict=True):
            peer.delays["banner"] = seconds
        shelf = Shelf(map(message, range(count)))
        options = OPTIONS | {"max_connections": most, "connection_growth": "high"}
        async with peers(*given) as port, scene(port, shelf=shelf, names=names(len(given)), **options) as at:
            at.wake()
            path = at.deliverer.path("default", DOMAIN)
            assert path is not None
            while len(shelf.outcomes) < count:
                # Whatever is established or under way has a place of its own.
                granted = path.allowance.connections
                dialing = sum(not attempt.established for attempt in path.dialing)
                assert len(path.connections) + dialing == granted <= most
                assert all(gate.open == granted for gate in path.allowance.gates)
                await shelf.changed()
        delivered = sum(outcome.verdict is Verdict.DELIVERED for (outcome,) in shelf.outcomes.values())
        assert sum(len(peer.received) for peer in given) == delivered

    simulated(body(), seed)
