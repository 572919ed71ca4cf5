"""Batches on real sockets: which messages go together, and what becomes of each."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from postroad.config.schema import Config, DeliveryOptions, Rate
from postroad.message import Body, Message, Stage, Verdict
from tests.deliver.peers import DOMAIN, OPTIONS, Answer, Names, Peer, Wrong, free_port, peers, scene
from tests.deliver.supply import Shelf, message
from tests.deliver.test_far_ends import sink

BODY = Body(b"Subject: x\r\n\r\nHello\r\n")
OTHER = Body(b"Subject: y\r\n\r\nHello\r\n")
D, T, F = Verdict.DELIVERED, Verdict.DEFERRED, Verdict.FAILED
BATCHES: dict[str, Any] = {"max_connections": 1, "max_recipients_per_batch": 100}


def alike(count: int) -> Shelf:
    return Shelf(message(number, body=BODY) for number in range(count))


def numbers(peer: Peer) -> list[list[int]]:
    """Of the recipients, by transaction."""
    return [[int(rcpt[13:].split(b"@")[0]) for rcpt in each.rcpts] for each in peer.received]


def verdicts(shelf: Shelf, count: int) -> list[Verdict]:
    return [shelf.outcome(number).verdict for number in range(count)]


async def test_one_transaction() -> None:
    peer = Peer()
    async with peers(peer) as port, scene(port, shelf=alike(10), **BATCHES) as at:
        await at.run(10)
        assert verdicts(at.shelf, 10) == [D] * 10
    assert numbers(peer) == [list(range(10))]
    assert peer.received[0].content == BODY.content


async def test_without_being_asked_for_each_goes_alone() -> None:
    peer = Peer()
    async with peers(peer) as port, scene(port, shelf=alike(3), max_connections=1) as at:
        await at.run(3)
    assert numbers(peer) == [[0], [1], [2]]


async def test_no_more_than_the_option_says() -> None:
    peer = Peer()
    async with peers(peer) as port, scene(port, shelf=alike(10), max_connections=1, max_recipients_per_batch=4) as at:
        await at.run(10)
    assert numbers(peer) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_no_more_than_the_connection_may_still_carry() -> None:
    peer = Peer()
    options: dict[str, Any] = {"max_recipients_per_batch": 4, "max_deliveries_per_connection": 6}
    async with peers(peer) as port, scene(port, shelf=alike(10), max_connections=1, **options) as at:
        await at.run(10)
    assert numbers(peer) == [[0, 1, 2, 3], [4, 5], [6, 7, 8, 9]]
    assert peer.connections == 2


async def test_only_what_stands_next_goes_along() -> None:
    peer = Peer()
    bodies = [BODY, BODY, OTHER, BODY, OTHER, OTHER]
    shelf = Shelf(message(number, body=body) for number, body in enumerate(bodies))
    async with peers(peer) as port, scene(port, shelf=shelf, **BATCHES) as at:
        await at.run(6)
    assert numbers(peer) == [[0, 1], [2], [3], [4, 5]]


@pytest.mark.parametrize("ehlo", [b"250-x\r\n250 PIPELINING\r\n", b"250 x\r\n"])
async def test_each_recipient_ends_by_its_own_reply(ehlo: bytes) -> None:
    peer = Peer(ehlo=ehlo)
    answers = {b"user1@": b"550 5.1.1 who\r\n", b"user3@": b"451 4.2.1 later\r\n"}
    peer.judge = lambda step, line, connection: next((said for name, said in answers.items() if name in line), None)
    async with peers(peer) as port, scene(port, shelf=alike(5), **BATCHES) as at:
        await at.run(5)
        assert verdicts(at.shelf, 5) == [D, F, D, T, D]
        assert at.shelf.outcome(1).reply.code == 550 and at.shelf.outcome(1).stage is Stage.RCPT
    assert numbers(peer) == [[0, 2, 4]]


async def test_a_host_that_takes_three() -> None:
    peer = Peer()
    taken = 0

    def judge(step: str, line: bytes, connection: int) -> Answer | None:
        nonlocal taken
        taken = taken + 1 if step == "rcpt" else 0 if step == "mail" else taken
        return b"452 4.5.3 too many recipients\r\n" if step == "rcpt" and taken > 3 else None

    peer.judge = judge
    async with peers(peer) as port, scene(port, shelf=alike(10), **BATCHES) as at:
        await at.run(10)
        assert verdicts(at.shelf, 10) == [D] * 10
    assert numbers(peer) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert peer.connections == 1
    rcpts = [line for line in peer.commands[1] if line.startswith(b"RCPT")]
    assert len(rcpts) == 10 + 7  # it is asked for too many once


async def test_when_all_are_refused_the_next_ones_get_through() -> None:
    peer = Peer()
    peer.judge = lambda step, line, connection: (
        b"550 5.1.1 who\r\n" if any(b"r%d@" % n in line for n in (0, 1)) else None
    )
    shelf = Shelf([*(message(number, body=BODY) for number in (0, 1)), message(2, body=OTHER)])
    async with peers(peer) as port, scene(port, shelf=shelf, **BATCHES) as at:
        await at.run(3)
        assert verdicts(at.shelf, 3) == [F, F, D]
    assert numbers(peer) == [[2]]


async def test_a_host_that_refuses_the_sender_hands_all_to_the_next_host() -> None:
    first, second = Peer(mail=b"451 4.3.0 not here\r\n"), Peer()
    names = Names()
    names.point(DOMAIN, "127.0.0.1", "127.0.0.2")
    async with peers(first, second) as port, scene(port, shelf=alike(6), names=names, **BATCHES) as at:
        await at.run(6)
        assert verdicts(at.shelf, 6) == [D] * 6
    assert sorted(number for each in numbers(second) for number in each) == list(range(6))


async def test_a_connection_lost_behind_the_end_mark() -> None:
    peer = Peer(content=Wrong.CLOSE)
    async with peers(peer) as port, scene(port, shelf=alike(3), **BATCHES) as at:
        await at.run(3)
        for number in range(3):
            outcome = at.shelf.outcome(number)
            assert (outcome.verdict, outcome.stage) == (T, Stage.CONFIRMATION)
            assert "duplicate" in outcome.reply.text


async def test_each_message_asks_for_its_part_of_the_rate() -> None:
    peer = Peer()
    async with (
        peers(peer) as port,
        scene(port, shelf=alike(10), path_message_rate=Rate(((1_000_000, 1.0), (3, 3600.0))), **BATCHES) as at,
    ):
        await at.run(3)
        assert at.shelf.waiting("default", DOMAIN) == 7 and not at.shelf.in_flight
    assert numbers(peer) == [[0, 1, 2]]


async def test_what_waits_for_a_connection_goes_back_when_its_path_is_suspended() -> None:
    peer = Peer()
    shelf = Shelf([message(1, body=BODY), message(2, body=OTHER)])
    peer.deaf = True
    async with peers(peer) as port, scene(port, shelf=shelf, stop=0, **BATCHES) as at:

        def judge(step: str, line: bytes, connection: int) -> Answer | None:
            if step == "data":
                delivery = DeliveryOptions(**OPTIONS | BATCHES | {"port": port, "suspend_delivery": True})
                at.deliverer.reconfigure(Config(delivery=delivery))
            return None

        peer.judge = judge
        at.wake()
        await shelf.until(1)
        assert [outcome.counts for outcome in shelf.outcomes[2]] == [False]
        assert at.shelf.waiting("default", DOMAIN) == 1


# --- bodies in the journal alone --------------------------------------------------------------------------------------


def stored(count: int, place: int = 7) -> Shelf:
    shelf = Shelf(message(number, loaded=False, place=place) for number in range(count))
    shelf.bodies = {number: Body(BODY.content) for number in range(count)}
    return shelf


async def test_messages_of_one_record_are_loaded_and_go_together() -> None:
    peer = Peer()
    shelf = stored(5)
    shelf.bodies[2] = None
    held: list[Message] = list(shelf.queues["default", DOMAIN])
    async with peers(peer) as port, scene(port, shelf=shelf, **BATCHES) as at:
        await at.run(5)
        assert shelf.unreadable == [2]
    assert numbers(peer) == [[0, 1, 3, 4]]
    assert len({id(each.body) for each in held if each.id != 2}) == 1  # one copy


async def test_a_batch_of_which_nothing_can_be_read() -> None:
    peer = Peer()
    shelf = stored(3)
    shelf.bodies = dict.fromkeys(range(3))
    shelf.put(message(3))
    async with peers(peer) as port, scene(port, shelf=shelf, **BATCHES) as at:
        await at.run(4)
    assert shelf.unreadable == [0, 1, 2] and numbers(peer) == [[3]]


async def test_another_record_is_another_transaction() -> None:
    peer = Peer()
    shelf = stored(3)
    shelf.put(message(3, loaded=False, place=8))
    shelf.bodies[3] = OTHER
    async with peers(peer) as port, scene(port, shelf=shelf, **BATCHES) as at:
        await at.run(4)
    assert numbers(peer) == [[0, 1, 2], [3]]


async def test_a_connection_lost_while_bodies_are_loaded() -> None:
    """What has not begun goes on over another connection; nothing of it counts as an attempt."""
    peer = Peer()
    shelf = stored(4)
    shelf.gate = asyncio.Event()
    async with peers(peer) as port, scene(port, shelf=shelf, **BATCHES) as at:
        at.wake()
        await shelf.asked.wait()
        await peer.came.wait()
        for task in peer._tasks:
            task.cancel()
        await peer.gone.wait()
        shelf.gate.set()
        await shelf.until(4)
        assert verdicts(shelf, 4) == [D] * 4
    assert sorted(number for each in numbers(peer) for number in each) == [0, 1, 2, 3]


async def test_a_connection_that_is_to_end_goes_with_what_is_loaded() -> None:
    peer = Peer()
    shelf = stored(4)
    shelf.gate = asyncio.Event()
    async with peers(peer) as port, scene(port, shelf=shelf, **BATCHES) as at:
        at.wake()
        await shelf.asked.wait()
        path = at.deliverer.path("default", DOMAIN)
        assert path is not None
        for connection in path.connections:
            connection.end()
        shelf.gate.set()
        await shelf.until(4)
    assert numbers(peer) == [[0], [1, 2, 3]]
    assert peer.connections == 2


async def test_stopping_in_no_time_hands_back_what_has_not_begun() -> None:
    peer = Peer()
    shelf = stored(4)
    shelf.gate = asyncio.Event()
    async with peers(peer) as port, scene(port, shelf=shelf, stop=0, **BATCHES) as at:
        at.wake()
        await shelf.asked.wait()
    assert [outcome.counts for number in range(4) for outcome in shelf.outcomes[number]] == [False] * 4
    assert not peer.received


# --- LMTP -------------------------------------------------------------------------------------------------------------


def to_lmtp(port: int) -> dict[str, Any]:
    return BATCHES | {"delivery_method": "lmtp", "lmtp_port": port}


async def test_lmtp_recipients_end_by_their_own_replies() -> None:
    peer = Peer()

    def judge(step: str, line: bytes, connection: int) -> Answer | None:
        if step == "rcpt" and b"user1@" in line:
            return b"550 5.1.1 who\r\n"
        return b"452 4.2.2 full\r\n" if step == "content" and b"user2@" in line else None

    peer.judge = judge
    async with peers(peer) as port, scene(free_port(), shelf=alike(4), **to_lmtp(port)) as at:
        await at.run(4)
        assert verdicts(at.shelf, 4) == [D, F, T, D]
        assert at.shelf.outcome(2).stage is Stage.CONFIRMATION
    assert numbers(peer) == [[0, 3]]


async def test_lmtp_that_goes_between_two_replies() -> None:
    peer = Peer()
    peer.judge = lambda step, line, connection: Wrong.CLOSE if step == "content" and b"user1@" in line else None
    async with peers(peer) as port, scene(free_port(), shelf=alike(3), **to_lmtp(port)) as at:
        await at.run(3)
        assert verdicts(at.shelf, 3) == [D, T, T]


@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize("pipelining", [False, True])
async def test_smtp_sink_takes_batches(tmp_path: Path, lmtp: bool, pipelining: bool) -> None:
    arguments = ["-L"] * lmtp + ["-p"] * (not pipelining)
    async with sink(tmp_path, *arguments) as port:
        options = to_lmtp(port) if lmtp else BATCHES
        async with scene(port, shelf=alike(50), **options) as at:
            await at.run(50)
            assert verdicts(at.shelf, 50) == [D] * 50
