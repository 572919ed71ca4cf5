"""The thing itself: message, envelope, contexts, addresses, header primitives, and the seams between rooms."""

from postroad.message.ids import IdSource, id_time, message_id_text, parse_message_id
from postroad.message.model import (
    EXPIRES_IN,
    PRIORITY,
    REQUIRE_TLS,
    Body,
    Context,
    Message,
    Notify,
    Recipient,
    Ret,
    Transaction,
)
from postroad.message.outcome import Outcome, Reply, Ruled, Stage, Verdict
from postroad.message.seams import Accepted, Acceptor, Refused, Rejection, Supply

__all__ = [
    "EXPIRES_IN",
    "PRIORITY",
    "REQUIRE_TLS",
    "Accepted",
    "Acceptor",
    "Body",
    "Context",
    "IdSource",
    "Message",
    "Notify",
    "Outcome",
    "Recipient",
    "Refused",
    "Rejection",
    "Reply",
    "Ret",
    "Ruled",
    "Stage",
    "Supply",
    "Transaction",
    "Verdict",
    "id_time",
    "message_id_text",
    "parse_message_id",
]
