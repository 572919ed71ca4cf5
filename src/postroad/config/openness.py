"""How much of the Internet may relay through a listener, and to what part of it everybody may send. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from postroad.config.schema import NOT_PUBLIC, ListenerOptions

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Names below which nobody registers anything (RFC 6761, 6762, 8375, 9476 ...), and what people use inside.
_OWN_ENDS = frozenset(
    ("test", "example", "invalid", "localhost", "local", "internal", "lan", "home", "corp", "intranet", "localdomain")
)
# More addresses than any one operator's clients have: one /8 of IPv4, one /19 of IPv6.
_MANY = {4: 1 << 24, 6: 1 << 109}
_BITS = {4: 32, 6: 128}
_ALL = {4: "0.0.0.0/0", 6: "::/0"}

Span = tuple[int, int]  # first address, and the one behind the last


class Openness(NamedTuple):
    """share: of the public addresses of the IP version, from 0 to 1. by_default: those that no peer names may relay."""

    version: int
    share: float
    too_wide: bool
    by_default: bool


def openness(listener: ListenerOptions) -> list[Openness]:
    """For IPv4 and IPv6. Networks that are malformed are left out."""
    rules: list[tuple[Network, bool]] = []
    for peer in listener.peers:
        try:
            network = ipaddress.ip_network(peer.network)
        except ValueError:
            continue
        relay = listener.relay if peer.relay is None else peer.relay
        rules.append((network, relay and peer.allow is not False))
    rules.sort(key=lambda rule: rule[0].prefixlen)  # the most specific one has the last word
    return [_of(version, listener.relay, rules) for version in (4, 6)]


def _of(version: int, default: bool, rules: Iterable[tuple[Network, bool]]) -> Openness:
    everything = _span(ipaddress.ip_network(_ALL[version]))
    open_ = [everything] if default else []
    unnamed = [everything]
    for network, relay in rules:
        if network.version == version:
            span = _span(network)
            unnamed = _without(unnamed, span)
            open_ = _without(open_, span)
            if relay:
                open_.append(span)
    public = [everything]
    for text in NOT_PUBLIC:
        private = ipaddress.ip_network(text)
        if private.version == version:
            span = _span(private)
            public, open_, unnamed = (_without(each, span) for each in (public, open_, unnamed))
    count = _size(open_)
    return Openness(version, count / _size(public), count > _MANY[version], default and _size(unnamed) > _MANY[version])


def _span(network: Network) -> Span:
    first = int(network.network_address)
    return first, first + network.num_addresses


def _without(spans: list[Span], gone: Span) -> list[Span]:
    left = []
    for first, end in spans:
        left += [(first, min(end, gone[0])), (max(first, gone[1]), end)]
    return [(first, end) for first, end in left if first < end]


def _size(spans: Iterable[Span]) -> int:
    return sum(end - first for first, end in spans)


def too_wide(domain: str) -> bool:
    """Would everybody's domains belong to it? domain: as in relay_domains. Only top-level ones are known for sure."""
    name = domain.strip(".").lower()
    return "." not in name and name not in _OWN_ENDS and domain.startswith(".")
