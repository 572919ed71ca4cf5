"""A scripted session for the plug-in kit: each step asks the hooks of its phase, as the listener does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from postroad.message import Recipient, Reply
from postroad.message.address import AddressError, parse_mailbox
from postroad.policy.facts import Auth, Connect, Data, Ehlo, MailFrom, RcptTo, Session
from postroad.policy.hooks import TROUBLE
from postroad.policy.intake import DECIDED
from postroad.policy.trace import Said
from postroad.policy.verdict import Discard, Disconnect, Refusal, Tarpit, Verdict

R = TypeVar("R")

Ask = Callable[[str, object, str], Awaitable[tuple[Verdict | None, list[Said]]]]
Take = Callable[[Session, str, list[Recipient], "bytes | str", str], Awaitable[R]]


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the client. refused: what it hears instead of success; None: success."""

    phase: str
    refused: Reply | None
    verdict: Verdict | None
    said: list[Said] = field(default_factory=list)

    @property
    def waited(self) -> float:
        """Seconds of tarpits, which a client would have waited."""
        return sum(one.verdict.seconds for one in self.said if isinstance(one.verdict, Tarpit))


class Dialogue(Generic[R]):
    """steps: so far. A step that its session can't come to (after a disconnect, RCPT without a sender) raises
    RuntimeError: then the script is wrong, not the policy."""

    def __init__(self, session: Session, ask: Ask, take: Take[R]) -> None:
        self.session = session
        self.steps: list[Step] = []
        self.open = True
        self.sender: str | None = None
        self.recipients: list[Recipient] = []
        self._unwelcome = False
        self._ask = ask
        self._take = take

    async def connect(self) -> Step:
        """A refusal ends the session: nothing but QUIT is left to the client (RFC 5321 3.1)."""
        step = await self._step("connect", Connect(self.session))
        self.open = self.open and step.refused is None
        return step

    async def ehlo(self, name: str) -> Step:
        """A refusal leaves all as it was: the name, and a transaction under way."""
        step = await self._step("ehlo", Ehlo(self.session, name))
        if step.refused is None:
            self.session.helo = name
            self.reset()
        elif not self.session.helo:
            self._unwelcome = True
        return step

    async def auth(self, user: str, *, mechanism: str = "PLAIN", passed: bool = True) -> Step:
        step = await self._step("auth", Auth(self.session, user, mechanism, passed))
        if passed and step.refused is None:
            self.session.user = user
        return step

    async def mail_from(self, sender: str) -> Step:
        """Without `ehlo` before it, the script has skipped that; with a refused one, there is no way on."""
        if self._unwelcome and not self.session.helo:
            raise RuntimeError("MAIL after a refused EHLO")
        if self.sender is not None:
            raise RuntimeError("MAIL within a transaction: call data, or reset, before it")
        step = await self._step("mail_from", MailFrom(self.session, sender))
        if step.refused is None:
            self.sender = sender
        return step

    async def rcpt_to(self, recipient: str) -> Step:
        """Raises AddressError for what is no address."""
        if self.sender is None:
            raise RuntimeError("RCPT without a sender: mail_from was not asked, or refused")
        facts = RcptTo(self.session, self.sender, recipient, parse_mailbox(recipient).routing)
        domain = facts.domain
        step = await self._step("rcpt_to", facts)
        if step.refused is not None:
            return step
        if facts.recipient != recipient:
            try:
                mailbox = parse_mailbox(facts.recipient)
            except AddressError:
                return self._note(Step("rcpt_to", TROUBLE.reply, TROUBLE, step.said))
            if facts.domain == domain:
                facts.domain = mailbox.routing
        end = {DECIDED: f"discard {step.verdict.reason}"} if isinstance(step.verdict, Discard) else None
        self.recipients.append(Recipient(facts.recipient, facts.domain, context=end))
        return step

    async def data(self, raw: bytes | str) -> Step | R:
        """The message, whose result is returned; or the step, when the phase `data` refuses it."""
        if self.sender is None or not self.recipients:
            raise RuntimeError("DATA without a recipient: rcpt_to was not asked, or all were refused")
        addresses = tuple(recipient.address for recipient in self.recipients)
        step = await self._step("data", Data(self.session, self.sender, addresses))
        if step.refused is not None:
            return step
        sender, recipients = self.sender, self.recipients
        self.reset()
        return await self._take(self.session, sender, recipients, raw, "esmtp")

    def reset(self) -> None:
        """RSET."""
        self.sender, self.recipients = None, []

    async def _step(self, phase: str, facts: object) -> Step:
        if not self.open:
            raise RuntimeError(f"{phase} after the end of the session")
        verdict, said = await self._ask(phase, facts, self.session.listener)
        refused = verdict.reply if isinstance(verdict, Refusal) else None
        if isinstance(verdict, Disconnect):
            self.open = False
        return self._note(Step(phase, refused, verdict, said))

    def _note(self, step: Step) -> Step:
        self.steps.append(step)
        return step
