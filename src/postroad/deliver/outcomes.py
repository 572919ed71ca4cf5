"""What the queue is told of an attempt."""

from __future__ import annotations

from postroad.deliver.hints import hint
from postroad.deliver.steps import Result
from postroad.message import Outcome, Reply, Stage, Verdict

# How a message is given back that nothing was done for.
UNTOUCHED = Result(Verdict.DEFERRED, Reply(421, "4.3.2 no attempt was made"), Stage.IDLE, internal=True)


def outcome_of(
    result: Result,
    host: str = "",
    peer: str = "",
    source: str = "",
    *,
    tls: str = "",
    retry_after: float | None = None,
    counts: bool = True,
    dsn: bool = False,
) -> Outcome:
    """host, peer, source: where it was tried. tls: how it was encrypted."""
    outcome = Outcome(
        result.verdict, result.reply, result.stage, host, peer, source, tls, result.internal, retry_after, counts, dsn
    )
    if result.verdict is Verdict.DELIVERED or result.internal:
        return outcome
    ruled = result.ruled
    if ruled is not None and ruled.wait is not None:
        outcome = outcome._replace(retry_after=ruled.wait)
    wish = hint(result.reply.text) if result.verdict is Verdict.DEFERRED else None
    return outcome._replace(hint=wish, ruled=ruled)
