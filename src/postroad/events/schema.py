"""Every event type and every member, declared once (api.md 14.1 - 14.3).

The reference page, the self-description endpoints and `check` are made from these tables. A new type is a row of EVENTS
(and a number in kinds.py), a new member a row of FIELDS.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from postroad.events.kinds import Kind


class Wire(Enum):
    """The JSON type of a member. Numbers are strings of digits: typed clients decode nothing else (api.md 14.3)."""

    TEXT = "string"
    DIGITS = "string of digits"
    FLAG = "boolean"
    OBJECT = "object"
    TEXTS = "array of strings"


class Field(NamedTuple):
    """One member. extra: outside the published field lists of api.md 14.2, Momentum's addition or ours."""

    name: str
    wire: Wire
    description: str
    sample: object
    extra: bool = False


class Group(NamedTuple):
    """The envelope a webhook puts around an event: {"msys": {key: event}}."""

    key: str
    display_name: str
    description: str


class EventType(NamedTuple):
    """fields: names of all members it may have; required: those it always has."""

    kind: Kind
    group: Group
    display_name: str
    description: str
    fields: tuple[str, ...]
    required: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.kind.type_name


MESSAGE = Group("message_event", "Message Events", "What happened to a message from its injection to its end.")
GENERATION = Group("gen_event", "Generation Events", "Messages that were asked for but could not be made.")

_T, _D, _F = Wire.TEXT, Wire.DIGITS, Wire.FLAG

