"""Policy at the door: an Acceptor in front of another, in which the hooks of a message's phases are asked.

A message that came by SMTP meets `message` once and `each_recipient` for each of its recipients, one that was
generated meets `generated`; then all meet `set_binding`, `routing` and `final_validation`. Recipients whose message was
changed in the same way share one body.

One refused recipient among several that are taken: its client hears of success for all, so we owe its sender a
notification. It is kept with its end decided, and ends as its message is first taken out of the queue; so does what is
discarded. Both are counted like any other message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from postroad.message import (
    EXPIRES_IN,
    PRIORITY,
    Accepted,
    Acceptor,
    Body,
    Context,
    Recipient,
    Refused,
    Rejection,
    Reply,
    Transaction,
)
from postroad.message.address import AddressError, parse_mailbox
from postroad.message.together import accept_together, part
from postroad.policy.binding import BINDING, GROUP
from postroad.policy.content import Content
from postroad.policy.facts import Incoming, OneRecipient, Session
from postroad.policy.hooks import TROUBLE, Chain, Hooks
from postroad.policy.verdict import Discard, Refusal, Tempfail, Verdict

# In the context of a message whose end is decided: "fail", "unwanted" (by a suppression list) or "discard", a space,
# and the reply or the reason.
# Names that begin with "#" are ours (momentum.md 1.4).
DECIDED = "#policy"

Done = Callable[[Accepted | Refused], None]
Asking = Generator[tuple[Chain, object], Verdict | None, None]

_FIRST = {"esmtp": "each_recipient", "rest": "generated"}  # by the method of a transaction
_EACH = ("set_binding", "routing", "final_validation")


class Intake:
    """hooks(): those of the present generation. listener: its address as the file says it; "http" for HTTP."""

    def __init__(self, acceptor: Acceptor, hooks: Callable[[], Hooks], listener: str) -> None:
        self._acceptor = acceptor
        self._hooks = hooks
        self._listener = listener
        self._tasks: set[asyncio.Task[Verdict | None]] = set()

    def refusal(self) -> Reply | None:
        return self._acceptor.refusal()

    def rejected(self, rejection: Rejection) -> None:
        self._acceptor.rejected(rejection)

    def accept(self, transaction: Transaction, done: Done) -> None:
        hooks = self._hooks()
        before = hooks.chain("message", self._listener) if transaction.method == "esmtp" else ()
        first = _FIRST.get(transaction.method)
        each = (first, *_EACH) if first else _EACH
        chains = [chain for phase in each if (chain := hooks.chain(phase, self._listener))]
        if not before and not chains:
            self._acceptor.accept(transaction, done)
        else:
            self._drive(hooks, self._take(transaction, before, chains, done), None)

    def _drive(self, hooks: Hooks, asking: Asking, answer: Verdict | None) -> None:
        """Ask as long as nothing has to wait; go on from there when it has."""
        while True:
            try:
                chain, facts = asking.send(answer)
            except StopIteration:
                return
            said = hooks.ask(chain, facts)
            if said is not None and not isinstance(said, Verdict):
                self._later(hooks, asking, said)
                return
            answer = said

    def _later(self, hooks: Hooks, asking: Asking, said: Coroutine[Any, Any, Verdict | None]) -> None:
        task = asyncio.get_running_loop().create_task(said)
        self._tasks.add(task)

        def go_on(task: asyncio.Task[Verdict | None]) -> None:
            self._tasks.discard(task)
            # Cancelled when the server stops: then it was not taken.
            self._drive(hooks, asking, TROUBLE if task.cancelled() else task.result())

        task.add_done_callback(go_on)

    # --- one message --------------------------------------------------------------------------------------------------

    def _take(self, given: Transaction, before: Chain, chains: list[Chain], done: Done) -> Asking:
        session = _session(given, self._listener)
        base = Content(given.body.content)
        sender, context = given.sender, dict(given.context)
        recipients = given.recipients
        verdict: Verdict | None = None
        if before:
            incoming = Incoming(session, sender, [r.address for r in recipients], base, context, given.method)
            verdict = yield before, incoming
            if isinstance(verdict, Refusal):
                self._refuse(given, verdict.reply, done)
                return
            sender = incoming.sender
            try:
                recipients = _recipients(recipients, incoming.recipients)
            except AddressError:
                self._refuse(given, TROUBLE.reply, done)
                return
        octets = base.octets
        sorted_out = _Sorted(given, context, octets)
        decided = f"discard {verdict.reason}" if isinstance(verdict, Discard) else ""
        if not recipients:
            decided, recipients = decided or "discard all recipients were taken out", given.recipients
        refused: list[Reply] = []
        content = base
        for recipient in recipients:
            end = decided
            if content.octets is not octets:
                content = Content(octets)
            facts = OneRecipient(
                *(session, sender, recipient.address, recipient.domain, content),
                {**context, **recipient.context} if recipient.context else dict(context),
                given.method,
            )
            for chain in chains if not decided else ():
                verdict = yield chain, facts
                if isinstance(verdict, Tempfail):
                    # Nothing is kept yet, so the client may come again with all of it.
                    self._refuse(given, verdict.reply, done)
                    return
                if isinstance(verdict, Refusal):
                    refused.append(verdict.reply)
                    end = f"fail {verdict.reply}"
                    break
                if isinstance(verdict, Discard):
                    end = f"discard {verdict.reason}"
                    break
            try:
                sorted_out.add(recipient, facts, end)
            except AddressError:
                self._refuse(given, TROUBLE.reply, done)
                return
        if len(refused) == len(recipients):
            self._refuse(given, refused[0], done)
            return
        sorted_out.hand_over(self._acceptor, done)

    def _refuse(self, given: Transaction, reply: Reply, done: Done) -> None:
        first = given.recipients[0].address if given.recipients else ""
        remote = given.connection.get("remote_addr", "")
        about = (reply, given.sender, first, remote, given.method, given.connection)
        self._acceptor.rejected(Rejection(*about, times=max(1, len(given.recipients))))
        done(Refused(reply))


class _Sorted:
    """The recipients of a transaction, by what their message became."""

    def __init__(self, given: Transaction, context: Context, octets: bytes) -> None:
        self._given = given
        self._context = context
        self._octets = octets
        self._groups: dict[tuple[str, bytes], list[Recipient]] = {}
        self._order: list[Recipient] = []

    def add(self, recipient: Recipient, facts: OneRecipient, end: str) -> None:
        """Raises AddressError when a hook made its address none."""
        address, domain = recipient.address, facts.domain
        if facts.recipient != address:
            mailbox = parse_mailbox(facts.recipient)
            address = facts.recipient
            if domain == recipient.domain:
                domain = mailbox.routing
        own = {name: value for name, value in facts.context.items() if self._context.get(name) != value}
        more = {BINDING: facts.binding, GROUP: facts.group, DECIDED: end}
        more[PRIORITY] = "" if facts.priority is None else str(facts.priority)
        more[EXPIRES_IN] = "" if facts.expires_in is None else repr(facts.expires_in)
        own |= {name: value for name, value in more.items() if value}
        made = Recipient(
            address,
            domain,
            notify=recipient.notify,
            orcpt=recipient.orcpt,
            context=own or None,
            event=recipient.event,
            job=recipient.job,
        )
        self._groups.setdefault((facts.sender, facts.content.octets), []).append(made)
        self._order.append(made)

    def hand_over(self, acceptor: Acceptor, done: Done) -> None:
        given, order = self._given, self._order
        parts = []
        for (sender, octets), recipients in self._groups.items():
            body = given.body if octets is given.body.content else Body(octets, given.body.trace)
            number = given.id if recipients[0] is order[0] else 0
            parts.append(part(given, recipients, number, sender=sender, body=body, context=self._context))
        if len(parts) == 1:
            acceptor.accept(parts[0], done)
            return
        sent = [recipient for each in parts for recipient in each.recipients]

        def kept(result: Accepted | Refused) -> None:
            if isinstance(result, Accepted):
                ids = dict(zip(sent, result.ids, strict=True))
                result = Accepted([ids[recipient] for recipient in order])
            done(result)

        accept_together(acceptor, parts, kept)


def _session(given: Transaction, listener: str) -> Session:
    known = given.connection
    return Session(
        listener,
        known.get("remote_addr", ""),
        known.get("ehlo_domain", ""),
        known.get("auth_user", ""),
        known.get("tls_cipher", ""),
        known,
    )


def _recipients(known: list[Recipient], wanted: list[str]) -> list[Recipient]:
    """Those that a hook left or added. Raises AddressError for one that is no mailbox."""
    by_address = {recipient.address: recipient for recipient in known}
    if [recipient.address for recipient in known] == wanted:
        return known
    return [by_address.get(address) or Recipient(address, parse_mailbox(address).routing) for address in wanted]
