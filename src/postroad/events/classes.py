"""Bounce classes (api.md 14.4) from nothing but the reply's codes.

The text of replies is read by the classifier of `feedback`; this is what can be said without it, by RFC 3463 and the
IANA registry of enhanced status codes.
"""

from __future__ import annotations

import re
from enum import IntEnum

from postroad.message import Reply


class BounceClass(IntEnum):
    """The value of `bounce_class`; label and category are those of api.md 14.4."""

    def __new__(cls, value: int, label: str, category: str) -> BounceClass:
        member = int.__new__(cls, value)
        member._value_ = value
        member.label = label
        member.category = category
        return member

    label: str
    category: str

    UNDETERMINED = 1, "Undetermined", "Undetermined"
    INVALID_RECIPIENT = 10, "Invalid Recipient", "Hard"
    SOFT = 20, "Soft Bounce", "Soft"
    DNS = 21, "DNS Failure", "Soft"
    MAILBOX_FULL = 22, "Mailbox Full", "Soft"
    TOO_LARGE = 23, "Too Large", "Soft"
    TIMEOUT = 24, "Timeout", "Soft"
    ADMIN = 25, "Admin Failure", "Admin"
    NO_RECIPIENT = 30, "Generic Bounce: No RCPT", "Hard"
    GENERIC = 40, "Generic Bounce", "Soft"
    MAIL_BLOCK = 50, "Mail Block", "Block"
    SPAM_BLOCK = 51, "Spam Block", "Block"
    SPAM_CONTENT = 52, "Spam Content", "Block"
    ATTACHMENT = 53, "Prohibited Attachment", "Block"
    RELAYING = 54, "Relaying Denied", "Block"
    AUTO_REPLY = 60, "Auto-Reply", "Soft"
    TRANSIENT = 70, "Transient Failure", "Soft"
    SUBSCRIBE = 80, "Subscribe", "Admin"
    UNSUBSCRIBE = 90, "Unsubscribe", "Hard"
    CHALLENGE = 100, "Challenge-Response", "Soft"


_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")

# Keys are subject.detail of RFC 3463 3; the first number (4 or 5) only says whether to try again.
_BY_DETAIL = {
    (1, 2): BounceClass.DNS,  # bad destination system: the domain does not exist
    (2, 2): BounceClass.MAILBOX_FULL,
    (2, 3): BounceClass.TOO_LARGE,
    (3, 4): BounceClass.TOO_LARGE,
    (4, 1): BounceClass.TIMEOUT,  # no answer from host
    (4, 3): BounceClass.DNS,  # directory server failure
    (4, 4): BounceClass.DNS,  # unable to route
    (4, 6): BounceClass.DNS,  # routing loop; ours: the MX leads where no mail may go
    (4, 7): BounceClass.TIMEOUT,  # delivery time expired
}
# Only a permanent reply may condemn an address or name a block: a temporary one often hides greylisting.
_BY_DETAIL_PERMANENT = {
    (1, 1): BounceClass.INVALID_RECIPIENT,
    (1, 3): BounceClass.INVALID_RECIPIENT,
    (1, 4): BounceClass.INVALID_RECIPIENT,
    (1, 6): BounceClass.INVALID_RECIPIENT,  # moved
    (1, 7): BounceClass.MAIL_BLOCK,  # the sender's address is refused
    (1, 8): BounceClass.MAIL_BLOCK,
    (1, 10): BounceClass.INVALID_RECIPIENT,  # null MX, RFC 7505
    (2, 1): BounceClass.INVALID_RECIPIENT,  # mailbox disabled
    (3, 1): BounceClass.SOFT,  # the whole system's storage is full
    (3, 2): BounceClass.SOFT,
}
_BY_CODE = {
    551: BounceClass.INVALID_RECIPIENT,  # user not local
    552: BounceClass.MAILBOX_FULL,  # "exceeded storage allocation"
    553: BounceClass.INVALID_RECIPIENT,  # mailbox name not allowed
    556: BounceClass.INVALID_RECIPIENT,  # RFC 7504: the domain accepts no mail
}


def basic_class(reply: Reply, internal: bool = False) -> BounceClass:
    """The class of a refusal. internal: the reply is our own, so a policy code (X.7.X) means an operator or a rule here
    decided (25), not that the receiver blocks us (50)."""
    permanent = reply.code >= 500
    match = _ENHANCED.match(reply.text)
    if match is None:
        return _BY_CODE.get(reply.code, BounceClass.GENERIC) if permanent else BounceClass.TRANSIENT
    detail = (int(match[2]), int(match[3]))
    found = _BY_DETAIL.get(detail)
    if found is not None:
        return found
    if not permanent:
        return BounceClass.TRANSIENT
    if detail[0] == 7:
        return BounceClass.ADMIN if internal else BounceClass.MAIL_BLOCK
    return _BY_DETAIL_PERMANENT.get(detail, BounceClass.GENERIC)
