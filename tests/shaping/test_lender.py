"""Limits of several engines: whatever they do and wherever they die, no limit is exceeded, nothing is lost, nobody
starves. The engines here are real `Limits` with a `Borrower` each; between them and the `Lender` every item takes its
time."""

from __future__ import annotations

from collections import Counter, deque
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.config import parse
from postroad.config.schema import Config, Rate
from postroad.shaping import Allowance, Borrower, Lender, Limits
from postroad.shaping.leases import Asking, Lending, Shed
from tests.shaping.test_throttle import exceeded

HOSTS = ("192.0.2.1", "192.0.2.2")
DOMAINS = ("a.test", "b.test", "c.test")
BINDINGS = '[[binding]]\nname = "x"\n[[binding]]\nname = "y"\n'
PATHS = tuple((binding, domain) for binding in ("x", "y") for domain in DOMAINS)


def config(text: str) -> Config:
    return parse(text + "\n" + BINDINGS).config


class Line:
    """One connection of a path, and the address it goes to."""

    def __init__(self, path: Sender, address: str) -> None:
        self.path = path
        self.address = address
        self.idle = False


class Sender:
    """What deliver does with one path: opens connections while mail waits, sends, and closes."""

    def __init__(self, engine: Engine, binding: str, domain: str) -> None:
        self.engine = engine
        self.key = (binding, domain)
        self.allowance: Allowance = engine.limits.allowance(binding, domain)
        self.lines: list[Line] = []
        self.waiting = 0
        self.goal = 3

    def pump(self) -> None:
        for line in [line for line in self.lines if line.idle]:
            if not self.waiting:
                break
            self.allowance.busy(line)
            line.idle = False
            self.send(line)
        while self.waiting and len(self.lines) < self.goal and not any(line.idle for line in self.lines):
            if self.allowance.open(HOSTS):
                break
            granted = self.allowance.granted or ()
            address = next(each for each in granted if self.allowance.host_open(each))
            line = Line(self, address)
            self.allowance.hosts_unused(address for address in granted if address != line.address)
            self.lines.append(line)
            self.engine.field.opened(line)
            self.engine.later(0.02, lambda line=line: self.send(line))
        for idle in self.allowance.sure():
            self.rest(idle)
        self.allowance.decline()

    def send(self, line: Line) -> None:
        if line not in self.lines or line.idle:
            return
        if self.waiting and not self.allowance.message():
            self.waiting -= 1
            self.engine.field.sent(self)
            self.engine.later(0.05, lambda: self.send(line))
            return
        line.idle = True
        self.rest(line)

    def rest(self, line: object) -> None:
        ending = self.allowance.idle(line)
        if ending is not None:
            self.engine.end(ending)

    def close(self, line: Line) -> None:
        if line not in self.lines:
            return
        self.lines.remove(line)
        self.allowance.busy(line)
        self.allowance.closed()
        self.allowance.host_closed(line.address)
        self.engine.field.closed(line)
        self.pump()


class Engine:
    def __init__(self, field: Field, number: int) -> None:
        self.field = field
        self.number = number
        self.alive = True
        self.borrower = Borrower(self._send, self.later)
        self.limits = Limits(field.config, lambda: field.now, self.borrower)
        self.limits.told = self._told
        self.limits.end = self.end
        self.limits.at = at
        self.limits.shed = lambda gate, number: self._shed(gate.name, number)
        self.senders: dict[tuple[str, str], Sender] = {}
        self.outgoing: deque[Asking] = deque()
        self.incoming: deque[Lending] = deque()

    def later(self, seconds: float, what: object) -> None:
        self.field.later(seconds, lambda: self.alive and what())  # type: ignore[operator]

    def sender(self, key: tuple[str, str]) -> Sender:
        if key not in self.senders:
            self.senders[key] = Sender(self, *key)
        return self.senders[key]

    def _send(self, item: Asking) -> None:
        self.outgoing.append(item)
        self.field.later(self.field.delay(), self._deliver)

    def _deliver(self) -> None:
        if self.alive and self.outgoing:
            self.field.lender.take(self.number, [self.outgoing.popleft()])
            self.field.arm()

    def receive(self, item: Lending) -> None:
        self.incoming.append(item)
        self.field.later(self.field.delay(), self._hear)

    def _hear(self) -> None:
        if self.alive and self.incoming:
            self.borrower.take(self.incoming.popleft())

    def _told(self, binding: str, domain: str) -> None:
        self.later(0, lambda: self.sender((binding, domain)).pump())

    def end(self, connection: object) -> None:
        assert isinstance(connection, Line)
        self.later(0, lambda: connection.path.close(connection))

    def _shed(self, gate: str, number: int) -> None:
        lines = [line for sender in self.senders.values() for line in sender.lines if gate in names(sender)]
        for line in lines[:number]:
            line.path.close(line)

    def die(self) -> None:
        self.alive = False
        for sender in self.senders.values():
            for line in sender.lines:
                self.field.closed(line)


