"""One SMTP session: what is answered to the machine's events, and whoever accepts the mail asked."""

from __future__ import annotations

from postroad.auth.smtpauth import Account
from postroad.inject import replies
from postroad.inject.commands import hello_domain
from postroad.inject.consult import Consulting
from postroad.inject.events import (
    Auth,
    AuthResponse,
    Connect,
    Content,
    Data,
    Envelope,
    Hello,
    Mail,
    Rcpt,
    Refusal,
    StartTls,
    XClient,
)
from postroad.inject.hygiene import Deed, Facts
from postroad.inject.offer import offer_for
from postroad.inject.peers import plain_address
from postroad.inject.transaction import build_transaction
from postroad.message import Accepted, Context, Refused, Rejection, Reply, message_id_text


class Session(Consulting):
    """See `Wire` for its life."""

    __slots__ = ()

    # Events of the machine.

    def _on_connect(self, event: Connect) -> None:
        refusal = self._listener.admit(self.remote, self._peer) or self._audited("connection")
        delay = self._listener.options.early_talk_delay
        if refusal is None and delay and self._stranger:
            self._early = self._loop.call_later(delay, self._greet_late)
        elif refusal is None:
            self._may_connect()
        else:
            self._machine.answer(refusal)

    def _greet_late(self) -> None:
        self._early = None
        self._may_connect()
        self._pump()

    @property
    def _stranger(self) -> bool:
        """Are the checks of hygiene for this client?"""
        return not self._own and self._peer.options.hygiene

    def _on_hello(self, event: Hello) -> None:
        self._context = self._told(event.name)
        self._may_greet(event.name)

    def _told(self, hello: str) -> Context:
        """The connection context. A new dict, not a changed one: transactions that were handed over keep theirs."""
        context = {"remote_addr": self.remote, "ehlo_string": hello}
        domain = hello_domain(hello)
        if domain:
            context["ehlo_domain"] = domain
        if self._own:
            context["can_relay"] = "true"
        if self.client_name:
            context["remote_host"] = self.client_name
        if self.tls is not None:
            context["tls_version"], context["tls_cipher"] = self.tls.version, self.tls.cipher
            if self.tls.subject:
                context["tls_peer"] = self.tls.subject
        if self.account is not None:
            context["auth_user"] = self.account.name
            context["auth_status"] = "true"
            context["auth_method"] = self._mechanism
            if self.account.subaccount:
                context["subaccount_id"] = str(self.account.subaccount)
        return context | self._marks

    def _offer_anew(self) -> None:
        options, machine, account = self._listener.options, self._machine, self.account
        self._own = (
            self._peer.options.relay
            or (account is not None and account.relay and options.auth_relay)
            or (options.tls_client_relay and self.tls is not None and not self._vouched and self.tls.subject != "")
        )
        machine.user = account.name if account is not None else ""
        trusted = self._listener.trusted.hold(self._origin)
        machine.offer = offer_for(options, machine.secure, account is not None, trusted)

    def _on_starttls(self, event: StartTls) -> None:
        self._machine.answer()
        self._write(self._machine.take_output())
        self._encrypt_from_now()

    def _on_xclient(self, event: XClient) -> None:
        client, refusal = event.client, None
        if client.addr and client.addr != self.remote:
            self._speak_for(plain_address(client.addr))
            self._machine.options = self._peer.options
            refusal = self._listener.admit(self.remote, self._peer)
        if refusal is not None:
            self._machine.end(refusal)
            return
        if client.name is not None:
            self.client_name = client.name
        # The relay has checked the password; what such a user may do here, our own list says.
        known = self._listener.users.account(client.login or "")
        self.account = known or (Account(client.login) if client.login else None)
        self._mechanism = "XCLIENT"
        self._vouched = True
        self._machine.answer()
        self._offer_anew()

    def _on_mail(self, event: Mail) -> None:
        if self._listener.draining:
            self._machine.answer(replies.SHUTTING_DOWN)
            return
        envelope, account = event.envelope, self.account
        refusal = self._listener.acceptor.refusal() or self._audited("message")
        if refusal is None and account is not None and not account.may_send_as(envelope.sender, envelope.domain):
            refusal = replies.NOT_YOUR_SENDER
            self._tell_rejected(refusal, envelope, "")
        if refusal is None and self._listener.hygiene.asks and self._stranger:
            facts = Facts(self.remote, self._machine.hello, envelope.sender, envelope.domain)
            self._task = self._loop.create_task(self._examine(facts, envelope))
        elif refusal is None:
            self._may_send(envelope)
        else:
            self._machine.answer(refusal)

    async def _examine(self, facts: Facts, envelope: Envelope) -> None:
        """Ask what takes its time about a sender, and answer MAIL."""
        refusal = await self._listener.hygiene.examine(facts)
        self._task = None
        if self._over:
            return
        if refusal is not None:
            self._count_error()
            if refusal.code >= 500:
                self._tell_rejected(refusal, envelope, "")
            self._machine.answer(refusal)
        else:
            self._may_send(envelope)
        self._pump()

    def _audited(self, what: Deed) -> Reply | None:
        """Count what a stranger does; the reply for who does too much of it."""
        audit = self._listener.hygiene.audit
        if audit is None or not self._stranger:
            return None
        return audit.count(self.remote, what, self._loop.time())

    def _count_error(self) -> None:
        if self._listener.hygiene.audit is not None and self._stranger:
            self._listener.hygiene.audit.count(self.remote, "error", self._loop.time())

    def _on_rcpt(self, event: Rcpt) -> None:
        if self._own or self._listener.relay_domains.take(event.recipient):
            refusal = self._audited("recipient")
            if refusal is None:
                self._may_receive(event)
            else:
                self._machine.answer(refusal)
            return
        self._tell_rejected(replies.NO_RELAY, event.envelope, event.recipient.address)
        self._count_error()
        delay = self._listener.options.error_delay
        if delay and self._stranger:
            self._loop.call_later(delay, self._refuse_late, replies.NO_RELAY)
        else:
            self._machine.answer(replies.NO_RELAY)

    def _refuse_late(self, reply: Reply) -> None:
        if not self._over:
            self._machine.answer(reply)
            self._pump()

    def _on_data(self, event: Data) -> None:
        self._content_since = self._loop.time()
        self._may_begin_content(event.envelope)

    def _on_content(self, event: Content) -> None:
        self._content_since = -1.0
        refusal = self._listener.acceptor.refusal()
        if refusal is not None:
            self._machine.answer(refusal)
            return
        machine = self._machine
        self._identifier = message_id_text(self._listener.ids.next())
        transaction = build_transaction(
            event,
            options=self._peer.options,
            connection=self._context,
            remote=self.remote,
            helo=machine.hello,
            extended=machine.extended,
            hostname=self._listener.hostname,
            identifier=self._identifier,
            wall=self._listener.clock.wall(),
            own=self._own,
            authenticated=self.account is not None,
            tls=self.tls.text if self.tls is not None else "",
            lmtp=machine.offer.lmtp,
            client_name=self.client_name,
        )
        self._accepting = True
        self._listener.acceptor.accept(transaction, self._kept)
        self._accepting = False

    def _kept(self, result: Accepted | Refused) -> None:
        """The acceptor is done with the transaction. The client may have gone meanwhile."""
        if isinstance(result, Refused):
            self._machine.answer(result.reply)
        else:
            self._machine.answer(Reply(250, f"2.0.0 Ok: queued as {self._identifier}"))
        if not self._accepting:
            self._pump()

    def _on_refusal(self, event: Refusal) -> None:
        self._content_since = -1.0
        if event.reply.code >= 500:
            # Refused at MAIL, by its SIZE, it has no recipients yet.
            for address in [recipient.address for recipient in event.envelope.recipients] or [""]:
                self._tell_rejected(event.reply, event.envelope, address)

    def _tell_rejected(self, reply: Reply, envelope: Envelope, recipient: str) -> None:
        self._listener.refusals.rejected(
            Rejection(reply, envelope.sender, recipient, self.remote, "esmtp", self._context)
        )


Session._HANDLERS = {
    Connect: Session._on_connect,
    Hello: Session._on_hello,
    StartTls: Session._on_starttls,
    Auth: Session._on_auth,
    AuthResponse: Session._on_auth_response,
    XClient: Session._on_xclient,
    Mail: Session._on_mail,
    Rcpt: Session._on_rcpt,
    Data: Session._on_data,
    Content: Session._on_content,
    Refusal: Session._on_refusal,
}
