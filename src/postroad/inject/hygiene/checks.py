"""Checks of strangers: facts in, the reply that refuses them out, None when nothing speaks against them.

A name server that does not answer never refuses anybody for good: senders are put off, lists list nobody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from postroad.config.schema import DnsListOptions
from postroad.inject.commands import hello_domain
from postroad.message import Reply
from postroad.net import DnsFailure, NoSuchDomain, NullMx, Resolver

_LISTED = ipaddress.ip_network("127.0.0.0/24")  # RFC 5782 2.1; lists say by 127.255.255.x that they won't answer


class Facts(NamedTuple):
    """peer: IP address. hello: EHLO's name as sent. sender: "" is the null reverse-path. domain: its routing domain."""

    peer: str
    hello: str = ""
    sender: str = ""
    domain: str = ""


def check_hello(facts: Facts, hostname: str) -> Reply | None:
    """Is the name a domain of two labels or more, or the client's own address, and not ours (RFC 5321 4.1.4)?"""
    name = facts.hello
    if name.startswith("[") and name.endswith("]"):
        literal = name[6:-1] if name[:6].upper() == "[IPV6:" else name[1:-1]
        try:
            right = ipaddress.ip_address(literal) == ipaddress.ip_address(facts.peer)
        except ValueError:
            right = False
        return None if right else Reply(550, "5.7.1 The address literal in EHLO is not yours")
    domain = hello_domain(name)
    if not domain or "." not in domain.rstrip(".") or domain.rsplit(".", 1)[-1].isdigit():
        return Reply(550, "5.7.1 The name in EHLO is no full domain name")
    if domain == hostname.lower():
        return Reply(550, "5.7.1 The name in EHLO is mine, not yours")
    return None


async def check_hello_dns(facts: Facts, resolver: Resolver) -> Reply | None:
    """Has the name an address, or a mail host at least?"""
    domain = hello_domain(facts.hello)
    if not domain or facts.hello.startswith("["):
        return None
    try:
        await resolver.addresses(domain)
    except NoSuchDomain:
        try:
            await resolver.mx(domain)
        except (NoSuchDomain, NullMx):
            return Reply(550, "5.7.1 The name in EHLO does not exist")
        except DnsFailure:
            return Reply(450, "4.7.1 The name in EHLO can't be looked up now")
    except DnsFailure:
        return Reply(450, "4.7.1 The name in EHLO can't be looked up now")
    return None


async def check_sender(facts: Facts, resolver: Resolver) -> Reply | None:
    """Could mail to the sender be delivered (RFC 7505 4.2 for null MX, RFC 7372)?"""
    if not facts.sender or facts.domain.startswith("["):
        return None
    try:
        await resolver.mx(facts.domain)
    except NullMx:
        return Reply(550, "5.7.27 The domain of the sender takes no mail (null MX)")
    except NoSuchDomain:
        return Reply(550, "5.1.8 The domain of the sender does not exist")
    except DnsFailure:
        return Reply(450, "4.1.8 The domain of the sender can't be looked up now")
    return None


async def check_lists(facts: Facts, lists: Sequence[DnsListOptions], resolver: Resolver) -> Reply | None:
    """Is the client's address, or the sender's or EHLO's domain, on one of these lists (RFC 5782)?"""
    for given in lists:
        names = [reversed_address(facts.peer)] if given.kind == "address" else _domains(facts)
        for name in names:
            if name and await _is_listed(f"{name}.{given.zone}", given.answers, resolver):
                return Reply(554, f"5.7.1 {given.text or f'Listed by {given.zone}'}")
    return None


def reversed_address(address: str) -> str:
    """The address as a list knows it (RFC 5782 2.1, 2.4): octets, or nibbles, last first. "" for what is no address."""
    try:
        pointer = ipaddress.ip_address(address).reverse_pointer
    except ValueError:
        return ""
    return pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")


def _domains(facts: Facts) -> list[str]:
    found = (facts.domain, hello_domain(facts.hello))
    return [domain for domain in dict.fromkeys(found) if domain and not domain.startswith("[")]


async def _is_listed(name: str, answers: Sequence[str], resolver: Resolver) -> bool:
    try:
        found = await resolver.addresses(name)
    except (NoSuchDomain, DnsFailure):
        return False
    wanted = [ipaddress.ip_network(answer) for answer in answers] or [_LISTED]
    return any(ipaddress.ip_address(address) in network for address in found for network in wanted)
