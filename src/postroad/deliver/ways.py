"""From the routes that the operator chose to hosts and addresses."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Collection, Sequence
from typing import NamedTuple

from postroad.config.ways import OWN_MX, Way
from postroad.deliver.plan import Unroutable, nowhere
from postroad.deliver.resolve import find_hosts
from postroad.message import Verdict
from postroad.net import DnsFailure, MxHost, NoSuchDomain, Resolver


class Located(NamedTuple):
    """One host of a route. port: 0 for the path's. chosen: by the operator, not by the domain."""

    mx: MxHost
    addresses: Sequence[str]
    port: int
    chosen: bool


async def find_ways(ways: Sequence[Way], domain: str, resolver: Resolver, own_names: Collection[str]) -> list[Located]:
    """Hosts by rising preference, each once; those without an address are left out. Raises Unroutable when there are
    none: for good only when that is the domain's own word, and nothing else was to be tried."""
    answers = await asyncio.gather(*(_find(way, domain, resolver, own_names) for way in ways), return_exceptions=True)
    found: dict[str, Located] = {}
    failures: list[Unroutable] = []
    for answer in answers:
        if isinstance(answer, Unroutable):
            failures.append(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            for each in answer:
                best = found.get(each.mx.name)
                if best is None or each.mx.preference < best.mx.preference:
                    found[each.mx.name] = each
    if found:
        return sorted(found.values(), key=lambda each: each.mx.preference)
    if len(failures) == len(ways) == 1 and ways[0].host == OWN_MX:
        raise failures[0]
    reason = failures[-1].result.reply.text if failures else "there is none"
    raise nowhere(Verdict.DEFERRED, 451, f"4.4.4 no route of {domain} leads anywhere; the last one: {reason}")


async def _find(way: Way, domain: str, resolver: Resolver, own_names: Collection[str]) -> list[Located]:
    if way.host == OWN_MX or way.mx:
        hosts = await find_hosts(domain if way.host == OWN_MX else way.host, resolver, own_names)
        # All behind the ways before, and before those behind; among themselves as the DNS says.
        return [
            Located(MxHost(way.preference * 65536 + mx.preference, mx.name), addresses, way.port, way.mx)
            for mx, addresses in hosts
        ]
    mx = MxHost(way.preference * 65536, way.host)
    if way.host.startswith("/") or _is_address(way.host):
        return [Located(mx, [way.host], way.port, True)]
    try:
        return [Located(mx, await resolver.addresses(way.host), way.port, True)]
    except NoSuchDomain:
        raise nowhere(Verdict.DEFERRED, 451, f"4.4.4 the gateway {way.host} has no address") from None
    except DnsFailure as error:
        text = f"4.4.3 the DNS gave no answer about {way.host}: {error or 'no reason given'}"
        raise nowhere(Verdict.DEFERRED, 451, text) from None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
