"""The checks as hooks of the phase `message`, before all others of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import cast

from postroad.auth.results import results_value, without_forged
from postroad.config.schema import Config, ListenerOptions
from postroad.net import Clock, Resolver
from postroad.policy.checks.examine import Checker, Found, examine
from postroad.policy.checks.report import methods, unknown, words
from postroad.policy.facts import Incoming
from postroad.policy.hooks import Hook
from postroad.policy.verdict import Reject, Verdict

# In the context of a message on its way to the ARC seal, which takes it out again: what was found, as JSON.
FOUND = "#arc"


def authserv_id(options: ListenerOptions, config: Config) -> str:
    """Under which name this listener tells what it found (RFC 8601 2.5)."""
    return (options.authserv_id or config.server.hostname).lower().removesuffix(".")


def authentication_hooks(config: Config, resolver: Resolver, clock: Clock) -> list[Hook]:
    """One for each listener that checks. resolver: one that knows TXT records, when there is such a listener."""
    return [
        Hook(
            "authentication",
            "message",
            Authentication(options, authserv_id(options, config), config.server.hostname, resolver, clock),
            listeners=frozenset({options.address}),
            # Its look-ups are bounded by themselves. What stays is a fault of ours, and no reason to refuse mail.
            time_limit=3 * float(options.authenticate_time) + 10,
            on_error="continue",
        )
        for options in config.listener
        if options.authenticate
    ]


class Authentication:
    """The checks of one listener. name: the authserv-id; hostname: which nobody else may sign with either."""

    def __init__(self, options: ListenerOptions, name: str, hostname: str, resolver: Resolver, clock: Clock) -> None:
        self._options = options
        self._name = name
        self._hostname = hostname
        # Which resolver there is, those know who start us; only what checks needs one with TXT records.
        self._resolver = cast(Checker, resolver)
        self._clock = clock

    def __call__(self, facts: Incoming) -> Awaitable[Verdict | None] | None:
        content = facts.content
        head = content.octets[: content.header_size]
        kept = without_forged(head, (self._name, self._hostname))
        if len(kept) != len(head):
            content.replace_header(kept)
        # Who may send anywhere is a user of ours: there is nothing to find out, and nobody's policy to keep.
        if facts.session.context.get("can_relay") == "true":
            facts.context.update(unknown("none"))
            return None
        facts.context.update(unknown("temperror"))
        return self._check(facts)

    async def _check(self, facts: Incoming) -> Verdict | None:
        options, session = self._options, facts.session
        helo = session.helo or session.context.get("ehlo_string", "")
        about = {"client": session.peer, "helo": helo, "sender": facts.sender}
        found = await examine(
            facts.content.octets,
            **about,
            resolver=self._resolver,
            now=self._clock.wall(),
            seconds=float(options.authenticate_time),
            receiver=self._name,
            checks=options.authenticate_checks,
            dmarc=options.dmarc != "none",
        )
        facts.context.update(words(found))
        if options.dmarc == "enforce" and facts.context["dmarc_disposition"] == "reject":
            return _refusal(found)
        value = results_value(self._name, methods(found, **about))
        facts.content.add("Authentication-Results", value.replace(b"\r\n", b"").decode("ascii"))
        if options.arc_seal and found.arc is not None and not found.arc.temporary:
            chain = found.arc
            noted = [chain.result.value, chain.instances, chain.ended, value.decode("ascii")]
            facts.context[FOUND] = json.dumps(noted)
        return None


def _refusal(found: Found) -> Verdict:
    outcome = found.dmarc
    if outcome is None or not outcome.policy_domain:
        return Reject("5.7.1 the From field does not tell one author that could be checked")
    return Reject(f"5.7.1 not from {outcome.domain}: its DMARC policy is to refuse such mail")
