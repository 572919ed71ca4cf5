"""What another policy would have made of mail that came yesterday, as far as events know that mail.

Events keep envelopes, subjects and sizes, not contents: a hook that looks at more is passed over for that message, and
counted. Plug-ins run for real: one that asks a database asks it now. Their clock shows the time of the event.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

from postroad.message import Context
from postroad.policy.facts import Connect, Incoming, MailFrom, OneRecipient, RcptTo
from postroad.policy.hooks import Hook, Hooks
from postroad.policy.phase import PHASES
from postroad.policy.remembered import Remembered, Unknown
from postroad.policy.trace import words
from postroad.policy.verdict import Discard, Refusal, Tarpit, Verdict

# What events know too little of, and why.
NOT_ASKED = {
    "ehlo": "events don't keep the EHLO name",
    "auth": "events don't keep logins",
    "data": "events don't keep who was in a transaction together",
    "before_attempt": "only mail on its way in is replayed",
    "reply": "only mail on its way in is replayed",
    "delivered": "only mail on its way in is replayed",
    "deferred": "only mail on its way in is replayed",
    "failed": "only mail on its way in is replayed",
}
# Its own checks of who sent a message: of nothing they look at is there anything left.
BUILT_IN = "authentication"
_FIRST = {"esmtp": ("each_recipient",), "rest": ("generated",)}
_EACH = ("set_binding", "routing", "final_validation")
_SAMPLES = 3  # of each kind of difference
_KINDS = 1000  # kinds of difference that are told apart


class EventClock:
    """Shows the time of the event that is replayed."""

    def __init__(self) -> None:
        self.now = 0.0

    def wall(self) -> float:
        return self.now


class Judged(NamedTuple):
    """What a policy makes of one event. verdict: "taken" or that of a hook; text: of the reply, or the reason; by: the
    hook, "" when it is taken. chosen: what hooks changed. passed_over: hooks that looked at what is not known."""

    verdict: str
    text: str = ""
    by: str = ""
    chosen: dict[str, object] = {}  # noqa: RUF012 - a default that nobody changes
    passed_over: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        return f"{self.verdict} {self.text}".rstrip()

    def same(self, other: Judged) -> bool:
        return (self.verdict, self.text, self.chosen) == (other.verdict, other.text, other.chosen)


class Difference(NamedTuple):
    """event: as the journal has it."""

    event: Mapping[str, Any]
    old: Judged
    new: Judged


@dataclass(slots=True)
class Report:
    """events: that were replayed; refusals that stand for many count as many. same, differ: of them.

    kinds: how many went from which verdict to which, and by which hook. passed_over: by hook of the new policy, how
    often it looked at what is not known, and at what. errors: by hook of the new policy. other: kinds that are not told
    apart, because there are too many.
    """

    events: int = 0
    same: int = 0
    differ: int = 0
    kinds: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    samples: list[Difference] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    looked_at: dict[str, set[str]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    other: int = 0


class Replay:
    """old, new: hooks of two policies, whose plug-ins are open. clock: what their plug-ins were loaded with. listener:
    take it that all mail by SMTP came in there; "": hooks for certain listeners are not asked."""

    def __init__(self, old: Iterable[Hook], new: Iterable[Hook], clock: EventClock, listener: str = "") -> None:
        self.report = Report()
        self._clock = clock
        self._listener = listener
        self._old = _Asked(old)
        self._new = _Asked(new)
        self._sampled: Counter[tuple[str, str, str]] = Counter()

    async def add(self, event: Mapping[str, Any], wall: float) -> Difference | None:
        """An injection or policy_rejection event. wall: when it happened, in Unix seconds."""
        self._clock.now = wall
        old, new = await self._old.judge(event, self._listener), await self._new.judge(event, self._listener)
        report, weight = self.report, int(event.get("rejections", 1))
        report.events += weight
        for name in new.passed_over:
            report.passed_over[name] += weight
        report.looked_at, report.errors = self._new.looked_at, self._new.errors
        if old.same(new):
            report.same += weight
            return None
        report.differ += weight
        difference = Difference(event, old, new)
        kind = (old.verdict, new.verdict if new.verdict != old.verdict else "otherwise", new.by or old.by)
        if kind not in report.kinds and len(report.kinds) >= _KINDS:
            report.other += weight
            return difference
        report.kinds[kind] += weight
        if self._sampled[kind] < _SAMPLES:
            self._sampled[kind] += 1
            report.samples.append(difference)
        return difference

    def close(self) -> None:
        self._old.hooks.close()
        self._new.hooks.close()


class _Asked:
    """One policy."""

    def __init__(self, hooks: Iterable[Hook]) -> None:
        self.errors: Counter[str] = Counter()
        self.looked_at: dict[str, set[str]] = {}
        self._unknown: Unknown = set()
        self._passed_over: list[str] = []
        self._speaker = ""
        can = [hook for hook in hooks if hook.phase not in NOT_ASKED and hook.plugin != BUILT_IN]
        self.hooks = Hooks([self._careful(hook) for hook in can], self._failed)

    async def judge(self, event: Mapping[str, Any], listener: str) -> Judged:
        known = Remembered(event, listener, self._unknown)
        self._passed_over = []
        chosen: dict[str, object] = {}
        verdict = await self._phases(known, chosen)
        passed_over = tuple(dict.fromkeys(self._passed_over))
        if verdict is None:
            return Judged("taken", chosen=chosen, passed_over=passed_over)
        return Judged(*words(verdict).partition(" ")[::2], by=self._speaker, passed_over=passed_over)

    async def _phases(self, known: Remembered, chosen: dict[str, object]) -> Verdict | None:
        """The first refusal or discard on the message's way in."""
        session = known.session
        by_smtp = known.method == "esmtp"
        if known.peer_is_known and by_smtp and (said := await self._ask("connect", known, Connect(session))):
            return said
        if not known.recipient:  # refused before there was one
            if known.sender and (said := await self._ask("mail_from", known, MailFrom(session, known.sender))):
                return said
            return None
        sender, recipient, domain = known.sender, known.recipient, known.domain
        context = cast(Context, known.context)
        if by_smtp:
            if said := await self._ask("mail_from", known, MailFrom(session, sender)):
                return said
            rcpt = RcptTo(session, sender, recipient, domain)
            if said := await self._ask("rcpt_to", known, rcpt):
                return said
            recipient, domain = rcpt.recipient, rcpt.domain
            incoming = Incoming(session, sender, [recipient], known.content, context, known.method)
            if said := await self._ask("message", known, incoming):
                return said
            sender = incoming.sender
            if incoming.recipients != [recipient]:
                chosen["recipients"] = list(incoming.recipients)
                if recipient not in incoming.recipients and incoming.recipients:
                    recipient = incoming.recipients[0]
        one = OneRecipient(session, sender, recipient, domain, known.content, context, known.method)
        for phase in (*_FIRST.get(known.method, ()), *_EACH):
            if said := await self._ask(phase, known, one):
                return said
        before = {"sender": known.sender, "recipient": known.recipient, "domain": known.domain}
        for name in ("sender", "recipient", "domain", "binding", "group", "priority", "expires_in"):
            if (value := getattr(one, name)) not in ("", None) and value != before.get(name):
                chosen[name] = value
        for prefix, written in (("context", known.context.written), ("connection", known.connection.written)):
            chosen |= {f"{prefix}.{name}": value for name, value in written.items()}
        if one.content.changed:
            chosen["content"] = "edited"
        return None

    async def _ask(self, phase: str, known: Remembered, facts: object) -> Verdict | None:
        chain = self.hooks.chain(phase, known.listener)
        if not chain:
            return None
        said = self.hooks.ask(chain, facts)
        verdict = said if said is None or isinstance(said, Verdict) else await said
        return verdict if isinstance(verdict, Refusal | Discard) else None

    def _careful(self, hook: Hook) -> Hook:
        """A hook that is passed over when it looks at what nobody knows, and never waits in a tarpit."""
        inner = hook.call

        def call(facts: Any) -> Any:
            self._unknown.clear()
            try:
                said = inner(facts)
            except Exception:
                if self._in_vain(hook):
                    return None
                self._speaker = hook.name
                raise
            return later(said) if inspect.isawaitable(said) else end(said)

        async def later(said: Awaitable[Any]) -> Any:
            try:
                return end(await said)
            except Exception:
                if self._in_vain(hook):
                    return None
                self._speaker = hook.name
                raise

        def end(said: Any) -> Any:
            if self._in_vain(hook):
                return None
            self._speaker = hook.name
            return None if isinstance(said, Tarpit) and Tarpit in PHASES[hook.phase].verdicts else said

        return replace(hook, call=call, calls=0, errors=0, said=Counter())

    def _in_vain(self, hook: Hook) -> bool:
        if not self._unknown:
            return False
        self._passed_over.append(hook.name)
        self.looked_at.setdefault(hook.name, set()).update(self._unknown)
        return True

    def _failed(self, hook: Hook, error: BaseException) -> None:
        self.errors[hook.name] += 1
        self._speaker = hook.name
