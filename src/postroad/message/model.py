"""The thing itself: a body shared by its recipients, what a client asked for (Transaction), and the one-recipient
Message that the rest of the house handles (momentum.md 0: a message has exactly one recipient)."""

from __future__ import annotations

from enum import IntEnum, IntFlag

Context = dict[str, str]
# Context value of a message that may only go over sessions that are encrypted, with the right host, and hosts that
# promise the same (RFC 8689): "yes". It is kept with the message, and inherited by notifications about it.
REQUIRE_TLS = "require_tls"

# Of a message's context: "1" goes ahead of all others in whatever queue it stands (momentum.md 3.1: msg.priority).
PRIORITY = "priority"
# Of a message's context: seconds after it was taken in which it expires, where that is sooner than its path says.
EXPIRES_IN = "expires_in"


class Body:
    """The octets of a message. `trace` holds the header fields we put in front (Received ...), `content` the RFC 5322
    message as it came: CRLF line ends, not dot-stuffed. Neither is changed after creation.

    dotted: some line of the content begins with "." (so DATA must stuff it); eight_bit: some octet is above 127.
    """

    __slots__ = ("content", "dotted", "eight_bit", "trace")

    def __init__(self, content: bytes, trace: bytes = b"", *, dotted: bool | None = None) -> None:
        self.content = content
        self.trace = trace
        self.dotted = has_dotted_line(content) if dotted is None else dotted
        self.eight_bit = not content.isascii()

    def __len__(self) -> int:
        return len(self.trace) + len(self.content)

    def __bytes__(self) -> bytes:
        return self.trace + self.content


def has_dotted_line(content: bytes) -> bool:
    # bytes.find on a two-byte needle that starts with a rare byte is several times faster than on b"\r\n."
    return content.startswith(b".") or b"\n." in content


class Notify(IntFlag):
    """RFC 3461 NOTIFY. UNSET means the parameter was absent: failures are reported, as if FAILURE."""

    UNSET = 0
    NEVER = 1
    SUCCESS = 2
    FAILURE = 4
    DELAY = 8


class Ret(IntEnum):
    """RFC 3461 RET: how much of the message a delivery status notification returns."""

    UNSET = 0
    FULL = 1
    HEADERS = 2


class Recipient:
    """One RCPT TO. `address` as given (without angle brackets), `domain` its routing domain: lower case, A-labels.

    context: message context values for this recipient alone, laid over the transaction's. event: members of the events
    about this recipient that only its injector knows (rcpt_meta, rcpt_tags ...), as JSON values. job: where a job
    makes the message, the number of the transmission and the recipient's place in its list; kept with the message.
    """

    __slots__ = ("address", "context", "domain", "event", "job", "notify", "orcpt")

    def __init__(
        self,
        address: str,
        domain: str,
        *,
        notify: Notify = Notify.UNSET,
        orcpt: str = "",
        context: Context | None = None,
        event: dict[str, object] | None = None,
        job: tuple[int, int] | None = None,
    ) -> None:
        self.address = address
        self.job = job
        self.domain = domain
        self.notify = notify
        self.orcpt = orcpt
        self.context = context
        self.event = event


class Transaction:
    """What a client hands over at once: one sender and body, one or more recipients. It becomes a Message a recipient.

    sender "" is the null reverse-path. method is `esmtp` or `rest` (recv_method in events).
    event: JSON members common to all its recipients' events (campaign_id, transmission_id, template_id, subject).
    id: the number its client was told, from the engine's IdSource; it becomes the id of the first recipient's message.
    0: none was told.
    """

    __slots__ = (
        "body",
        "connection",
        "context",
        "envid",
        "event",
        "id",
        "method",
        "recipients",
        "ret",
        "sender",
        "smtputf8",
    )

    def __init__(
        self,
        sender: str,
        recipients: list[Recipient],
        body: Body,
        *,
        connection: Context | None = None,
        context: Context | None = None,
        method: str = "esmtp",
        ret: Ret = Ret.UNSET,
        envid: str = "",
        smtputf8: bool = False,
        event: dict[str, object] | None = None,
        id: int = 0,
    ) -> None:
        self.id = id
        self.sender = sender
        self.recipients = recipients
        self.body = body
        self.connection = connection if connection is not None else {}
        self.context = context if context is not None else {}
        self.method = method
        self.ret = ret
        self.envid = envid
        self.smtputf8 = smtputf8
        self.event = event if event is not None else {}


class Message:
    """One recipient's message, as queue, shaping and deliver see it.

    id: 64-bit (ids.py). received, expires: Unix seconds. attempts: delivery attempts made so far.
    body is None while only the journal holds it. event: the JSON members (without braces) that every event about this
    message repeats. place, index: where the journal keeps it, opaque to all but journal and queue. weight: octets it is
    charged against the memory goal. flow: whose turns it takes in its queue, known to queue alone.
    """

    __slots__ = (
        "attempts",
        "binding",
        "body",
        "connection",
        "context",
        "domain",
        "envid",
        "event",
        "expires",
        "flow",
        "id",
        "index",
        "method",
        "notify",
        "orcpt",
        "place",
        "received",
        "recipient",
        "ret",
        "sender",
        "smtputf8",
        "weight",
    )

    id: int
    sender: str
    recipient: str
    domain: str
    binding: str
    body: Body | None
    received: float
    expires: float
    attempts: int
    notify: Notify
    orcpt: str
    ret: Ret
    envid: str
    smtputf8: bool
    method: str
    connection: Context
    context: Context
    event: bytes
    place: int
    index: int
    weight: int
    flow: int