def at(connection: object) -> str:
    assert isinstance(connection, Line)
    return connection.address


def names(sender: Sender) -> list[str]:
    return [gate.name for gate in sender.allowance.gates]


class Field:
    """The lender and its engines, in simulated time. Counts what is open in each gate, and when what was sent."""

    def __init__(self, text: str, engines: int, seed: int, slow: float = 0.01) -> None:
        self.now = 1000.0
        self.config = config(text)
        self.slow = slow
        self.rng = Random(seed)
        self._events: list[tuple[float, int, object]] = []
        self._serial = count()
        self.lender = Lender(lambda: self.now, self._send)
        self._armed = inf
        self.engines: dict[int, Engine] = {}
        self.open: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.by_engine: Counter[int] = Counter()
        self.by_path: Counter[tuple[int, tuple[str, str]]] = Counter()
        for number in range(engines):
            self.join(number)

    def join(self, number: int) -> None:
        self.engines[number] = Engine(self, number)
        self.lender.joined(number)

    def kill(self, number: int) -> None:
        """Its connections are gone at once; the lender hears of it later."""
        self.engines.pop(number).die()
        self.lender.left(number)
        self.arm()

    def delay(self) -> float:
        return self.rng.uniform(0, self.slow)

    def later(self, seconds: float, what: object) -> None:
        heappush(self._events, (self.now + seconds, next(self._serial), what))

    def arm(self) -> None:
        due = max(self.now, self.lender.due())
        if due < self._armed:
            self._armed = due
            heappush(self._events, (due, next(self._serial), lambda: self._tick(due)))

    def _tick(self, at: float) -> None:
        if at == self._armed:
            self._armed = inf
            self.lender.tick()
            self.arm()

    def _send(self, engine: int, item: Lending) -> None:
        if engine in self.engines:
            self.engines[engine].receive(item)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            at, _, what = heappop(self._events)
            self.now = max(self.now, at)
            what()  # type: ignore[operator]
        self.now = end

    def put(self, engine: int, key: tuple[str, str], number: int) -> None:
        sender = self.engines[engine].sender(key)
        sender.waiting += number
        sender.pump()

    def reconfigure(self, text: str, engine: int, generation: int = 0) -> None:
        self.config = config(text)
        self.engines[engine].limits.generation = generation
        self.engines[engine].limits.reconfigure(self.config)

    def opened(self, line: Line) -> None:
        for name in [*names(line.path), line.address]:
            self.open[name] += 1
            self.most[name] = max(self.most[name], self.open[name])

    def closed(self, line: Line) -> None:
        for name in [*names(line.path), line.address]:
            self.open[name] -= 1

    def sent(self, sender: Sender) -> None:
        self.times.setdefault("all", []).append(self.now)
        self.times.setdefault("/".join(sender.key), []).append(self.now)
        self.by_engine[sender.engine.number] += 1
        self.by_path[sender.engine.number, sender.key] += 1

    def left(self) -> int:
        return sum(sender.waiting for engine in self.engines.values() for sender in engine.senders.values())

    def finish(self, seconds: float) -> None:
        """All is sent; then everything that was lent comes back."""
        self.run(seconds)
        assert self.left() == 0, f"{self.left()} were never sent"
        for engine in self.engines.values():
            for sender in engine.senders.values():
                for line in list(sender.lines):
                    sender.close(line)
        self.run(10)
        assert {name: open for name, (open, _) in self.lender.open().items() if open} == {}
        assert [each.lent for each in self.lender.throttles().values() if each.lent] == []
        assert +self.open == Counter()


LIMITS = {
    "max_connections": ("path", 2, 3),
    "domain_max_connections": ("domain", 3, 4),
    "binding_max_connections": ("binding", 4, 5),
    "server_max_connections": ("server", 6, 7),
    "host_max_connections": ("192.", 2, 4),
}


def text(values: dict[str, int], rate: str = "") -> str:
    lines = "\n".join(f"{name} = {value}" for name, value in values.items())
    return f"[delivery]\nserver_reserved_connections = 0\n{lines}\n" + (f'message_rate = "{rate}"' if rate else "")


