"""Yesterday's events against another policy: what differs, and what can't be told."""

from __future__ import annotations

from typing import Any

import pytest

from postroad.config.schema import RuleOptions
from postroad.policy import Accept, Discard, Hook, Reject, Tarpit, load_rules
from postroad.policy.replay import EventClock, Judged, Replay

TAKEN: dict[str, Any] = {
    "type": "injection",
    "recv_method": "esmtp",
    "msg_from": "ann@s.example",
    "raw_rcpt_to": "Bob@X.example",
    "rcpt_to": "bob@x.example",
    "recipient_domain": "x.example",
    "routing_domain": "x.example",
    "msg_size": "5000",
    "subject": "Grüße",
}
REFUSED: dict[str, Any] = {
    "type": "policy_rejection",
    "recv_method": "esmtp",
    "remote_addr": "192.0.2.66",
    "raw_reason": "550 5.7.1 no",
}


async def replay(
    old: list[Hook], new: list[Hook], *events: dict[str, Any], listener: str = ""
) -> tuple[Replay, list[tuple[Judged, Judged] | None]]:
    running = Replay(old, new, EventClock(), listener)
    found = [await running.add(event, 1_000.0 + number) for number, event in enumerate(events)]
    running.close()
    return running, [None if one is None else (one.old, one.new) for one in found]


def rules(**options: Any) -> list[Hook]:
    return load_rules([RuleOptions(name="r", **options)])


def hook(phase: str, call: Any, **settings: Any) -> Hook:
    return Hook("p", phase, call, **settings)


@pytest.mark.parametrize("phase", ["mail_from", "rcpt_to", "message", "each_recipient", "final_validation"])
async def test_a_new_refusal(phase: str) -> None:
    new = rules(phase=phase, when="sender == 'ann@s.example'", action="reject", text="5.7.1 closed")
    running, (found,) = await replay([], new, TAKEN)
    assert found == (Judged("taken"), Judged("reject", "550 5.7.1 closed", f"r.{phase}"))
    assert (running.report.same, running.report.differ) == (0, 1)
    assert running.report.kinds == {("taken", "reject", f"r.{phase}"): 1}
    _, (none,) = await replay(new, new, TAKEN)
    assert none is None


async def test_what_events_know_can_be_asked_for() -> None:
    when = "size > 4000 && header('Subject') == 'Grüße' && domain == 'x.example' && method == 'esmtp'"
    running, (found,) = await replay([], rules(phase="each_recipient", when=when, action="reject"), TAKEN)
    assert found is not None and found[1].verdict == "reject"
    assert not running.report.passed_over


@pytest.mark.parametrize(
    ("when", "looked_at"),
    [
        ("header('From') == ''", "header From"),
        ("body_contains('x')", "content"),
        ("has_part('text/plain')", "content"),
        ("peer == ''", "session.peer"),
        ("user == ''", "session.user"),
        ("'x' in context || true", "message context"),
        ("'x' in connection || true", "connection context"),
    ],
)
async def test_a_rule_that_looks_at_more_is_passed_over(when: str, looked_at: str) -> None:
    running, (found,) = await replay([], rules(phase="final_validation", when=when, action="reject"), TAKEN)
    assert found is None
    assert running.report.passed_over == {"r.final_validation": 1}
    assert running.report.looked_at == {"r.final_validation": {looked_at}}
    assert not running.report.errors


async def test_a_plug_in_that_looks_at_more_is_passed_over_whatever_it_does() -> None:
    def swallows(facts: Any) -> Any:
        try:
            return Reject("empty") if not facts.content.body else None
        except Exception:
            return Reject("broken")

    async def waits(facts: Any) -> Any:
        return Reject(facts.session.helo or "nobody")

    def raises(facts: Any) -> Any:
        return facts.content.mime.parts[0]

    new = [hook("message", swallows), hook("each_recipient", waits), hook("routing", raises)]
    running, (found,) = await replay([], new, TAKEN)
    assert found is None and not running.report.errors
    assert running.report.passed_over == {"p.message": 1, "p.each_recipient": 1, "p.routing": 1}


