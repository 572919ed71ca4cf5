"""One limit on open connections, the line of paths that wait for it, and the idle connections that could make room."""

from __future__ import annotations

from math import inf
from typing import Protocol


class Member(Protocol):
    """What a gate needs to know of a path. All gates of a path must have room before it may open a connection."""

    offer: Gate | None  # the gate that keeps a place for it
    connections: int

    def full(self) -> Gate | None:
        """The first gate without a place for it."""

    def told(self) -> None:
        """There is a place for it: it should ask now, or decline."""

    def busy(self, connection: object) -> None:
        """This connection is not to be counted among the idle ones."""


class Gate:
    """name: for people. most: connections, inf for no limit. reserve: the last of them, kept for paths without any.
    elsewhere: paths of any engine that wait for a place here, where places are lent; sole: the only one, if it is ours.

    A place that becomes free is kept for the first in line until it has taken or declined it, so that who asks more
    often does not get more.
    """

    __slots__ = (
        "_line",
        "_starved",
        "elsewhere",
        "idle",
        "most",
        "name",
        "offered",
        "open",
        "reserve",
        "sole",
        "users",
    )

    def __init__(self, name: str, most: float = inf, reserve: int = 0) -> None:
        self.name = name
        self.most = most
        self.reserve = reserve
        self.open = 0
        self.offered = 0
        self.users = 0  # paths it limits
        self.elsewhere = 0
        self.sole: object = None
        self.idle: dict[object, Member] = {}  # the longest idle first
        # Dictionaries for sets that keep an order.
        self._starved: dict[Member, None] = {}  # have no connection
        self._line: dict[Member, None] = {}

    def __repr__(self) -> str:
        return f"<Gate {self.name} open={self.open} most={self.most}>"

    def room(self, member: Member) -> bool:
        free = self.most - self.open - self.offered
        if member.offer is self:
            free += 1
        return free > (self.reserve if member.connections else 0)

    def wait(self, member: Member) -> None:
        """Stand in line."""
        (self._line if member.connections else self._starved)[member] = None

    def leave(self, member: Member) -> None:
        self._line.pop(member, None)
        self._starved.pop(member, None)

    def others_wait(self, member: Member) -> bool:
        if self.elsewhere and (self.elsewhere > 1 or self.sole is not member):
            return True
        return any(line and (len(line) > 1 or member not in line) for line in (self._starved, self._line))

    def first(self) -> Member | None:
        """In line."""
        return next(iter(self._starved or self._line), None)

    def others_first(self, member: Member) -> bool:
        """Would another get the next place?"""
        if self.elsewhere and (self.elsewhere > 1 or self.sole is not member):
            return True
        first = self.first()
        return first is not None and first is not member

    def hand_out(self) -> None:
        """Keep each free place for the next in line, and tell it."""
        for line, reserve in ((self._starved, 0), (self._line, self.reserve)):
            while line and self.most - self.open - self.offered > reserve:
                member = next(iter(line))
                del line[member]
                other = member.full()
                if other is None:
                    member.offer = self
                    self.offered += 1
                    member.told()
                elif other is self:
                    self._line[member] = None  # it has got connections meanwhile, and none of the reserve
                else:
                    other.wait(member)  # it is that one it waits for now

    def spare(self) -> object | None:
        """The connection that has been idle longest, no longer counted among the idle ones anywhere."""
        for connection, owner in self.idle.items():
            owner.busy(connection)
            return connection
        return None
