"""Back-off on guessing: who fails too often is not even listened to for a while, and for longer each time. Bounded."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(slots=True)
class _Record:
    failures: int = 0
    until: float = 0.0  # no further guess before
    last: float = 0.0


class Guesses:
    """Counts failures by the client's network and by user. Times: seconds of one clock, given by the caller.

    free: failures of one network that cost nothing; a user has five times as many, as they may come from many networks.
    Then each doubles the wait, from 1 s to `longest`. A network from which the user has logged in is not held to the
    count of the user: others' guesses must not shut it out. What was quiet for `longest` is forgotten.
    """

    def __init__(self, *, free: int = 5, longest: float = 900.0, capacity: int = 10_000) -> None:
        self._free = free
        self._longest = longest
        self._capacity = capacity
        self._records: dict[str, _Record] = {}
        self._good: dict[tuple[str, str], None] = {}

    def __len__(self) -> int:
        return len(self._records)

    def wait(self, peer: str, user: str, now: float) -> float:
        """Seconds until this client may try to be this user; 0: now. user "": not known yet."""
        network = network_of(peer)
        until = self._until(f"n {network}", now)
        if user and (user, network) not in self._good:
            until = max(until, self._until(f"u {user}", now))
        return max(0.0, until - now)

    def failed(self, peer: str, user: str, now: float) -> None:
        self._count(f"n {network_of(peer)}", self._free, now)
        if user:
            self._count(f"u {user}", 5 * self._free, now)

    def passed(self, peer: str, user: str) -> None:
        network = network_of(peer)
        self._records.pop(f"n {network}", None)
        self._good.pop((user, network), None)
        self._good[user, network] = None
        if len(self._good) > self._capacity:
            self._good.pop(next(iter(self._good)))

    def _until(self, name: str, now: float) -> float:
        record = self._records.get(name)
        if record is None:
            return 0.0
        if now - record.last > max(self._longest, record.until - record.last + self._longest):
            del self._records[name]
            return 0.0
        return record.until

    def _count(self, name: str, free: int, now: float) -> None:
        self._until(name, now)
        record = self._records.pop(name, None) or _Record()
        record.failures += 1
        record.last = now
        if record.failures >= free:
            record.until = now + min(self._longest, 2.0 ** min(record.failures - free, 30))
        self._records[name] = record  # last in order: the first is the one that was quiet for longest
        if len(self._records) > self._capacity:
            self._records.pop(next(iter(self._records)))


def network_of(peer: str) -> str:
    """What one guesser has at hand: an IPv4 address, or the 64 bits of an IPv6 network."""
    if ":" not in peer:
        return peer
    try:
        return str(ipaddress.ip_network((peer, 64), strict=False))
    except ValueError:
        return peer
