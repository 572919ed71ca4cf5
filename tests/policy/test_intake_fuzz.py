"""Random hooks at the door: whatever they do, a message is answered once, and what is kept is what a plain model of the
phases says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.message import Accepted, Body, Recipient, Refused, Reply, Transaction
from postroad.message.address import AddressError, parse_mailbox
from postroad.policy import PHASES, TROUBLE, Accept, Discard, Disconnect, Hook, Hooks, Intake, Reject, Tarpit, Tempfail
from postroad.policy.intake import DECIDED
from tests.policy.doors import MAIL, Kept

BEFORE = "message"
EACH = {
    "esmtp": ("each_recipient", "set_binding", "routing", "final_validation"),
    "rest": ("generated", "set_binding", "routing", "final_validation"),
    "internal": ("set_binding", "routing", "final_validation"),
}
ALL = (BEFORE, "each_recipient", "generated", "set_binding", "routing", "final_validation")

SAYS: dict[str, object] = {
    "nothing": None,
    "accept": Accept(),
    "reject": Reject("no"),
    "tempfail": Tempfail("later"),
    "disconnect": Disconnect("go"),
    "discard": Discard("dull"),
    "nonsense": 7,
    "raises": RuntimeError("boom"),
}
EDITS = ("none", "subject", "context", "sender", "binding", "move", "add", "drop", "clear", "ruin")


@dataclass(frozen=True)
class Act:
    """only: the recipient it is for, "" for all. waits: as a coroutine."""

    phase: str
    says: str = "nothing"
    edit: str = "none"
    only: str = ""
    waits: bool = False
    lenient: bool = False


@dataclass
class View:
    """What the model knows of facts: the same names as theirs, as far as acts touch them."""

    sender: str
    recipients: list[str] = field(default_factory=list)
    recipient: str = ""
    subject: str = "s"
    binding: str = ""
    context: dict[str, str] = field(default_factory=dict)


ACTS = st.builds(
    Act,
    phase=st.sampled_from(ALL),
    says=st.sampled_from(["nothing"] * 8 + list(SAYS)),
    edit=st.sampled_from(EDITS),
    only=st.sampled_from(["", "", "a@x.example", "b@x.example"]),
    waits=st.booleans(),
    lenient=st.booleans(),
)
TO = st.lists(st.sampled_from([f"{name}@x.example" for name in "abcd"]), min_size=1, max_size=4, unique=True)


def edit(act: Act, facts: Any, subject: Callable[[str], None]) -> None:
    """On facts and on the model's view of them alike."""
    each = act.phase != BEFORE
    match act.edit:
        case "subject":
            subject(f"{act.phase} {act.only}")
        case "context":
            facts.context["k"] = act.phase
        case "sender":
            facts.sender = "other@s.example"
        case "binding" if each:
            facts.binding = "bulk"
        case "move" if each:
            facts.recipient = "moved@y.example"
        case "ruin" if each:
            facts.recipient = "no address\r\n"
        case "ruin":
            facts.recipients.append("no address\r\n")
        case "add" if not each:
            facts.recipients.append("new@z.example")
        case "drop" if not each:
            del facts.recipients[0:1]
        case "clear" if not each:
            facts.recipients.clear()


def applies(act: Act, recipient: str) -> bool:
    return act.phase == BEFORE or act.only in ("", recipient)


def hook(act: Act) -> Hook:
    def now(facts: Any) -> Any:
        if not applies(act, getattr(facts, "recipient", "")):
            return None
        edit(act, facts, lambda text: facts.content.set("Subject", text))
        said = SAYS[act.says]
        if isinstance(said, Exception):
            raise said
        return said

    async def later(facts: Any) -> Any:
        await asyncio.sleep(0)
        return now(facts)

    return Hook("fuzz", act.phase, later if act.waits else now, on_error="continue" if act.lenient else "tempfail")


# --- the model ----------------------------------------------------------------------------------------------------


def chain(acts: list[Act], phase: str, view: View) -> object:
    """The verdict of a phase, None to go on."""
    for act in acts:
        if act.phase != phase or not applies(act, view.recipient):
            continue
        edit(act, view, lambda text: setattr(view, "subject", text))
        said = SAYS[act.says]
        if said is not None and not isinstance(said, PHASES[phase].verdicts):
            if not act.lenient:
                return TROUBLE
        elif said is not None:
            return None if isinstance(said, Accept) else said
    return None


def known(address: str) -> bool:
    try:
        parse_mailbox(address)
    except AddressError:
        return False
    return True


Kind = tuple[str, str, str, str, str, str]  # sender, recipient, subject, binding, context, end


