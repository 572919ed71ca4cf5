"""How the hosts of a domain must be talked to: what the options ask for, made stricter by DANE (RFC 7672) and MTA-STS
(RFC 8461). DANE comes first and is never overridden (RFC 8461 2)."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from postroad.config.schema import DeliveryOptions
from postroad.deliver.dane import DaneCheck, usable
from postroad.deliver.plan import nowhere
from postroad.deliver.sts import Mode, StsPolicy
from postroad.deliver.stscache import StsPolicies
from postroad.deliver.tls import Failure, Policy, PolicyKind, Proof, Rung, Trouble
from postroad.message import Verdict
from postroad.net import DnsFailure, NoSuchDomain, NullMx, PolicyResolver


class Told(NamedTuple):
    """Something to report that no session shows. host: "" when it is about all of them."""

    kind: PolicyKind
    host: str
    trouble: Trouble


class Decision(NamedTuple):
    """policies: by host; a host that is not in it must get no mail. sts: what the domain publishes."""

    policies: dict[str, Policy]
    told: tuple[Told, ...] = ()
    sts: StsPolicy | None = None

    def reason(self) -> str:
        """Why a host is left out, for a reply."""
        return "; ".join(dict.fromkeys(told.trouble.text for told in self.told)) or "no reason is known"


class TlsPolicies:
    """sts: None leaves MTA-STS out."""

    def __init__(self, resolver: PolicyResolver, sts: StsPolicies | None) -> None:
        self.resolver = resolver
        self._sts = sts

    async def find(
        self, domain: str, hosts: Sequence[str], base: Policy, options: DeliveryOptions, port: int
    ) -> Decision:
        """hosts: the domain's MX. base: the policy of the options alone."""
        policies = dict.fromkeys(hosts, base)
        if base.ladder == (Rung.PLAIN,):
            return Decision(policies)
        told: list[Told] = []
        if options.dane:
            told += await self._dane(domain, policies, port)
        sts: StsPolicy | None = None
        if options.mta_sts and self._sts is not None:
            found = await self._sts.find(domain)
            sts = found.policy
            if found.trouble is not None:
                told.append(Told(PolicyKind.STS, "", found.trouble))
            if sts is not None and sts.mode is not Mode.NONE:
                told += _mta_sts(domain, policies, base, sts)
        return Decision(policies, tuple(told), sts)

    async def gateways(self, hosts: Sequence[str], base: Policy, options: DeliveryOptions, port: int) -> Decision:
        """The same of hosts that the operator names instead of a domain's MX: their names need no proof, so the TLSA
        records of each count by themselves (as for the SRV targets of RFC 7673); MTA-STS is about MX alone."""
        policies = dict.fromkeys(hosts, base)
        if base.ladder == (Rung.PLAIN,) or not options.dane:
            return Decision(policies)
        told: list[Told] = []
        for host in hosts:
            if _is_address(host):
                continue
            found = await self._host(host, host, port, True)
            if isinstance(found, Trouble):
                del policies[host]
                told.append(Told(PolicyKind.DANE, host, found))
            elif found is not None:
                policies[host] = found
        return Decision(policies, tuple(told))

    # --- DANE ---------------------------------------------------------------------------------------------------------

    async def _dane(self, domain: str, policies: dict[str, Policy], port: int) -> list[Told]:
        """Of hosts in a signed zone that a signed MX record names, with the records they have."""
        try:
            signed = await self.resolver.authentic_hosts(domain)
        except (DnsFailure, NoSuchDomain, NullMx) as error:
            # The same question had an answer a moment ago.
            raise nowhere(Verdict.DEFERRED, 451, f"4.4.3 the DNS gave no answer about {domain}: {error}") from None
        if not signed:
            return []
        told: list[Told] = []
        hosts = list(policies)
        found = await asyncio.gather(*(self._host(host, domain, port, host in signed) for host in hosts))
        for host, policy in zip(hosts, found, strict=True):
            if isinstance(policy, Trouble):
                del policies[host]
                told.append(Told(PolicyKind.DANE, host, policy))
            elif policy is not None:
                policies[host] = policy
        return told

    async def _host(self, host: str, domain: str, port: int, signed: bool) -> Policy | Trouble | None:
        if not signed:
            return Trouble(Failure.DNSSEC, f"{host} is no longer a mail host of {domain}")
        try:
            for name in await self.resolver.authentic_names(host):
                records = await self.resolver.tlsa(name, port)
                if not records:
                    continue
                good = usable(records)
                if not good:
                    # RFC 7672 2.2: there are some, so TLS is a must, but none tells whom to trust.
                    return Policy((Rung.ENCRYPTED,), kind=PolicyKind.DANE, sni=name)
                names = tuple(dict.fromkeys((name, host, domain)))
                return Policy((Rung.VERIFIED,), Proof.DANE, PolicyKind.DANE, DaneCheck(good, names), name)
        except DnsFailure as error:
            # Perhaps somebody keeps the answer from us (RFC 7672 2.1.2): this host gets nothing until there is one.
            return Trouble(Failure.DNSSEC, f"the DNS gave no answer about the TLSA records of {host}: {error}")
        return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _mta_sts(domain: str, policies: dict[str, Policy], base: Policy, rules: StsPolicy) -> list[Told]:
    told: list[Told] = []
    for host, policy in list(policies.items()):
        if policy.proof is Proof.DANE:
            continue
        if not rules.allows(host):
            text = f"the MTA-STS policy of {domain} does not allow {host}"
            told.append(Told(PolicyKind.STS, host, Trouble(Failure.OTHER, text)))
            if rules.mode is Mode.ENFORCE:
                del policies[host]
        elif rules.mode is Mode.ENFORCE:
            policies[host] = Policy((Rung.VERIFIED,), Proof.HOST, PolicyKind.STS)
        elif policy.kind is PolicyKind.DANE:
            continue  # what TLSA records ask for holds, though they tell of nobody to trust
        elif base.ladder[0] is Rung.VERIFIED:
            policies[host] = base._replace(kind=PolicyKind.STS)
        else:
            # Try what it would come to, and then send as ever.
            policies[host] = Policy((Rung.VERIFIED, *base.ladder), Proof.HOST, PolicyKind.STS)
    return told
