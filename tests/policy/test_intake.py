"""Hooks at the door: what is kept, and what the client hears."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from postroad.message import Accepted, Refused, Transaction
from postroad.policy import Discard, Disconnect, Hook, Hooks, Incoming, Intake, OneRecipient, Reject, Tempfail, Verdict
from postroad.policy.intake import DECIDED
from tests.policy.doors import MAIL, Kept, transaction


async def take(given: Transaction, kept: Kept, *hooks: Hook, listener: str = "") -> Accepted | Refused:
    result: asyncio.Future[Accepted | Refused] = asyncio.get_running_loop().create_future()
    Intake(kept, lambda: Hooks(hooks), listener).accept(given, result.set_result)
    return await result


def hook(phase: str, call: Any) -> Hook:
    return Hook("test", phase, call)


async def test_without_hooks_a_transaction_passes_as_it_is() -> None:
    kept, given = Kept(), transaction()
    assert await take(given, kept, hook("connect", None)) == Accepted([1])
    assert kept.transactions[0] is given


@pytest.mark.parametrize(("method", "first"), [("esmtp", "each_recipient"), ("rest", "generated"), ("internal", "")])
async def test_the_phases_each_message_meets(method: str, first: str) -> None:
    met: list[str] = []
    phases = ("message", "each_recipient", "generated", "set_binding", "routing", "final_validation")

    def note(phase: str) -> Any:
        return lambda facts: met.append(phase)

    result = await take(
        transaction("a@x.example", "b@x.example", method=method), Kept(), *(hook(p, note(p)) for p in phases)
    )
    assert isinstance(result, Accepted)
    each = [*([first] if first else []), "set_binding", "routing", "final_validation"]
    assert met == (["message"] if method == "esmtp" else []) + each * 2


@pytest.mark.parametrize("verdict", [Reject("no"), Tempfail("no"), Disconnect("no")])
@pytest.mark.parametrize("waits", [False, True])
async def test_a_refusal_of_the_message(verdict: Reject, waits: bool) -> None:
    async def later(facts: object) -> Verdict:
        await asyncio.sleep(0)
        return verdict

    kept = Kept()
    result = await take(transaction(), kept, hook("message", later if waits else lambda facts: verdict))
    assert result == Refused(verdict.reply)
    assert not kept.transactions
    assert [rejection.reply for rejection in kept.rejections] == [verdict.reply]


async def test_a_hook_that_raises_is_451() -> None:
    def broken(facts: object) -> None:
        raise RuntimeError("boom")

    kept = Kept()
    for phase in ("message", "each_recipient", "final_validation"):
        result = await take(transaction(), kept, hook(phase, broken))
        assert isinstance(result, Refused)
        assert result.reply.code == 451
    assert not kept.transactions


async def test_an_edit_for_all_keeps_one_body() -> None:
    def edit(facts: Incoming) -> None:
        facts.content.set("Subject", "new")
        facts.context["k"] = "v"
        facts.sender = "other@s.example"

    kept = Kept()
    given = transaction("b@x.example", "c@y.example")
    assert await take(given, kept, hook("message", edit)) == Accepted([1, 2])
    (one,) = kept.transactions
    assert bytes(one.body) == b"Received: x\r\nSubject: new\r\n\r\nbody\r\n"
    assert (one.sender, one.context, one.id) == ("other@s.example", {"k": "v"}, 77)
    assert given.body.content == MAIL


async def test_an_edit_for_one_recipient_is_not_seen_by_the_others() -> None:
    def edit(facts: OneRecipient) -> None:
        assert facts.content.get("Subject") == "s"
        if facts.recipient == "c@x.example":
            facts.content.set("Subject", "for c")

    kept = Kept()
    result = await take(transaction("b@x.example", "c@x.example", "d@x.example"), kept, hook("each_recipient", edit))
    contents = {r.address: one.body.content for one in kept.transactions for r in one.recipients}
    assert contents["b@x.example"] is contents["d@x.example"]
    assert contents["c@x.example"] == b"Subject: for c\r\n\r\nbody\r\n"
    # Ids come in the order of the recipients, whatever was parted.
    order = [r.address for one in kept.transactions for r in one.recipients]
    assert isinstance(result, Accepted)
    assert [order[number - 1] for number in result.ids] == ["b@x.example", "c@x.example", "d@x.example"]
    assert [one.id for one in kept.transactions] == [77, 0]


async def test_recipients_added_taken_out_and_changed() -> None:
    def choose(facts: Incoming) -> None:
        facts.recipients[:] = ["c@y.example", "new@z.example"]

    def change(facts: OneRecipient) -> None:
        if facts.recipient.startswith("c@"):
            facts.recipient = "d@w.example"

    kept = Kept()
    await take(transaction("b@x.example", "c@y.example"), kept, hook("message", choose), hook("each_recipient", change))
    (one,) = kept.transactions
    assert [(r.address, r.domain) for r in one.recipients] == [
        ("d@w.example", "w.example"),
        ("new@z.example", "z.example"),
    ]


async def test_an_address_that_is_none_is_a_failed_hook() -> None:
    def change(facts: OneRecipient) -> None:
        facts.recipient = "x\r\nRCPT TO:<evil@x.example>"

    kept = Kept()
    result = await take(transaction(), kept, hook("each_recipient", change))
    assert isinstance(result, Refused)
    assert result.reply.code == 451
    assert not kept.transactions


async def test_what_set_binding_chooses_goes_with_the_recipient() -> None:
    def choose(facts: OneRecipient) -> None:
        facts.binding, facts.group, facts.priority, facts.expires_in, facts.domain = "b1", "g1", 1, 60.0, "mx.example"

    kept = Kept()
    await take(transaction(), kept, hook("set_binding", choose))
    (recipient,) = kept.transactions[0].recipients
    assert recipient.context == {"binding": "b1", "binding_group": "g1", "priority": "1", "expires_in": "60.0"}
    assert recipient.domain == "mx.example"


async def test_one_refused_of_several_is_kept_with_its_end_decided() -> None:
    def judge(facts: OneRecipient) -> Verdict | None:
        return {"c": Reject("no c"), "d": Discard("no d")}.get(facts.recipient[0])

    kept = Kept()
    given = transaction("b@x.example", "c@x.example", "d@x.example")
    assert await take(given, kept, hook("final_validation", judge)) == Accepted([1, 2, 3])
    ends = {r.address[0]: (r.context or {}).get(DECIDED) for one in kept.transactions for r in one.recipients}
    assert ends == {"b": None, "c": "fail 550 5.7.1 no c", "d": "discard no d"}


async def test_all_refused_is_a_refusal_and_one_tempfail_puts_all_off() -> None:
    kept = Kept()
    result = await take(transaction("b@x.example", "c@x.example"), kept, hook("each_recipient", lambda f: Reject("no")))
    assert result == Refused(Reject("no").reply)

    def one_of_two(facts: OneRecipient) -> Verdict | None:
        return Tempfail("later") if facts.recipient[0] == "c" else None

    assert await take(transaction("b@x.example", "c@x.example"), kept, hook("each_recipient", one_of_two)) == Refused(
        Tempfail("later").reply
    )
    assert not kept.transactions


async def test_discard_and_nobody_left_are_kept_to_be_told() -> None:
    kept = Kept()
    assert await take(transaction(), kept, hook("message", lambda f: Discard("spam"))) == Accepted([1])
    assert await take(transaction(), kept, hook("message", lambda f: f.recipients.clear())) == Accepted([2])
    ends = [(one.recipients[0].context or {})[DECIDED] for one in kept.transactions]
    assert ends == ["discard spam", "discard all recipients were taken out"]


async def test_a_thousand_recipients_need_no_deep_stack() -> None:
    kept = Kept()
    many = [f"r{n}@x.example" for n in range(1000)]
    phases = ("each_recipient", "set_binding", "final_validation")
    result = await take(transaction(*many), kept, *(hook(phase, lambda facts: None) for phase in phases))
    assert result == Accepted(list(range(1, 1001)))
    assert len(kept.transactions) == 1
