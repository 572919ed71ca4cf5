"""What one session may use beyond plain SMTP, as it stands now: announced in the reply to EHLO, and obeyed."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from postroad.config.schema import ListenerOptions
from postroad.inject import replies
from postroad.inject.replies import ATTRIBUTES, encode
from postroad.message import Reply


class Offer(NamedTuple):
    """Replaced as a whole when TLS comes up or a user logs in.

    mechanisms: for AUTH; empty also while it has to wait for TLS. auth: AUTH exists on this listener. gate: what MAIL
    is refused with until the session has what it takes. lmtp: LHLO instead of EHLO, a reply a recipient (RFC 2033).
    requiretls: TLS is up (RFC 8689 2).
    """

    starttls: bool = False
    mechanisms: tuple[str, ...] = ()
    auth: bool = False
    xclient: bool = False
    lmtp: bool = False
    gate: Reply | None = None
    requiretls: bool = False


PLAIN = Offer()


def offer_for(options: ListenerOptions, secure: bool, logged_in: bool, trusted: bool) -> Offer:
    """What a session may use. secure: TLS is up. trusted: the other end may say whom it speaks for."""
    tls, submission = options.tls, options.kind == "submission"
    auth = options.auth or submission
    gate = None
    if tls == "required" and not secure:
        gate = replies.TLS_FIRST
    elif submission and not logged_in:
        gate = replies.LOGIN_FIRST
    if not (auth or trusted or gate or tls != "no" or options.kind == "lmtp"):
        return PLAIN
    return Offer(
        starttls=tls in ("offered", "required") and not secure,
        mechanisms=tuple(options.auth_mechanisms) if auth and (secure or options.auth_without_tls) else (),
        auth=auth,
        xclient=trusted,
        lmtp=options.kind == "lmtp",
        gate=gate,
        requiretls=secure,
    )


@lru_cache(maxsize=64)
def hello_reply(hostname: str, extended: bool, max_size: int, smtputf8: bool, offer: Offer = PLAIN) -> bytes:
    """The reply to EHLO or HELO: what we can do (RFC 5321 4.1.1.1)."""
    if not extended:
        return encode(Reply(250, hostname))
    lines = [hostname, "PIPELINING", f"SIZE {max_size}", "8BITMIME"]
    lines += ["SMTPUTF8"] if smtputf8 else []
    lines += ["ENHANCEDSTATUSCODES", "CHUNKING", "DSN"]
    lines += ["REQUIRETLS"] if offer.requiretls else []
    lines += ["STARTTLS"] if offer.starttls else []
    lines += ["AUTH " + " ".join(offer.mechanisms)] if offer.mechanisms else []
    lines += ["XCLIENT " + " ".join(ATTRIBUTES)] if offer.xclient else []
    return encode(Reply(250, " / ".join(lines)))