def expected(acts: list[Act], to: list[str], method: str) -> Reply | list[Kind]:
    first = View("a@s.example", list(to))
    decided = ""
    if method == "esmtp":
        said = chain(acts, BEFORE, first)
        if isinstance(said, Reject | Tempfail | Disconnect):
            return said.reply
        if not all(map(known, first.recipients)):
            return TROUBLE.reply
        decided = f"discard {said.reason}" if isinstance(said, Discard) else ""
    if not first.recipients:
        decided = decided or "discard all recipients were taken out"
        first.recipients = to
    made: list[Kind] = []
    refused: list[Reply] = []
    for address in first.recipients:
        view = View(first.sender, [], address, first.subject, "", dict(first.context))
        end = decided
        for phase in () if decided else EACH[method]:
            said = chain(acts, phase, view)
            if isinstance(said, Tempfail):
                return said.reply
            if isinstance(said, Reject):
                refused.append(said.reply)
                end = f"fail {said.reply}"
            elif isinstance(said, Discard):
                end = f"discard {said.reason}"
            if said is not None:
                break
        if not known(view.recipient):
            return TROUBLE.reply
        made.append((view.sender, view.recipient, view.subject, view.binding, view.context.get("k", ""), end))
    return refused[0] if len(refused) == len(made) else made


# --- the thing itself ---------------------------------------------------------------------------------------------


def take(acts: list[Act], to: list[str], method: str) -> tuple[Accepted | Refused, Kept, Transaction]:
    kept = Kept()
    people = [Recipient(address, "x.example") for address in to]
    given_now = Transaction("a@s.example", people, Body(MAIL, b"Received: x\r\n"), method=method, id=77)
    answers: list[Accepted | Refused] = []

    async def run() -> None:
        hooks = Hooks([hook(act) for act in acts])
        over = asyncio.Event()

        def done(result: Accepted | Refused) -> None:
            answers.append(result)
            over.set()

        Intake(kept, lambda: hooks, "").accept(given_now, done)
        await over.wait()
        await asyncio.sleep(0)  # a second answer would come now
        hooks.close()

    asyncio.run(run())
    assert len(answers) == 1, "answered once"
    return answers[0], kept, given_now


def check(acts: list[Act], to: list[str], method: str) -> None:
    result, kept, transaction = take(acts, to, method)
    assert transaction.body.content == MAIL
    assert [(r.address, r.domain, r.context) for r in transaction.recipients] == [(a, "x.example", None) for a in to]
    wanted = expected(acts, to, method)
    if isinstance(wanted, Reply):
        assert result == Refused(wanted)
        assert not kept.transactions, "refused, and yet kept"
        ((reply, times),) = [(one.reply, one.times) for one in kept.rejections]
        assert reply == wanted and times == len(to)
        return
    assert isinstance(result, Accepted) and not kept.rejections
    by_id: dict[int, Kind] = {}
    number = 0
    for one in kept.transactions:
        assert bytes(one.body).startswith(b"Received: x\r\nSubject: ")
        for recipient in one.recipients:
            number += 1
            context = {**one.context, **(recipient.context or {})}
            subject = one.body.content.removeprefix(b"Subject: ").partition(b"\r\n")[0].decode().strip()
            by_id[number] = (
                *(one.sender, recipient.address, subject, context.get("binding", "")),
                *(context.get("k", ""), context.get(DECIDED, "")),
            )
    assert len(set(result.ids)) == len(result.ids) == len(by_id), "each is kept once, and has an id"
    assert [by_id[each] for each in result.ids] == [
        (sender, recipient, subject.strip(), binding, k, end) for sender, recipient, subject, binding, k, end in wanted
    ]
    bodies = [(one.sender, one.body.content) for one in kept.transactions]
    assert len(set(bodies)) == len(bodies), "equal messages share a body"


@settings(max_examples=250, deadline=None)
@given(st.lists(ACTS, max_size=8), TO, st.sampled_from(list(EACH)))
def test_random_hooks(acts: list[Act], to: list[str], method: str) -> None:
    check(acts, to, method)


@pytest.mark.soak
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ACTS, max_size=16), TO, st.sampled_from(list(EACH)))
def test_random_hooks_at_length(acts: list[Act], to: list[str], method: str) -> None:
    check(acts, to, method)


def test_the_acts_reach_every_end() -> None:
    """The model is no shadow of the thing: each kind of end is met."""
    to = ["a@x.example", "b@x.example"]
    for says, end in (("reject", "fail 550 5.7.1 no"), ("discard", "discard dull")):
        made = expected([Act("final_validation", says, only="a@x.example")], to, "esmtp")
        assert isinstance(made, list) and [one[-1] for one in made] == [end, ""]
    assert expected([Act("routing", "reject")], to, "esmtp") == TROUBLE.reply
    assert isinstance(expected([Act("routing", "reject", lenient=True)], to, "esmtp"), list)
    assert Tarpit not in map(type, SAYS.values())  # would make the clock part of it
