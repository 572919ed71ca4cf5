"""Rules of the configuration: an expression in CEL, and what to do when it is true. Compiled once a generation.

Expressions see the facts of their phase under the names of `VARIABLES`; `header("Subject")` and the like are functions,
since decoding every field of every message for nobody would cost more than the rest. An expression that can't be worked
out for a message (a context value that is not there ...) is a hook that failed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import cel

from postroad.config.schema import RuleOptions
from postroad.message.address import AddressError, parse_mailbox, routing_domain
from postroad.policy.content import Content, ContentError
from postroad.policy.facts import Incoming, Outgoing
from postroad.policy.hooks import Hook
from postroad.policy.phase import PHASES
from postroad.policy.verdict import (
    Accept,
    Discard,
    Disconnect,
    Fail,
    Reject,
    Retry,
    Tarpit,
    Tempfail,
    Verdict,
)


class RuleError(ValueError):
    """A rule can't be used. The message says which and why."""


class Variable(NamedTuple):
    """get(facts): its value. on: what the facts must have for it. sample: what it is checked with."""

    doc: str
    on: str
    get: Callable[[Any], object]
    sample: object


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower()


VARIABLES = {
    "peer": Variable("IP address of the client", "session", lambda f: f.session.peer, "192.0.2.1"),
    "listener": Variable("address of the listener; `http`", "session", lambda f: f.session.listener, "0.0.0.0:25"),
    "helo": Variable("what the client calls itself", "session", lambda f: f.session.helo, "mail.example"),
    "user": Variable("user of AUTH or label of the API key", "session", lambda f: f.session.user, ""),
    "tls": Variable("TLS of the session, as in events", "session", lambda f: f.session.tls, ""),
    "connection": Variable("connection context", "session", lambda f: f.session.context, {}),
    "context": Variable("message context", "context", lambda f: f.context, {}),
    "name": Variable("EHLO name (phase ehlo)", "name", lambda f: f.name, "mail.example"),
    "mechanism": Variable("of AUTH (phase auth)", "mechanism", lambda f: f.mechanism, "PLAIN"),
    "passed": Variable("did AUTH pass (phase auth)", "passed", lambda f: f.passed, True),
    "sender": Variable('reverse-path; "" is the null one', "sender", lambda f: f.sender, "a@sender.example"),
    "sender_domain": Variable("its domain", "sender", lambda f: _domain(f.sender), "sender.example"),
    "recipient": Variable("the recipient", "recipient", lambda f: f.recipient, "b@recipient.example"),
    "domain": Variable("its routing domain", "domain", lambda f: f.domain, "recipient.example"),
    "recipients": Variable("all recipients", "recipients", lambda f: list(f.recipients), ["b@recipient.example"]),
    "method": Variable("esmtp, rest, internal", "method", lambda f: f.method, "esmtp"),
    "size": Variable("octets of the message", "content", lambda f: len(f.content), 1000),
    "binding": Variable("binding of the message", "binding", lambda f: f.binding, "default"),
    "attempts": Variable("attempts before this one", "attempts", lambda f: f.attempts, 0),
    "code": Variable("code of the host's reply", "outcome", lambda f: f.outcome.reply.code, 450),
    "reply": Variable("text of the host's reply", "outcome", lambda f: f.outcome.reply.text, "4.2.1 try later"),
    "host": Variable("the host that replied", "outcome", lambda f: f.outcome.host, "mx.recipient.example"),
}

# Functions, by what their facts must have. All take texts and are called only where an expression needs them.
FUNCTIONS: dict[str, tuple[str, Callable[[Content], Callable[..., object]]]] = {
    "header": ("content", lambda content: lambda name: content.get(name) or ""),
    "headers": ("content", lambda content: lambda name: content.get_all(name)),
    "header_count": ("content", lambda content: lambda name: content.count(name)),
    "has_part": ("content", lambda content: lambda kind: bool(content.parts(kind))),
    "attachments": ("content", lambda content: lambda: [p.filename for p in content.parts() if p.filename]),
    "body_contains": ("content", lambda content: lambda text: _body_contains(content, text)),
}


def _body_contains(content: Content, text: str) -> bool:
    """In a text part, without regard to case."""
    wanted = text.casefold()
    return any(wanted in content.text(part).casefold() for part in content.parts("text/"))


def load_rules(rules: list[RuleOptions]) -> list[Hook]:
    """One hook a rule, in order. Raises RuleError."""
    return [_hook(rule, number) for number, rule in enumerate(rules, 1)]


def _hook(rule: RuleOptions, number: int) -> Hook:
    name = rule.name or f"rule {number}"
    try:
        compiled = _Rule(rule)
    except (RuleError, ContentError, AddressError, ValueError) as error:
        raise RuleError(f"rule {name!r}: {error}") from error
    return Hook(name, rule.phase, compiled, listeners=frozenset(rule.listeners))


def _verdict(rule: RuleOptions) -> Verdict | None:
    text, code = rule.text, rule.code
    match rule.action:
        case "continue":
            return None
        case "accept":
            return Accept()
        case "reject":
            return Reject(text or "5.7.1 refused by policy", code)
        case "tempfail":
            return Tempfail(text or "4.7.1 refused by policy for now", code)
        case "disconnect":
            return Disconnect(text or "4.7.1 refused by policy", code)
        case "discard":
            return Discard(text or "discarded by policy")
        case "tarpit":
            return Tarpit(rule.seconds)
        case "retry":
            return Retry(rule.seconds or None, text)
        case "fail":
            return Fail(text or "5.7.1 refused by policy")


