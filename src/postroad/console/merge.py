"""How the answers of several engines become one: the answer of a single engine that held everything. Pure.

A path normally lives on the engine that owns its domain. It may have strays on others (mail they kept because the owner
was away), so lines of the same path are put together wherever they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from postroad.console.paths import MEMBERS

Answers = Mapping[int, Any]  # by engine: what it answered, as decoded from JSON

SAMPLE = 10  # messages of a selection that are shown


def merge(verb: str, asked: Mapping[str, Any], answers: Answers) -> Any:
    """asked: the arguments. answers: at least one, only of engines that answered, not those that refused.

    Raises KeyError for a verb whose answers can't be put together.
    """
    rule = MERGES[verb]
    if len(answers) == 1:
        (only,) = answers.values()
        return only
    return rule(asked, dict(sorted(answers.items())))


# --- parts ------------------------------------------------------------------------------------------------------------


def _sums(some: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers added up; of all else the first that is not None."""
    found: dict[str, Any] = {}
    for one in some:
        for name, value in one.items():
            before = found.get(name)
            if _is_number(value) and (before is None or _is_number(before)):
                found[name] = (before or 0) + value
            elif before is None:
                found[name] = value
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def _total(values: Iterable[float | None]) -> float | None:
    """None: nobody could say."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _names(lists: Iterable[list[str]]) -> list[str]:
    """As many as one engine would tell."""
    return [*dict.fromkeys(name for some in lists for name in some)][:MEMBERS]


def _soonest(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _told(answers: Answers, name: str) -> str | None:
    """Texts of engines, with who says it."""
    found = [f"engine {number}: {one[name]}" for number, one in answers.items() if one[name] is not None]
    return "; ".join(found) or None


# --- the verbs --------------------------------------------------------------------------------------------------------


def _overview(asked: Mapping[str, Any], answers: Answers) -> dict[str, Any]:
    """A path with strays counts once for each engine that has some of it."""
    ones = list(answers.values())
    recovered = [one["recovered"] for one in ones]
    told = _sums({n: v for n, v in one.items() if n not in ("delivery", "journal", "alarms")} for one in ones)
    return told | {
        "recovered": None if None in recovered else sum(recovered),
        "refusal": _told(answers, "refusal"),
        "suspensions": max(one["suspensions"] for one in ones),  # each engine has them all
        "delivery": _sums(one["delivery"] for one in ones),
        "journal": _sums(one["journal"] for one in ones)
        | {
            "recovered": all(one["journal"]["recovered"] for one in ones),
            "refusal": _told({number: one["journal"] for number, one in answers.items()}, "refusal"),
        },
        "alarms": [
            alarm | {"text": f"engine {number}: {alarm['text']}"}
            for number, one in answers.items()
            for alarm in one["alarms"]
        ],
    }


def _summary(asked: Mapping[str, Any], answers: Answers) -> dict[str, Any]:
    rows = [row for one in answers.values() for row in one["paths"]]
    paths = _paths(rows)
    told = sum(one["total"] for one in answers.values())
    limit = asked.get("limit", 100)
    return {"total": told - (len(rows) - len(paths)), "paths": paths[:limit]}


def _paths(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of the same path as one, the fullest first."""
    by_path: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        by_path.setdefault((row["binding"], row["domain"]), []).append(row)
    merged = [
        some[0]
        if len(some) == 1
        else _sums(some)
        | {
            "next_due": _soonest(row["next_due"] for row in some),
            "rate": _total(row["rate"] for row in some),
            "suspended": any(row["suspended"] for row in some),
            "domains": _names(row["domains"] for row in some),
        }
        for some in by_path.values()
    ]
    merged.sort(key=lambda row: row["active"] + row["delayed"] + row["in_flight"], reverse=True)
    return merged


def _listing(asked: Mapping[str, Any], answers: Answers) -> dict[str, Any]:
    """Those in flight, then path by path. Engines that share a path give its messages out side by side, each in its
    own order; so they are listed in turn, and those that wait for their time by that time."""
    flying: list[dict[str, Any]] = []
    by_path: dict[tuple[str, str], dict[int, list[dict[str, Any]]]] = {}
    for number, one in answers.items():
        for row in one["messages"]:
            if row["state"] == "in-flight":
                flying.append(row)
            else:
                by_path.setdefault((row["binding"], row["domain"]), {}).setdefault(number, []).append(row)
    queued = [row for some in by_path.values() for row in _in_turn(list(some.values()))]
    return {"messages": [*flying, *queued][: asked.get("limit", 20)]}


