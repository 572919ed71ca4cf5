"""From a routing domain to the hosts and addresses that take its mail (RFC 5321 5.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from postroad.deliver.plan import Unroutable, before_us, literal_address, nowhere
from postroad.message import Verdict
from postroad.net import DnsFailure, MxHost, NoSuchDomain, NullMx, Resolver, split_host_port

# Hosts whose addresses are looked up: a hostile domain may list thousands.
MAX_HOSTS = 20

Found = Sequence[tuple[MxHost, Sequence[str]]]


async def find_hosts(domain: str, resolver: Resolver, own_names: Collection[str]) -> Found:
    """Hosts by rising preference, each with its addresses; hosts without any are left out. Raises Unroutable."""
    address = literal_address(domain)
    if address is not None:
        return [(MxHost(0, domain), [address])]
    try:
        hosts = await resolver.mx(domain)
    except NullMx:
        raise nowhere(Verdict.FAILED, 556, f"5.1.10 {domain} takes no mail (null MX)") from None
    except NoSuchDomain as error:
        raise nowhere(Verdict.FAILED, 550, f"5.1.2 {error or f'{domain} does not exist'}") from None
    except DnsFailure as error:
        raise _no_answer(domain, error) from None
    hosts = before_us(domain, sorted(hosts, key=lambda mx: mx.preference), own_names)[:MAX_HOSTS]
    answers = await asyncio.gather(*(resolver.addresses(mx.name) for mx in hosts), return_exceptions=True)
    found: list[tuple[MxHost, Sequence[str]]] = []
    failure: DnsFailure | None = None
    for mx, answer in zip(hosts, answers, strict=True):
        if isinstance(answer, DnsFailure):
            failure = answer
        elif isinstance(answer, NoSuchDomain):
            continue
        elif isinstance(answer, BaseException):
            raise answer
        elif answer:
            found.append((mx, answer))
    if found:
        return found
    if failure is not None:
        raise _no_answer(domain, failure)
    raise nowhere(Verdict.FAILED, 550, f"5.4.4 no mail host of {domain} has an address")


def _no_answer(domain: str, error: DnsFailure) -> Unroutable:
    return nowhere(Verdict.DEFERRED, 451, f"4.4.3 the DNS gave no answer about {domain}: {error or 'no reason given'}")


async def find_gateway(gateway: str, resolver: Resolver) -> tuple[Found, int]:
    """The addresses of the host that all mail goes to, and its port. Raises Unroutable."""
    host, port = split_host_port(gateway, 25)
    if _is_address(host):
        return [(MxHost(0, host), [host])], port
    try:
        return [(MxHost(0, host), await resolver.addresses(host))], port
    except NoSuchDomain:
        # An operator's mistake is no reason to bounce everybody's mail.
        raise nowhere(Verdict.DEFERRED, 451, f"4.4.4 the gateway {host} has no address") from None
    except DnsFailure as error:
        raise _no_answer(host, error) from None


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
