"""Which options hold for a client: the listener's, overlaid by those of the most specific network it is in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from postroad.config.schema import ListenerOptions, PeerOptions

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Options of a peer that overlay the listener's option of the same name.
_OVERLAID = tuple(
    name for name in PeerOptions.__struct_fields__ if name not in ("network", "allow", "max_sessions")
)  # max_sessions counts for the network as a whole, beside the listener's


class Peer:
    """What holds for the clients of one network. options: merged. network: its CIDR, "" for everybody else.

    max_sessions: open at once from the whole network, None: no limit of its own.
    """

    __slots__ = ("allow", "max_sessions", "network", "options")

    def __init__(self, options: ListenerOptions, given: PeerOptions | None = None) -> None:
        self.options = options
        self.allow = True
        self.network = ""
        self.max_sessions: int | None = None
        if given is not None:
            changes = {name: value for name in _OVERLAID if (value := getattr(given, name)) is not None}
            self.options = msgspec.structs.replace(options, **changes)
            self.allow = given.allow is not False
            self.network = given.network
            self.max_sessions = given.max_sessions


class Peers:
    """Finds a client's options by its address; merged once a network, remembered by address.

    Raises ValueError when a peer's network is no CIDR.
    """

    def __init__(self, options: ListenerOptions) -> None:
        self._others = Peer(options)
        self._networks: list[tuple[_Network, Peer]] = _specific_first(
            (ipaddress.ip_network(given.network), Peer(options, given)) for given in options.peers
        )
        self.find = lru_cache(maxsize=16384)(self._find)

    def _find(self, address: str) -> Peer:
        """address: IP address as text. What is none (a Unix socket) is nobody's peer."""
        if not self._networks:
            return self._others
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return self._others
        for network, peer in self._networks:
            if ip in network:
                return peer
        return self._others


def _specific_first(networks: Iterable[tuple[_Network, Peer]]) -> list[tuple[_Network, Peer]]:
    return sorted(networks, key=lambda entry: entry[0].prefixlen, reverse=True)


class Networks:
    """A set of networks. Raises ValueError when one of the texts is no CIDR."""

    __slots__ = ("_networks",)

    def __init__(self, texts: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(text) for text in texts]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def hold(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._networks)


def plain_address(host: str) -> str:
    """The address as it is named in options, traces and events: no scope id, and IPv4 where IPv6 only carries it."""
    host = host.partition("%")[0]
    if host[:7].lower() == "::ffff:" and "." in host:
        return host[7:]
    return host
