"""check_host() of RFC 7208 4, with its limits: ten terms that look up, ten hosts a term, two empty answers."""

from __future__ import annotations

import ipaddress
import re
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, NamedTuple, Protocol

import idna

from postroad.auth.spf.macros import MacroError, MacroText, Sender
from postroad.auth.spf.record import Mechanism, RecordError, SpfRecord, is_record, parse_record
from postroad.net import DnsFailure

# A macro can put a space into a name that is looked up (%_), and DNS would not mind.
_LABEL = re.compile(r"[\x20-\x2d\x2f-\x7e]{1,63}\Z")


class SpfResult(Enum):
    """RFC 7208 2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_QUALIFIERS = {"+": SpfResult.PASS, "-": SpfResult.FAIL, "~": SpfResult.SOFTFAIL, "?": SpfResult.NEUTRAL}


class SpfOutcome(NamedTuple):
    """reason: what decided, for logs. explanation: what the domain says to a fail, "" without; theirs, not ours."""

    result: SpfResult
    reason: str = ""
    explanation: str = ""
    domain: str = ""


class SpfLimits(NamedTuple):
    """RFC 7208 4.6.4. terms: that look up; hosts: of one mx or ptr; void: look-ups that find nothing."""

    terms: int = 10
    hosts: int = 10
    void: int = 2


DEFAULT_LIMITS = SpfLimits()


class SpfResolver(Protocol):
    async def txt(self, name: str) -> list[bytes]: ...

    async def records(self, name: str, kind: Literal["A", "AAAA", "MX", "PTR"]) -> list[str]:
        """As `postroad.net.DnsResolver.records`."""


class _Stop(Exception):
    def __init__(self, result: SpfResult, reason: str) -> None:
        super().__init__(reason)
        self.outcome = SpfOutcome(result, reason)


async def check_host(
    client: str,
    mail_from: str,
    helo: str,
    resolver: SpfResolver,
    *,
    receiver: str = "unknown",
    now: float = 0.0,
    limits: SpfLimits = DEFAULT_LIMITS,
) -> SpfOutcome:
    """client: an IP address; an IPv4 one within IPv6 counts as IPv4. mail_from: the address without brackets, ""
    for the null sender, which checks the HELO name (RFC 7208 2.4). Never raises on what strangers say."""
    address = ipaddress.ip_address(client)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    local, at, domain = mail_from.rpartition("@")
    if not at:
        local, domain = "postmaster", mail_from or helo
    name = _ascii(domain)
    if name is None or "." not in name.removesuffix("."):
        return SpfOutcome(SpfResult.NONE, f"{domain[:80]!r} is no domain name")
    sender = Sender(address, local or "postmaster", name, helo, receiver, int(now))
    check = _Check(sender, resolver, limits)
    try:
        outcome = await check.domain(name, top=True)
    except _Stop as stop:
        outcome = stop.outcome
    return outcome._replace(domain=name)


def _ascii(domain: str) -> str | None:
    """As A-labels in lower case without the final dot; None for what is no name."""
    if len(domain) > 1000:
        return None  # before IDNA, whose cost grows with the square
    domain = domain.removesuffix(".")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            return None
    if len(domain) > 253 or not all(_LABEL.match(label) for label in domain.split(".")):
        return None
    return domain.lower()


class _Check:
    """One call of check_host with all it includes; the limits hold over all of it."""

    def __init__(self, sender: Sender, resolver: SpfResolver, limits: SpfLimits) -> None:
        self._sender = sender
        self._resolver = resolver
        self._limits = limits
        self._terms = 0
        self._void = 0
        self._family: Literal["A", "AAAA"] = "A" if isinstance(sender.address, IPv4Address) else "AAAA"
        self._names: list[str] | None = None  # validated names of the client, for ptr and %{p}

    async def domain(self, domain: str, *, top: bool = False) -> SpfOutcome:
        """top: an explanation may be fetched. Raises _Stop."""
        record = await self._record(domain)
        if record is None:
            return SpfOutcome(SpfResult.NONE, f"{domain} has no SPF record")
        for mechanism in record.mechanisms:
            if await self._matches(mechanism, domain):
                result = _QUALIFIERS[mechanism.qualifier]
                told = ""
                if result is SpfResult.FAIL and top and record.explanation is not None:
                    told = await self._explanation(record.explanation, domain)
                return SpfOutcome(result, f"{mechanism.qualifier}{mechanism.kind} of {domain}", told)
        if record.redirect is None:
            return SpfOutcome(SpfResult.NEUTRAL, f"nothing matched in {domain}")
        self._count()
        target = await self._target(record.redirect, domain)
        outcome = await self.domain(target, top=top) if target else SpfOutcome(SpfResult.NONE)
        if outcome.result is SpfResult.NONE:
            raise _Stop(SpfResult.PERMERROR, f"{domain} redirects to what has no SPF record")
        return outcome

    async def _record(self, domain: str) -> SpfRecord | None:
        if _ascii(domain) is None:
            return None
        try:
            texts = await self._resolver.txt(domain)
        except DnsFailure:
            raise _Stop(SpfResult.TEMPERROR, f"no answer for {domain}") from None
        found = [text for text in texts if is_record(text)]
        if not found:
            return None
        if len(found) > 1:
            raise _Stop(SpfResult.PERMERROR, f"{domain} has several SPF records")
        try:
            return parse_record(found[0])
        except RecordError as error:
            raise _Stop(SpfResult.PERMERROR, f"the SPF record of {domain}: {error}") from None

    def _count(self) -> None:
        self._terms += 1
        if self._terms > self._limits.terms:
            raise _Stop(SpfResult.PERMERROR, f"more than {self._limits.terms} terms that look up")

    async def _look_up(self, name: str, kind: Literal["A", "AAAA", "MX", "PTR"]) -> list[str]:
        if _ascii(name) is None:
            return []  # RFC 7208 4.3 of names within: as if there were nothing
        try:
            found = await self._resolver.records(name, kind)
        except DnsFailure:
            raise _Stop(SpfResult.TEMPERROR, f"no answer for {name[:80]}") from None
        if not found:
            self._void += 1
            if self._void > self._limits.void:
                raise _Stop(SpfResult.PERMERROR, f"more than {self._limits.void} look-ups that found nothing")
        return found

    async def _target(self, text: MacroText, domain: str) -> str:
        return text.domain(self._sender, domain, await self._name(domain) if text.wants_name else "unknown")

    async def _matches(self, mechanism: Mechanism, domain: str) -> bool:
        kind = mechanism.kind
        if kind == "all":
            return True
        if mechanism.network is not None:
            return self._sender.address in mechanism.network
        self._count()
        target = domain if mechanism.target is None else await self._target(mechanism.target, domain)
        match kind:
            case "include":
                return await self._included(target)
            case "exists":
                return bool(await self._look_up(target, "A"))
            case "a":
                return self._within(await self._look_up(target, self._family), mechanism)
            case "mx":
                return await self._mx(target, mechanism)
            case _:
                return any(_is_under(name, target) for name in await self._client_names())

    async def _included(self, target: str) -> bool:
        outcome = await self.domain(target)
        if outcome.result is SpfResult.NONE:
            raise _Stop(SpfResult.PERMERROR, f"{target[:80]!r} is included and has no SPF record")
        return outcome.result is SpfResult.PASS

    def _within(self, addresses: list[str], mechanism: Mechanism) -> bool:
        client = self._sender.address
        bits, prefix = (32, mechanism.prefix4) if isinstance(client, IPv4Address) else (128, mechanism.prefix6)
        shift = bits - prefix
        return any(int(ipaddress.ip_address(each)) >> shift == int(client) >> shift for each in addresses)

    async def _mx(self, target: str, mechanism: Mechanism) -> bool:
        hosts = await self._look_up(target, "MX")
        if len(hosts) > self._limits.hosts:
            raise _Stop(SpfResult.PERMERROR, f"{target} has more than {self._limits.hosts} mail hosts")
        for host in hosts:
            if host and self._within(await self._look_up(host, self._family), mechanism):
                return True
        return False

    async def _client_names(self) -> list[str]:
        """Names of the client's address that lead back to it (RFC 7208 5.5); errors count as no names."""
        if self._names is None:
            self._names = []
            try:
                names = await self._look_up(self._sender.address.reverse_pointer, "PTR")
            except _Stop as stop:
                if stop.outcome.result is SpfResult.TEMPERROR:
                    return self._names
                raise
            for name in names[: self._limits.hosts]:
                try:
                    addresses = await self._resolver.records(name, self._family)
                except DnsFailure:
                    continue
                if any(ipaddress.ip_address(each) == self._sender.address for each in addresses):
                    self._names.append(name.lower())
        return self._names

    async def _name(self, domain: str) -> str:
        """%{p}: the domain itself, else a name below it, else any (RFC 7208 7.3)."""
        names = await self._client_names()
        below = [name for name in names if _is_under(name, domain)]
        return domain.lower() if domain.lower() in names else (below or names or ["unknown"])[0]

    async def _explanation(self, text: MacroText, domain: str) -> str:
        """What exp= leads to, or "" whatever goes wrong (RFC 7208 6.2)."""
        try:
            target = await self._target(text, domain)
            if _ascii(target) is None:
                return ""
            texts = await self._resolver.txt(target)
            if len(texts) != 1:
                return ""
            told = MacroText(texts[0].decode("ascii"), explanation=True)
            name = await self._name(domain) if told.wants_name else "unknown"
            return told.expand(self._sender, domain, name)[:500]
        except (DnsFailure, MacroError, UnicodeDecodeError, _Stop):
            return ""


def _is_under(name: str, domain: str) -> bool:
    return ("." + name.lower()).endswith("." + domain.lower().removesuffix("."))
