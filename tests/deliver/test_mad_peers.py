"""Real sockets with a peer that goes wrong at one step: how the message ends, by step and by wrong."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from postroad.message import Stage, Verdict
from tests.deliver.peers import SHORT, Answer, Peer, Wrong, peers, scene
from tests.deliver.supply import Shelf, message

T, F = Verdict.DEFERRED, Verdict.FAILED
TIMES = {"content": "final_timeout"}  # else the step's name and "_timeout"


class Case(NamedTuple):
    """The peer does `answer` at `step`, for ever. code 451 and internal: the words are ours."""

    step: str
    answer: Answer
    verdict: Verdict
    code: int
    stage: Stage
    internal: bool = True
    duplicate: bool = False


STEPS = {
    "banner": Stage.BANNER,
    "ehlo": Stage.EHLO,
    "mail": Stage.MAIL,
    "rcpt": Stage.RCPT,
    "data": Stage.DATA,
    "content": Stage.CONFIRMATION,
}

CASES = [
    *(Case(step, wrong, T, 451, STEPS[step], duplicate=step == "content") for step in STEPS for wrong in Wrong),
    *(Case(step, b"421 4.3.2 closing\r\n", T, 421, STEPS[step], internal=False) for step in STEPS),
    *(Case(step, b"450 4.2.0 later\r\n", T, 450, STEPS[step], internal=False) for step in STEPS),
    *(Case(step, b"554 5.7.1 never\r\n", F, 554, STEPS[step], internal=False) for step in STEPS if step != "ehlo"),
    Case("data", b"250 instead\r\n", T, 451, Stage.DATA),
    *(
        Case(step, b"354 instead\r\n", T, 451, STEPS[step], duplicate=step == "content")
        for step in ("banner", "ehlo", "mail", "rcpt", "content")
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.step}-{case.answer!r}")
@pytest.mark.parametrize("pipelining", [True, False])
async def test_a_peer_that_goes_wrong(case: Case, pipelining: bool) -> None:
    peer = Peer(**{case.step: case.answer})
    if not pipelining and case.step != "ehlo":
        peer.answers["ehlo"] = b"250 peer.example.net\r\n"
    options: dict[str, Any] = {TIMES.get(case.step, f"{case.step}_timeout"): SHORT}
    async with peers(peer) as port, scene(port, shelf=Shelf([message()]), **options) as at:
        await at.run(1)
        outcome = at.shelf.outcome()
        assert (outcome.verdict, outcome.reply.code, outcome.stage, outcome.internal) == case[2:6], outcome
        assert ("duplicate" in outcome.reply.text) == case.duplicate
        assert (outcome.host, outcome.peer, outcome.source) == ("mx1.example.net", "127.0.0.1", "127.0.0.1")
        assert outcome.counts and not outcome.dsn
    assert not peer.received


@pytest.mark.parametrize("wrong", list(Wrong))
async def test_wrongs_at_quit_harm_nobody(wrong: Wrong) -> None:
    peer = Peer(quit=wrong)
    async with peers(peer) as port, scene(port, shelf=Shelf([message()]), quit_timeout=SHORT) as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is Verdict.DELIVERED
    assert len(peer.received) == 1


async def test_a_peer_that_takes_none_of_the_message() -> None:
    """It accepts DATA and then reads no more, so that the content stands in the buffers of both sides."""
    peer = Peer()
    peer.deaf = True
    shelf = Shelf([message(content=b"x" * 998 + b"\r\n" + (b"y" * 998 + b"\r\n") * 30_000)])

    async with peers(peer) as port, scene(port, shelf=shelf, body_timeout=SHORT) as at:
        await at.run(1)
        outcome = shelf.outcome()
        assert (outcome.verdict, outcome.stage, outcome.internal) == (T, Stage.BODY, True)
        assert "took none of the message" in outcome.reply.text and "duplicate" not in outcome.reply.text


async def test_a_yes_to_a_message_it_has_not_got_is_a_lie() -> None:
    peer = Peer(data=b"354 go\r\n250 got it all\r\n")
    async with peers(peer) as port, scene(port, shelf=Shelf([message()])) as at:
        await at.run(1)
        assert at.shelf.outcome().verdict is T


async def test_a_refusal_in_the_middle_of_a_large_message_counts() -> None:
    peer = Peer(data=b"354 go\r\n552 5.3.4 too large\r\n")
    shelf = Shelf([message(content=b"y" * 3_000_000)])
    async with peers(peer) as port, scene(port, shelf=shelf) as at:
        await at.run(1)
        outcome = shelf.outcome()
        assert (outcome.verdict, outcome.reply.code, outcome.internal) == (F, 552, False)
