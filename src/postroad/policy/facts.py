"""What a hook is told, phase by phase, and what it may change: the fields that a doc string calls changeable are read
back when the hook has returned."""

from __future__ import annotations

from dataclasses import dataclass, field

from postroad.message import Context, Outcome
from postroad.policy.content import Content


@dataclass(slots=True)
class Session:
    """The client's side. listener: its address as the file says it; "http". user: whom AUTH or the API key showed it to
    be. tls: as events say it. "" where there is none. context: changeable, lives as long as the session and goes with
    its messages."""

    listener: str = ""
    peer: str = ""
    helo: str = ""
    user: str = ""
    tls: str = ""
    context: Context = field(default_factory=dict)


@dataclass(slots=True)
class Connect:
    """A client is there and waits for the greeting."""

    session: Session


@dataclass(slots=True)
class Ehlo:
    """name: what it calls itself."""

    session: Session
    name: str


@dataclass(slots=True)
class Auth:
    """AUTH is over. passed: with the right secret. A refusal turns a pass into a failure."""

    session: Session
    user: str
    mechanism: str
    passed: bool


@dataclass(slots=True)
class MailFrom:
    """sender: "" is the null reverse-path."""

    session: Session
    sender: str


@dataclass(slots=True)
class RcptTo:
    """recipient, domain (its routing domain): changeable. What is refused is this recipient alone."""

    session: Session
    sender: str
    recipient: str
    domain: str


@dataclass(slots=True)
class Data:
    """The content is about to come."""

    session: Session
    sender: str
    recipients: tuple[str, ...]


@dataclass(slots=True)
class Incoming:
    """A message is here, for all its recipients. sender, recipients, content, context: changeable. method: `esmtp`,
    `rest` or `internal` (notifications of our own)."""

    session: Session
    sender: str
    recipients: list[str]
    content: Content
    context: Context
    method: str


@dataclass(slots=True)
class OneRecipient:
    """A message to one recipient, before it is kept. sender, recipient, domain, content, context: changeable.

    binding, group: names of the configuration, "" to leave it to the rest of it. priority: None leaves it. expires_in:
    seconds, None leaves it.
    """

    session: Session
    sender: str
    recipient: str
    domain: str
    content: Content
    context: Context
    method: str
    binding: str = ""
    group: str = ""
    priority: int | None = None
    expires_in: float | None = None


@dataclass(slots=True)
class Outgoing:
    """A message that is about to be tried. attempts: those before this one. context is for looking only."""

    id: int
    sender: str
    recipient: str
    domain: str
    binding: str
    attempts: int
    context: Context


@dataclass(slots=True)
class Replied:
    """An attempt is over. outcome: verdict and reply, before the queue hears of it."""

    message: Outgoing
    outcome: Outcome


Facts = Connect | Ehlo | Auth | MailFrom | RcptTo | Data | Incoming | OneRecipient | Outgoing | Replied
