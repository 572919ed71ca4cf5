"""Several answers as one: messages are spread over engines, each answers for its own, and what is put together is what
one engine would have said that held them all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.console.merge import MERGES, merge

ENGINES = 4


class Held(NamedTuple):
    """A message on an engine."""

    engine: int
    number: int
    domain: str
    state: str
    due: float


@st.composite
def held(draw: st.DrawFn) -> list[Held]:
    """Domains have owners; some messages are strays."""
    owners = draw(st.lists(st.integers(0, ENGINES - 1), min_size=1, max_size=6))
    found = []
    for number in range(draw(st.integers(0, 40))):
        domain = draw(st.integers(0, len(owners) - 1))
        engine = draw(st.one_of(st.just(owners[domain]), st.integers(0, ENGINES - 1)))
        state = draw(st.sampled_from(("active", "delayed", "in-flight")))
        due = 1000.0 + number if state == "delayed" else 0.0
        found.append(Held(engine, number, f"d{domain}.test", state, due))
    return found


def on(engine: int, messages: Iterable[Held]) -> list[Held]:
    return [message for message in messages if message.engine == engine]


def split(messages: list[Held], answer: Any) -> dict[int, Any]:
    return {engine: answer(on(engine, messages)) for engine in range(ENGINES)}


def count(messages: list[Held], state: str) -> int:
    return sum(message.state == state for message in messages)


def path_row(domain: str, some: list[Held]) -> dict[str, Any]:
    return {
        "binding": "b",
        "domain": domain,
        "active": count(some, "active"),
        "delayed": count(some, "delayed"),
        "in_flight": count(some, "in-flight"),
        "next_due": min((m.due for m in some if m.due), default=None),
        "rate": None,
        "suspended": False,
        "rollup": "",
        "domains": [domain],
    }


def summary(messages: list[Held], limit: int = 100_000) -> dict[str, Any]:
    rows = [path_row(d, [m for m in messages if m.domain == d]) for d in dict.fromkeys(m.domain for m in messages)]
    rows.sort(key=lambda row: row["active"] + row["delayed"] + row["in_flight"], reverse=True)
    return {"total": len(rows), "paths": rows[:limit]}


def ordered(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Paths that are as full as each other stand in no order."""
    return sorted((-(r["active"] + r["delayed"] + r["in_flight"]), *map(repr, r.values())) for r in rows)


@given(held())
def test_the_summary_is_that_of_all(messages: list[Held]) -> None:
    merged = merge("queue-summary", {"limit": 100}, split(messages, summary))
    expected = summary(messages)
    assert merged["total"] == expected["total"] and ordered(merged["paths"]) == ordered(expected["paths"])
    sizes = [row["active"] + row["delayed"] + row["in_flight"] for row in merged["paths"]]
    assert sizes == sorted(sizes, reverse=True)


@given(held(), st.integers(1, 3))
def test_a_limit_keeps_the_fullest_and_the_total(messages: list[Held], limit: int) -> None:
    merged = merge("queue-summary", {"limit": limit}, split(messages, summary))
    fullest = [-key[0] for key in ordered(summary(messages)["paths"])[:limit]]
    assert [row["active"] + row["delayed"] + row["in_flight"] for row in merged["paths"]] == fullest
    assert merged["total"] == summary(messages)["total"]


def listing(messages: list[Held], limit: int = 1000) -> dict[str, Any]:
    flying = [m for m in messages if m.state == "in-flight"]
    queued = [
        m
        for domain in dict.fromkeys(m.domain for m in messages)
        for state in ("active", "delayed")
        for m in sorted((m for m in messages if (m.domain, m.state) == (domain, state)), key=lambda m: m.due)
    ]
    rows = [
        {"id": m.number, "state": m.state, "binding": "b", "domain": m.domain, "next_attempt": m.due or None}
        for m in [*flying, *queued]
    ]
    return {"messages": rows[:limit]}


