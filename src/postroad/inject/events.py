"""What the machine tells the shell: one event a phase of the session. Every event but Refusal asks: it must be answered
with `Machine.answer`, at once or later, before the machine goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from postroad.message import Recipient, Reply, Ret

if TYPE_CHECKING:
    from postroad.inject.xclient import Client


class Envelope:
    """The transaction under way. sender "" is the null reverse-path; size: what MAIL declared in octets, 0 if nothing.

    envid is the xtext as sent (RFC 3461 5.2.1: passed on unchanged). domain: the sender's routing domain, "" for null.
    """

    __slots__ = ("domain", "eight_bit", "envid", "recipients", "requiretls", "ret", "sender", "size", "smtputf8")

    def __init__(
        self,
        sender: str,
        domain: str,
        *,
        size: int = 0,
        eight_bit: bool = False,
        smtputf8: bool = False,
        ret: Ret = Ret.UNSET,
        envid: str = "",
    ) -> None:
        self.sender = sender
        self.domain = domain
        self.size = size
        self.eight_bit = eight_bit
        self.smtputf8 = smtputf8
        self.ret = ret
        self.envid = envid
        self.requiretls = False  # RFC 8689
        self.recipients: list[Recipient] = []


class Connect(NamedTuple):
    """A client is there and waits for the greeting."""


class Hello(NamedTuple):
    """EHLO (extended) or HELO. name: what the client calls itself, printable ASCII without spaces."""

    name: str
    extended: bool


class StartTls(NamedTuple):
    """STARTTLS, with nothing behind it. After a good answer comes the handshake, then `Machine.secured`."""


class Auth(NamedTuple):
    """AUTH. mechanism: one that was offered, in capitals. initial: decoded, None where none was sent."""

    mechanism: str
    initial: bytes | None

    def __repr__(self) -> str:
        return f"Auth({self.mechanism!r}, (secret))"


class AuthResponse(NamedTuple):
    """The client's next line of the AUTH exchange, decoded."""

    octets: bytes

    def __repr__(self) -> str:
        return "AuthResponse((secret))"


class XClient(NamedTuple):
    """XCLIENT: a trusted relay tells of its client."""

    client: Client


class Mail(NamedTuple):
    """MAIL FROM. The envelope becomes the machine's when the answer is good."""

    envelope: Envelope


class Rcpt(NamedTuple):
    """RCPT TO. The recipient joins the envelope when the answer is good."""

    envelope: Envelope
    recipient: Recipient


class Data(NamedTuple):
    """DATA or the first BDAT: the content is about to come. chunk: octets of that BDAT, -1 for DATA."""

    envelope: Envelope
    chunk: int = -1
    last: bool = False


class Content(NamedTuple):
    """The whole message is here and well formed: CRLF line ends, not dot-stuffed. body_start: offset behind the header
    section; dotted: some line begins with "."."""

    envelope: Envelope
    content: bytes
    dotted: bool
    body_start: int


class Refusal(NamedTuple):
    """The machine has refused a message (size, content, hops) by itself. Needs no answer."""

    envelope: Envelope
    reply: Reply


Event = Connect | Hello | StartTls | Auth | AuthResponse | XClient | Mail | Rcpt | Data | Content | Refusal
