"""What delivery asks of DNS. `dns.py` answers from real name servers, the lab from a table."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class DnsFailure(Exception):
    """No answer could be had now (time-out, SERVFAIL, refused): try again later. RFC 3463 4.4.3."""


class NoSuchDomain(Exception):
    """The name does not exist, or has neither MX nor address: it will not work later either. RFC 3463 5.1.2."""


class NullMx(Exception):
    """The domain says it takes no mail (RFC 7505): 556 5.1.10."""


class MxHost(NamedTuple):
    preference: int
    name: str


class Resolver(Protocol):
    """Names are absolute A-labels in lower case without the final dot."""

    async def mx(self, domain: str) -> list[MxHost]:
        """Mail hosts by rising preference; equal ones in the order served. A domain without MX but with an address is
        its own host at preference 0 (RFC 5321 5.1). Raises DnsFailure, NoSuchDomain, NullMx."""

    async def addresses(self, host: str) -> list[str]:
        """IPv4 and IPv6 addresses of a host, IPv6 first where both are wanted. Raises DnsFailure, NoSuchDomain."""


class Tlsa(NamedTuple):
    """A TLSA record (RFC 6698 2.1). data: the certificate, the key, or a digest of one of them."""

    usage: int
    selector: int
    matching: int
    data: bytes


class PolicyResolver(Resolver, Protocol):
    """What TLS policies ask besides. "Authentic": a validating resolver whose word we may take has said so."""

    async def txt(self, name: str) -> list[bytes]:
        """The TXT records, the strings of each joined; [] when there are none. Raises DnsFailure."""

    async def authentic_hosts(self, domain: str) -> frozenset[str]:
        """The names `mx` gives, when that answer is authentic; else none. Raises as `mx` does."""

    async def authentic_names(self, host: str) -> list[str]:
        """The names that TLSA records of this host may stand under, the best first: where its aliases end, then its
        own (RFC 7672 2.2.3). None when its addresses are not authentic. Raises DnsFailure."""

    async def tlsa(self, host: str, port: int) -> list[Tlsa]:
        """Its authentic TLSA records; [] when there are none. Raises DnsFailure: there may be some."""
