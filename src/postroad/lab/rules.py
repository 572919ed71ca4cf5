"""How a simulated receiver behaves, as data: a list of rules, first match wins at each step of the SMTP session.

A rule is flat, so that a TOML table is one. All its conditions must hold; then its effects happen and no later rule of
the same step is asked. A step at which no rule matches goes well.
"""

from __future__ import annotations

import ipaddress
import random
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate
from typing import Literal, NamedTuple, get_args

from msgspec import Struct

Step = Literal["connect", "ehlo", "mail", "rcpt", "data", "message"]
"""Where in a session a rule speaks: the banner, EHLO/HELO, MAIL, RCPT, DATA, and the end of the content."""

STEPS: tuple[Step, ...] = get_args(Step)

_REMEMBERED_TRIES = 100_000
_REPLY = re.compile(r"[2-5][0-9]{2} [ -~]{1,500}\Z")


class RuleError(ValueError):
    """A rule that can't be meant. The text names the rule and the reason."""


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. Patterns know `*`, `?` and `[...]` and ignore case; an empty condition always holds."""

    name: str
    step: Step = "rcpt"
    # Conditions
    domain: str = ""
    """Of the recipient: exact, or ".example.test" for its subdomains."""
    recipient: str = ""
    """Pattern over the whole address. At "message", one matching recipient is enough."""
    sender: str = ""
    """Pattern over the envelope sender; `<>` is the null one. From "mail" on."""
    source: str = ""
    """Network (CIDR) the client connects from."""
    content: str = ""
    """Text somewhere in the content. Only at "message"."""
    percent: float = 100
    """Share of the otherwise matching cases."""
    greylist: float = 0
    """Seconds after the first try of a (source, sender, recipient) during which the rule matches. Only at "rcpt"."""
    rate: int = 0
    window: float = 1
    """Matches what goes beyond `rate` cases in the last `window` seconds. Those it lets pass count, others do not."""
    connections: int = 0
    """Matches while more than this many sessions of the same source are open."""
    messages: int = 0
    """Matches after this many finished messages of the session."""
    # Effects
    reply: str = ""
    """What is answered, e.g. "451 4.7.1 Come back later". Empty: all is well."""
    delay: float = 0
    """Seconds before the answer."""
    close: Literal["no", "after", "instead"] = "no"
    """Hang up after the answer, or without one."""


class Case(NamedTuple):
    """What a session knows at a step. source: the client's IP address. content: only at "message"."""

    source: str
    sender: str = ""
    recipients: Sequence[str] = ()
    content: bytes = b""
    connections: int = 0
    messages: int = 0


_Condition = Callable[[Case, float], bool]


class _Compiled(NamedTuple):
    rule: Rule
    conditions: tuple[_Condition, ...]


class RuleBook:
    """Compiled rules, with a counter each. Time comes in with every question: seconds of any steady clock."""

    def __init__(self, rules: Iterable[Rule], rng: random.Random) -> None:
        """Raises RuleError. rng: decides the `percent` conditions."""
        self.rules = tuple(rules)
        self.hits: dict[str, int] = {}
        self._steps: dict[Step, list[_Compiled]] = {step: [] for step in STEPS}
        for rule in self.rules:
            if rule.name in self.hits:
                raise RuleError(f"rule {rule.name!r}: the name is taken by an earlier rule")
            self.hits[rule.name] = 0
            self._steps[rule.step].append(_Compiled(rule, _conditions(rule, rng)))

    def has(self, step: Step) -> bool:
        """Is there any rule for this step?"""
        return bool(self._steps[step])

    def match(self, step: Step, case: Case, now: float) -> Rule | None:
        """The first rule of the step whose conditions all hold; its counter goes up."""
        for rule, conditions in self._steps[step]:
            for condition in conditions:
                if not condition(case, now):
                    break
            else:
                self.hits[rule.name] += 1
                return rule
        return None


