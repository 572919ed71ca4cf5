"""All checks of one message. SPF, DKIM and ARC run at once; DMARC judges by what they found.

Time is bounded for look-ups, not for checks: when it is up, look-ups fail, and each signature tells for itself that
its key could not be had. So a stranger's slow name server makes his own signatures useless, and nobody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from postroad.auth.arc import ArcOutcome, verify_chain
from postroad.auth.author import author_domains
from postroad.auth.dkim import Result, Verification, verify
from postroad.auth.dmarc import DmarcOutcome, DmarcResult, Policy, evaluate
from postroad.auth.fields import body_start, split_fields
from postroad.auth.spf import SpfOutcome, SpfResult, check_host
from postroad.net import DnsFailure

CHECKS = ("spf", "dkim", "arc")
_MAX_AUTHORS = 4  # domains in From; each costs a walk through DNS
_MAX_ARC_KEYS = 16
_STRICTNESS = (Policy.NONE, Policy.QUARANTINE, Policy.REJECT)

T = TypeVar("T")


class Checker(Protocol):
    """A resolver that can do what the checks need; `postroad.net.DnsResolver` is one."""

    async def txt(self, name: str) -> list[bytes]: ...

    async def records(self, name: str, kind: Literal["A", "AAAA", "MX", "PTR"]) -> list[str]: ...

    async def exists(self, name: str) -> bool: ...


class Found(NamedTuple):
    """None: not looked at. helo: SPF of the EHLO name. dkim: [] when there is no signature."""

    spf: SpfOutcome | None = None
    helo: SpfOutcome | None = None
    dkim: list[Verification] | None = None
    arc: ArcOutcome | None = None
    dmarc: DmarcOutcome | None = None


class Timed:
    """A resolver whose look-ups fail when its time is up. seconds: from now."""

    def __init__(self, resolver: Checker, seconds: float) -> None:
        self._resolver = resolver
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + seconds

    async def txt(self, name: str) -> list[bytes]:
        return await self._in_time(self._resolver.txt(name))

    async def records(self, name: str, kind: Literal["A", "AAAA", "MX", "PTR"]) -> list[str]:
        return await self._in_time(self._resolver.records(name, kind))

    async def exists(self, name: str) -> bool:
        return await self._in_time(self._resolver.exists(name))

    async def _in_time(self, question: Coroutine[Any, Any, T]) -> T:
        try:
            return await asyncio.wait_for(question, max(0.0, self._until - self._loop.time()))
        except TimeoutError:
            raise DnsFailure("the checks of one message took too long") from None


async def examine(
    content: bytes,
    *,
    client: str,
    helo: str,
    sender: str,
    resolver: Checker,
    now: float,
    seconds: float,
    receiver: str,
    checks: Collection[str] = CHECKS,
    dmarc: bool = True,
) -> Found:
    """content: as it came, CRLF line ends. client: its IP address, or "". now: Unix seconds. seconds: for
    the look-ups of SPF, DKIM and ARC together, and once more for those of DMARC: an author's own name servers do not
    pay for slow ones of others. Never raises on what messages and DNS hold."""
    timed = Timed(resolver, seconds)

    async def spf(mail_from: str) -> SpfOutcome | None:
        if "spf" not in checks or not client:
            return None
        return await check_host(client, mail_from, helo, timed, receiver=receiver, now=now)

    async def of_helo() -> SpfOutcome | None:
        # Of the null sender the EHLO name is what `spf` looks at.
        return await spf(f"postmaster@{helo}") if sender and helo and not helo.startswith("[") else None

    async def dkim() -> list[Verification] | None:
        return await verify(content, timed, now=now) if "dkim" in checks else None

    async def arc() -> ArcOutcome | None:
        return await verify_chain(content, timed, keys=_MAX_ARC_KEYS) if "arc" in checks else None

    found = Found(*await asyncio.gather(spf(sender), of_helo(), dkim(), arc()))
    if not dmarc:
        return found
    return found._replace(dmarc=await _judge(content, found, Timed(resolver, seconds)))


def authors(content: bytes) -> tuple[list[str], str]:
    """The domains of From, and why it should not be shown to anybody, "" when it may: mail programs would show other
    authors than we checked. Of several domains each has its say (RFC 9989 leaves them out)."""
    fields = [field for field in split_fields(content[: body_start(content)]) if field.name == b"from"]
    if not fields:
        return [], ""
    if len(fields) > 1:
        return [], f"{len(fields)} From fields"
    domains = author_domains(fields[0].value)
    if not domains and b"@" in fields[0].value:
        return [], "a From field that can't be read"
    if len(domains) > _MAX_AUTHORS:
        return [], f"{len(domains)} domains in From"
    return domains, ""


async def _judge(content: bytes, found: Found, resolver: Timed) -> DmarcOutcome:
    domains, forged = authors(content)
    if forged:
        return DmarcOutcome(DmarcResult.PERMERROR, forged, disposition=Policy.REJECT)
    if not domains:
        return DmarcOutcome(DmarcResult.PERMERROR, "no domain in From")
    return max([await _judge_one(domain, found, resolver) for domain in domains], key=_strictness)


def _strictness(outcome: DmarcOutcome) -> tuple[int, bool, bool]:
    result = outcome.result
    wish = _STRICTNESS.index(outcome.disposition)
    return wish, result is DmarcResult.FAIL, result is DmarcResult.TEMPERROR


async def _judge_one(domain: str, found: Found, resolver: Timed) -> DmarcOutcome:
    spf = found.spf if found.spf is not None else SpfOutcome(SpfResult.NONE)
    dkim = found.dkim or []
    passed = [one.domain for one in dkim if one.result is Result.PASS]
    by_spf = spf.domain if spf.result is SpfResult.PASS else ""
    outcome = await evaluate(domain, resolver, spf_domain=by_spf, dkim_domains=passed)
    if outcome.result is not DmarcResult.FAIL:
        return outcome
    # What could not be looked up might have passed. It excuses only where it would have counted: else everybody could
    # bring a signature of a domain whose name servers never answer.
    open_dkim = [one.domain for one in dkim if one.result is Result.TEMPERROR]
    open_spf = spf.domain if spf.result is SpfResult.TEMPERROR else ""
    if not open_dkim and not open_spf:
        return outcome
    excused = await evaluate(domain, resolver, spf_domain=open_spf, dkim_domains=open_dkim)
    if excused.result is DmarcResult.FAIL:
        return outcome
    why = "what would be aligned could not be looked up"
    return outcome._replace(result=DmarcResult.TEMPERROR, reason=why, disposition=Policy.NONE)
