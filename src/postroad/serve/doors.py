"""The listening sockets of a server. The supervisor binds and keeps them; engines are given descriptors.

So a connection that comes while an engine is started again waits in the socket's backlog instead of being refused. With
several engines each has a socket of its own on the same port (SO_REUSEPORT), among which the system spreads the
connections: those of a burst, too, which a shared socket would give to whoever wakes up first.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections import Counter
from typing import Any, NamedTuple

from postroad.config import split_address
from postroad.config.schema import Config


class _Key(NamedTuple):
    """Not the listener's place among the others: it may change while the socket stays. which: of those with this
    address as it is written, port 0 for example, from 0."""

    address: str
    which: int


class _Place(NamedTuple):
    """Where a socket is bound. address: as bind() takes it."""

    family: socket.AddressFamily
    address: Any


class Doors:
    """Calls block, shortly."""

    def __init__(self, engines: int) -> None:
        self._engines = engines
        self._places: dict[_Key, list[_Place]] = {}
        self._sockets: list[dict[_Key, list[socket.socket]]] = [{} for _ in range(engines)]

    def open(self, config: Config) -> None:
        """Bind what this configuration has and we have not; close what it has not. Raises OSError and ValueError, with
        nothing changed."""
        wanted = _keys(config)
        new = [key for key in wanted if key not in self._places]
        try:
            for key in new:
                self._open(key)
        except BaseException:
            for key in new:
                self._close(key)
            raise
        for key in self._places.keys() - set(wanted):
            self._close(key)

    def of(self, engine: int, config: Config) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
        """(descriptors for each listener, those for HTTP). Binds again what was shut. Raises OSError."""
        have = self._sockets[engine]
        for key, places in self._places.items():
            if key not in have:
                have[key] = []
                for place in places:
                    have[key].append(_bind(place, share=self._engines > 1))
        fds = {key: tuple(sock.fileno() for sock in sockets) for key, sockets in have.items()}
        wanted = [fds[key] for key in _keys(config)]
        count = len(config.listener)
        return tuple(wanted[:count]), wanted[count] if config.http.address else ()

    def tls_of(self, engine: int, config: Config) -> tuple[int, ...]:
        """The descriptors for HTTP over TLS, after `of`."""
        if not config.http.tls_address:
            return ()
        return tuple(sock.fileno() for sock in self._sockets[engine][_keys(config)[-1]])

    def shut(self, engine: int) -> None:
        """This engine takes no connections for a while: let others have them."""
        for sockets in self._sockets[engine].values():
            for sock in sockets:
                sock.close()
        self._sockets[engine].clear()

    def close(self) -> None:
        for engine in range(self._engines):
            self.shut(engine)
        self._places.clear()

    def _open(self, key: _Key) -> None:
        share = self._engines > 1
        places = self._places[key] = []
        for place in _places(key.address):
            if share:
                # With SO_REUSEPORT another server of ours would not be in the way; so ask without it.
                probe = _bind(place, share=False)
                place = _Place(place.family, probe.getsockname())  # a port 0 is chosen once
                probe.close()
            first = _bind(place, share=share)
            place = _Place(place.family, first.getsockname())
            places.append(place)
            rest = [_bind(place, share=share) for _ in range(1, self._engines)]
            for have, sock in zip(self._sockets, [first, *rest], strict=True):
                have.setdefault(key, []).append(sock)

    def _close(self, key: _Key) -> None:
        self._places.pop(key, None)
        for have in self._sockets:
            for sock in have.pop(key, []):
                sock.close()


def _keys(config: Config) -> list[_Key]:
    """Of the listeners, in order, of HTTP and of HTTP over TLS, if they are there."""
    addresses = [listener.address for listener in config.listener]
    if config.http.address:
        addresses.append(config.http.address)
    if config.http.tls_address:
        addresses.append(config.http.tls_address)
    seen: Counter[str] = Counter()
    found = []
    for address in addresses:
        found.append(_Key(address, seen[address]))
        seen[address] += 1
    return found


def _places(address: str) -> list[_Place]:
    host, port = split_address(address)
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise OSError(errno.EADDRNOTAVAIL, f"{address}: {error.strerror}") from error
    places = [_Place(family, where) for family, _, _, _, where in found]
    return list(dict.fromkeys(places))


def _bind(place: _Place, *, share: bool) -> socket.socket:
    sock = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if place.family == socket.AF_INET6:
            # Else [::] would take the port of 0.0.0.0 as well, and the two could not stand side by side.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(place.address)
    except OSError as error:
        with contextlib.suppress(OSError):
            sock.close()
        text = (
            f"error while attempting to bind on address {place.address[:2]!r}: {os.strerror(error.errno or 0).lower()}"
        )
        raise OSError(error.errno, text) from None
    return sock