async def test_what_the_replay_wrote_is_known() -> None:
    def write(facts: Any) -> None:
        facts.context["k"] = "v"
        facts.content.set("X-Tag", "1")
        facts.content.remove("X-Gone")

    def read(facts: Any) -> Any:
        known = facts.context["k"] + facts.content.get("x-tag") + str(facts.content.count("X-Gone"))
        return Reject(known)

    running, (found,) = await replay([], [hook("message", write), hook("routing", lambda f: None)], TAKEN)
    assert found is not None and found[1].chosen == {"context.k": "v", "content": "edited"}
    assert running.report.kinds == {("taken", "otherwise", ""): 1}
    _, (found,) = await replay([], [hook("message", write), hook("final_validation", read)], TAKEN)
    assert found is not None and found[1].words == "reject 550 5.7.1 v10"


async def test_what_is_chosen_otherwise() -> None:
    def choose(facts: Any) -> None:
        facts.binding, facts.priority, facts.domain = "bulk", 1, "mx.example"

    def other(facts: Any) -> None:
        facts.recipients[:] = ["c@y.example"]

    _, (found,) = await replay([hook("set_binding", choose)], [hook("message", other)], TAKEN)
    assert found is not None
    assert found[0].chosen == {"binding": "bulk", "priority": 1, "domain": "mx.example"}
    assert found[1].chosen["recipients"] == ["c@y.example"]


async def test_generated_mail() -> None:
    new = [hook("generated", lambda f: Reject(f.session.listener)), hook("message", lambda f: Reject("smtp"))]
    _, (found,) = await replay([], new, {**TAKEN, "recv_method": "rest"})
    assert found is not None and found[1] == Judged("reject", "550 5.7.1 http", "p.generated")


async def test_refused_clients_are_asked_about_as_far_as_they_came() -> None:
    new = rules(phase="connect", when="peer.startsWith('192.0.2.')", action="disconnect")
    many = {**REFUSED, "rejections": "40"}
    running, found = await replay(new, [], REFUSED, many, {**REFUSED, "remote_addr": "198.51.100.1"}, TAKEN)
    assert found[2:] == [None, None]
    assert running.report.kinds == {("disconnect", "taken", "r.connect"): 41}
    assert (running.report.events, running.report.same) == (43, 2)
    sender = rules(phase="mail_from", when="sender == 'x@y.example'", action="reject")
    _, found = await replay([], sender, {**REFUSED, "msg_from": "x@y.example"}, REFUSED)
    assert found[0] is not None and found[1] is None


async def test_accept_tarpit_and_discard() -> None:
    new = [
        hook("rcpt_to", lambda f: Tarpit(300)),
        hook("message", lambda f: Accept()),
        hook("message", lambda f: Reject("not asked")),
        hook("final_validation", lambda f: Discard("dull")),
    ]
    _, (found,) = await replay([], new, TAKEN)
    assert found is not None and found[1] == Judged("discard", "dull", "p.final_validation")


async def test_hooks_that_fail_are_counted() -> None:
    def broken(facts: Any) -> None:
        raise RuntimeError("boom")

    running, (found,) = await replay([], [hook("message", broken)], TAKEN)
    assert found is not None and found[1].words == "tempfail 451 4.3.0 A check could not be made; try again later"
    assert running.report.errors == {"p.message": 1}
    lenient = [hook("message", broken, on_error="continue")]
    running, (found,) = await replay([], lenient, TAKEN)
    assert found is None and running.report.errors == {"p.message": 1}


async def test_hooks_for_one_listener_and_phases_on_the_way_out() -> None:
    new = [
        hook("message", lambda f: Reject("25"), listeners=frozenset({"a:25"})),
        hook("before_attempt", lambda f: Reject("out")),
        hook("ehlo", lambda f: Reject("ehlo")),
    ]
    assert (await replay([], new, TAKEN))[1] == [None]
    _, (found,) = await replay([], new, TAKEN, listener="a:25")
    assert found is not None and found[1].text == "550 5.7.1 25"


async def test_the_clock_shows_the_time_of_the_event() -> None:
    clock, seen = EventClock(), []
    running = Replay([], [hook("message", lambda f: seen.append(clock.wall()))], clock)
    for wall in (5.0, 7.0):
        await running.add(TAKEN, wall)
    assert seen == [5.0, 7.0]


async def test_samples_are_few_of_each_kind() -> None:
    new = rules(phase="rcpt_to", action="reject")
    running, _ = await replay([], new, *[TAKEN] * 10)
    assert len(running.report.samples) == 3 and running.report.differ == 10
