"""Idle connections that another path may take over instead of opening one of its own: they stand ready by all that the
two must have in common, but for how their TLS sessions were asked for, which `alike` compares."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from postroad.deliver.connection import Connection
from postroad.deliver.tls import Request, Rung

if TYPE_CHECKING:
    from postroad.deliver.crew import Crew


class Kin:
    """Connections that have the same in common. idle: with whom they work now; the longest idle first."""

    __slots__ = ("__weakref__", "idle")

    def __init__(self) -> None:
        self.idle: dict[Connection, Crew] = {}


class Siblings:
    """All kin of an engine. What is known of one goes with its last connection."""

    def __init__(self) -> None:
        self._kin: WeakValueDictionary[Hashable, Kin] = WeakValueDictionary()

    def kin(self, common: Hashable) -> Kin:
        """To be kept by each connection that has this in common with others."""
        found = self._kin.get(common)
        if found is None:
            found = self._kin[common] = Kin()
        return found

    def idle(self, common: Hashable) -> Iterator[tuple[Connection, Crew]]:
        """The last to become idle first: its host is the least likely to have had enough of it."""
        found = self._kin.get(common)
        return reversed(found.idle.items()) if found is not None else iter(())


def alike(one: Request, other: Request) -> bool:
    """Would a session asked for in the one manner do for the other? The same policy, met on the same rung; and where
    the host had to show who it is, that it is the same one."""
    if (one.demand, one.policy, one.rung) != (other.demand, other.policy, other.rung):
        return False
    return one.rung is not Rung.VERIFIED or one.server_name == other.server_name
