"""11 Tell: the one event schema and the hose."""

from postroad.events.classes import BounceClass, basic_class
from postroad.events.cursors import ConsumerError
from postroad.events.encode import EventEncoder, Shared
from postroad.events.hose import At, Batch, Consumer, Hose, Source, Start
from postroad.events.kinds import Kind, event_id
from postroad.events.schema import EVENTS, FIELDS, EventType, Field, Group, Wire, check
from postroad.events.tail import find, json_line, parse_start, tail, text_line
from postroad.events.together import Placed, find_all, parse_starts, tail_all

__all__ = [
    "EVENTS",
    "FIELDS",
    "At",
    "Batch",
    "BounceClass",
    "Consumer",
    "ConsumerError",
    "EventEncoder",
    "EventType",
    "Field",
    "Group",
    "Hose",
    "Kind",
    "Placed",
    "Shared",
    "Source",
    "Start",
    "Wire",
    "basic_class",
    "check",
    "event_id",
    "find",
    "find_all",
    "json_line",
    "parse_start",
    "parse_starts",
    "tail",
    "tail_all",
    "text_line",
]
