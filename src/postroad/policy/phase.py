"""The phases of a message's life in which hooks are asked, in the order in which it meets them (momentum.md 1.2)."""

from __future__ import annotations

from typing import NamedTuple

from postroad.policy.facts import (
    Auth,
    Connect,
    Data,
    Ehlo,
    Incoming,
    MailFrom,
    OneRecipient,
    Outgoing,
    RcptTo,
    Replied,
)
from postroad.policy.verdict import (
    Accept,
    Continue,
    Discard,
    Disconnect,
    Fail,
    Reject,
    Retry,
    Tarpit,
    Tempfail,
)

_GO_ON = (Continue, Accept)
_SESSION = (*_GO_ON, Reject, Tempfail, Disconnect, Tarpit)
_MESSAGE = (*_GO_ON, Reject, Tempfail, Discard)


class Phase(NamedTuple):
    """facts: what its hooks get. verdicts: what they may return, beside None. doc: for the reference page."""

    name: str
    facts: type[object]
    verdicts: tuple[type[object], ...]
    doc: str


PHASES = {
    phase.name: phase
    for phase in (
        Phase("connect", Connect, _SESSION, "A client has connected; nothing was said yet."),
        Phase("ehlo", Ehlo, _SESSION, "After EHLO, HELO or LHLO."),
        Phase("auth", Auth, _SESSION, "After AUTH, passed or not."),
        Phase("mail_from", MailFrom, _SESSION, "After MAIL FROM."),
        Phase("rcpt_to", RcptTo, (*_SESSION, Discard), "After each RCPT TO; a refusal is this recipient's alone."),
        Phase("data", Data, _SESSION, "After DATA or the first BDAT, before the content comes."),
        Phase("message", Incoming, (*_MESSAGE, Disconnect, Tarpit), "The content is here: once a message, SMTP only."),
        Phase("each_recipient", OneRecipient, _MESSAGE, "Once a recipient of a message that came by SMTP."),
        Phase("generated", OneRecipient, _MESSAGE, "Once a recipient of a message generated for HTTP."),
        Phase("set_binding", OneRecipient, (*_GO_ON, Reject, Tempfail), "Choose binding, group, priority, domain."),
        Phase("routing", OneRecipient, _GO_ON, "The last word on the routing domain, whose queue the message joins."),
        Phase("final_validation", OneRecipient, _MESSAGE, "The last look before the message is kept, on every path."),
        Phase("before_attempt", Outgoing, (*_GO_ON, Retry, Fail), "The message is about to go on the wire."),
        Phase("reply", Replied, (*_GO_ON, Retry, Fail), "A host has answered: it may be taken for another answer."),
        Phase("delivered", Replied, _GO_ON, "To know only."),
        Phase("deferred", Replied, _GO_ON, "To know only."),
        Phase("failed", Replied, _GO_ON, "To know only."),
    )
}
