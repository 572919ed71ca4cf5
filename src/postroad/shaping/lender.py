"""The limits of several engines together: who lends them places for connections and grants of rates. Pure: time is
given, and what is to be sent goes to a callback.

What is promised, whatever engines do, wherever they die, and however long anything is on its way:
- Connections: a place counts from before its engine hears of it until after the engine has told that the connection is
  gone, or the engine itself is. So no gate ever has more connections than its limit (after a limit was lowered: no new
  one, until enough have ended).
- Rates: a grant fills its windows from before its engine hears of it until W seconds after the engine has told that it
  was used. So of any N + 1 uses, the last comes W seconds or more after the first. No two clocks are compared.
- Places and grants go round as in one engine: gates and turns are the same ones; their members are the paths of all
  engines. Whose turn it is does not depend on which engine it lives in.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count
from math import inf

from postroad.shaping.claim import Claim, HostGate, LentGate, spent
from postroad.shaping.leases import (
    Ask,
    Asking,
    Back,
    Closed,
    Granted,
    HostLeft,
    Later,
    Lending,
    RateTerms,
    Refused,
    Release,
    Shed,
    Spent,
    Terms,
    Tokens,
    Took,
    Unspent,
    Want,
    Wanted,
)
from postroad.shaping.throttle import Throttle
from postroad.shaping.turns import Turns

_THROTTLES = 10_000  # throttles after which those are looked for that nothing remembers


class Lender:
    """now: seconds that never go back. send(engine, item). throttle: makes one for a key that is not known yet."""

    def __init__(
        self,
        now: Callable[[], float],
        send: Callable[[int, Lending], None],
        throttle: Callable[[RateTerms], Throttle] = lambda terms: Throttle(terms.rate),
    ) -> None:
        self._now = now
        self._send = send
        self._new_throttle = throttle
        self._engines: dict[int, dict[int, Claim]] = {}
        self._gates: dict[str, LentGate] = {}
        self._turns: dict[str, Turns] = {}
        self._generations: dict[str, int] = {}  # of the configuration that each rate is from
        self._sweep_at = _THROTTLES
        self._ready: deque[Claim] = deque()  # a gate keeps a place for them
        self._left: dict[Turns, None] = {}  # somebody has left their line
        self._crowded: dict[LentGate, None] = {}  # their lines may have changed
        # When a claim may go on, for connections (False) or for messages (True).
        self._heap: list[tuple[float, int, Claim, bool]] = []
        self._serial = count()

    # --- engines ------------------------------------------------------------------------------------------------------

    def joined(self, engine: int) -> None:
        self._engines[engine] = {}
        for gate in self._gates.values():
            if gate.waiting:
                self._send(engine, Wanted(gate.name, gate.waiting))

    def left(self, engine: int) -> None:
        """It is gone, and with it its connections. What it could have sent, it has sent."""
        for claim in self._engines.pop(engine, {}).values():
            self._remove(claim)
        self._settle()

    def take(self, engine: int, items: Iterable[Asking]) -> None:
        """What an engine tells, in order."""
        claims = self._engines.get(engine)
        if claims is None:
            return
        for item in items:
            if isinstance(item, Terms):
                self._terms(engine, claims, item)
                continue
            claim = claims.get(item.path)
            if claim is None:
                continue
            match item:
                case Want():
                    claim.want = item.count
                    self._lend(claim)
                    if claim.want == item.count > 0:
                        self._send(engine, Later(claim.path, claim.version))
                case Spent():
                    spent(claim.accounted(item.version, item.count), item.count, self._now())
                case Ask():
                    self._ask(claim, item.hosts)
                case Closed():
                    self._closed(claim)
                case Took():
                    if item.version == claim.version:
                        claim.dial_spent(self._now())
                case Back():
                    self._back(claim, item)
                case HostLeft():
                    self._host_left(claim, item.address)
                case Unspent():
                    self._returned(claim.accounted(item.version, item.count), item.count)
                case Release():
                    del claims[item.path]
                    self._remove(claim)
        self._settle()

    def due(self) -> float:
        """When `tick` should be called; inf: never, as things are."""
        return self._heap[0][0] if self._heap else inf

    def tick(self) -> None:
        now = self._now()
        while self._heap and self._heap[0][0] <= now:
            at, _, claim, messages = heappop(self._heap)
            if claim.due[messages] != at:
                continue
            claim.due[messages] = inf
            if messages:
                self._lend(claim)
            else:
                self._try(claim)
        self._settle()

    def throttles(self) -> dict[str, Throttle]:
        return {key: turns.throttle for key, turns in self._turns.items()}

    def open(self) -> dict[str, tuple[int, float]]:
        """What counts now in each gate and at each host, and the limit: of a host, the highest that a path has which is
        there, or wants to be."""
        found = {name: (gate.open, gate.most) for name, gate in self._gates.items()}
        hosts: dict[str, float] = {}
        for claim in (claim for claims in self._engines.values() for claim in claims.values()):
            for name in (*(f"host {address}" for address in claim.at), *(gate.name for gate in claim.host_gates)):
                hosts[name] = max(hosts.get(name, 0), claim.host_most or inf)
        return found | {name: (found[name][0], most) for name, most in hosts.items()}

    # --- terms --------------------------------------------------------------------------------------------------------

    def _terms(self, engine: int, claims: dict[int, Claim], terms: Terms) -> None:
        claim = claims.get(terms.path)
        if claim is None:
            claim = claims[terms.path] = Claim(engine, terms.path, self._ready.append)
        before = claim.gates
        self._withdraw(claim)
        for gate in before:
            gate.count(engine, -claim.connections)
        claim.other_terms(terms.version, self._now())
        gates = []
        for each in terms.gates:
            gate = self._gate(each.name)
            if terms.generation >= gate.generation:
                gate.generation = terms.generation
                gate.most, gate.reserve = each.most or inf, each.reserve
            gate.count(engine, claim.connections)
            gates.append(gate)
        claim.gates = tuple(gates)
        for gate in gates:
            gate.users += 1
        claim.host_most = terms.host_most
        claim.message = tuple(self._throttle(each, terms.generation) for each in terms.message)
        claim.connection = tuple(self._throttle(each, terms.generation) for each in terms.connection)
        for gate in before:
            gate.users -= 1
            gate.hand_out()
        for gate in gates:
            gate.hand_out()
            self._shed(gate)
        claim.want = 0
        if claim.hosts is not None:
            self._ask(claim, claim.hosts)

    def _gate(self, name: str) -> LentGate:
        gate = self._gates.get(name)
        if gate is None:
            gate = self._gates[name] = LentGate(name, self._crowded)
        return gate

    def _host(self, address: str) -> LentGate:
        gate = self._gates.get(f"host {address}")
        if gate is None:
            gate = self._gates[f"host {address}"] = HostGate(f"host {address}", self._crowded)
        return gate

    def _throttle(self, terms: RateTerms, generation: int) -> Turns:
        found = self._turns.get(terms.key)
        if found is None:
            if len(self._turns) >= self._sweep_at:
                self._sweep()
            found = self._turns[terms.key] = Turns(self._new_throttle(terms))
        if generation >= self._generations.get(terms.key, 0):
            self._generations[terms.key] = generation
            if found.throttle.rate != terms.rate:
                found.throttle.set_rate(terms.rate)
                self._anew(found)
        return found

    def _sweep(self) -> None:
        held = {
            id(turns)
            for claims in self._engines.values()
            for claim in claims.values()
            for turns in (*claim.message, *claim.connection)
        }
        now = self._now()
        self._turns = {
            key: turns for key, turns in self._turns.items() if id(turns) in held or not turns.throttle.forgotten(now)
        }
        self._generations = {key: self._generations[key] for key in self._turns}
        self._sweep_at = max(_THROTTLES, 2 * len(self._turns))

    def _shed(self, gate: LentGate) -> None:
        """Have as many connections ended as are too many, first where most are."""
        over = gate.open - gate.most - gate.leaving
        if over <= 0:
            return
        gate.leaving += int(over)
        left = Counter(gate.by_engine)
        shed: Counter[int] = Counter()
        for _ in range(int(over)):
            engine = max(left, key=lambda each: left[each])
            left[engine] -= 1
            shed[engine] += 1
        for engine, number in shed.items():
            self._send(engine, Shed(gate.name, number))

    # --- places for connections ---------------------------------------------------------------------------------------

    def _ask(self, claim: Claim, hosts: tuple[str, ...]) -> None:
        self._withdraw_ask(claim)
        claim.hosts = hosts
        claim.host_gates = tuple(self._host(address) for address in dict.fromkeys(hosts))
        for gate in claim.host_gates:
            gate.users += 1
        self._try(claim)

    def _try(self, claim: Claim) -> None:
        """Grant what it asks for, or have it wait for the first thing that is missing."""
        if claim.hosts is None:
            self._decline(claim)
            return
        gate = claim.full()
        if gate is not None:
            if not gate.waits(claim):
                self._send(claim.engine, Refused(claim.path, gate.name, gate.open))
            gate.wait(claim)
            self._decline(claim)
            return
        now = self._now()
        wait = claim.wait(claim.connection, now)
        if wait:
            self._decline(claim)  # others may use it meanwhile
            self._later(claim, False, now + wait)
            return
        for turns in claim.connection:
            turns.lend(claim, now)
        claim.dial_tokens += bool(claim.connection)
        if claim.offer is not None:
            claim.offer.offered -= 1
            claim.offer = None
        free = [gate for gate in claim.host_gates if gate.room(claim)]
        for gate in (*claim.gates, *free):
            gate.count(claim.engine, 1)
        claim.connections += 1
        hosts = tuple(gate.name.partition(" ")[2] for gate in free)
        claim.at.update(hosts)
        for gate in free:
            gate.users += 1
        self._end_ask(claim)
        self._send(claim.engine, Granted(claim.path, claim.version, hosts))

    def _end_ask(self, claim: Claim) -> None:
        claim.hosts = None
        gates, claim.host_gates = claim.host_gates, ()
        for gate in gates:
            gate.users -= 1
            self._drop(gate)

    def _withdraw_ask(self, claim: Claim) -> None:
        claim.due[False] = inf
        self._leave(claim, claim.connection)
        for gate in (*claim.gates, *claim.host_gates):
            gate.leave(claim)
        self._decline(claim)
        self._end_ask(claim)

    def _decline(self, claim: Claim) -> None:
        gate = claim.offer
        if gate is not None:
            assert isinstance(gate, LentGate)
            claim.offer = None
            gate.offered -= 1
            gate.hand_out()

    def _closed(self, claim: Claim) -> None:
        if claim.connections:
            claim.connections -= 1
            for gate in claim.gates:
                gate.count(claim.engine, -1)
                gate.leaving = max(0, gate.leaving - 1)
            for gate in claim.gates:
                gate.hand_out()

    def _back(self, claim: Claim, item: Back) -> None:
        if item.version == claim.version and claim.dial_tokens:
            claim.dial_tokens -= 1
            self._returned(claim.connection, 1)
        for address in item.hosts:
            self._host_left(claim, address)
        self._closed(claim)

    def _host_left(self, claim: Claim, address: str) -> None:
        if claim.at[address] > 0:
            claim.at[address] -= 1
            if not claim.at[address]:
                del claim.at[address]
            gate = self._gates[f"host {address}"]
            gate.count(claim.engine, -1)
            gate.users -= 1
            gate.hand_out()

    # --- grants of rates ----------------------------------------------------------------------------------------------

    def _lend(self, claim: Claim) -> None:
        now = self._now()
        lent = 0
        while claim.want:
            wait = claim.wait(claim.message, now)
            if wait:
                self._later(claim, True, now + wait)
                break
            for turns in claim.message:
                turns.lend(claim, now)
            claim.want -= 1
            lent += 1
        if not claim.want:
            self._leave(claim, claim.message)
        if lent:
            claim.tokens += lent
            self._send(claim.engine, Tokens(claim.path, claim.version, lent))

    def _returned(self, bundle: tuple[Turns, ...], number: int) -> None:
        for turns in bundle:
            for _ in range(number):
                turns.throttle.returned()
            self._anew(turns)

    def _leave(self, claim: Claim, bundle: tuple[Turns, ...]) -> None:
        """It does not wait for these any more: what was promised to it is for those behind it."""
        for turns in bundle:
            if turns.leave(claim):
                self._left[turns] = None

    def _anew(self, turns: Turns) -> None:
        """Who waits for these should ask now."""
        now = self._now()
        for claim in turns.anew():
            assert isinstance(claim, Claim)
            self._later(claim, turns in claim.message, now)

    def _later(self, claim: Claim, messages: bool, at: float) -> None:
        claim.due[messages] = at
        heappush(self._heap, (at, next(self._serial), claim, messages))

    # --- the end ------------------------------------------------------------------------------------------------------

    def _withdraw(self, claim: Claim) -> None:
        """It stands in no line any more; what it asked for is remembered."""
        hosts = claim.hosts
        self._withdraw_ask(claim)
        claim.hosts = hosts
        claim.due[True] = inf
        self._leave(claim, claim.message)

    def _remove(self, claim: Claim) -> None:
        self._withdraw(claim)
        claim.hosts = None
        claim.outdate(self._now())
        for address in list(claim.at.elements()):
            self._host_left(claim, address)
        for gate in claim.gates:
            gate.count(claim.engine, -claim.connections)
            gate.leaving = max(0, gate.leaving - claim.connections)
            gate.users -= 1
        claim.connections = 0
        for gate in claim.gates:
            gate.hand_out()

    def _drop(self, gate: LentGate) -> None:
        if not gate.users and not gate.open and self._gates.get(gate.name) is gate:
            del self._gates[gate.name]

    def _settle(self) -> None:
        """Serve those that a place is kept for; then tell who holds places how many wait for them."""
        while self._left:
            self._anew(self._left.popitem()[0])
        while self._ready:
            self._try(self._ready.popleft())
        crowded = list(self._crowded)
        self._crowded.clear()
        for gate in crowded:
            self._drop(gate)
            sole = gate.only()
            before, gate.told_of = gate.told_of, (gate.waiting, sole)
            if before == gate.told_of or 1 < gate.waiting < before[0]:
                continue
            for engine in self._engines:
                own = sole.path if sole is not None and sole.engine == engine else 0
                self._send(engine, Wanted(gate.name, gate.waiting, own))