@given(held(), st.integers(1, 50))
def test_a_list_has_first_what_flies_then_path_by_path_each_in_order(messages: list[Held], limit: int) -> None:
    each = split(messages, lambda some: listing(some, limit))
    merged = merge("queue-list", {"limit": limit}, each)["messages"]
    assert len(merged) == min(limit, len(messages)) and len({row["id"] for row in merged}) == len(merged)
    flying = min(limit, count(messages, "in-flight"))
    assert all(row["state"] == "in-flight" for row in merged[:flying])
    assert all(row["state"] != "in-flight" for row in merged[flying:])
    queued = merged[flying:]
    changes = [row["domain"] for at, row in enumerate(queued) if not at or queued[at - 1]["domain"] != row["domain"]]
    assert len(changes) == len(set(changes))  # no path begins twice
    for domain in changes:
        rows = [row for row in queued if row["domain"] == domain]
        order = [(row["state"] == "delayed", row["next_attempt"] or 0.0) for row in rows]
        assert order == sorted(order)
        for engine in range(ENGINES):  # nobody's own order is changed
            own = [row["id"] for row in each[engine]["messages"] if row in rows]
            assert [row["id"] for row in rows if row["id"] in own] == own


def test_a_list_within_one_path_takes_engines_in_turn() -> None:
    messages = [Held(number % 2, number, "d.test", "active", 0.0) for number in range(6)]
    merged = merge("queue-list", {"limit": 4}, {k: listing(on(k, messages)) for k in (0, 1)})
    assert [row["id"] for row in merged["messages"]] == [0, 1, 2, 3]


def overview(messages: list[Held]) -> dict[str, Any]:
    return {
        "messages": len(messages),
        "in_flight": count(messages, "in-flight"),
        "recovered": 0,
        "refusal": None,
        "suspensions": 3,
        "delivery": {"delivered": len(messages) * 7},
        "journal": {"accepted": len(messages) * 9, "recovered": True, "refusal": None, "commit_seconds": 0.5},
        "alarms": [],
    }


@given(held())
def test_counts_add_up(messages: list[Held]) -> None:
    merged = merge("overview", {}, split(messages, overview))
    expected = overview(messages)
    expected["journal"]["commit_seconds"] = 0.5 * ENGINES
    assert merged == expected


def test_what_one_engine_says_is_told_with_its_number() -> None:
    alarm = {"name": "disk", "about": "", "text": "the disk is full"}
    full = overview([]) | {"refusal": "452 no room", "alarms": [alarm], "recovered": None}
    merged = merge("overview", {}, {0: overview([]), 3: full})
    assert merged["refusal"] == "engine 3: 452 no room" and merged["recovered"] is None
    assert merged["alarms"] == [alarm | {"text": "engine 3: the disk is full"}]


def shown(messages: list[Held]) -> dict[str, Any]:
    """The first step of an operation; what is selected is what is not in flight of d0."""
    selected = [m for m in messages if m.domain == "d0.test"]
    told = {"verb": "fail", "count": len(selected), "in_flight": count(selected, "in-flight")}
    return told | {"sample": [m.number for m in selected][:10], "token": "secret"}


@given(held())
def test_a_selection_is_counted_and_shown_whole(messages: list[Held]) -> None:
    merged = merge("fail", {}, split(messages, shown))
    expected = shown(messages)
    assert {n: merged[n] for n in ("verb", "count", "in_flight")} == {
        n: expected[n] for n in ("verb", "count", "in_flight")
    }
    assert "token" not in merged and len(merged["sample"]) == len(expected["sample"])
    assert set(merged["sample"]) <= {m.number for m in messages if m.domain == "d0.test"}


@pytest.mark.parametrize("verb", ["retry", "fail", "delay", "rebind", "reroute", "flush"])
def test_what_became_of_messages_adds_up(verb: str) -> None:
    ones = {0: {"verb": verb, "count": 3, "done": 2, "gone": 1}, 1: {"verb": verb, "count": 4, "done": 4}}
    assert merge(verb, {}, ones) == {"verb": verb, "count": 7, "done": 6, "gone": 1}