def above(field: Field, values: dict[str, int]) -> list[tuple[str, int]]:
    return [
        (name, most)
        for option, value in values.items()
        for name, most in field.most.items()
        if name.startswith(LIMITS[option][0]) and most > value
    ]


def test_who_waits_for_a_host_waits_for_each_that_would_do() -> None:
    """The place that became free was at the other address, and nobody came."""
    field = Field(text({"binding_max_connections": 4, "domain_max_connections": 3, "host_max_connections": 2}), 1, 0, 0)
    for domain in DOMAINS:
        field.put(0, ("x", domain), 5)
        field.run(0)
    field.finish(3000)


def test_who_waits_for_another_gate_now_is_told_of_there() -> None:
    """A place for it was free in one gate, it went on to the next one's line, and who was idle there was not told."""
    values = {"domain_max_connections": 3, "binding_max_connections": 4}
    field = Field(text(values, "5/s"), 2, 76, 0)
    for engine, key, pause in (
        (0, ("y", "b.test"), 0),
        (0, ("y", "c.test"), 0),
        (0, ("y", "a.test"), 0),
        (0, ("x", "a.test"), 1),
        (1, ("y", "a.test"), 1),
    ):
        field.put(engine, key, 5)
        field.run(pause)
    field.finish(3000)


def test_a_connection_keeps_its_place_until_it_is_known_that_its_message_must_wait() -> None:
    """Each new connection was ended before its grant came, the grant went back before there was another: nothing was
    sent, for as long as that took longer than a grant is kept."""
    field = Field(text({"host_max_connections": 2}, "20/s, 30/2s"), 1, 470, 1.0)
    for key in (("y", "c.test"), ("y", "b.test"), ("x", "b.test"), ("y", "a.test"), ("x", "a.test")):
        field.put(0, key, 5)
        field.run(0.1)
    field.finish(3000)


def test_a_place_that_was_granted_a_moment_before_the_limit_was_lowered_goes_back() -> None:
    """It is not dialed with any more; that is told at once, not when the connection ends."""
    field = Field(text({"server_max_connections": 2}), 1, 0, 0)
    engine = field.engines[0]
    engine.limits.told = lambda binding, domain: None  # nobody comes for it yet
    held = engine.limits.allowance("x", "a.test")
    assert held.open(HOSTS) > 0
    field.run(0)
    assert field.lender.open()["server"] == (1, 2.0)
    assert held.lease is not None
    engine.borrower.take(Shed("server", 1))
    field.run(0)
    assert field.lender.open()["server"] == (0, 2.0)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2, 4]), st.integers(0, 2**32), st.data())
def test_whatever_happens(engines: int, seed: int, data: st.DataObject) -> None:
    """Mail for random paths at random engines, of which some die; every item is late by up to `slow`."""
    chosen = data.draw(st.lists(st.sampled_from(sorted(LIMITS)), unique=True, min_size=1))
    values = {name: LIMITS[name][1] for name in chosen}
    rate = data.draw(st.sampled_from(["", "5/s", "20/s, 30/2s", "100/s, 40/10s"]))
    field = Field(text(values, rate), engines, seed, data.draw(st.sampled_from([0.0, 0.001, 0.05, 1.0])))
    steps = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from(["put", "put", "put", "kill", "reload", "close"]),
                st.integers(0, engines - 1),
                st.sampled_from(PATHS),
                st.floats(0, 1.5),
            ),
            max_size=30,
        )
    )
    for what, number, key, pause in steps:
        if what == "put":
            field.put(number, key, 5)
        elif what == "kill":
            field.kill(number)
            field.join(number)
        elif what == "reload":
            field.reconfigure(text(values, rate), number)
        else:
            for sender in field.engines[number].senders.values():
                for line in sender.lines[:1]:
                    sender.close(line)
        field.run(pause)
        assert above(field, values) == []
    field.finish(3000)
    assert above(field, values) == []
    assert exceeded(rate_of(rate), field.times.get("all", [])) == []


def rate_of(rate: str) -> Rate:
    options = parse(f'[delivery]\nmessage_rate = "{rate}"').config.delivery
    return options.message_rate


@pytest.mark.parametrize("engines", [1, 2, 4])
@pytest.mark.parametrize("rate", ["50/s", "20/s, 100/10s", "400/s"])
def test_a_rate_is_reached_and_shared(engines: int, rate: str) -> None:
    field = Field(text({"max_connections": 30}, rate), engines, 7, slow=0.004)
    for number in range(engines):
        for key in PATHS:
            sender = field.engines[number].sender(key)
            sender.goal = 30
            field.put(number, key, 100_000)
    field.run(60)
    start = field.now
    field.run(100)
    sent = [at for at in field.times["all"] if at >= start]
    each = rate_of(rate)
    assert exceeded(each, field.times["all"]) == []
    assert len(sent) >= 0.97 * 100 * min(most / seconds for most, seconds in each)
    shares = [field.by_engine[number] for number in range(engines)]
    assert min(shares) >= 0.7 * max(shares), shares
    assert all(field.by_path[number, key] for number in range(engines) for key in PATHS)


