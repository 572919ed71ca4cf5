"""Delivery status notifications (RFC 3464, 3461; RFC 6533 where addresses are not ASCII)."""

from __future__ import annotations

import re
from enum import Enum

from postroad.message import REQUIRE_TLS, Message, Notify, Outcome, Recipient, Ret, Transaction
from postroad.message.address import parse_mailbox
from postroad.message.header import header_end
from postroad.message.model import Body
from postroad.message.trace import date_text

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_STATUS = re.compile(r"([245]\.\d{1,3}\.\d{1,3})\b")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_MAX_RETURNED = 1 << 20  # octets of a returned message; a larger one goes back as headers
_MAX_HEADER = 1 << 16  # octets of returned headers


class Action(Enum):
    """RFC 3464 2.3.3, with what the person who reads the notification is told."""

    FAILED = ("failed", "Undelivered mail", "could not be delivered. It will not be tried again.")
    DELAYED = ("delayed", "Delayed mail", "could not be delivered yet. It will be tried again; nothing is to be done.")
    RELAYED = ("relayed", "Relayed mail", "was handed to a host that does not send notifications of delivery.")

    def __init__(self, word: str, subject: str, sentence: str) -> None:
        self.word = word
        self.subject = subject
        self.sentence = sentence


def wanted(message: Message, action: Action) -> bool:
    """Does the sender want to hear of this? Never when there is no one to tell (null reverse-path, RFC 3461 6)."""
    if not message.sender or message.notify & Notify.NEVER:
        return False
    if action is Action.RELAYED:
        return bool(message.notify & Notify.SUCCESS)
    # Who said nothing is told of failures, and of delays too where these are told at all (RFC 3461 4.1).
    asked = Notify.FAILURE if action is Action.FAILED else Notify.DELAY
    return message.notify == Notify.UNSET or bool(message.notify & asked)


def build(
    message: Message, outcome: Outcome, action: Action, *, hostname: str, identifier: str, wall: float, default_ret: str
) -> Transaction:
    """The notification, addressed to the message's sender, from the null reverse-path.

    identifier makes Message-ID and boundary unique. default_ret: `none`, `headers` or `full`, when RET did not say.
    Raises AddressError if the sender is no mailbox (it was one when the message was taken).
    """
    routing = parse_mailbox(message.sender).routing
    international = not (message.sender.isascii() and message.recipient.isascii())
    kind = "global-" if international else ""
    boundary = f"=_{identifier}"
    status = "\r\n".join(_status_fields(message, outcome, action, hostname, wall, international))
    parts = [
        _human(message, outcome, action, hostname),
        f"Content-Type: message/{kind}delivery-status\r\n\r\n{status}\r\n",
    ]
    lines = [
        f"Date: {date_text(wall)}",
        f"From: Mail Delivery System <mailer-daemon@{hostname}>",
        f"To: {message.sender}",
        f"Subject: {action.subject}",
        f"Message-ID: <{identifier}@{hostname}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type={kind}delivery-status; boundary="{boundary}"',
        "",
        "",
    ]
    text = "\r\n".join(lines) + "".join(f"--{boundary}\r\n{part}\r\n" for part in parts)
    returned = _returned(message, default_ret, f"--{boundary}\r\n", international)
    content = text.encode() + returned + f"--{boundary}--\r\n".encode()
    return Transaction(
        "",
        [Recipient(message.sender, routing, notify=Notify.NEVER)],
        Body(content),
        connection={},
        # A notification of a message that needs TLS tells of it, and so needs TLS as well (RFC 8689 5).
        context={"dsn_of": f"{message.id:016x}"} | ({REQUIRE_TLS: "yes"} if REQUIRE_TLS in message.context else {}),
        method="internal",
        smtputf8=international,
    )


def _human(message: Message, outcome: Outcome, action: Action, hostname: str) -> str:
    host = f" by {_clean(outcome.host)}" if outcome.host else ""
    text = (
        f"This is the mail system at {hostname}.\r\n\r\n"
        f"Your message to <{message.recipient}> {action.sentence}\r\n\r\n"
        f"What was said{host}:\r\n    {_clean(str(outcome.reply))}\r\n"
    )
    coding = "" if text.isascii() else "Content-Transfer-Encoding: 8bit\r\n"
    return f"Content-Type: text/plain; charset=utf-8\r\n{coding}\r\n{text}"