@given(st.permutations(range(3)))
def test_a_message_is_where_it_is_queued_and_its_history_is_that_of_all_journals(order: list[int]) -> None:
    """It moved from one engine's journal to another's."""
    events = [{"time": float(at), "type": kind} for at, kind in enumerate(("injection", "delay", "delay"))]
    left = {"id": "1", "state": "unknown", "attempts": events[:2], "history_complete": True}
    came = {"id": "1", "state": "delayed", "attempts": events[2:], "history_complete": False, "waits_for": "its time"}
    ended = {"id": "1", "state": "ended", "attempts": [], "history_complete": False}
    merged = merge("message-explain", {}, {k: (left, came, ended)[at] for k, at in enumerate(order)})
    assert (merged["state"], merged["waits_for"], merged["attempts"]) == ("delayed", "its time", events)
    assert merged["history_complete"] is True
    shown = merge("message-show", {}, {k: (left, came, ended)[at] for k, at in enumerate(order)})
    assert shown["state"] == "delayed"


def test_a_path_with_strays_is_told_whole() -> None:
    def one(active: int, **more: Any) -> dict[str, Any]:
        told = {"binding": "b", "domain": "d", "active": active, "delayed": 0, "in_flight": 1, "next_due": None}
        told |= {"rate": 2.0, "suspended": None, "limits": [], "hosts": [], "connections": ["c"], "waits_for": "x"}
        told |= {"rollup": "", "domains": ["d"]}
        return told | more

    host = {"host": "mx", "address": "::1", "preference": 1, "avoided_for": 0.0, "reason": "", "connections": 2}
    bad = host | {"avoided_for": 30.0, "reason": "421 go away", "connections": 0}
    limit = {"name": "path", "text": "1 of 2"}
    merged = merge("path-explain", {}, {0: one(5, hosts=[host], limits=[limit]), 2: one(1, hosts=[bad], next_due=7.0)})
    assert (merged["active"], merged["in_flight"], merged["rate"], merged["next_due"]) == (6, 2, 4.0, 7.0)
    assert merged["hosts"] == [bad | {"connections": 2}] and merged["connections"] == ["c", "c"]
    assert merged["limits"] == [{"name": "path", "text": "engine 0: 1 of 2"}]
    assert merged["waits_for"] == "engine 0: x; engine 2: x"
    assert merged["domains"] == ["d"] and merged["rollup"] == ""


def test_domains_that_share_a_path_are_told_of_together() -> None:
    def one(domains: list[str], active: int) -> dict[str, Any]:
        name = "big (mx.big.test)"
        told = path_row(name, []) | {"active": active, "rollup": name, "domains": domains}
        return {"total": 1, "paths": [told]}

    merged = merge("queue-summary", {}, {0: one(["a", "b"], 3), 1: one(["c", "a"], 2)})
    assert merged["total"] == 1
    (row,) = merged["paths"]
    assert (row["active"], row["domains"], row["rollup"]) == (5, ["a", "b", "c"], "big (mx.big.test)")


def test_status_and_queues_of_old() -> None:
    one = [3, 1, 2, None, 4, [1, 2], {"accepted": 5, "refusal": None}, 1]
    other = [4, 0, None, "full", 1, [3, 4], {"accepted": 6, "refusal": None}, 1]
    merged = merge("status", {}, {0: one, 1: other})
    assert merged == [7, 1, None, "engine 1: full", 5, [4, 6], {"accepted": 11, "refusal": None}, 2]
    rows = {0: [["b", "x", 1, 2, 0, 9.0]], 1: [["b", "y", 9, 0, 0, None], ["b", "x", 1, 0, 0, 5.0]]}
    assert merge("queues", {}, rows) == [["b", "y", 9, 0, 0, None], ["b", "x", 2, 2, 0, 5.0]]


@pytest.mark.parametrize("verb", MERGES)
def test_one_engine_is_told_as_it_is(verb: str) -> None:
    answer = {"anything": object()}
    assert merge(verb, {}, {2: answer}) is answer


def test_what_hooks_said_adds_up() -> None:
    one = {"plugin": "mine", "phase": "rcpt_to", "calls": 3, "errors": 1, "said": {"reject": 2}}
    two = {"plugin": "mine", "phase": "rcpt_to", "calls": 4, "errors": 0, "said": {"reject": 1, "discard": 1}}
    other = {"plugin": "mine", "phase": "data", "calls": 1, "errors": 0, "said": {}}
    merged = merge("policies", {}, {0: {"policies": [one]}, 1: {"policies": [two, other]}})
    both = one | {"calls": 7, "errors": 1, "said": {"reject": 3, "discard": 1}}
    assert merged == {"policies": [both, other]}
