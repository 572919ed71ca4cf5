"""What events look like: their documentation and samples, of the one schema (api.md 14.5). No key is needed.

Under /webhooks in the envelope a webhook puts around them, under /events/message and /message-events/events without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from postroad.api.envelope import Refusal
from postroad.api.office import Office
from postroad.api.route import Ask, Nothing, PlainAsk, Results, Route
from postroad.events import EVENTS, FIELDS, EventType

_PLAIN = ("/events/message", "/message-events/events")


class MemberDocumentation(Struct, rename={"sample": "sampleValue"}):
    """A member of an event."""

    description: str
    sample: Any


class EventDocumentation(Struct):
    """A type of event, and its members by name."""

    display_name: str
    description: str
    event: dict[str, MemberDocumentation]


class GroupDocumentation(Struct):
    """A group of types, and these by name."""

    display_name: str
    description: str
    events: dict[str, EventDocumentation]


class SampleQuery(Struct):
    """Of what."""

    events: Annotated[list[str], Meta(description="Types of events, separated by commas; absent: all.")] | None = None


def routes(office: Office) -> list[Route[Any, Any]]:
    del office

    async def document(ask: PlainAsk) -> Results[dict[str, GroupDocumentation]]:
        del ask
        return Results(_groups())

    async def document_plain(ask: PlainAsk) -> Results[list[dict[str, MemberDocumentation]]]:
        del ask
        return Results([_members(kind) for kind in EVENTS.values()])

    async def show(ask: Ask[Nothing, SampleQuery]) -> Results[list[dict[str, Any]]]:
        return Results([{"msys": {kind.group.key: sample(kind)}} for kind in _asked(ask.query.events)])

    async def show_plain(ask: Ask[Nothing, SampleQuery]) -> Results[list[dict[str, Any]]]:
        return Results([sample(kind) for kind in _asked(ask.query.events)])

    def documentation(path: str, handler: Any, answers: Any) -> Route[Any, Any]:
        return Route(
            method="GET",
            path=f"{path}/documentation",
            handler=handler,
            summary="Types of events and their members",
            answers=answers,
            anonymous=True,
        )

    def samples(path: str, handler: Any) -> Route[Any, Any]:
        return Route(
            method="GET",
            path=f"{path}/samples",
            handler=handler,
            summary="Samples of events",
            query=SampleQuery,
            answers=Results[list[dict[str, Any]]],
            refuses_with={400: "There is no such type."},
            anonymous=True,
        )

    found = [
        documentation("/webhooks/events", document, Results[dict[str, GroupDocumentation]]),
        samples("/webhooks/events", show),
    ]
    for path in _PLAIN:
        found.append(documentation(path, document_plain, Results[list[dict[str, MemberDocumentation]]]))
        found.append(samples(path, show_plain))
    return found


def sample(kind: EventType) -> dict[str, Any]:
    """An event of this type with every member that it may have."""
    return {name: kind.name if name == "type" else FIELDS[name].sample for name in kind.fields}


def _members(kind: EventType) -> dict[str, MemberDocumentation]:
    shown = sample(kind)
    return {name: MemberDocumentation(FIELDS[name].description, shown[name]) for name in kind.fields}


def _groups() -> dict[str, GroupDocumentation]:
    found: dict[str, GroupDocumentation] = {}
    for kind in EVENTS.values():
        group = kind.group
        one = found.setdefault(group.key, GroupDocumentation(group.display_name, group.description, {}))
        one.events[kind.name] = EventDocumentation(kind.display_name, kind.description, _members(kind))
    return found


def _asked(names: Sequence[str] | None) -> list[EventType]:
    unknown = [name for name in names or () if name not in EVENTS]
    if unknown:
        text = f"There is no event type {unknown[0][:64]!r}; known: {', '.join(EVENTS)}"
        raise Refusal(400, {"message": "invalid params", "description": text, "code": "1200"})
    return [EVENTS[name] for name in dict.fromkeys(names or EVENTS)]