def _status_fields(
    message: Message, outcome: Outcome, action: Action, hostname: str, wall: float, international: bool
) -> list[str]:
    kind = "utf-8" if international else "rfc822"
    fields = [f"Reporting-MTA: dns; {hostname}"]
    if message.envid:
        fields.append(f"Original-Envelope-Id: {_clean(_decode_xtext(message.envid))}")
    fields += [f"Arrival-Date: {date_text(message.received)}", ""]
    if message.orcpt:
        original_kind, _, address = message.orcpt.partition(";")
        fields.append(f"Original-Recipient: {_clean(original_kind)}; {_clean(_decode_xtext(address))}")
    fields += [
        f"Final-Recipient: {kind}; {message.recipient}",
        f"Action: {action.word}",
        f"Status: {_status(outcome, action)}",
    ]
    if outcome.host:
        fields.append(f"Remote-MTA: dns; {_clean(outcome.host)}")
    if not outcome.internal:
        fields.append(
            f"Diagnostic-Code: smtp; {_fold(_clean(str(outcome.ruled.raw if outcome.ruled else outcome.reply)))}"
        )
    fields.append(f"Last-Attempt-Date: {date_text(wall)}")
    if action is Action.DELAYED:
        fields.append(f"Will-Retry-Until: {date_text(message.expires)}")
    return fields


def _status(outcome: Outcome, action: Action) -> str:
    """The reply's enhanced code; where it has none, or one of another class than the action, the class alone."""
    wanted_class = {Action.FAILED: "5", Action.DELAYED: "4", Action.RELAYED: "2"}[action]
    found = _STATUS.match(outcome.reply.text)
    return found[1] if found and found[1][0] == wanted_class else f"{wanted_class}.0.0"


def _returned(message: Message, default_ret: str, head: str, international: bool) -> bytes:
    if message.body is None:
        return b""
    kind = default_ret
    if message.ret != Ret.UNSET:
        kind = "full" if message.ret == Ret.FULL else "headers"
    if kind == "full" and message.method == "esmtp" and "can_relay" not in message.connection:
        # The sender that a stranger names may be his victim: one message to a thousand of our users must not become a
        # thousand of its size.
        kind = "headers"
    if kind == "full" and REQUIRE_TLS in message.context:
        kind = "headers"
    if kind == "none":
        return b""
    whole = bytes(message.body)
    if kind == "full" and len(whole) <= _MAX_RETURNED:
        part, octets = "global" if international else "rfc822", whole
    else:
        # Header sections can be huge too; what is cut here is only a copy for the sender's eyes.
        part, octets = "global-headers" if international else "rfc822-headers", _cut(whole[: header_end(whole)])
    top = "message" if part != "rfc822-headers" else "text"
    coding = "" if octets.isascii() else "Content-Transfer-Encoding: 8bit\r\n"
    ending = b"" if octets.endswith(b"\r\n") else b"\r\n"
    return f"{head}Content-Type: {top}/{part}\r\n{coding}\r\n".encode() + octets + ending


def _cut(header: bytes) -> bytes:
    """No more than _MAX_HEADER octets of it, and only whole lines: a CR without its LF is no mail."""
    return header if len(header) <= _MAX_HEADER else header[: header.rfind(b"\n", 0, _MAX_HEADER) + 1]


def _clean(text: str) -> str:
    """Text of a peer or client, fit for a header field: printable ASCII on one line, bounded."""
    return _UNPRINTABLE.sub(" ", text).strip()[:2000]


def _fold(text: str) -> str:
    """Long diagnostics over several lines of at most 900 octets (RFC 5322 2.1.1 allows 998)."""
    return "\r\n ".join(text[i : i + 900] for i in range(0, len(text), 900)) or "-"


def _decode_xtext(text: str) -> str:
    """RFC 3461 4."""
    return _XTEXT.sub(lambda found: chr(int(found[1], 16)), text)
