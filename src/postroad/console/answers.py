"""What the verbs of the console answer, for whoever reads answers: the shapes behind the OpenAPI description.

`missing` stands in an answer when engines could not be asked: what they have is not in it.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

Missing = Annotated[list[int], Meta(description="Engines that did not answer.")] | UnsetType
Moment = Annotated[float, Meta(description="Unix seconds.")]


class AlarmRow(Struct):
    name: str
    about: str
    text: str


class Overview(Struct):
    messages: int
    in_flight: int
    paths: int
    recovered: Annotated[int | None, Meta(description="Found at the start; null while they are being loaded.")]
    refusal: Annotated[str | None, Meta(description="Why new mail is refused.")]
    sessions: int
    suspensions: int
    resident_octets: int
    delivery: dict[str, int]
    journal: dict[str, bool | int | float | str | None]
    alarms: list[AlarmRow]
    missing: Missing = UNSET


class ProcessRow(Struct):
    name: str
    pid: Annotated[int, Meta(description="0 while there is none.")]
    since: Moment
    restarts: int
    up: bool
    next_try: Annotated[float, Meta(description="Unix seconds; 0 while it runs.")]
    stuck: Annotated[bool, Meta(description="It runs, but does not answer.")]


class Processes(Struct):
    processes: list[ProcessRow]


class PathRow(Struct):
    binding: str
    domain: str
    active: int
    delayed: int
    in_flight: int
    next_due: Moment | None
    rate: Annotated[float | None, Meta(description="Attempts a second that ended lately.")]
    suspended: bool
    rollup: Annotated[str, Meta(description='The path that several domains share; "": it has one of its own.')]
    domains: Annotated[list[str], Meta(description="Domains that have mail on it, a hundred at the most.")]


class Summary(Struct):
    total: Annotated[int, Meta(description="How many paths there are.")]
    paths: list[PathRow]
    missing: Missing = UNSET


class MessageRow(Struct):
    id: str
    state: str
    binding: str
    domain: str
    attempts: int
    received: Moment
    expires: Moment
    next_attempt: Moment | None
    last_code: int | None


class Listing(Struct):
    messages: list[MessageRow]
    missing: Missing = UNSET


class ShownMessage(Struct):
    """Of a message that has ended: without header and content, with the text that says how."""

    id: str
    state: str
    binding: str | None
    domain: str | None
    sender: str | None
    recipient: str | None
    size: int | None
    method: str | None
    event: Annotated[dict[str, Any], Meta(description="Members that its events repeat, or its last event.")]
    header: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    text: str | UnsetType = UNSET


class Attempt(Struct):
    time: Moment
    type: str
    reply: str | UnsetType = UNSET
    host: str | UnsetType = UNSET
    ip_address: str | UnsetType = UNSET
    next_attempt: float | UnsetType = UNSET


class ExplainedMessage(Struct):
    id: str
    state: str
    attempts: list[Attempt]
    history_complete: bool
    text: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    waits_for: str | UnsetType | None = UNSET
    position: int | UnsetType | None = UNSET
    eta: float | UnsetType | None = UNSET


class Limit(Struct):
    name: str
    value: float
    seconds: float | None
    used: int
    binds: bool
    ceiling: float | None
    text: str


class ExplainedPath(Struct):
    binding: str
    domain: str
    active: int
    delayed: int
    in_flight: int
    next_due: Moment | None
    rate: float | None
    suspended: dict[str, Any] | None
    rollup: Annotated[str, Meta(description='The path that it shares with other domains; "": it has one of its own.')]
    domains: Annotated[list[str], Meta(description="Domains that have mail on that path, a hundred at the most.")]
    limits: list[Limit]
    hosts: list[dict[str, Any]]
    connections: list[dict[str, Any]]
    waits_for: str | None
    missing: Missing = UNSET


class Operation(Struct):
    """Of a first step and a dry run: sample, in_flight, and the token for the second. Of what was done: how many
    messages ended in which way, each a member of its own."""

    verb: str
    count: int
    in_flight: int | UnsetType = UNSET
    sample: list[MessageRow] | UnsetType = UNSET
    token: str | UnsetType = UNSET
    expires_in: Annotated[float, Meta(description="Seconds.")] | UnsetType = UNSET
    done: int | UnsetType = UNSET
    when_it_comes_back: int | UnsetType = UNSET
    nothing_to_do: int | UnsetType = UNSET
    gone: int | UnsetType = UNSET
    unreadable: int | UnsetType = UNSET
    hosts_forgiven: int | UnsetType = UNSET
    not_done: dict[str, str] | UnsetType = UNSET
    missing: Missing = UNSET


class SuspensionRow(Struct):
    binding: str
    domain: str
    until: Moment | None
    note: str
    missing: Missing = UNSET


class Suspensions(Struct):
    suspensions: list[SuspensionRow]


class PolicyRow(Struct):
    """Since the policy was loaded. said: how often it returned what."""

    plugin: str
    phase: str
    calls: int
    errors: int
    said: dict[str, int]


class PolicyRows(Struct):
    policies: list[PolicyRow]
    missing: Missing = UNSET


class TraceLine(Struct):
    """One line of a stream of such objects."""

    time: Moment
    line: str
    direction: str | UnsetType = UNSET
    peer: str | UnsetType = UNSET
    domain: str | UnsetType = UNSET


class Log(Struct):
    log: list[dict[str, Any]]


ANSWERS: dict[str, type[Struct]] = {
    "overview": Overview,
    "processes": Processes,
    "queue-summary": Summary,
    "queue-list": Listing,
    "message-show": ShownMessage,
    "message-explain": ExplainedMessage,
    "path-explain": ExplainedPath,
    **dict.fromkeys(("retry", "fail", "delay", "rebind", "reroute", "flush"), Operation),
    **dict.fromkeys(("suspend", "resume"), SuspensionRow),
    "suspensions": Suspensions,
    "policies": PolicyRows,
    "trace": TraceLine,
    "log": Log,
}