_ROWS = (
    Field("type", _T, "Type of event.", "bounce"),
    Field("event_id", _D, "Names this event for ever; consumers drop repeats by it.", "84579375510121478"),
    Field("timestamp", _D, "When it happened, in Unix seconds.", "1493050627"),
    Field("customer_id", _D, "Owner of the installation.", "1"),
    Field("subaccount_id", _D, "Subaccount the message belongs to.", "101"),
    Field("message_id", _T, "Message, in 16 hexadecimal digits.", "04a1b2c3d4000001"),
    Field("campaign_id", _T, "Campaign the injector named.", "spring"),
    Field("transmission_id", _D, "Transmission that made the message.", "84579375438919573"),
    Field(
        "template_id",
        _T,
        "Template; of inline content, template_ and the transmission's id.",
        "template_84579375438919573",
    ),
    Field("template_version", _D, "Version of the template; 0 for inline content.", "0"),
    Field("friendly_from", _T, "Address in the From header.", "news@a.example"),
    Field("msg_from", _T, "Envelope sender; absent when it is the null sender.", "b-1521@bounce.a.example"),
    Field("subject", _T, "Subject, decoded.", "Your order"),
    Field("rcpt_to", _T, "Envelope recipient in lower case.", "x@b.example"),
    Field("raw_rcpt_to", _T, "Envelope recipient as given.", "X@b.example"),
    Field("rcpt_hash", _T, "SHA-1 of rcpt_to in hexadecimal.", "809798e5c29843232b26026f7cf78213e328e91a"),
    Field("recipient_domain", _T, "Domain of rcpt_to.", "b.example"),
    Field("rcpt_meta", Wire.OBJECT, "Metadata of the recipient; {} when there is none.", {"customer": "4711"}),
    Field("rcpt_tags", Wire.TEXTS, "Tags of the recipient; [] when there is none.", ["gold"]),
    Field("rcpt_type", _T, "cc, bcc or archive; absent for an ordinary recipient.", "cc"),
    Field("rcpt_subs", Wire.OBJECT, "Substitution data of the recipient.", {"name": "Al"}),
    Field("routing_domain", _T, "Domain the message is queued under, in lower-case A-labels.", "b.example"),
    Field("sending_ip", _T, "Local address the connection was made from.", "192.0.2.4"),
    Field("ip_pool", _T, "Pool of sending addresses the injector chose.", "default"),
    Field("transactional", _D, "1 for transactional mail; absent otherwise.", "1"),
    Field("injection_time", _T, "When the message was accepted (UTC).", "2017-04-24T16:17:07.000Z"),
    Field("scheduled_time", _D, "When it was scheduled for, in Unix seconds; only of scheduled mail.", "1493050620"),
    Field("open_tracking", _F, "Opens are tracked.", True),
    Field("click_tracking", _F, "Clicks are tracked.", True),
    Field("initial_pixel", _F, "There is an open pixel at the top.", True),
    Field("amp_enabled", _F, "There is an AMP part.", False),
    Field("ab_test_id", _T, "A/B test the message took part in.", "subject-test"),
    Field("ab_test_version", _D, "Version of the A/B test.", "1"),
    Field("recv_method", _T, "How the message came in: esmtp or rest.", "rest"),
    Field("delv_method", _T, "How it was sent on: esmtp.", "esmtp"),
    Field("ip_address", _T, "Address of the receiving host.", "198.51.100.7"),
    Field("remote_addr", _T, "Address of the client that was refused.", "203.0.113.9"),
    Field("tls_version", _T, "TLS of the session in which it came; absent without TLS.", "TLSv1.3", True),
    Field("tls_cipher", _T, "Cipher of that session.", "TLS_AES_256_GCM_SHA384", True),
    Field("auth_method", _T, "How its client had logged in; absent when it had not.", "SCRAM-SHA-256", True),
    Field("msg_size", _D, "Octets of the message.", "3125"),
    Field("num_retries", _D, "Attempts before this one.", "0"),
    Field("queue_time", _D, "Milliseconds from acceptance to this event.", "160"),
    Field("outbound_tls", _D, "1 when the session was encrypted, else 0.", "1"),
    Field("bounce_class", _D, "Class of the refusal: see the list of classes.", "10"),
    Field("error_code", _D, "SMTP reply code.", "550"),
    Field(
        *("reason", _T, "Reply, as a rule rewrote it, with IP addresses replaced so that equal reasons group."),
        "550 5.1.1 no such user",
    ),
    Field("raw_reason", _T, "Reply as it came.", "550 5.1.1 no such user"),
    Field("binding", _T, "Binding (sending identity) of the message.", "default", True),
    Field("conn_stage", _D, "Where in the session the attempt ended: see the list of stages.", "4", True),
    Field("next_attempt", _D, "When it is tried again, in Unix seconds.", "1493051827", True),
    Field("retry_hint", _D, "Seconds after which the receiving host asked us to come back.", "300", True),
    Field("rejections", _D, "Refusals of this client that the event stands for; absent when it is one.", "4200", True),
    Field("reply_rule", _T, "Rule of the configuration that acted on the reply ([[reply]]).", "full-mailboxes", True),
    Field("mx_host", _T, "Name of the receiving host.", "mx1.b.example", True),
    Field("remote_reply", _T, "What the receiving host answered when it took the message.", "250 2.0.0 Ok A1B2", True),
)
FIELDS: dict[str, Field] = {row.name: row for row in _ROWS}

_ID = ("type", "event_id", "timestamp", "customer_id", "subaccount_id")
_ORIGIN = ("campaign_id", "transmission_id", "template_id", "template_version", "friendly_from")
_RECIPIENT = ("rcpt_to", "raw_rcpt_to", "rcpt_hash", "recipient_domain", "rcpt_meta", "rcpt_tags")
_SENDING = ("sending_ip", "ip_pool", "transactional")
_MESSAGE = (
    *("message_id", *_ORIGIN, "msg_from", "subject", *_RECIPIENT, "routing_domain", *_SENDING),
    *("injection_time", "scheduled_time"),
)
_SESSION = ("tls_version", "tls_cipher", "auth_method")
_TRACKING = ("open_tracking", "click_tracking", "initial_pixel", "amp_enabled")
_AB_TEST = ("ab_test_id", "ab_test_version")
_REASON = ("reason", "raw_reason", "error_code")
_REFUSAL = ("bounce_class", "conn_stage", "reply_rule")
_ATTEMPT = ("delv_method", "ip_address", "num_retries", "queue_time", "outbound_tls", "binding", "mx_host")
_COMMON = (*_ID, *_MESSAGE, *_TRACKING, *_AB_TEST, "rcpt_type", "recv_method", "msg_size")