def _in_turn(lists: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    if len(lists) == 1:
        return lists[0]
    active = [[row for row in some if row["state"] == "active"] for some in lists]
    longest = max(map(len, active))
    due = [some[at] for at in range(longest) for some in active if at < len(some)]
    delayed = [row for some in lists for row in some if row["state"] != "active"]
    return [*due, *sorted(delayed, key=lambda row: row["next_attempt"] or 0.0)]


def _show(asked: Mapping[str, Any], answers: Answers) -> Any:
    """Where it is queued, else where it ended."""
    return min(answers.values(), key=_ended)


def _ended(one: Mapping[str, Any]) -> int:
    return {"ended": 1, "unknown": 2}.get(one["state"], 0)


def _explain(asked: Mapping[str, Any], answers: Answers) -> dict[str, Any]:
    """A message that moved has left events in more than one journal."""
    main = min(answers.values(), key=_ended)
    attempts = [event for one in answers.values() for event in one["attempts"]]
    return dict(main) | {
        "attempts": sorted(attempts, key=lambda event: event["time"]),
        "history_complete": any(one["history_complete"] for one in answers.values()),
    }


def _path(asked: Mapping[str, Any], answers: Answers) -> dict[str, Any]:
    ones = list(answers.values())
    return dict(ones[0]) | {
        **{name: sum(one[name] for one in ones) for name in ("active", "delayed", "in_flight")},
        "next_due": _soonest(one["next_due"] for one in ones),
        "rate": _total(one["rate"] for one in ones),
        "suspended": _first(one["suspended"] for one in ones),
        "rollup": _first(one["rollup"] or None for one in ones) or "",
        "domains": _names(one["domains"] for one in ones),
        "limits": [
            limit | {"text": f"engine {number}: {limit['text']}"}
            for number, one in answers.items()
            for limit in one["limits"]
        ],
        "looking_up": any(one.get("looking_up") for one in ones),
        "connecting": [host for one in ones for host in one.get("connecting", ())],
        "hosts": _hosts(ones),
        "connections": [connection for one in ones for connection in one["connections"]],
        "waits_for": _told(answers, "waits_for"),
    }


def _hosts(ones: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each engine learns by itself that a host fails; the worst that one knows is shown."""
    by_address: dict[tuple[str, str], dict[str, Any]] = {}
    for one in ones:
        for host in one["hosts"]:
            before = by_address.setdefault((host["host"], host["address"]), host)
            if before is not host:
                worse = max(before, host, key=lambda each: each["avoided_for"])
                total = before["connections"] + host["connections"]
                by_address[host["host"], host["address"]] = worse | {"connections": total}
    return list(by_address.values())


def _operation(asked: Mapping[str, Any], answers: Answers) -> dict[str, Any]:
    """Of both steps: what is meant, and what became of it. A token is not merged: whoever asks gives one of its own."""
    ones = list(answers.values())
    told = _sums({n: v for n, v in one.items() if n not in ("sample", "token", "expires_in")} for one in ones)
    if any("sample" in one for one in ones):
        told["sample"] = [row for one in ones for row in one.get("sample", ())][:SAMPLE]
    return told


def _policies(asked: Mapping[str, Any], answers: Answers) -> dict[str, Any]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in answers.values():
        for row in one["policies"]:
            before = rows.get((row["plugin"], row["phase"]))
            said = _sums([*([before["said"]] if before else []), row["said"]])
            rows[row["plugin"], row["phase"]] = _sums([*([before] if before else []), row]) | {"said": said}
    return {"policies": list(rows.values())}


def _status(asked: Mapping[str, Any], answers: Answers) -> list[Any]:
    """serve.EngineStats: live, in_flight, recovered, refusal, sessions, delivery, journal, and other numbers."""
    ones = list(answers.values())
    recovered = [one[2] for one in ones]
    refusals = {number: {"refusal": one[3]} for number, one in answers.items()}
    return [
        sum(one[0] for one in ones),
        sum(one[1] for one in ones),
        None if None in recovered else sum(recovered),
        _told(refusals, "refusal"),
        sum(one[4] for one in ones),
        [sum(values) for values in zip(*(one[5] for one in ones), strict=True)],
        _sums(one[6] for one in ones),
        *(sum(values) for values in zip(*(one[7:] for one in ones), strict=True)),
    ]


def _queues(asked: Mapping[str, Any], answers: Answers) -> list[list[Any]]:
    """queue.PathCount: binding, domain, active, delayed, in_flight, next_due."""
    names = ("binding", "domain", "active", "delayed", "in_flight", "next_due")
    unsaid: dict[str, Any] = {"rate": None, "suspended": False, "domains": []}
    rows = [dict(zip(names, row, strict=True)) | unsaid for one in answers.values() for row in one]
    return [[row[name] for name in names] for row in _paths(rows)]


MERGES: dict[str, Callable[[Mapping[str, Any], Answers], Any]] = {
    "overview": _overview,
    "queue-summary": _summary,
    "queue-list": _listing,
    "message-show": _show,
    "message-explain": _explain,
    "path-explain": _path,
    **dict.fromkeys(("retry", "fail", "delay", "rebind", "reroute", "flush"), _operation),
    "policies": _policies,
    "status": _status,
    "queues": _queues,
}
