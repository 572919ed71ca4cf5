"""Whatever peers do, every message that deliver takes is settled exactly once, and truly."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.message import Body, Stage, Verdict
from tests.deliver.peers import DOMAIN, Answer, Names, Peer, Wrong, peers, scene
from tests.deliver.supply import Shelf, message

COUNT = 25
STEPS = ["banner", "ehlo", "mail", "rcpt", "data", "content", "rset", "quit"]
ANSWERS: list[Answer] = [
    b"421 4.3.2 bye\r\n",
    b"450 4.2.0 later\r\n",
    b"550 5.1.1 no\r\n",
    b"250 ok\r\n",
    b"354 go\r\n",
    b"250-two\r\n250 lines\r\n",
    b"250 ok\r\n250 and once more\r\n",
    b"250 ok\r\n421 and bye\r\n",
    Wrong.CLOSE,
    Wrong.RESET,
    Wrong.NONSENSE,
    Wrong.ENDLESS,
]


class Moody(Peer):
    """Goes wrong at random, in a manner that the seed decides."""

    def __init__(self, seed: int, temper: float, pipelining: bool) -> None:
        super().__init__()
        if not pipelining:
            self.answers["ehlo"] = b"250 moody\r\n"
        rng = Random(seed)
        moods = {step: rng.choice(ANSWERS) for step in STEPS}

        def judge(step: str, line: bytes, connection: int) -> Answer | None:
            return moods.get(step) if rng.random() < temper else None

        self.judge = judge


async def deliver(seed: int, temper: float, pipelining: bool, most: int, stop_after: int, batch: int = 1) -> None:
    alike = 1 if batch == 1 else 5  # so many in a row have one content
    bodies = [Body(b"Subject: %d\r\n\r\n.dot\r\n" % (number // alike)) for number in range(COUNT)]
    shelf = Shelf(
        message(number, loaded=number % 4 != 0, body=bodies[number - number % alike], place=1 + number // alike)
        for number in range(COUNT)
    )
    shelf.bodies = dict(enumerate(bodies))
    shelf.bodies[8] = None
    given = [Moody(seed, temper, pipelining), Moody(seed + 1, temper, pipelining)]
    names = Names()
    names.point(DOMAIN, "127.0.0.1", "127.0.0.2")
    async with (
        peers(*given) as port,
        scene(
            port,
            shelf=shelf,
            names=names,
            max_connections=most,
            stop=0,
            host_failure_retry=0.01,
            max_recipients_per_batch=batch,
        ) as at,
    ):
        # `scene` stops the deliverer at once when enough is settled, with whatever is on the wire then.
        await asyncio.wait_for(at.run(stop_after), 60)
    arrived = [rcpt for peer in given for received in peer.received for rcpt in received.rcpts]
    for number, outcomes in shelf.outcomes.items():
        final = [outcome for outcome in outcomes if outcome.counts]
        assert len(final) <= 1 and len(outcomes) <= 2
        times = arrived.count(f"RCPT TO:<user{number}@{DOMAIN}>".encode())
        if not final:
            assert times == 0
        elif final[0].verdict is Verdict.DELIVERED:
            assert times == 1
        elif final[0].stage not in (Stage.CONFIRMATION, Stage.BODY):
            assert times == 0
        else:
            assert times <= 1


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.05, 0.3, 1.0]),
    st.booleans(),
    st.sampled_from([1, 4]),
    st.sampled_from([1, COUNT // 2, COUNT]),
    st.sampled_from([1, 3, 100]),
)
def test_every_message_is_settled_once(
    seed: int, temper: float, pipelining: bool, most: int, stop_after: int, batch: int
) -> None:
    asyncio.run(deliver(seed, temper, pipelining, most, stop_after, batch))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_good_peer_gets_everything(seed: int, batch: int) -> None:
    asyncio.run(deliver(seed, 0.0, True, 4, COUNT, batch))


@pytest.mark.parametrize("temper", [0.0, 0.3])
def test_the_same_on_uvloop(temper: float) -> None:
    """The loop that servers run on."""
    for seed in range(10):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(deliver(seed, temper, True, 4, COUNT, 1 + seed % 2 * 4))
