"""Why a message is not even offered to a host: results without a word to the peer."""

from __future__ import annotations

from postroad.deliver.envelope import BadEnvelope, NeedsSmtputf8
from postroad.deliver.steps import Again, Result
from postroad.message import Reply, Stage, Verdict


def too_large(octets: int, size: int) -> Result:
    """size: what the host takes (RFC 1870)."""
    text = f"5.3.4 the message has {octets} octets, and the host takes {size}"
    return Result(Verdict.FAILED, Reply(552, text), Stage.MAIL, internal=True)


def insecure(verified: bool) -> Result:
    """The message is for hosts that are shown to be right and promise to keep it so (RFC 8689)."""
    lack = "offers no REQUIRETLS" if verified else "is not shown to be the right one by TLS"
    reply = Reply(550, f"5.7.30 the message requires TLS all the way, and the host {lack}")
    return Result(Verdict.FAILED, reply, Stage.MAIL, internal=True, again=Again.NEXT_HOST)


def unwritable(why: NeedsSmtputf8 | BadEnvelope) -> Result:
    if isinstance(why, BadEnvelope):
        reply = Reply(553, f"5.1.3 {why} can't be written in SMTP")
        return Result(Verdict.FAILED, reply, Stage.MAIL, internal=True)
    reply = Reply(553, f"5.6.7 {why} is international, and the host offers no SMTPUTF8")
    return Result(Verdict.FAILED, reply, Stage.MAIL, internal=True, again=Again.NEXT_HOST)
