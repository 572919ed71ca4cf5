"""What the processes of several engines and the one that lends to them say to each other.

An engine names each of its paths by a number, and tells once what limits it (`Terms`). Whatever counts, a place for a
connection in all of the path's gates or a grant of all of its throttles, is lent whole or not at all: who held a part
while it waits for the rest would stand in the way of others that do the same.
"""

from __future__ import annotations

from typing import Any

import msgspec

from postroad.config.schema import Rate


class _Item(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Items travel in order, many in one frame."""


class GateTerms(msgspec.Struct, frozen=True, array_like=True):
    """most: connections, 0 for no limit. reserve: see Gate."""

    name: str
    most: int
    reserve: int = 0


class RateTerms(msgspec.Struct, frozen=True, array_like=True):
    """key: throttles with the same key are one. windows: (most, seconds) of each, the shortest first."""

    key: str
    windows: tuple[tuple[int, float], ...]

    @property
    def rate(self) -> Rate:
        return Rate(self.windows)


# --- engine -> lender -------------------------------------------------------------------------------------------------


class Terms(_Item, frozen=True):
    """What limits a path from now on. version: goes up with each Terms of a path; tokens of an earlier version are not
    used any more, and are told of as Unspent. generation: of the configuration that says so; what a later one said of a
    shared gate or throttle stays, since an engine may be late. host_most: connections to one address, 0: no limit."""

    path: int
    version: int
    generation: int
    gates: tuple[GateTerms, ...]
    host_most: int
    message: tuple[RateTerms, ...]
    connection: tuple[RateTerms, ...]


class Ask(_Item, frozen=True):
    """The path wants one more connection. hosts: to one of these addresses; empty when no limit asks for them. A later
    Ask replaces an earlier one that was not granted yet."""

    path: int
    hosts: tuple[str, ...] = ()


class Took(_Item, frozen=True):
    """The place that was granted is used: the connection is being made. Told where the path has a connection rate."""

    path: int
    version: int


class Back(_Item, frozen=True):
    """The place that was granted is not used, nor are its hosts."""

    path: int
    version: int
    hosts: tuple[str, ...] = ()


class Closed(_Item, frozen=True):
    """A connection of the path is gone."""

    path: int


class HostLeft(_Item, frozen=True):
    """One place for a connection to this address is free."""

    path: int
    address: str


class Want(_Item, frozen=True):
    """The path wants to send so many messages now: in place of what it wanted before."""

    path: int
    count: int


class Spent(_Item, frozen=True):
    """So many messages were sent, a moment ago."""

    path: int
    version: int
    count: int


class Unspent(_Item, frozen=True):
    """So many of the messages that were granted will not be sent."""

    path: int
    version: int
    count: int


class Release(_Item, frozen=True):
    """The path is forgotten."""

    path: int


# --- lender -> engine -------------------------------------------------------------------------------------------------


class Granted(_Item, frozen=True):
    """A place for one connection, to one of these addresses when the Ask named any: each of them is kept until it is
    told that it has been left, or was never used."""

    path: int
    version: int
    hosts: tuple[str, ...] = ()


class Refused(_Item, frozen=True):
    """The connection must wait: this gate is full. open: connections of all engines in it."""

    path: int
    gate: str
    open: int


class Tokens(_Item, frozen=True):
    """So many messages may be sent."""

    path: int
    version: int
    count: int


class Later(_Item, frozen=True):
    """The messages that the path wants must wait: the answer to a Want that is not Tokens."""

    path: int
    version: int


class Wanted(_Item, frozen=True):
    """So many paths, of all engines, wait for a place in this gate. sole: the only one, when it is of this engine."""

    gate: str
    waiting: int
    sole: int = 0


class Shed(_Item, frozen=True):
    """The limit of this gate was lowered: end so many of its connections."""

    gate: str
    count: int


Asking = Terms | Ask | Took | Back | Closed | HostLeft | Want | Spent | Unspent | Release
Lending = Granted | Refused | Tokens | Later | Wanted | Shed
Item = Any  # one of the above