def _conditions(rule: Rule, rng: random.Random) -> tuple[_Condition, ...]:
    """Checks a rule and makes its conditions, those without memory first: a case that another condition excludes must
    not count against a rate."""
    _check(rule)
    found: list[_Condition] = []
    if rule.domain:
        found.append(_domain(rule.domain.lower()))
    if rule.recipient:
        pattern = _pattern(rule.recipient)
        found.append(lambda case, _: any(pattern(one) for one in case.recipients))
    if rule.sender:
        sender = _pattern("" if rule.sender == "<>" else rule.sender)
        found.append(lambda case, _: bool(sender(case.sender)))
    if rule.source:
        found.append(_source(rule))
    if rule.content:
        needle = rule.content.encode()
        found.append(lambda case, _: needle in case.content)
    if rule.connections:
        found.append(lambda case, _: case.connections > rule.connections)
    if rule.messages:
        found.append(lambda case, _: case.messages >= rule.messages)
    if rule.percent < 100:
        found.append(lambda _, __: rng.random() * 100 < rule.percent)
    if rule.greylist:
        found.append(_greylist(rule.greylist))
    if rule.rate:
        found.append(_rate(rule.rate, rule.window))
    return tuple(found)


def _check(rule: Rule) -> None:
    def wrong(reason: str) -> RuleError:
        return RuleError(f"rule {rule.name!r}: {reason}")

    rank = STEPS.index(rule.step)
    if (rule.domain or rule.recipient) and rank < STEPS.index("rcpt"):
        raise wrong(f"no recipient is known yet at step {rule.step!r}")
    if rule.sender and rank < STEPS.index("mail"):
        raise wrong(f"no sender is known yet at step {rule.step!r}")
    if rule.content and rule.step != "message":
        raise wrong("content is known at step 'message' only")
    if rule.greylist and rule.step != "rcpt":
        raise wrong("greylisting happens at step 'rcpt' only")
    if rule.reply and not _REPLY.match(rule.reply):
        raise wrong(f"the reply {rule.reply[:60]!r} is not a code, a space and printable ASCII text")
    if rule.step == "data" and rule.reply.startswith("2"):
        raise wrong("a 2xx reply to DATA is no SMTP")
    if not 0 <= rule.percent <= 100:
        raise wrong("percent lies between 0 and 100")
    if min(rule.greylist, rule.rate, rule.connections, rule.messages, rule.delay) < 0 or rule.window <= 0:
        raise wrong("times and counts are not negative, and a window is longer than 0")


def _pattern(text: str) -> Callable[[str], object]:
    return re.compile(translate(text), re.IGNORECASE).match


def _domain(domain: str) -> _Condition:
    suffix = "@" + domain
    if domain.startswith("."):
        return lambda case, _: any(one.lower().rpartition("@")[2].endswith(domain) for one in case.recipients)
    return lambda case, _: any(one.lower().endswith(suffix) for one in case.recipients)


def _source(rule: Rule) -> _Condition:
    try:
        network = ipaddress.ip_network(rule.source)
    except ValueError as error:
        raise RuleError(f"rule {rule.name!r}: {error}") from None
    return lambda case, _: ipaddress.ip_address(case.source) in network


def _greylist(seconds: float) -> _Condition:
    first: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def young(case: Case, now: float) -> bool:
        key = (case.source, case.sender.lower(), case.recipients[-1].lower())
        began = first.get(key)
        if began is None:
            first[key] = began = now
            if len(first) > _REMEMBERED_TRIES:
                first.popitem(last=False)
        return now - began < seconds

    return young


def _rate(rate: int, window: float) -> _Condition:
    passed: deque[float] = deque()

    def beyond(_: Case, now: float) -> bool:
        while passed and now - passed[0] >= window:
            passed.popleft()
        if len(passed) >= rate:
            return True
        passed.append(now)
        return False

    return beyond
