"""The part of a session that asks policy: before a question of the machine is answered with yes, the hooks of its phase
may say otherwise. A phase without hooks costs one look-up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from postroad.auth.smtpauth import Account
from postroad.inject.doorman import Doorman
from postroad.inject.events import Envelope, Rcpt
from postroad.message import Context, Recipient, Reply
from postroad.message.address import AddressError, parse_mailbox
from postroad.policy import (
    DECIDED,
    TROUBLE,
    Connect,
    Data,
    Discard,
    Disconnect,
    Ehlo,
    MailFrom,
    RcptTo,
    Refusal,
    Session,
    Verdict,
)
from postroad.policy import Auth as AuthFacts

Heard = Callable[[Verdict | None], None]


class Consulting(Doorman):
    """What a hook puts into the session's context stays there, whatever the client says next."""

    __slots__ = ()

    # --- what the session calls instead of answering yes --------------------------------------------------------------

    def _may_connect(self) -> None:
        if self._free("connect"):
            return
        self._consult("connect", Connect, self._answered)

    def _may_greet(self, name: str) -> None:
        if self._free("ehlo"):
            return
        self._consult("ehlo", lambda session: Ehlo(session, name), self._answered)

    def _may_send(self, envelope: Envelope) -> None:
        if self._free("mail_from"):
            return

        def heard(verdict: Verdict | None) -> None:
            self._tell_refusal(verdict, envelope, "")
            self._answered(verdict)

        self._consult("mail_from", lambda session: MailFrom(session, envelope.sender), heard)

    def _may_receive(self, event: Rcpt) -> None:
        if self._free("rcpt_to"):
            return
        envelope, recipient = event.envelope, event.recipient
        facts: RcptTo | None = None

        def make(session: Session) -> RcptTo:
            nonlocal facts
            facts = RcptTo(session, envelope.sender, recipient.address, recipient.domain)
            return facts

        def heard(verdict: Verdict | None) -> None:
            if isinstance(verdict, Discard):
                recipient.context = {**(recipient.context or {}), DECIDED: f"discard {verdict.reason}"}
                verdict = None
            if verdict is None and facts is not None and not _changed(recipient, facts):
                verdict = TROUBLE
            self._tell_refusal(verdict, envelope, recipient.address)
            self._answered(verdict)

        self._consult("rcpt_to", make, heard)

    def _may_begin_content(self, envelope: Envelope) -> None:
        if self._free("data"):
            return

        def make(session: Session) -> Data:
            return Data(session, envelope.sender, tuple(recipient.address for recipient in envelope.recipients))

        self._consult("data", make, self._answered)

    def _may_log_in(self, user: str, account: Account | None) -> None:
        """A hook can only take away: who has not shown to be the user is not."""

        def heard(verdict: Verdict | None) -> None:
            if isinstance(verdict, Disconnect):
                self._exchange = None
                self._answered(verdict)
            elif isinstance(verdict, Refusal) and account is not None:
                self._exchange = None
                self._machine.answer(verdict.reply)
            else:
                self._log_in(user, account)

        mechanism = self._mechanism
        self._consult("auth", lambda session: AuthFacts(session, user, mechanism, account is not None), heard)

    # --- how it is asked ----------------------------------------------------------------------------------------------

    def _free(self, phase: str) -> bool:
        """No hook has anything to say here: then the answer is yes, and given. First of all, because this is each
        command of each message."""
        listener = self._listener
        if listener.hooks().chain(phase, listener.options.address):
            return False
        self._machine.answer()
        return True

    def _consult(self, phase: str, make: Callable[[Session], object], heard: Heard) -> None:
        hooks = self._listener.hooks()
        name = self._listener.options.address
        chain = hooks.chain(phase, name)
        if not chain:
            heard(None)
            return
        account, tls = self.account, self.tls
        session = Session(
            name,
            self.remote,
            self._machine.hello,
            account.name if account is not None else "",
            tls.text if tls is not None else "",
            dict(self._context),
        )
        said = hooks.ask(chain, make(session))
        if said is None or isinstance(said, Verdict):
            self._mark(session.context)
            heard(said)
        else:
            self._task = self._loop.create_task(self._hear(said, session, heard))

    async def _hear(self, said: Coroutine[Any, Any, Verdict | None], session: Session, heard: Heard) -> None:
        try:
            verdict = await said
        except asyncio.CancelledError:
            self._task = None
            raise
        self._task = None
        if self._over:
            return
        self._mark(session.context)
        heard(verdict)
        self._pump()

    def _mark(self, context: Context) -> None:
        """Keep what hooks have put in."""
        before = self._context
        if context != before:
            # A new dict, not a changed one: transactions that were handed over keep theirs.
            self._marks = self._marks | {name: value for name, value in context.items() if before.get(name) != value}
            self._context = context

    def _answered(self, verdict: Verdict | None) -> None:
        if isinstance(verdict, Disconnect):
            self._machine.end(verdict.reply)
        else:
            self._machine.answer(verdict.reply if isinstance(verdict, Refusal) else None)

    def _tell_refusal(self, verdict: Verdict | None, envelope: Envelope, recipient: str) -> None:
        if isinstance(verdict, Refusal) and verdict.code >= 500:
            self._tell_rejected(verdict.reply, envelope, recipient)

    def _tell_rejected(self, reply: Reply, envelope: Envelope, recipient: str) -> None:
        raise NotImplementedError


def _changed(recipient: Recipient, facts: RcptTo) -> bool:
    """Give the recipient what hooks made of it. False: that is no mailbox."""
    if facts.recipient != recipient.address:
        try:
            mailbox = parse_mailbox(facts.recipient)
        except AddressError:
            return False
        if facts.domain == recipient.domain:
            facts.domain = mailbox.routing
        recipient.address = facts.recipient
    recipient.domain = facts.domain
    return True
