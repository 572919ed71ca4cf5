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
