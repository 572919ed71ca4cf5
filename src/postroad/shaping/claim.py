"""What the lender keeps of one path of one engine, and of one gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import inf
from typing import cast

from postroad.shaping.gate import Gate, Member
from postroad.shaping.turns import Turns


class LentGate(Gate):
    """generation: of the configuration that its limit is from. by_engine: connections of each. leaving: connections
    that an engine was told to end. told_of: what the engines know of its line. crowded: gates whose lines may have
    changed put themselves in, since those who hold places there have to hear of it."""

    __slots__ = ("_crowded", "by_engine", "generation", "leaving", "told_of")

    def __init__(self, name: str, crowded: dict[LentGate, None]) -> None:
        super().__init__(name)
        self._crowded = crowded
        self.by_engine: Counter[int] = Counter()
        self.leaving = 0
        self.generation = 0
        self.told_of: tuple[int, Claim | None] = (0, None)

    def count(self, engine: int, change: int) -> None:
        """So many more connections of this engine."""
        self.open += change
        self.by_engine[engine] += change
        if not self.by_engine[engine]:
            del self.by_engine[engine]

    def wait(self, member: Member) -> None:
        super().wait(member)
        self._crowded[self] = None

    def leave(self, member: Member) -> None:
        super().leave(member)
        self._crowded[self] = None

    def hand_out(self) -> None:
        super().hand_out()
        self._crowded[self] = None

    @property
    def waiting(self) -> int:
        return len(self._starved) + len(self._line)

    def waits(self, claim: Claim) -> bool:
        return claim in self._starved or claim in self._line

    def only(self) -> Claim | None:
        """The one that waits, if only one does."""
        return cast(Claim, next(iter(self._starved or self._line))) if self.waiting == 1 else None


class HostGate(LentGate):
    """One address of a receiver: each path brings its own limit for it."""

    __slots__ = ()

    def room(self, member: Member) -> bool:
        most = cast(Claim, member).host_most
        return not most or self.open + self.offered - (member.offer is self) < most

    def wait(self, member: Member) -> None:
        """Stand in line at all addresses that would do: whichever has a place first."""
        for gate in cast(Claim, member).host_gates:
            LentGate.wait(gate, member)

    def hand_out(self) -> None:
        for line in (self._starved, self._line):
            for member in list(line):
                if not self.room(member):
                    break
                del line[member]
                other = member.full()
                if other is None:
                    member.offer = self
                    self.offered += 1
                    member.told()
                else:
                    other.wait(member)
        self._crowded[self] = None


class Claim:
    """One path of one engine: a member of gates, and one that takes turns.

    hosts: addresses it asks for a connection to; None: it asks for none. at: places it holds at single hosts. want:
    messages it wants to send. tokens, dial_tokens: grants that are lent to it, for messages and for connections.
    earlier: by version of its terms, messages' grants that it has not accounted for yet, and of what. due: when it may
    go on, with connections and with messages.
    """

    __slots__ = (
        "_offered",
        "at",
        "connection",
        "connections",
        "dial_tokens",
        "due",
        "earlier",
        "engine",
        "gates",
        "host_gates",
        "host_most",
        "hosts",
        "message",
        "offer",
        "path",
        "tokens",
        "version",
        "want",
    )

    def __init__(self, engine: int, path: int, offered: Callable[[Claim], None]) -> None:
        self._offered = offered
        self.engine = engine
        self.path = path
        self.version = 0
        self.connections = 0
        self.offer: Gate | None = None
        self.gates: tuple[LentGate, ...] = ()
        self.host_most = 0
        self.host_gates: tuple[LentGate, ...] = ()
        self.hosts: tuple[str, ...] | None = None
        self.at: Counter[str] = Counter()
        self.message: tuple[Turns, ...] = ()
        self.connection: tuple[Turns, ...] = ()
        self.want = 0
        self.tokens = 0
        self.earlier: dict[int, tuple[int, tuple[Turns, ...]]] = {}
        self.dial_tokens = 0
        self.due = [inf, inf]

    def full(self) -> LentGate | None:
        for gate in self.gates:
            if not gate.room(self):
                return gate
        if self.host_gates and not any(gate.room(self) for gate in self.host_gates):
            return self.host_gates[0]
        return None

    def told(self) -> None:
        for gate in (*self.gates, *self.host_gates):
            gate.leave(self)  # one place at a time is kept for it
        self._offered(self)

    def busy(self, connection: object) -> None:
        """Idle connections are the engine's affair."""

    def wait(self, bundle: tuple[Turns, ...], now: float) -> float:
        """0: all of them grant."""
        for turns in bundle:
            wait = turns.wait(self, now)
            if wait:
                return wait
        return 0.0

    def accounted(self, version: int, count: int) -> tuple[Turns, ...]:
        """So many of the messages that were granted by these terms were sent, or won't be: what they counted in."""
        if version == self.version:
            self.tokens -= count
            return self.message
        left, bundle = self.earlier.pop(version, (0, ()))
        if left > count:
            self.earlier[version] = (left - count, bundle)
        return bundle

    def other_terms(self, version: int, now: float) -> None:
        """What was lent to it for messages is accounted for by the version; for connections it counts as used."""
        if self.tokens:
            self.earlier[self.version] = (self.tokens, self.message)
            self.tokens = 0
        while self.dial_tokens:
            self.dial_spent(now)
        self.version = version

    def dial_spent(self, now: float) -> None:
        if self.dial_tokens:
            self.dial_tokens -= 1
            for turns in self.connection:
                turns.throttle.spent(now)

    def outdate(self, now: float) -> None:
        """What was lent to it by now counts as used."""
        self.other_terms(self.version, now)
        for count, bundle in self.earlier.values():
            spent(bundle, count, now)
        self.earlier.clear()


def spent(bundle: tuple[Turns, ...], count: int, now: float) -> None:
    """So many of the messages that these had granted were sent."""
    for turns in bundle:
        for _ in range(count):
            turns.throttle.spent(now)
