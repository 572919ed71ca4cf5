"""What was found, in words: for the Authentication-Results field (RFC 8601) and for rules and plug-ins."""

from __future__ import annotations

from postroad.auth.arc import ArcOutcome, ChainResult
from postroad.auth.dkim import Result, Verification
from postroad.auth.dmarc import DmarcOutcome, DmarcResult
from postroad.auth.results import MethodResult
from postroad.auth.spf import SpfOutcome, SpfResult
from postroad.message import Context
from postroad.policy.checks.examine import Found

_REASON = 100  # characters
Property = tuple[str, str, str]


def methods(found: Found, *, client: str, helo: str, sender: str) -> list[MethodResult]:
    """One a result. All in ASCII: one stranger's name must not make every host further on need SMTPUTF8."""
    made = []
    if found.spf is not None:
        checked: Property = ("smtp", "mailfrom", sender if sender.isascii() else found.spf.domain)
        made.append(_spf(found.spf, checked if sender else ("smtp", "helo", helo)))
    if found.helo is not None:
        made.append(_spf(found.helo, ("smtp", "helo", helo)))
    if found.dkim is not None:
        made += [_dkim(one) for one in found.dkim] or [MethodResult("dkim", "none")]
    if found.arc is not None:
        made.append(_arc(found.arc, client))
    if found.dmarc is not None:
        made.append(_dmarc(found.dmarc))
    return made


def _method(name: str, result: str, passed: bool, reason: str, properties: list[Property]) -> MethodResult:
    given = tuple((kind, of, _ascii(value)) for kind, of, value in properties if value)
    return MethodResult(name, result, given, "" if passed else _ascii(reason[:_REASON]))


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def _spf(outcome: SpfOutcome, checked: Property) -> MethodResult:
    return _method("spf", outcome.result.value, outcome.result is SpfResult.PASS, outcome.reason, [checked])


def _dkim(one: Verification) -> MethodResult:
    properties = [("header", "d", one.domain), ("header", "s", one.selector), ("header", "a", one.algorithm)]
    properties.append(("header", "b", one.b))
    reason = "part of the body is not signed" if one.partial else one.reason
    return _method("dkim", one.result.value, one.result is Result.PASS and not one.partial, reason, properties)


def _arc(outcome: ArcOutcome, client: str) -> MethodResult:
    passed = outcome.result is ChainResult.PASS
    return _method("arc", outcome.result.value, passed, outcome.reason, [("smtp", "remote-ip", client)])


def _dmarc(outcome: DmarcOutcome) -> MethodResult:
    properties = [("header", "from", outcome.domain)]
    if outcome.record is not None:
        properties.append(("polrec", "p", outcome.policy.value))
        if outcome.policy_domain != outcome.domain:
            properties.append(("polrec", "domain", outcome.policy_domain))
    return _method("dmarc", outcome.result.value, outcome.result is DmarcResult.PASS, outcome.reason, properties)


def words(found: Found) -> Context:
    """The context values: those of `unknown` with what was found in their place."""
    made = unknown("none")
    if found.spf is not None:
        made["spf"] = found.spf.result.value
    if found.dkim:
        passed = list(dict.fromkeys(one.domain for one in found.dkim if one.result is Result.PASS))
        made["dkim"] = "pass" if passed else found.dkim[0].result.value
        made["dkim_domains"] = _ascii(" ".join(passed))
    if found.arc is not None:
        made["arc"] = "temperror" if found.arc.temporary else found.arc.result.value
    if found.dmarc is not None:
        made["dmarc"] = found.dmarc.result.value
        made["dmarc_disposition"] = found.dmarc.disposition.value
    return made


def unknown(result: str) -> Context:
    """All context values of the checks, when nothing was found. They always stand there, for rules to ask about."""
    made = dict.fromkeys(("spf", "dkim", "arc", "dmarc"), result)
    return made | {"dmarc_disposition": "none", "dkim_domains": ""}
