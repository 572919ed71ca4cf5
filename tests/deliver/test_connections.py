"""How connections are opened, used, kept and left. Real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from postroad.message import Body, Stage, Verdict
from postroad.shaping import Allowance, Limits
from tests.deliver.peers import DOMAIN, SHORT, Names, Peer, Wrong, peers, scene
from tests.deliver.supply import Shelf, message

D, T, F = Verdict.DELIVERED, Verdict.DEFERRED, Verdict.FAILED
BUSY = b"421 4.3.2 too busy\r\n"


def verdicts(shelf: Shelf) -> dict[int, Verdict]:
    return {number: outcome.verdict for number, (outcome,) in shelf.outcomes.items()}


async def test_one_connection_carries_many_messages() -> None:
    peer = Peer()
    async with peers(peer) as port, scene(port, shelf=Shelf(map(message, range(20))), max_connections=1) as at:
        await at.run(20)
    assert set(verdicts(at.shelf).values()) == {D}
    (commands,) = peer.commands.values()
    assert [line[:4] for line in commands] == [b"EHLO", *[b"MAIL", b"RCPT", b"DATA"] * 20, b"QUIT"]


async def test_after_a_refused_recipient_the_connection_goes_on() -> None:
    peer = Peer()
    peer.judge = lambda step, line, connection: b"550 5.1.1 no\r\n" if b"user1@" in line else None
    peer.answers["ehlo"] = b"250 peer.example.net\r\n"
    async with peers(peer) as port, scene(port, shelf=Shelf(map(message, range(3))), max_connections=1) as at:
        await at.run(3)
    assert verdicts(at.shelf) == {0: D, 1: F, 2: D}
    (commands,) = peer.commands.values()
    assert commands.count(b"RSET") == 1


async def test_connections_grow_with_the_queue_up_to_the_limit() -> None:
    peer = Peer()
    async with peers(peer) as port, scene(port, shelf=Shelf(map(message, range(1000))), max_connections=4) as at:
        await at.run(1000)
    assert peer.most_open == 4 and peer.connections == 4
    assert len(peer.received) == len({received.rcpt for received in peer.received}) == 1000


async def test_one_message_wants_one_connection() -> None:
    peer = Peer()
    async with peers(peer) as port, scene(port, shelf=Shelf(map(message, range(3)))) as at:
        await at.run(3)
    assert peer.connections == 1


async def test_messages_per_connection() -> None:
    peer = Peer()
    options: dict[str, Any] = {"max_connections": 1, "max_deliveries_per_connection": 3}
    async with peers(peer) as port, scene(port, shelf=Shelf(map(message, range(10))), **options) as at:
        await at.run(10)
    assert set(verdicts(at.shelf).values()) == {D}
    counts = [sum(line.startswith(b"MAIL") for line in lines) for lines in peer.commands.values()]
    assert counts == [3, 3, 3, 1]
    assert all(lines[-1] == b"QUIT" for lines in peer.commands.values())


async def test_an_idle_connection_is_used_again() -> None:
    peer = Peer()
    async with peers(peer) as port, scene(port, shelf=Shelf([message(1)])) as at:
        await at.run(1)
        assert at.deliverer.stats().idle == 1
        at.shelf.put(message(2))
        await at.run(2)
    assert peer.connections == 1 and len(peer.received) == 2


async def test_an_idle_connection_takes_its_leave() -> None:
    left = asyncio.Event()
    peer = Peer()

    def judge(step: str, line: bytes, connection: int) -> None:
        if step == "quit":
            left.set()

    peer.judge = judge
    async with peers(peer) as port, scene(port, shelf=Shelf([message(1)]), idle_timeout=SHORT) as at:
        await at.run(1)
        await left.wait()
        at.shelf.put(message(2))
        await at.run(2)
        assert verdicts(at.shelf) == {1: D, 2: D}
    assert peer.connections == 2


@pytest.mark.parametrize("end", [BUSY, Wrong.CLOSE, Wrong.RESET, b"421-multi\r\n421 line\r\n"])
async def test_a_host_that_ends_sessions_between_messages_delays_nothing(end: bytes | Wrong) -> None:
    """After two messages it ends each session at the next MAIL: that message has not begun, and goes elsewhere."""
    peer = Peer()
    begun: dict[int, int] = {}

    def judge(step: str, line: bytes, connection: int) -> bytes | Wrong | None:
        begun[connection] = begun.get(connection, 0) + (step == "mail")
        return end if step == "mail" and begun[connection] > 2 else None

    peer.judge = judge
    async with peers(peer) as port, scene(port, shelf=Shelf(map(message, range(20))), max_connections=2) as at:
        await at.run(20)
    assert set(verdicts(at.shelf).values()) == {D}
    assert len(peer.received) == 20


async def test_a_host_that_never_lets_a_message_begin_is_left_alone_soon() -> None:
    peer = Peer(mail=BUSY)
    async with peers(peer) as port, scene(port, shelf=Shelf(map(message, range(500))), max_connections=1) as at:
        await at.run(500)
        assert set(verdicts(at.shelf).values()) == {T}
    assert peer.connections <= 6


async def test_a_host_that_allows_fewer_connections_gets_fewer() -> None:
    peer = Peer()
    peer.judge = lambda step, line, connection: BUSY if step == "banner" and connection > 2 else None
    shelf = Shelf(map(message, range(1000)))
    async with peers(peer) as port, scene(port, shelf=shelf, max_connections=10) as at:
        await at.run(1000)
    assert set(verdicts(shelf).values()) == {D}
    assert peer.connections < 15


async def test_paths_share_the_connections_of_the_server() -> None:
    """Three domains and two connections in all: an idle one gives way to a path that has mail."""
    peer = Peer()
    names = Names()
    shelf = Shelf()
    domains = ["one.example", "two.example", "three.example"]
    for number, domain in enumerate(domains):
        names.point(domain, "127.0.0.1")
        shelf.put(message(number, domain=domain))
    async with peers(peer) as port, scene(port, shelf=shelf, names=names, server_max_connections=2) as at:
        for domain in domains:
            at.wake(domain)
        await shelf.until(3)
    assert verdicts(shelf) == {0: D, 1: D, 2: D}
    assert peer.most_open <= 2


class SlowAllowance(Allowance):
    """Refuses the first asking of each kind for a moment."""

    def __init__(self, limits: Limits, binding: str, domain: str) -> None:
        super().__init__(limits, binding, domain)
        self.asked = {"open": 0, "message": 0}
        self.balance = 0

    def open(self, hosts: Sequence[str] = ()) -> float:
        self.asked["open"] += 1
        if self.asked["open"] == 1:
            return 0.01
        self.balance += 1
        return super().open(hosts)

    def closed(self) -> None:
        self.balance -= 1
        super().closed()

    def message(self) -> float:
        self.asked["message"] += 1
        return 0.01 if self.asked["message"] % 2 else 0.0


async def test_limits_are_asked_and_obeyed() -> None:
    asked: list[SlowAllowance] = []

    class Slow(Limits):
        def allowance(self, binding: str, domain: str, like: str = "") -> Allowance:
            asked.append(SlowAllowance(self, binding, domain))
            return asked[-1]

    peer = Peer()
    shelf = Shelf(map(message, range(5)))
    async with peers(peer) as port, scene(port, shelf=shelf, limits=Slow, max_connections=1) as at:
        await at.run(5)
    assert set(verdicts(at.shelf).values()) == {D}
    (allowance,) = asked
    assert allowance.asked["open"] == 2 and allowance.balance == 0
    assert allowance.asked["message"] >= 10


async def test_without_a_connection_messages_wait_untouched() -> None:
    async with scene(1, shelf=Shelf([message()]), suspend_delivery=True) as at:
        at.wake()
        for _ in range(20):
            await asyncio.sleep(0)
        assert at.shelf.waiting("default", DOMAIN) == 1 and not at.shelf.outcomes


async def test_a_queue_that_holds_its_mail_back_is_asked_again() -> None:
    peer = Peer()
    shelf = Shelf([message()])
    shelf.held = True
    async with peers(peer) as port, scene(port, shelf=shelf, idle_timeout=0) as at:
        at.wake()
        await peer.came.wait()
        shelf.held = False  # and nobody says so
        await shelf.until(1)
        assert verdicts(shelf) == {1: D}


async def test_bodies_are_loaded_when_they_are_not_there() -> None:
    shelf = Shelf(message(number, loaded=False) for number in range(5))
    shelf.bodies = {number: Body(b"Subject: %d\r\n\r\n" % number) for number in range(5)}
    shelf.bodies[2] = None
    peer = Peer()
    async with peers(peer) as port, scene(port, shelf=shelf, max_connections=1) as at:
        await at.run(5)
    assert verdicts(shelf) == {0: D, 1: D, 3: D, 4: D} and shelf.unreadable == [2]
    assert [received.content[:10] for received in peer.received] == [b"Subject: %d" % n for n in (0, 1, 3, 4)]


async def test_a_connection_lost_during_the_loading_costs_no_attempt() -> None:
    shelf = Shelf([message(1), message(2, loaded=False)])
    shelf.gate = asyncio.Event()
    shelf.bodies = {2: Body(b"\r\n")}
    peer = Peer()

    def judge(step: str, line: bytes, connection: int) -> bytes | None:
        # The first session ends unasked, right behind the reply to its first message.
        return b"250 ok\r\n421 that was all\r\n" if step == "content" and connection == 1 else None

    peer.judge = judge
    async with peers(peer) as port, scene(port, shelf=shelf) as at:
        await at.run(1)
        await peer.gone.wait()
        shelf.gate.set()
        await shelf.until(2)
        assert verdicts(shelf) == {1: D, 2: D}
    assert peer.connections == 2


async def test_a_load_that_breaks_is_tried_again() -> None:
    shelf = Shelf([message(loaded=False)])  # no body anywhere: KeyError
    told: list[dict[str, Any]] = []

    def tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        told.append(context)
        shelf.bodies = {1: Body(b"\r\n")}

    asyncio.get_running_loop().set_exception_handler(tell)
    async with peers(Peer()) as port, scene(port, shelf=shelf) as at:
        at.wake()
        while len(shelf.outcomes.get(1, [])) < 2:
            await shelf.changed()
    assert [(outcome.verdict, outcome.counts) for outcome in shelf.outcomes[1]] == [(T, False), (D, True)]
    assert [type(each["exception"]) for each in told] == [KeyError]


async def test_when_there_is_no_way_bodies_are_loaded_for_what_is_told() -> None:
    shelf = Shelf(message(number, loaded=number % 2 == 0) for number in range(10))
    shelf.bodies = {number: Body(b"\r\n") for number in range(10)}
    shelf.bodies[3] = None
    async with scene(1, shelf=shelf, names=Names()) as at:
        await at.run(10)
    assert set(verdicts(shelf).values()) == {F} and shelf.unreadable == [3]


@pytest.mark.parametrize("timeout", [0, 20])
async def test_a_stop_while_there_is_no_way(timeout: float) -> None:
    shelf = Shelf(message(number, loaded=False) for number in range(10))
    shelf.gate = asyncio.Event()
    shelf.bodies = {number: Body(b"\r\n") for number in range(10)}
    async with scene(1, shelf=shelf, names=Names()) as at:
        at.wake()
        await shelf.asked.wait()
        stopping = asyncio.ensure_future(at.deliverer.stop(timeout))
        await asyncio.sleep(0)
        if timeout:
            shelf.gate.set()
        await stopping
        assert shelf.outcome(0).counts == (timeout > 0)
        assert shelf.waiting("default", DOMAIN) == (9 if timeout else 10)


async def test_the_duty_to_notify_goes_to_a_host_that_offers_dsn() -> None:
    with_dsn, without = Peer(), Peer(ehlo=b"250 plain\r\n")
    names = Names()
    names.point("with.example", "127.0.0.1")
    names.point("without.example", "127.0.0.2")
    shelf = Shelf([message(1, domain="with.example"), message(2, domain="without.example")])
    async with peers(with_dsn, without) as port, scene(port, shelf=shelf, names=names) as at:
        at.wake("with.example")
        at.wake("without.example")
        await shelf.until(2)
    assert (shelf.outcome(1).dsn, shelf.outcome(2).dsn) == (True, False)


# --- the end ----------------------------------------------------------------------------------------------------------


class Held(Peer):
    """Replies to `step` only when let go; `reached` tells that it came there."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self.held_step = step
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    async def _answer(
        self, step: str, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> bytes:
        if step == self.held_step:
            self.reached.set()
            await self.go.wait()
        return await super()._answer(step, line, reader, writer, number)


async def test_a_stop_lets_messages_on_the_wire_end_and_leaves_the_rest() -> None:
    peer = Held("content")
    shelf = Shelf(map(message, range(5)))
    async with peers(peer) as port, scene(port, shelf=shelf, max_connections=1) as at:
        at.wake()
        await peer.reached.wait()
        stopping = asyncio.ensure_future(at.deliverer.stop(20))
        await asyncio.sleep(0)
        peer.go.set()
        await stopping
        assert verdicts(shelf) == {0: D}
        assert shelf.waiting("default", DOMAIN) == 4
        at.wake()  # too late
    assert len(peer.received) == 1


@pytest.mark.parametrize("step", ["banner", "ehlo", "mail", "rcpt", "data", "content"])
async def test_a_stop_does_not_wait_for_ever(step: str) -> None:
    peer = Held(step)
    shelf = Shelf(map(message, range(3)))
    async with peers(peer) as port, scene(port, shelf=shelf, max_connections=1) as at:
        at.wake()
        await peer.reached.wait()
        await at.deliverer.stop(0)
        if step in ("banner", "ehlo"):
            assert not shelf.outcomes
        else:
            outcome = shelf.outcome(0)
            # It may have been delivered, and then that was an attempt.
            assert outcome.counts == (step == "content")
            assert ("duplicate" in outcome.reply.text) == (step == "content")
            assert outcome.stage == (Stage.CONFIRMATION if step == "content" else Stage.IDLE)
        assert shelf.waiting("default", DOMAIN) == (2 if step == "content" else 3)


async def test_a_stop_during_a_look_up() -> None:
    names = Names()
    asked = asyncio.Event()

    async def mx(domain: str) -> list[Any]:
        asked.set()
        await asyncio.Event().wait()
        return []

    names.mx = mx  # type: ignore[method-assign]
    async with scene(1, shelf=Shelf([message()]), names=names) as at:
        at.wake()
        await asked.wait()
        await at.deliverer.stop(20)
        assert not at.shelf.outcomes and at.shelf.waiting("default", DOMAIN) == 1


@pytest.mark.parametrize("turns", range(8))
async def test_a_stop_at_any_moment_after_the_first_wake(turns: int) -> None:
    shelf = Shelf(message(number, loaded=False) for number in range(3))
    shelf.gate = asyncio.Event()
    async with peers(Peer()) as port, scene(port, shelf=shelf) as at:
        at.wake()
        for _ in range(turns):
            await asyncio.sleep(0)
        await at.deliverer.stop(0)
        assert all(not outcome.counts for outcomes in shelf.outcomes.values() for outcome in outcomes)
        assert shelf.waiting("default", DOMAIN) == 3


async def test_a_stop_while_a_body_is_loaded() -> None:
    shelf = Shelf([message(loaded=False)])
    shelf.gate = asyncio.Event()
    async with peers(Peer()) as port, scene(port, shelf=shelf) as at:
        at.wake()
        await shelf.asked.wait()
        await at.deliverer.stop(0)
        assert shelf.outcome().counts is False
        assert shelf.waiting("default", DOMAIN) == 1


async def test_a_stop_with_nothing_to_stop() -> None:
    async with scene(1, shelf=Shelf()) as at:
        await at.deliverer.stop(20)
