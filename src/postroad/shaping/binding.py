"""A binding: one identity that mail is sent under (momentum.md 2)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Binding:
    """source_address, source_address6: local IPv4 and IPv6 address; "" leaves the choice to the system. When exactly
    one of them is set, only that family is used: mail must not leave from an address nobody chose.

    ehlo_hostname: the name in our EHLO; "": the server's own.
    """

    name: str
    source_address: str = ""
    source_address6: str = ""
    ehlo_hostname: str = ""

    def source(self, address: str) -> str:
        """The local address to reach `address` from; "" when the system chooses."""
        return self.source_address6 if ":" in address else self.source_address

    @property
    def ipv4(self) -> bool:
        return bool(self.source_address) or not self.source_address6

    @property
    def ipv6(self) -> bool:
        return bool(self.source_address6) or not self.source_address
