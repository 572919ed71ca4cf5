"""Which hosts a path may use, and in which order the next connection tries them. Pure: DNS answers in, targets out."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import groupby
from random import Random
from typing import NamedTuple

from postroad.deliver.steps import Result
from postroad.message import Reply, Stage, Verdict
from postroad.net import MxHost

# Addresses that one connection attempt tries before the path counts as failed: with 30 s each, a domain with hundreds
# of dead hosts would hold its mail up for an hour. What is left is tried next time, as these are avoided then.
MAX_TARGETS = 10

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Target(NamedTuple):
    """One address of one host. address: an IP address without brackets, or the path of a Unix socket, which begins with
    "/". port: 0 for the one that is usual on the path."""

    preference: int
    host: str
    address: str
    port: int = 0


class Unroutable(Exception):
    """There is nowhere to send this path's mail. `result` is how its messages end."""

    def __init__(self, result: Result) -> None:
        super().__init__(str(result.reply))
        self.result = result


def nowhere(verdict: Verdict, code: int, text: str) -> Unroutable:
    return Unroutable(Result(verdict, Reply(code, text), Stage.NOT_CONNECTED, internal=True))


def literal_address(domain: str) -> str | None:
    """The IP address in a routing domain such as "[192.0.2.1]" or "[ipv6:2001:db8::1]" (RFC 5321 4.1.3), or None."""
    if not domain.startswith("["):
        return None
    return domain.strip("[]").removeprefix("ipv6:")


def before_us(domain: str, hosts: Sequence[MxHost], own_names: Collection[str]) -> list[MxHost]:
    """The hosts that stand before us in the domain's list: mail must only move towards its best host (RFC 5321 5.1).

    Raises Unroutable (5.4.6) when we are the best ourselves: this domain's mail should have been delivered here.
    """
    ours = [mx.preference for mx in hosts if mx.name in own_names]
    if not ours:
        return list(hosts)
    better = [mx for mx in hosts if mx.preference < min(ours)]
    if not better:
        raise nowhere(Verdict.FAILED, 550, f"5.4.6 mail for {domain} loops back: we are its best mail host")
    return better


class Screen:
    """The addresses delivery may go to. prohibited: networks; a host in one of them is left out."""

    def __init__(self, prohibited: Iterable[str], *, use_ipv6: bool) -> None:
        self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(text, strict=False) for text in prohibited)
        self._use_ipv6 = use_ipv6

    def prohibited(self, address: str) -> bool:
        return bool(self._networks) and _in_networks(address, self._networks)

    def targets(
        self, domain: str, found: Sequence[tuple[MxHost, Sequence[str]]], *, ipv4: bool = True, ipv6: bool = True
    ) -> list[Target]:
        """What may be used of the hosts and addresses found, in the order given. ipv4, ipv6: families the binding has.

        Raises Unroutable: 550 5.4.6 when only prohibited addresses were found, 451 4.4.4 when none of a family we use.
        """
        usable: list[Target] = []
        refused = 0
        for mx, addresses in found:
            for address in addresses:
                if address.startswith("/"):
                    usable.append(Target(mx.preference, mx.name, address))
                    continue
                if not (ipv6 and self._use_ipv6 if ":" in address else ipv4):
                    continue
                if self.prohibited(address):
                    refused += 1
                else:
                    usable.append(Target(mx.preference, mx.name, address))
        if usable:
            return usable
        if refused:
            raise nowhere(
                Verdict.FAILED, 550, f"5.4.6 the mail hosts of {domain} lead to a network that mail may not be sent to"
            )
        raise nowhere(Verdict.DEFERRED, 451, f"4.4.4 {domain} has no mail host of an address family that we send from")


# Forms that end in the IPv4 address they stand for: NAT64 (RFC 6052), and translated addresses (RFC 2765 2.1).
_ENDING_IN_IPV4 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::ffff:0:0:0/96"))


def _in_networks(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        ip: Address = ipaddress.ip_address(address)
    except ValueError:
        return True  # no address at all: nothing to connect to
    forms = [ip]
    if isinstance(ip, ipaddress.IPv6Address):
        # An IPv4 address can hide in an IPv6 one; the host it leads to is the same.
        hidden = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if hidden is None and any(ip in form for form in _ENDING_IN_IPV4):
            hidden = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if hidden is not None:
            forms.append(hidden)
    return any(form in network for form in forms for network in networks)


def order(
    targets: Sequence[Target],
    rng: Random,
    *,
    avoided: Callable[[str], bool],
    load: Callable[[str], int],
    tried: Collection[str] = (),
) -> list[Target]:
    """The targets that the next connection tries, best first; empty when all are avoided or tried.

    By rising preference; hosts of equal preference by rising load and else at random (RFC 5321 5.1); the addresses of
    one host in the family order given, within a family by rising load and else at random. load: connections that the
    path has to an address now.
    """
    usable = [t for t in targets if t.address not in tried and not avoided(t.address)]
    plan: list[Target] = []
    for _, equals in groupby(sorted(usable, key=lambda t: t.preference), key=lambda t: t.preference):
        hosts: dict[str, list[Target]] = {}
        for target in equals:
            hosts.setdefault(target.host, []).append(target)
        weighed = [(sum(load(t.address) for t in group), rng.random(), group) for group in hosts.values()]
        weighed.sort(key=lambda entry: entry[:2])
        for _, _, group in weighed:
            families = {":" in t.address: i for i, t in reversed(list(enumerate(group)))}
            keyed = [(families[":" in t.address], load(t.address), rng.random(), t) for t in group]
            keyed.sort(key=lambda entry: entry[:3])
            plan += [entry[3] for entry in keyed]
        if len(plan) >= MAX_TARGETS:
            break
    return plan[:MAX_TARGETS]
