"""11 Tell: the one event schema and the hose."""

from postroad.events.classes import BounceClass, basic_class
from postroad.events.encode import EventEncoder, Shared
from postroad.events.kinds import Kind, event_id
from postroad.events.schema import EVENTS, FIELDS, EventType, Field, Group, Wire, check

__all__ = [
    "EVENTS",
    "FIELDS",
    "BounceClass",
    "EventEncoder",
    "EventType",
    "Field",
    "Group",
    "Kind",
    "Shared",
    "Wire",
    "basic_class",
    "check",
    "event_id",
]
