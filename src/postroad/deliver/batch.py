"""Transactions with several recipients (RFC 5321 3.3, RFC 2033 4.2): the machine's table where they differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import inf

from postroad.deliver.envelope import BadEnvelope, NeedsSmtputf8, commands
from postroad.deliver.machine import TABLE, Machine, Row, verdict_of
from postroad.deliver.steps import SMTP, Again, Demand, Manner, Result, Step
from postroad.deliver.unfit import insecure, too_large, unwritable
from postroad.message import REQUIRE_TLS, Body, Message, Reply, Stage, Verdict

# Its MAIL command would be another one.
APART = Result(
    Verdict.DEFERRED,
    Reply(451, "4.0.0 it goes in a transaction of its own"),
    Stage.MAIL,
    internal=True,
    again=Again.NEXT_TRANSACTION,
)
_ENHANCED = re.compile(r"[245]\.(\d{1,3}\.\d{1,3})(?: |\Z)")
_TOO_MANY = "5.3"  # RFC 3463 3.6


def share(first: Message, each: Message) -> bool:
    """May these two go out as one transaction, as far as can be known before their bodies are loaded? Then they come
    from one record of the journal, which has one sender and one content. `send_all` is exact."""
    if first.body is None or first.body is not each.body:
        if first.place != each.place:
            return False
        if first.body is None or each.body is None:
            return True
    return (
        first.sender == each.sender
        and first.envid == each.envid
        and first.ret == each.ret
        and first.smtputf8 == each.smtputf8
        and (REQUIRE_TLS in first.context) == (REQUIRE_TLS in each.context)
    )


class BatchMachine(Machine):
    """A session whose transactions may have several recipients.

    When `result` is there, it is that of all messages of the batch but those in `own`: by place in the batch, what
    befell them alone. takes: recipients that the host takes in one transaction, as far as it has told.
    """

    __slots__ = ("_accepted", "_answered", "_asked", "_told", "own", "takes")

    def __init__(self, hello: str, demand: Demand = Demand.NO_TLS, manner: Manner = SMTP) -> None:
        super().__init__(hello, demand, manner)
        self.takes: float = inf
        self.own: dict[int, Result] = {}
        self._asked: list[int] = []  # places of those with a RCPT; empty outside batches
        self._answered = 0  # of these
        self._accepted: list[int] = []
        self._told = 0  # of these: those whose own reply has come after the end mark (LMTP)

    def send(self, message: Message, body: Body) -> None:
        self._asked = []
        super().send(message, body)

    def send_all(self, messages: Sequence[Message]) -> None:
        """Begin with these messages of one content, all with their bodies; the step must be READY."""
        body = messages[0].body
        assert body is not None
        octets = len(body)
        asked: list[int] = []
        own: dict[int, Result] = {}
        lines: list[bytes] = []
        for at, message in enumerate(messages):
            if 0 < self.offered.size < octets:
                own[at] = too_large(octets, self.offered.size)
            elif REQUIRE_TLS in message.context and not (self.verified and self.offered.requiretls):
                own[at] = insecure(self.verified)
            else:
                try:
                    mail, rcpt = commands(message, octets, self.offered)
                except (NeedsSmtputf8, BadEnvelope) as why:
                    own[at] = unwritable(why)
                    continue
                if not lines:
                    lines.append(mail)
                elif mail != lines[0]:
                    own[at] = APART
                    continue
                asked.append(at)
                lines.append(rcpt)
        self.own = own
        self._asked = asked
        self._answered = self._told = 0
        self._accepted = []
        if asked:
            self._begin(lines, body)
        else:
            self.result = own[0]

    # --- the moves of the table ---------------------------------------------------------------------------------------

    def _taken(self, code: int) -> None:
        if self._asked:
            self._accepted.append(self._asked[self._answered])
            self._answered += 1
        self._next(code)

    def _not_taken(self, code: int) -> None:
        if not self._asked:
            self._refused(code)
            return
        reply = Reply(code, self._reader.text())
        if self._accepted and _too_many(reply):
            # RFC 5321 4.5.3.1.10. Never said of the first one, so that each transaction settles one at least.
            self.takes = min(self.takes, len(self._accepted))
            result = Result(Verdict.DEFERRED, reply, Stage.RCPT, again=Again.NEXT_TRANSACTION)
        else:
            result = Result(verdict_of(code), reply, Stage.RCPT)
        self.own[self._asked[self._answered]] = result
        self._answered += 1
        if self._accepted or self._answered < len(self._asked):
            self._next(code)
            return
        # None is left: no message. All have their own results.
        self._needs_rset = True
        if self._at + 1 < self._sent:
            self._drained = result
            self._at += 1
            self.step = Step.DRAIN
        else:
            self._finish(result)

    def _kept(self, code: int) -> None:
        if self._more_replies():
            self._tell(Result(Verdict.DELIVERED, Reply(code, self._reader.text()), Stage.CONFIRMATION))
        else:
            self._delivered(code)

    def _not_kept(self, code: int) -> None:
        if self._more_replies() and not (self._unsent or self.output):
            self._tell(Result(verdict_of(code), Reply(code, self._reader.text()), Stage.CONFIRMATION))
        else:
            self._refused(code)

    def _more_replies(self) -> bool:
        """RFC 2033 4.2: one for each recipient that was accepted, in their order."""
        return self._manner.lmtp and bool(self._asked) and self._told + 1 < len(self._accepted)

    def _tell(self, result: Result) -> None:
        self.own[self._accepted[self._told]] = result
        self._told += 1

    def _finish(self, result: Result) -> None:
        super()._finish(result)
        if self._asked:
            self.served += len(self._asked) - 1


BATCH_TABLE: dict[Step, Row] = TABLE | {
    Step.RCPT: TABLE[Step.RCPT]._replace(
        ok=BatchMachine._taken, temporary=BatchMachine._not_taken, permanent=BatchMachine._not_taken
    ),
    Step.CONTENT: TABLE[Step.CONTENT]._replace(
        ok=BatchMachine._kept, temporary=BatchMachine._not_kept, permanent=BatchMachine._not_kept
    ),
}
BatchMachine._table = tuple(BATCH_TABLE[step] for step in Step)


def _too_many(reply: Reply) -> bool:
    """Of a recipient that is not the first: does this only mean that there are too many? Some hosts say 552, of old."""
    found = _ENHANCED.match(reply.text)
    return reply.code in (452, 552) and (found is None or found[1] == _TOO_MANY)
