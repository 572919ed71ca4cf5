"""Who may send where. Everybody may send to the listener's relay_domains; to any other domain only who may relay.
(Settings that make an open relay are found where the configuration is read: `config/rules.py`.)

Only the domain behind the last @ counts. user%elsewhere@ours and "user@elsewhere"@ours are mailboxes of ours, and
what their local parts may mean to somebody is no reason to send them anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable

from postroad.message.address import routing_domain


class RelayDomains:
    """The set of domains a listener takes mail for: "example.com" itself, ".example.com" with all below it.

    Raises AddressError when one of them is no domain.
    """

    __slots__ = ("_exact", "_parents")

    def __init__(self, domains: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._parents: set[str] = set()
        for domain in domains:
            name = routing_domain(domain.removeprefix("."))
            self._exact.add(name)
            if domain.startswith("."):
                self._parents.add(name)

    def __contains__(self, domain: str) -> bool:
        """domain: a routing domain (lower-case A-labels, or an address literal)."""
        if domain in self._exact:
            return True
        if not self._parents:
            return False
        _, dot, rest = domain.partition(".")
        while dot:
            if rest in self._parents:
                return True
            _, dot, rest = rest.partition(".")
        return False