_ALWAYS = ("type", "event_id", "timestamp", "customer_id")
_ALWAYS_RECIPIENT = ("rcpt_to", "raw_rcpt_to", "rcpt_hash", "recipient_domain")
_ALWAYS_REASON = (*_REASON, "bounce_class")
_ALWAYS_COMMON = (
    *(*_ALWAYS, "message_id", *_ALWAYS_RECIPIENT, "rcpt_meta", "rcpt_tags", "routing_domain"),
    *("injection_time", "recv_method", "msg_size"),
)
_ALWAYS_ATTEMPT = ("delv_method", "num_retries", "queue_time", "outbound_tls")

_EVENT_ROWS = (
    EventType(
        *(Kind.INJECTION, MESSAGE, "Injection", "A message was accepted or made, and is kept."),
        fields=(*_COMMON, "binding", *_SESSION),
        required=_ALWAYS_COMMON,
    ),
    EventType(
        *(Kind.DELIVERY, MESSAGE, "Delivery", "The receiving host took the message."),
        fields=(*_COMMON, *_ATTEMPT, "remote_reply"),
        required=(*_ALWAYS_COMMON, *_ALWAYS_ATTEMPT),
    ),
    EventType(
        *(Kind.DELAY, MESSAGE, "Delay", "An attempt failed for now; the message is tried again. One event an attempt."),
        fields=(*_COMMON, *_ATTEMPT, *_REASON, *_REFUSAL, "next_attempt", "retry_hint"),
        required=(*_ALWAYS_COMMON, *_ALWAYS_ATTEMPT, *_ALWAYS_REASON, "conn_stage"),
    ),
    EventType(
        *(Kind.BOUNCE, MESSAGE, "Bounce", "The message failed for good: refused, expired, or failed by an operator."),
        fields=(*_COMMON, *_ATTEMPT, *_REASON, *_REFUSAL),
        required=(*_ALWAYS_COMMON, *_ALWAYS_ATTEMPT, *_ALWAYS_REASON, "conn_stage"),
    ),
    EventType(
        *(Kind.POLICY_REJECTION, MESSAGE, "Policy Rejection", "A message or recipient was refused at injection."),
        fields=(
            *(*_ID, *_AB_TEST, *_REASON, "message_id", *_ORIGIN, "msg_from", *_RECIPIENT, "rcpt_type", "bounce_class"),
            *("recv_method", "remote_addr", *_SESSION, *_SENDING, "injection_time", "rejections"),
        ),
        required=(*_ALWAYS, *_ALWAYS_REASON, "recv_method"),
    ),
    EventType(
        *(Kind.GENERATION_FAILURE, GENERATION, "Generation Failure", "A message could not be made from its content."),
        fields=(
            *(*_ID, *_AB_TEST, *_REASON, *_ORIGIN, *_RECIPIENT, "rcpt_subs", "routing_domain", *_SENDING),
            *("recv_method", "scheduled_time"),
        ),
        required=(*_ALWAYS, *_REASON, *_ALWAYS_RECIPIENT, "routing_domain", "recv_method"),
    ),
)
EVENTS: dict[str, EventType] = {row.name: row for row in _EVENT_ROWS}


def check(event: dict[str, object]) -> list[str]:
    """What is wrong with an event, in words; an empty list when it keeps the schema."""
    row = EVENTS.get(str(event.get("type")))
    if row is None:
        return [f"type: there is no event type {event.get('type')!r}"]
    found = [f"{name}: missing in {row.name}" for name in row.required if name not in event]
    for name, value in event.items():
        field = FIELDS.get(name)
        if field is None or name not in row.fields:
            found.append(f"{name}: not a member of {row.name}")
        elif value is None or value == "":
            found.append(f"{name}: without value, so it must be left out")
        elif not _fits(field.wire, value):
            found.append(f"{name}: must be a {field.wire.value}, not {value!r}")
    return found


def _fits(wire: Wire, value: object) -> bool:
    match wire:
        case Wire.TEXT:
            return isinstance(value, str)
        case Wire.DIGITS:
            return isinstance(value, str) and value.isascii() and value.isdigit()
        case Wire.FLAG:
            return isinstance(value, bool)
        case Wire.OBJECT:
            return isinstance(value, dict)
        case Wire.TEXTS:
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
