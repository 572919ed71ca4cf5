"""The plug-in kit: run a policy against a message or a session, without a server.

    async def test_spam_is_refused() -> None:
        async with load("my_policy.py", options={"limit": 5}) as policy:
            result = await policy.message(b"Subject: Buy!\\r\\n\\r\\n", recipients=["b@example.net"])
            assert result.refused == (550, "5.7.1 no spam")

Hooks, rules and the intake are those of the server; only what stands behind them is another: messages are kept for the
test to look at instead of in the journal. Nobody waits: a tarpit is noted. With pytest see `postroad.policy.fixtures`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

from postroad.config import load as load_config
from postroad.config.schema import Config, PolicyOptions
from postroad.message import (
    EXPIRES_IN,
    PRIORITY,
    Accepted,
    Body,
    Context,
    Recipient,
    Refused,
    Rejection,
    Reply,
    Transaction,
)
from postroad.message.address import parse_mailbox
from postroad.net import Clock, DnsResolver, Resolver, SystemClock
from postroad.policy.binding import BINDING, GROUP
from postroad.policy.content import Content
from postroad.policy.dialogue import Dialogue
from postroad.policy.facts import Session
from postroad.policy.intake import DECIDED, Intake
from postroad.policy.plugin import Plugin, PluginError
from postroad.policy.policies import PolicySet, load_policies
from postroad.policy.trace import Said, Trace
from postroad.policy.verdict import Verdict

SENDER, RECIPIENT, PEER, HELO = "sender@example.com", "recipient@example.net", "192.0.2.1", "client.example.com"


@dataclass(frozen=True, slots=True)
class Copy:
    """What the message of one recipient became.

    priority, expires_in (seconds): None where no hook chose. refused: the reply its sender is told about, when this
    recipient was refused and others were not. discarded: the reason, when it is thrown away.
    """

    sender: str
    recipient: str
    domain: str
    content: Content
    context: Context = field(default_factory=dict)
    binding: str = ""
    group: str = ""
    priority: int | None = None
    expires_in: float | None = None
    refused: Reply | None = None
    discarded: str = ""

    @property
    def kept(self) -> bool:
        """It will be delivered."""
        return self.refused is None and not self.discarded


@dataclass(frozen=True, slots=True)
class Result:
    """refused: what the client hears when all of it was refused; then there are no copies. said: by hooks, in order."""

    refused: Reply | None
    copies: list[Copy]
    said: list[Said]

    def to(self, recipient: str) -> Copy:
        """The copy for this address. Raises LookupError that says who got one."""
        for copy in self.copies:
            if copy.recipient == recipient:
                return copy
        raise LookupError(f"nothing went to {recipient}, but to {[copy.recipient for copy in self.copies]}")

    @property
    def errors(self) -> list[str]:
        """Of hooks that failed."""
        return [f"{one.plugin}.{one.phase}: {one.error}" for one in self.said if one.error]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one phase came to. verdict: None is to go on."""

    verdict: Verdict | None
    said: list[Said]


def load(
    file: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
    resolver: Resolver | None = None,
    phases: Collection[str] = (),
    **settings: Any,
) -> Policy:
    """A plug-in (a file of Python), or all policy of a configuration (a file of TOML). settings: more of what a
    [[policy]] may say, as in thread=True. phases: ask hooks of these only. clock, resolver: what plug-ins get instead
    of the real ones. Raises PluginError, RuleError, and ConfigError, FileNotFoundError of a configuration."""
    path = Path(file)
    if path.suffix == ".toml":
        if options is not None or settings:
            raise TypeError("options are for a plug-in; those of a configuration stand in it")
        return of_config(load_config(path).config, path.parent, clock=clock, resolver=resolver, phases=phases)
    plugin = PolicyOptions(file=path.name, options=dict(options or {}), **settings)
    return of_config(Config(policy=[plugin]), path.parent, clock=clock, resolver=resolver, phases=phases)


def of_config(
    config: Config,
    folder: Path,
    *,
    clock: Clock | None = None,
    resolver: Resolver | None = None,
    phases: Collection[str] = (),
) -> Policy:
    """All policy of a configuration that is read already. folder: what its relative files are relative to."""
    names = resolver or DnsResolver(config.dns, rng=Random(1))
    return Policy(load_policies(config, folder, clock=clock or SystemClock(), resolver=names), phases)