_TEXT = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")
_MACRO = re.compile(r"\.\s*(?:exists_one|exists|all|map|filter)\s*\(\s*([A-Za-z_][A-Za-z0-9_]*)\s*,")


def _bound(when: str) -> set[str]:
    """Names that macros of the expression bind, as `p` in `attachments().exists(p, p != '')`. The library tells them
    among the free ones."""
    return set(_MACRO.findall(_TEXT.sub("''", when)))


class _Rule:
    """Raises ValueError that says what is wrong with it."""

    def __init__(self, rule: RuleOptions) -> None:
        if rule.phase not in PHASES:
            raise RuleError(f"there is no phase {rule.phase!r}; known: {', '.join(PHASES)}")
        phase = PHASES[rule.phase]
        self._verdict = _verdict(rule)
        if self._verdict is not None and not isinstance(self._verdict, phase.verdicts):
            raise RuleError(f"phase {rule.phase} knows no {rule.action}")
        has = frozenset(getattr(phase.facts, "__dataclass_fields__", ()))
        self._changes = _changes(rule, phase.facts, has)
        if self._verdict is None and not self._changes:
            raise RuleError("it neither says nor changes anything")
        try:
            self._program = cel.compile(rule.when)
        except ValueError as error:
            raise RuleError(f"`when` is no expression: {error}") from error
        used = self._program.references()
        names = [name for name in used["variables"] if name in VARIABLES and VARIABLES[name].on in has]
        if unknown := [name for name in used["variables"] if name not in names and name not in _bound(rule.when)]:
            known = ", ".join(name for name, variable in VARIABLES.items() if variable.on in has)
            raise RuleError(f"phase {rule.phase} knows no {', '.join(unknown)}; it knows {known}")
        self._variables = [(name, VARIABLES[name].get) for name in names]
        self._functions = [(name, FUNCTIONS[name][1]) for name in used["functions"] if name in FUNCTIONS]
        for name in used["functions"]:
            if name in FUNCTIONS and FUNCTIONS[name][0] not in has:
                raise RuleError(f"phase {rule.phase} has no message content for {name}()")
        self._try()

    def _try(self) -> None:
        """With made-up facts: an expression that gives no truth value, or calls what is not there, is found now."""
        context = cel.Context({name: VARIABLES[name].sample for name, _ in self._variables})
        sample = Content(b"Subject: sample\r\n\r\nsample\r\n")
        for name, make in self._functions:
            context.add_function(name, make(sample))
        try:
            result = self._program.execute(context)
        except KeyError:
            return  # a context value that the sample has not
        except Exception as error:
            raise RuleError(f"`when`: {error}") from error
        if not isinstance(result, bool):
            raise RuleError(f"`when` must be true or false, and gives {type(result).__name__}")

    def __call__(self, facts: Any) -> Verdict | None:
        context = cel.Context({name: get(facts) for name, get in self._variables})
        for name, make in self._functions:
            context.add_function(name, make(facts.content))
        if self._program.execute(context) is not True:
            return None
        for change in self._changes:
            change(facts)
        return self._verdict


Change = Callable[[Any], object]


def _changes(rule: RuleOptions, facts_type: type[object], has: frozenset[str]) -> list[Change]:
    """What the rule does to the facts. Raises RuleError when its phase has nothing of the kind."""
    made: list[Change] = []

    def want(option: str, member: str) -> None:
        if member not in has:
            raise RuleError(f"phase {rule.phase} has nothing that `{option}` could change")

    if rule.set:
        if facts_type is Outgoing:
            raise RuleError(f"phase {rule.phase} has nothing that `set` could change")
        if "context" not in has:
            want("set", "session")
        made.append(partial(_set_context, dict(rule.set)))
    trial = Content(b"\r\n")
    for option, fields in (("set_header", rule.set_header), ("add_header", rule.add_header)):
        for name, value in fields.items():
            want(option, "content")
            _edit(option, (name, value), trial)
            made.append(partial(_edit, option, (name, value)))
    for name in rule.remove_header:
        want("remove_header", "content")
        _edit("remove_header", (name,), trial)
        made.append(partial(_edit, "remove_header", (name,)))
    for address in rule.add_recipient:
        if facts_type is not Incoming:
            raise RuleError("`add_recipient` is for the phase message")
        parse_mailbox(address)
        made.append(partial(_add_recipient, address))
    chosen: dict[str, object] = {"binding": rule.binding, "group": rule.group, "priority": rule.priority}
    chosen |= {"expires_in": rule.expires_in, "domain": routing_domain(rule.domain) if rule.domain else ""}
    for option, new in chosen.items():
        if new not in ("", None):
            want(option, "expires_in" if option != "domain" else "domain")
            made.append(partial(_give, option, new))
    return made


def _set_context(values: dict[str, str], facts: Any) -> None:
    (facts.context if hasattr(facts, "context") else facts.session.context).update(values)


def _edit(option: str, arguments: tuple[str, ...], facts: Any) -> None:
    content = facts if isinstance(facts, Content) else facts.content
    getattr(content, option.removesuffix("_header"))(*arguments)


def _add_recipient(address: str, facts: Incoming) -> None:
    if address not in facts.recipients:
        facts.recipients.append(address)


def _give(option: str, value: object, facts: Any) -> None:
    setattr(facts, option, value)
