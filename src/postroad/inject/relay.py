"""Who may send where. Everybody may send to the listener's relay_domains; to any other domain only who may relay.
(Settings that make an open relay are found where the configuration is read: `config/rules.py`.)

Only the domain behind the last @ counts. user%elsewhere@ours and "user@elsewhere"@ours are mailboxes of ours, and
what their local parts may mean to somebody is no reason to send them anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable

from postroad.message import Recipient
from postroad.message.address import AddressError, parse_mailbox, routing_domain


class RelayDomains:
    """The domains a listener takes mail for from anybody: "example.com" itself, ".example.com" with all below it.

    hostname: our own name, whose postmaster everybody may write to (RFC 5321 4.5.1). postmaster: the mailbox that gets
    it; "": nobody, so it is refused: mail that we took and could not deliver would come back to its forged sender.
    Raises AddressError when one of the domains or the mailbox is none.
    """

    __slots__ = ("_exact", "_ourselves", "_parents", "_postmaster")

    def __init__(self, domains: Iterable[str], hostname: str, postmaster: str = "") -> None:
        self._postmaster = (postmaster, parse_mailbox(postmaster).routing) if postmaster else None
        self._exact: set[str] = set()
        self._parents: set[str] = set()
        for domain in domains:
            name = routing_domain(domain.removeprefix("."))
            self._exact.add(name)
            if domain.startswith("."):
                self._parents.add(name)
        try:
            self._ourselves = routing_domain(hostname)
        except AddressError:
            self._ourselves = ""  # no address can have it

    def take(self, recipient: Recipient) -> bool:
        """May a stranger send to this recipient? Our postmaster becomes the mailbox that stands for it."""
        domain = recipient.domain
        for_postmaster = domain == self._ourselves and recipient.address.partition("@")[0].lower() == "postmaster"
        if for_postmaster and self._postmaster is not None:
            recipient.address, recipient.domain = self._postmaster
            return True
        if domain in self._exact:
            return True
        if self._parents:
            _, dot, parent = domain.partition(".")
            while dot:
                if parent in self._parents:
                    return True
                _, dot, parent = parent.partition(".")
        return False
