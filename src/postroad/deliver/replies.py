"""The operator's rules on refusals ([[reply]]): the first that fits decides what is made of a reply, before anything is
concluded from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from postroad.config.match import exact, pattern
from postroad.config.replyrules import code_fits, expression
from postroad.config.schema import Config, ReplyOptions
from postroad.deliver.steps import Again, Result
from postroad.message import Reply, Ruled, Stage, Verdict
from postroad.shaping import Limits

_STAGES = {
    "banner": (Stage.BANNER,),
    "ehlo": (Stage.EHLO,),
    "auth": (Stage.AUTH,),
    "mail": (Stage.MAIL, Stage.RSET),
    "rcpt": (Stage.RCPT,),
    "data": (Stage.DATA,),
    "content": (Stage.BODY, Stage.CONFIRMATION),
}
# What is said before TLS stands is not protected: anybody on the way could end mail with it, or hold it.
_NEVER = (Stage.STARTTLS, Stage.TLS_HANDSHAKE, Stage.NOT_CONNECTED, Stage.IDLE)
# Nothing has been concluded about the message.
_NOT_YET = (Again.HAND_OVER, Again.NEXT_TRANSACTION)
_CACHED = 50_000  # paths whose rules are remembered; senders meet millions of domains
_ENHANCED = re.compile(r"[245](\.\d{1,3}\.\d{1,3})(?= |\Z)")
_CODES = {Verdict.DEFERRED: 450, Verdict.FAILED: 550}


class _Rule:
    def __init__(self, options: ReplyOptions) -> None:
        self.options = options
        self.stages = frozenset(stage for name in options.stages for stage in _STAGES[name])
        self._pattern: Any = expression(options.pattern) if options.pattern else None
        self._name = exact(options.domain) if options.domain else None
        self._domains = pattern(options.domain) if options.domain and self._name is None else None

    def concerns(self, binding: str, group: str, domain: str, provider: str) -> bool:
        options = self.options
        if options.binding not in ("", binding) or options.group not in ("", group):
            return False
        if options.provider not in ("", provider) or self._name not in (None, domain):
            return False
        return self._domains is None or self._domains.fullmatch(domain) is not None

    def fits(self, result: Result) -> bool:
        if self.options.stages and result.stage not in self.stages:
            return False
        if not code_fits(self.options.codes, result.reply.code):
            return False
        return self._pattern is None or self._pattern.search(str(result.reply)) is not None


class ReplyRules:
    """counts: how often each rule acted since the start; a rule that is gone keeps its count until then."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.counts: dict[str, int] = {}
        self._rules: list[_Rule] = []
        self._of: dict[tuple[str, str, str], tuple[_Rule, ...]] = {}
        self.reconfigure(limits.scopes.config)

    def reconfigure(self, config: Config) -> None:
        self._rules = [_Rule(options) for options in config.reply]
        self._of.clear()
        self.counts = {options.name: self.counts.get(options.name, 0) for options in config.reply}

    def judged(self, result: Result, binding: str, domain: str) -> Result:
        """What is to be made of how a message, or a session, ended: mostly just what it is."""
        if not self._rules or result.internal or result.verdict is Verdict.DELIVERED:
            return result
        if result.ruled is not None or result.again in _NOT_YET or result.stage in _NEVER:
            return result
        for rule in self._concerning(binding, domain):
            if rule.fits(result):
                self.counts[rule.options.name] += 1
                return _changed(result, rule.options)
        return result

    def concerning(self, binding: str, domain: str) -> Sequence[object]:
        """The rules that this path's replies are held against."""
        return self._concerning(binding, domain)

    def _concerning(self, binding: str, domain: str) -> Sequence[_Rule]:
        provider = self._limits.provider(domain)
        key = (binding, domain, provider)
        found = self._of.get(key)
        if found is None:
            if len(self._of) >= _CACHED:
                self._of.clear()
            group = self._limits.scopes.group_of(binding)
            found = tuple(rule for rule in self._rules if rule.concerns(binding, group, domain, provider))
            self._of[key] = found
        return found


def _changed(result: Result, rule: ReplyOptions) -> Result:
    reply = result.reply
    wait = None if rule.wait is None else float(rule.wait)
    ruled = Ruled(rule.name, reply, wait, rule.bounce_class)
    verdict = result.verdict
    code = reply.code
    if rule.action:
        verdict = Verdict.FAILED if rule.action == "permanent" else Verdict.DEFERRED
        if verdict is not result.verdict:
            code = _CODES[verdict]
    text = reply.text
    found = _ENHANCED.match(text)
    if rule.enhanced:
        text = f"{rule.enhanced} {text[found.end() :].lstrip() if found else text}".rstrip()
    elif found is not None and code != reply.code:
        text = f"{code // 100}{text[1:]}"
    again = result.again if verdict is Verdict.DEFERRED else Again.NO
    return result._replace(verdict=verdict, reply=Reply(code, text), again=again, ruled=ruled)
