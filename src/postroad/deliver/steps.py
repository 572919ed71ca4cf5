"""The words of a session with a host: its steps, what is asked of it, and how it or a message in it ends."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple

from postroad.deliver.login import Credential
from postroad.message import Reply, Ruled, Stage, Verdict


class Step(IntEnum):
    """What the next reply is the answer to."""

    BANNER = 0
    EHLO = 1
    HELO = 2
    READY = 3  # nothing: a message may be sent
    RSET = 4
    MAIL = 5
    RCPT = 6
    SKIP = 7  # a pipelined RCPT whose MAIL was refused
    DATA = 8
    DRAIN = 9  # a pipelined DATA whose MAIL or RCPT was refused
    EMPTY = 10  # the lone dot that ends such a DATA when it was accepted (RFC 2920 3.1)
    CONTENT = 11  # the message and its final dot
    QUIT = 12
    CLOSED = 13
    STARTTLS = 14
    HANDSHAKE = 15  # nothing in SMTP: the shell and the peer agree on TLS
    AUTH = 16  # a word of the login


class Demand(Enum):
    """What is asked of the session before a message may be sent."""

    NO_TLS = 0
    TLS_IF_OFFERED = 1  # plain where the host does not offer STARTTLS, or refuses it
    TLS = 2


class Manner(NamedTuple):
    """How a session is held. lmtp: in LMTP (RFC 2033), else in SMTP. credential: log in with it before any message;
    then nonce is some unguessable printable ASCII without a comma, never used before."""

    lmtp: bool = False
    credential: Credential | None = None
    nonce: str = ""


SMTP = Manner()
LMTP = Manner(lmtp=True)


class Again(Enum):
    """What to do with a message before its result is final."""

    NO = 0
    NEXT_HOST = 1  # this host does not want it now; another host of the domain might
    HAND_OVER = 2  # the session ended before the message began: any other connection will do
    NEXT_TRANSACTION = 3  # the host took others of the same transaction and wants this one in another


class Result(NamedTuple):
    """How a message, or a session that never began, ended. internal: the reply is ours, not the peer's. ruled: what a
    rule made of the reply."""

    verdict: Verdict
    reply: Reply
    stage: Stage
    internal: bool = False
    again: Again = Again.NO
    ruled: Ruled | None = None


STAGES = {
    Step.BANNER: Stage.BANNER,
    Step.EHLO: Stage.EHLO,
    Step.HELO: Stage.EHLO,
    Step.READY: Stage.IDLE,
    Step.RSET: Stage.RSET,
    Step.MAIL: Stage.MAIL,
    Step.RCPT: Stage.RCPT,
    Step.SKIP: Stage.RCPT,
    Step.DATA: Stage.DATA,
    Step.DRAIN: Stage.DATA,
    Step.EMPTY: Stage.BODY,
    Step.CONTENT: Stage.CONFIRMATION,
    Step.QUIT: Stage.IDLE,
    Step.CLOSED: Stage.IDLE,
    Step.STARTTLS: Stage.STARTTLS,
    Step.HANDSHAKE: Stage.TLS_HANDSHAKE,
    Step.AUTH: Stage.AUTH,
}
AWAITED = {
    Step.BANNER: "the greeting",
    Step.EHLO: "the reply to EHLO",
    Step.HELO: "the reply to HELO",
    Step.READY: "nothing",
    Step.RSET: "the reply to RSET",
    Step.MAIL: "the reply to MAIL FROM",
    Step.RCPT: "the reply to RCPT TO",
    Step.DATA: "the reply to DATA",
    Step.CONTENT: "the reply to the message",
    Step.STARTTLS: "the reply to STARTTLS",
    Step.HANDSHAKE: "the TLS handshake",
    Step.AUTH: "the reply to AUTH",
}
