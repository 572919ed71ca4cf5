"""How an attempt to deliver ended: the words that deliver says and queue, adaptive and events hear."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Stage(IntEnum):
    """Where in the session an attempt ended (momentum.md 9.3, "Stages")."""

    NOT_CONNECTED = 0
    IDLE = 1
    MAIL = 2
    RCPT = 4
    DATA = 6
    BODY = 8
    CONFIRMATION = 9
    EHLO = 10
    BANNER = 12
    RSET = 13
    STARTTLS = 15
    TLS_HANDSHAKE = 17
    AUTH = 23  # Momentum has no number for it


class Reply(NamedTuple):
    """An SMTP reply (RFC 5321 4.2). text: lines joined by " / ", without the code; the enhanced code leads, if any."""

    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


class Verdict(IntEnum):
    DELIVERED = 1
    DEFERRED = 2
    FAILED = 3


class Ruled(NamedTuple):
    """What a rule of the configuration made of a reply. raw: as it came. wait: seconds until the next try. None: the
    rule does not say."""

    rule: str
    raw: Reply
    wait: float | None = None
    bounce_class: int | None = None


class Outcome(NamedTuple):
    """One attempt's end. internal: the reply is ours (timeout, DNS, connection lost), not the peer's.

    retry_after: seconds before the next try when something better than the schedule is known, else None.
    counts: False when the attempt must not use up a try (shutdown, message handed back untouched).
    dsn: the host took over the duty to notify (RFC 3461 5.2.1); else a success that was asked for is ours to tell.
    hint: seconds after which the host itself asked us to come back. ruled: a rule acted on the reply.
    silent: its sender is told nothing. bounce_class: where it is known whatever the reply says (api.md 14.4).
    """

    verdict: Verdict
    reply: Reply
    stage: Stage
    host: str = ""
    peer: str = ""
    source: str = ""
    tls: str = ""
    internal: bool = False
    retry_after: float | None = None
    counts: bool = True
    dsn: bool = False
    hint: float | None = None
    ruled: Ruled | None = None
    silent: bool = False
    bounce_class: int | None = None