class Policy:
    """Loaded policy. Plug-ins are opened with the first use, or by `async with`, and closed with it or by `close`."""

    def __init__(self, loaded: PolicySet, phases: Collection[str] = ()) -> None:
        self.plugins = loaded.plugins
        self._opened = False
        self._to_close: list[Plugin] = []
        self.hooks = [hook for hook in loaded.hooks.all if not phases or hook.phase in phases]

    async def open(self) -> None:
        """Raises PluginError."""
        if self._opened:
            return
        self._opened = True
        for plugin in self.plugins:
            try:
                await plugin.open()
            except PluginError:
                await self.close()
                raise
            self._to_close.append(plugin)

    async def close(self) -> None:
        """Raises PluginError when a plug-in's own `close` fails."""
        self._opened = False
        while self._to_close:
            await self._to_close.pop().close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        await self.close()

    async def message(
        self,
        raw: bytes | str,
        *,
        sender: str = SENDER,
        recipients: Sequence[str] = (RECIPIENT,),
        listener: str = "",
        peer: str = PEER,
        helo: str = HELO,
        user: str = "",
        tls: str = "",
        context: Context | None = None,
        method: str = "esmtp",
    ) -> Result:
        """Take a message: phases `message` to `final_validation`. raw: LF line ends will do. context: of the
        connection. method: `esmtp` or `rest` (then the listener is "http" and the phase `generated`). Raises
        AddressError for a recipient that is no address."""
        session = Session(listener or ("http" if method == "rest" else ""), peer, helo, user, tls, dict(context or {}))
        to = [Recipient(address, parse_mailbox(address).routing) for address in recipients]
        return await self._take(session, sender, to, raw, method)

    def session(
        self, *, listener: str = "", peer: str = PEER, user: str = "", tls: str = "", context: Context | None = None
    ) -> Dialogue[Result]:
        """A dialogue step by step: connect, ehlo, auth, mail_from, rcpt_to, data."""
        session = Session(listener, peer, "", user, tls, dict(context or {}))
        return Dialogue(session, self._ask, self._take)

    async def ask(self, phase: str, facts: object, listener: str = "") -> Answer:
        """Ask one phase alone, with facts of your own: for those on the way out."""
        return Answer(*await self._ask(phase, facts, listener))

    async def _ask(self, phase: str, facts: object, listener: str) -> tuple[Verdict | None, list[Said]]:
        await self.open()
        trace = Trace(self.hooks)
        try:
            said = trace.hooks.ask(trace.hooks.chain(phase, listener), facts)
            verdict = said if said is None or isinstance(said, Verdict) else await said
            return verdict, trace.take()
        finally:
            trace.close()

    async def _take(
        self, session: Session, sender: str, recipients: list[Recipient], raw: bytes | str, method: str
    ) -> Result:
        await self.open()
        trace, kept = Trace(self.hooks), _Kept()
        given = Transaction(sender, recipients, Body(crlf(raw)), connection=_connection(session), method=method, id=1)
        done: asyncio.Future[Accepted | Refused] = asyncio.get_running_loop().create_future()
        try:
            Intake(kept, lambda: trace.hooks, session.listener).accept(given, done.set_result)
            result = await done
        finally:
            trace.close()
        if isinstance(result, Refused):
            return Result(result.reply, [], trace.take())
        copies = {
            number: copy for numbers, one in kept.taken for number, copy in zip(numbers, _copies(one), strict=True)
        }
        return Result(None, [copies[number] for number in result.ids], trace.take())


class _Kept:
    """What stands behind the intake."""

    def __init__(self) -> None:
        self.taken: list[tuple[list[int], Transaction]] = []
        self._next = 1

    def refusal(self) -> Reply | None:
        return None

    def rejected(self, rejection: Rejection) -> None:
        """The result says it too."""

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        ids = list(range(self._next, self._next + len(transaction.recipients)))
        self._next += len(ids)
        self.taken.append((ids, transaction))
        done(Accepted(ids))


def crlf(raw: bytes | str) -> bytes:
    """A message with the line ends of the wire."""
    octets = raw.encode() if isinstance(raw, str) else raw
    return re.sub(rb"\r?\n", b"\r\n", octets)


def _connection(session: Session) -> Context:
    """As the listener notes it in the connection's context, where the intake reads it."""
    told = {
        "remote_addr": session.peer,
        "ehlo_domain": session.helo,
        "auth_user": session.user,
        "tls_cipher": session.tls,
    }
    return {**session.context, **{name: value for name, value in told.items() if value}}


def _copies(taken: Transaction) -> list[Copy]:
    made = []
    for recipient in taken.recipients:
        context = {**taken.context, **(recipient.context or {})}
        end, _, text = context.pop(DECIDED, "").partition(" ")
        code, _, rest = text.partition(" ")
        priority, expires_in = context.pop(PRIORITY, ""), context.pop(EXPIRES_IN, "")
        made.append(
            Copy(
                *(taken.sender, recipient.address, recipient.domain, Content(bytes(taken.body))),
                context=context,
                binding=context.pop(BINDING, ""),
                group=context.pop(GROUP, ""),
                priority=int(priority) if priority else None,
                expires_in=float(expires_in) if expires_in else None,
                refused=Reply(int(code), rest) if end in ("fail", "unwanted") else None,
                discarded=text if end == "discard" else "",
            )
        )
    return made
