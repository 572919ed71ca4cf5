"""Hooks on the way out, and the ends the door has decided."""

from __future__ import annotations

import asyncio
from typing import Any

from postroad.message import Body, Outcome, Reply, Stage
from postroad.message import Verdict as Ended
from postroad.policy import Fail, Hook, Hooks, Outbound, Outgoing, Replied, Retry, Verdict
from postroad.policy.intake import DECIDED
from tests.policy.doors import MAIL, Line, message

PATH = ("default", "x.example")
DEFERRED = Outcome(Ended.DEFERRED, Reply(450, "4.2.2 full"), Stage.RCPT)
DELIVERED = Outcome(Ended.DELIVERED, Reply(250, "2.0.0 ok"), Stage.CONFIRMATION)


def outbound(line: Line, *hooks: Hook) -> tuple[Outbound, list[tuple[str, str]]]:
    woken: list[tuple[str, str]] = []
    made = Hooks(hooks)
    return Outbound(line, lambda: made, lambda *path: woken.append(path)), woken


def hook(phase: str, call: Any) -> Hook:
    return Hook("test", phase, call)


async def test_messages_pass_as_they_are() -> None:
    line = Line([message(1, body=Body(MAIL)), message(2)])
    out, _ = outbound(line)
    assert out.waiting(*PATH) == 2
    first, second = out.take(*PATH), out.take(*PATH)
    assert first is not None and first.body is not None
    assert second is not None and second.body is None
    assert await out.load(second)
    assert out.take(*PATH) is None
    out.settle(first, DELIVERED)
    assert line.settled == [(1, DELIVERED)]


async def test_decided_ends() -> None:
    decided = [
        message(1, {DECIDED: "fail 550 5.7.1 no"}, Body(MAIL)),
        message(2, {DECIDED: "discard spam"}, Body(MAIL)),
        message(5, {DECIDED: "unwanted 554 5.7.1 suppressed"}, Body(MAIL)),
    ]
    line = Line([*decided, message(3, body=Body(MAIL)), message(4, {DECIDED: "discard late"})])
    out, _ = outbound(line)
    taken = out.take(*PATH)
    assert taken is not None and taken.id == 3
    unread = out.take(*PATH)
    assert unread is not None
    assert not await out.load(unread)
    assert [number for number, end in line.settled if not end.internal and end.bounce_class == 25] == [5]
    ends = [(number, end.verdict, str(end.reply), end.silent) for number, end in line.settled]
    assert ends == [
        (1, Ended.FAILED, "550 5.7.1 no", False),
        (2, Ended.FAILED, "550 5.7.1 spam", True),
        (5, Ended.FAILED, "554 5.7.1 suppressed", False),
        (4, Ended.FAILED, "550 5.7.1 late", True),
    ]


async def test_very_many_ends_give_the_loop_its_turn() -> None:
    line = Line([message(n, {DECIDED: "discard spam"}, Body(MAIL)) for n in range(1000)])
    out, woken = outbound(line)
    while line.left:
        assert out.take(*PATH) is None
        await asyncio.sleep(0)
    assert len(line.settled) == 1000
    assert woken and set(woken) == {PATH}


async def test_before_attempt() -> None:
    def judge(facts: Outgoing) -> Verdict | None:
        return {1: Retry(60, "4.7.1 not yet"), 2: Fail("5.7.1 never")}.get(facts.id)

    line = Line([message(n, body=Body(MAIL)) for n in (1, 2, 3)])
    out, _ = outbound(line, hook("before_attempt", judge))
    taken = out.take(*PATH)
    assert taken is not None and taken.id == 3
    (_, first), (_, second) = line.settled
    assert (first.verdict, first.retry_after, first.reply.text) == (Ended.DEFERRED, 60, "4.7.1 not yet")
    assert (second.verdict, second.reply.text) == (Ended.FAILED, "5.7.1 never")


async def test_a_hook_that_waits_is_waited_for_before_the_message_goes() -> None:
    async def judge(facts: Outgoing) -> Verdict | None:
        await asyncio.sleep(0)
        return Fail("5.7.1 never") if facts.id == 2 else None

    line_body = Body(MAIL)
    line = Line([message(1, body=line_body), message(2, body=Body(MAIL))])
    out, _ = outbound(line, hook("before_attempt", judge))
    first, second = out.take(*PATH), out.take(*PATH)
    assert first is not None and second is not None
    assert [first.body, second.body] == [None, None], "they must be asked for"
    assert await out.load(first)
    assert first.body == line_body
    assert not await out.load(second)
    assert [number for number, _ in line.settled] == [2]
    assert line.read == []


async def test_a_hook_that_fails_puts_the_attempt_off() -> None:
    def broken(facts: object) -> None:
        raise RuntimeError("boom")

    line = Line([message(1, body=Body(MAIL))])
    out, _ = outbound(line, hook("before_attempt", broken))
    assert out.take(*PATH) is None
    assert [end.verdict for _, end in line.settled] == [Ended.DEFERRED]


async def test_a_reply_is_taken_for_another() -> None:
    def full(facts: Replied) -> Verdict | None:
        return Fail("full") if "full" in facts.outcome.reply.text else Retry(5)

    line = Line()
    out, _ = outbound(line, hook("reply", full))
    out.settle(message(1), DEFERRED)
    out.settle(message(2), DEFERRED._replace(verdict=Ended.FAILED, reply=Reply(550, "5.1.1 who")))
    out.settle(message(3), DELIVERED)
    out.settle(message(4), DEFERRED._replace(counts=False))
    ends = [(end.verdict, end.retry_after) for _, end in line.settled]
    assert ends == [(Ended.FAILED, None), (Ended.DEFERRED, 5), (Ended.DELIVERED, None), (Ended.DEFERRED, None)]
    assert line.settled[0][1].reply == DEFERRED.reply, "what the host said stays on record"


async def test_knowing_of_ends_and_draining() -> None:
    heard: list[tuple[str, int]] = []

    async def late(facts: Replied) -> None:
        await asyncio.sleep(0)
        heard.append(("late", facts.message.id))

    line = Line()
    out, _ = outbound(
        line,
        hook("delivered", lambda facts: heard.append(("delivered", facts.message.id))),
        hook("deferred", late),
        hook("reply", late),
    )
    out.settle(message(1), DELIVERED)
    out.settle(message(2), DEFERRED)
    await out.drain()
    assert sorted(heard) == [("delivered", 1), ("late", 1), ("late", 2), ("late", 2)]
    assert sorted(number for number, _ in line.settled) == [1, 2]
