"""Is a target one of our own doors? Mail sent there would come back to us, for ever (RFC 5321 5.1, 6.3)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence

from postroad.deliver.plan import Target, nowhere
from postroad.message import Verdict

Door = tuple[str, int]
_WILDCARDS = {"0.0.0.0": 4, "::": 6}
# Addresses that no machine has (RFC 5737, RFC 3849): where they can be bound, anything can (ip_nonlocal_bind).
_NOBODY = {4: "192.0.2.1", 6: "2001:db8::1"}


def is_local(address: str) -> bool:
    """Does this machine have the address? Asked of the system at once, without a packet."""
    version = 6 if ":" in address else 4
    return _can_bind(address, version) and not _can_bind(_NOBODY[version], version)


def _can_bind(address: str, version: int) -> bool:
    try:
        with socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


class Doors:
    """Addresses and ports on which we take mail. local: is an address one of this machine?"""

    def __init__(self, doors: Iterable[Door] = (), local: Callable[[str], bool] = is_local) -> None:
        self._exact: set[Door] = set()
        self._wild: set[tuple[int, int]] = set()  # address family, port
        self._local = local
        for address, port in doors:
            plain = _plain(address)
            if plain in _WILDCARDS:
                self._wild.add((_WILDCARDS[plain], port))
            else:
                self._exact.add((plain, port))

    def lead_to_us(self, address: str, port: int) -> bool:
        if address.startswith("/"):
            return False  # we listen on no Unix socket
        plain = _plain(address)
        if (plain, port) in self._exact:
            return True
        return (6 if ":" in plain else 4, port) in self._wild and (plain in _WILDCARDS or self._local(plain))

    def before_us(self, domain: str, targets: Sequence[Target], port: int) -> list[Target]:
        """The targets that the domain prefers to us: mail must only move towards its best host.

        Raises Unroutable (5.4.6) when we are the best ourselves.
        """
        ours = [target.preference for target in targets if self.lead_to_us(target.address, target.port or port)]
        if not ours:
            return list(targets)
        better = [target for target in targets if target.preference < min(ours)]
        if not better:
            text = f"5.4.6 mail for {domain} loops back: its best mail host is this server's own port {port}"
            raise nowhere(Verdict.FAILED, 550, text)
        return better


def _plain(address: str) -> str:
    """One way to write an address; an IPv4 one in IPv6 clothes is the IPv4 one."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)