@pytest.mark.parametrize("engines", [1, 2, 4])
@pytest.mark.parametrize("option", sorted(LIMITS))
def test_each_limit_on_connections_is_reached(engines: int, option: str) -> None:
    kind, value, _ = LIMITS[option]
    field = Field(text({option: value}), engines, 3, slow=0.004)
    for number in range(engines):
        for key in PATHS:
            field.engines[number].sender(key).goal = 10
            field.put(number, key, 300)
    field.run(3)
    assert above(field, {option: value}) == []
    reached = {name: most for name, most in field.most.items() if name.startswith(kind)}
    assert reached and set(reached.values()) == {value}, reached
    field.finish(3000)


def test_a_lowered_limit_ends_what_is_too_much_and_a_raised_one_is_used() -> None:
    field = Field(text({"domain_max_connections": 8}), 2, 3)
    for number in range(2):
        for key in PATHS:
            field.engines[number].sender(key).goal = 10
            field.put(number, key, 1000)
    field.run(5)
    assert field.open["domain a.test"] == 8
    for generation, wanted in enumerate((3, 6), 1):
        field.reconfigure(text({"domain_max_connections": wanted}), 0, generation)
        field.run(2)
        # The other engine is late, and meanwhile tells of the old limit again.
        assert {field.open[f"domain {domain}"] for domain in DOMAINS} == {wanted}
        field.config = config(text({"domain_max_connections": 8}))
        field.kill(1)
        field.join(1)
        for key in PATHS:
            field.engines[1].sender(key).goal = 10
            field.put(1, key, 1000)
        field.run(2)
        assert {field.open[f"domain {domain}"] for domain in DOMAINS} == {wanted}
        field.reconfigure(text({"domain_max_connections": wanted}), 1, generation)
        field.run(2)
        assert {field.open[f"domain {domain}"] for domain in DOMAINS} == {wanted}
    field.finish(3000)


def test_the_reserve_is_for_paths_without_a_connection_in_whichever_engine() -> None:
    limits = "[delivery]\nserver_max_connections = 20\nserver_reserved_connections = 2"
    field = Field(limits, 2, 1)
    for number in range(2):
        field.engines[number].sender(PATHS[0]).goal = 20
        field.put(number, PATHS[0], 1000)
    field.run(3)
    assert field.open["server"] == 18
    field.put(1, PATHS[3], 1)
    field.run(0.2)
    assert field.most["server"] == 19
    field.finish(3000)


def test_an_engine_that_dies_with_grants_in_hand_may_have_used_them() -> None:
    field = Field(text({}, "10/10s"), 2, 1, slow=0.0)
    field.put(0, PATHS[0], 1000)
    field.run(9)
    sent = len(field.times["all"])
    field.kill(0)
    field.put(1, PATHS[0], 1000)
    field.run(1)
    assert sent >= 9 and len(field.times["all"]) <= 10 + 1
    assert exceeded(rate_of("10/10s"), field.times["all"]) == []


@pytest.mark.parametrize("seed", range(5))
def test_reloads_use_up_nothing_of_a_quota(seed: int) -> None:
    """Each engine hears of the new quota at its own time, and grants are under way all the while."""
    field = Field(text({}, "40/s, 30/h"), 4, seed)
    for number in range(4):
        for key in PATHS:
            field.put(number, key, 1000)
    field.run(1.5)
    for generation, quota in enumerate((45, 60, 75), 1):
        for number in field.rng.sample(range(4), 4):
            field.reconfigure(text({}, f"40/s, {quota}/h"), number, generation)
            field.run(field.delay())
        field.run(2)
        assert len(field.times["all"]) == quota
    assert exceeded(rate_of("40/s, 75/h"), field.times["all"]) == []


def test_nobody_waits_for_an_idle_connection_of_another_engine() -> None:
    field = Field(text({"server_max_connections": 1}), 2, 1)
    field.put(0, PATHS[0], 3)
    field.run(2)
    assert field.open["server"] == 1  # idle, and kept
    field.put(1, PATHS[0], 3)
    field.run(2)
    assert field.left() == 0 and field.by_engine[1] == 3
    field.finish(10)
