"""The kit's script of a session answers as the listener does, over a real socket, for the same hooks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from postroad.policy import (
    DECIDED,
    Accept,
    Discard,
    Disconnect,
    Hook,
    Hooks,
    KeyRing,
    PolicySet,
    RcptTo,
    Reject,
    Tempfail,
    Verdict,
)
from postroad.policy.kit import Policy, Result
from tests.inject.test_policy import MAIL, hook, late, now, session
from tests.policy.doors import Kept

RAW = "Subject: s\r\n\r\nbody\r\n"
TO = ("b@x.example", "c@x.example")
SAID = [Reject("5.7.1 no"), Tempfail("4.7.1 later"), Disconnect("4.7.1 go"), Accept(), Discard("dull"), None]
# (recipient, its decided end) of all that is kept.
Ends = list[tuple[str, str]]
# Refusals, by command; what was kept.
Course = tuple[list[str], Ends]


async def over_smtp(*hooks: Hook) -> Course:
    refused: list[str] = []

    def heard(reply: str) -> bool:
        """Was it a yes?"""
        if reply[:1] in "23":
            return True
        refused.append(reply)
        return False

    async with session(*hooks) as (client, kept):
        if heard(await client.reply()):
            await _say_all(client, heard)
    return refused, _ends(kept)


async def _say_all(client: Any, heard: Callable[[str], bool]) -> None:
    if not heard((await client.say("EHLO client.example"))[0]):
        return
    if not heard((await client.say("MAIL FROM:<a@s.example>"))[0]):
        return
    taken = False
    for address in TO:
        (reply,) = await client.say(f"RCPT TO:<{address}>")
        taken = heard(reply) or taken
        if reply.startswith("421"):
            return
    if taken and heard((await client.say("DATA"))[0]):
        heard((await client.say(f"{RAW}."))[0])


def _ends(kept: Kept) -> Ends:
    return [
        (recipient.address, {**one.context, **(recipient.context or {})}.get(DECIDED, ""))
        for one in kept.transactions
        for recipient in one.recipients
    ]


async def by_script(*hooks: Hook) -> Course:
    async with Policy(PolicySet([], Hooks(hooks), KeyRing([], lambda: 0.0))) as policy:
        made = policy.session(peer="127.0.0.1")
        refused: list[str] = []
        ends: Ends = []

        async def steps() -> None:
            if (await made.connect()).refused or (await made.ehlo("client.example")).refused:
                return
            if (await made.mail_from("a@s.example")).refused:
                return
            for address in TO:
                await made.rcpt_to(address)
                if not made.open:
                    return
            if not made.recipients:
                return
            result = await made.data(RAW)
            if isinstance(result, Result):
                refused.extend([str(result.refused)] if result.refused else [])
                for copy in result.copies:
                    end = f"fail {copy.refused}" if copy.refused else ""
                    ends.append((copy.recipient, f"discard {copy.discarded}" if copy.discarded else end))

        await steps()
        return [str(step.refused) for step in made.steps if step.refused] + refused, ends


@pytest.mark.parametrize("when", [now, late])
@pytest.mark.parametrize("said", SAID, ids=str)
@pytest.mark.parametrize("phase", ["connect", "ehlo", "mail_from", "rcpt_to", "data", "message", "each_recipient"])
async def test_the_same_answers(phase: str, said: Verdict | None, when: Callable[[Any], Any]) -> None:
    asked = hook(phase, when(said))
    assert await over_smtp(asked) == await by_script(asked)


async def test_after_a_refused_ehlo_there_is_no_mail() -> None:
    async with session(hook("ehlo", now(Reject("5.7.1 no")))) as (client, _):
        await client.reply()
        assert (await client.say(*MAIL[:2]))[1].startswith("503")
    async with Policy(PolicySet([], Hooks([hook("ehlo", now(Reject("no")))]), KeyRing([], lambda: 0.0))) as policy:
        made = policy.session()
        await made.ehlo("client.example")
        with pytest.raises(RuntimeError, match="MAIL after a refused EHLO"):
            await made.mail_from("a@s.example")


async def test_what_hooks_are_told_is_the_same() -> None:
    seen: list[list[object]] = []

    def look(phase: str) -> Hook:
        def call(facts: Any) -> None:
            told = facts.session
            seen[-1].append((phase, told.peer, told.helo, told.user, told.tls, told.context.get("mark")))
            told.context.setdefault("mark", phase)

        return hook(phase, call)

    hooks = [look(phase) for phase in ("connect", "ehlo", "mail_from", "rcpt_to", "data", "message", "each_recipient")]
    for course in (over_smtp, by_script):
        seen.append([])
        await course(*hooks)
    assert seen[0] == seen[1] and len(seen[0]) == 9


async def test_the_same_for_one_recipient_of_two_and_for_changed_ones() -> None:
    def judge(facts: RcptTo) -> Verdict | None:
        if facts.recipient == "b@x.example":
            facts.recipient = "other@y.example"
            return None
        return Discard("a hole")

    def refuse(facts: RcptTo) -> Verdict | None:
        return Reject("5.1.1 who?") if facts.recipient == "b@x.example" else None

    def ruin(facts: RcptTo) -> None:
        facts.recipient = "no address"

    async def boom(facts: RcptTo) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("boom")

    for call in (judge, refuse, ruin, boom):
        course = await over_smtp(hook("rcpt_to", call))
        assert course == await by_script(hook("rcpt_to", call))
        assert course != ([], [(address, "") for address in TO])
