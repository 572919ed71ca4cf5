"""A network in memory: machines with addresses, listeners, connections with latency, and the ways they fail."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal, NamedTuple

from postroad.lab.sim.pipe import Cut, Fault, Path, Pipe
from postroad.lab.sim.process import OWNER, Process
from postroad.lab.sim.server import Listener, SimServer
from postroad.lab.sim.transport import SimTransport

if TYPE_CHECKING:
    from postroad.lab.sim.loop import ProtocolFactory, SimLoop

Connect = Literal["ok", "refuse", "unreachable", "black hole"]

Names = tuple[tuple[object, ...], tuple[object, ...]]  # (the dialler's, the listener's), as getpeername() gives them

_SYN_TIMEOUT = 127.0  # seconds until Linux gives up a connection attempt (tcp_syn_retries 6)
_ARP_TIMEOUT = 3.0  # seconds until the neighbour counts as absent


class Dial(NamedTuple):
    """A connection about to be made. number: counts from 1. time: of the loop."""

    number: int
    time: float
    source: str
    host: str
    port: int


@dataclass(frozen=True)
class LinkPlan:
    """What becomes of one connection. up: from the dialler to the listener; down: the other way."""

    connect: Connect = "ok"
    up: Fault | None = None
    down: Fault | None = None
    latency: float | None = None  # seconds one way; None: the weather's
    cut: Cut | None = None


@dataclass
class Weather:
    """How connections fare that no rule speaks of. Chances are per connection, 0 to 1; times are seconds.

    reset, stall, close: chance that one direction meets this fault, after a number of octets drawn from `fault_within`
    (half of them within the first 400, where SMTP's dialogue is).
    """

    latency: tuple[float, float] = (0.0002, 0.03)
    jitter: float = 0.01
    window: tuple[int, int] = (2_000, 200_000)
    refuse: float = 0.0
    unreachable: float = 0.0
    black_hole: float = 0.0
    reset: float = 0.0
    stall: float = 0.0
    close: float = 0.0
    fault_within: int = 20_000

    def plan(self, rng: Random) -> LinkPlan:
        draw = rng.random()
        connects: tuple[tuple[Connect, float], ...] = (
            ("refuse", self.refuse),
            ("unreachable", self.unreachable),
            ("black hole", self.black_hole),
        )
        for connect, chance in connects:
            if draw < chance:
                return LinkPlan(connect)
            draw -= chance
        for kind in ("reset", "stall", "close"):
            chance = getattr(self, kind)
            if draw < chance:
                fault = Fault(kind, rng.randrange(400 if rng.random() < 0.5 else self.fault_within))
                return LinkPlan(up=fault) if rng.random() < 0.5 else LinkPlan(down=fault)
            draw -= chance
        return LinkPlan()


class Link:
    """One connection: its two pipes, for faults that come later."""

    def __init__(self, dial: Dial, up: Pipe, down: Pipe) -> None:
        self.dial = dial
        self.up, self.down = up, down
        self.open_ends = 2

    def touches(self, address: str) -> bool:
        return address in (self.dial.source, self.dial.host)


class SimNet:
    """rng: all draws of the network. Machines are known by their addresses."""

    def __init__(self, loop: SimLoop, rng: Random) -> None:
        self.loop = loop
        self.weather = Weather()
        self._rng = rng
        self._rules: list[Callable[[Dial], LinkPlan | None]] = []
        self._listeners: dict[tuple[str, int], list[Listener]] = {}
        self._machines: set[str] = set()
        self._down: set[str] = set()
        self._cut: set[str] = set()
        self._links: dict[Link, None] = {}
        self._doomed: dict[Link, None] = {}
        self._dials = 0
        self._next_port = 32768
        loop.net = self

    # --- the set-up and its accidents ---------------------------------------------------------------------------------

    def add_machine(self, *addresses: str) -> None:
        """These addresses answer, if only to refuse connections."""
        self._machines.update(addresses)

    def rule(self, decide: Callable[[Dial], LinkPlan | None]) -> None:
        """Ask this before the weather about each connection; the first answer of the rules wins."""
        self._rules.append(decide)

    def clear_rules(self) -> None:
        self._rules.clear()

    def down(self, address: str) -> None:
        """The machine loses power: silence. Kill its processes after this, and their peers hear nothing of it."""
        self.loop.trace.note("down", address)
        self._down.add(address)
        for link in self._links:
            if link.touches(address):
                self._doomed[link] = None
                self._weigh(link)

    def up(self, address: str) -> None:
        """It is back, and knows nothing of the connections it had: they are reset."""
        self.loop.trace.note("up", address)
        self._down.discard(address)
        for link in [link for link in self._doomed if link.touches(address)]:
            del self._doomed[link]
            for pipe in (link.up, link.down):
                pipe.break_off()
            self._weigh(link)

    def cut(self, address: str) -> None:
        """The way to the machine is interrupted; connections survive and go on after `heal`."""
        self.loop.trace.note("cut", address)
        self._cut.add(address)
        self._weigh_all(address)

    def heal(self, address: str) -> None:
        self.loop.trace.note("heal", address)
        self._cut.discard(address)
        self._weigh_all(address)

    def mend(self) -> None:
        """All machines are up and connected."""
        for address in sorted(self._cut):
            self.heal(address)
        for address in sorted(self._down):
            self.up(address)

    def _weigh_all(self, address: str) -> None:
        for link in self._links:
            if link.touches(address):
                self._weigh(link)

    def _weigh(self, link: Link) -> None:
        blocked = link in self._doomed or any(link.touches(address) for address in (*self._cut, *self._down))
        for pipe in (link.up, link.down):
            if blocked:
                pipe.block()
            else:
                pipe.unblock()

    # --- listening ----------------------------------------------------------------------------------------------------

    def listen(self, factory: ProtocolFactory, hosts: list[str | None], port: int, *, reuse_port: bool) -> SimServer:
        owner = OWNER.get()
        addresses: list[str] = []
        for host in hosts:
            if host in (None, "", "0.0.0.0", "::"):
                family = {"0.0.0.0": 4, "::": 6}.get(host or "", 0)
                mine = [] if owner is None else owner.addresses
                addresses += [a for a in mine if not family or ipaddress.ip_address(a).version == family]
            else:
                assert host is not None
                addresses.append(_literal(host))
        if port == 0 and not addresses[0].startswith("unix:"):
            port = self._port()
        server = SimServer(self, factory, owner, [(address, port) for address in addresses])
        for name in server.names:
            others = self._listeners.get(name, [])
            if others and not (reuse_port and all(other.reuse_port for other in others)):
                server.close()
                raise OSError(errno.EADDRINUSE, f"error while attempting to bind on address {name!r}: in use")
            self._machines.add(name[0])
            listener = Listener(server, reuse_port)
            self._listeners.setdefault(name, []).append(listener)
        if owner is not None:
            owner.sockets[server] = f"listener {server.names}"
        return server

    def forget(self, server: SimServer) -> None:
        for name in server.names:
            left = [listener for listener in self._listeners.get(name, []) if listener.server is not server]
            if left:
                self._listeners[name] = left
            else:
                self._listeners.pop(name, None)

    # --- connecting ---------------------------------------------------------------------------------------------------

    async def connect(
        self, factory: ProtocolFactory, host: str, port: int, local_addr: tuple[str, int] | None
    ) -> tuple[SimTransport, asyncio.BaseProtocol]:
        host = _literal(host)
        owner = OWNER.get()
        source = _source(owner, host, local_addr)
        self._dials += 1
        dial = Dial(self._dials, self.loop.time(), source, host, port)
        attempt = _Attempt(self, dial, self._plan(dial))
        try:
            link, names = await attempt.done
        finally:
            # Cancelled, failed, or the process died: a connection that stands already is given up.
            attempt.abandon()
        transport = SimTransport(
            self.loop, owner, copy_context(), (link.up, link.down), names, lambda: self.closed(link)
        )
        protocol = factory()
        transport.made(protocol)
        # asyncio returns after connection_made has been called.
        await asyncio.sleep(0)
        return transport, protocol

    def _plan(self, dial: Dial) -> LinkPlan:
        for rule in self._rules:
            plan = rule(dial)
            if plan is not None:
                return plan
        return self.weather.plan(self._rng)

    def later(self, delay: float, callback: Callable[..., None], *args: object) -> None:
        self.loop.call_later(delay, callback, *args, context=self.loop.neutral)

    def latency(self, plan: LinkPlan) -> float:
        return self._rng.uniform(*self.weather.latency) if plan.latency is None else plan.latency

    def obstacle(self, dial: Dial) -> Connect:
        """What the state of the machines does to a connection attempt."""
        if any(address in self._down or address in self._cut for address in (dial.host, dial.source)):
            return "black hole"
        if dial.host not in self._machines:
            return "unreachable"
        return "ok" if self._listeners.get((dial.host, dial.port)) else "refuse"

    def accept(self, dial: Dial, plan: LinkPlan, latency: float) -> tuple[Link, Names]:
        """The SYN has arrived: make the link and the listener's end of it."""
        listeners = self._listeners[dial.host, dial.port]
        server = listeners[self._rng.randrange(len(listeners)) if len(listeners) > 1 else 0].server
        up = self._pipe(plan, latency, plan.up, f"#{dial.number}>")
        down = self._pipe(plan, latency, plan.down, f"#{dial.number}<")
        up.back, down.back = down, up
        link = Link(dial, up, down)
        self._links[link] = None
        names = (_name(dial.source, self._port()), _name(dial.host, dial.port))
        now = self.loop.time()
        up.not_before(now)
        down.not_before(now + latency)
        server.accept((down, up), (names[1], names[0]), lambda: self.closed(link))
        return link, names

    def closed(self, link: Link) -> None:
        link.open_ends -= 1
        if link.open_ends == 0 and link not in self._doomed:
            # What still flies towards the closed ends changes nothing any more.
            self._links.pop(link, None)

    def _pipe(self, plan: LinkPlan, latency: float, fault: Fault | None, label: str) -> Pipe:
        weather, rng = self.weather, self._rng
        cut = plan.cut
        if cut is None:
            draw = rng.random()
            cut = Cut.WHOLE if draw < 0.5 else Cut.SPLIT if draw < 0.85 else Cut.CRUMBS
        path = Path(latency, weather.jitter, rng.randint(*weather.window), cut, fault)
        return Pipe(self.loop, rng, path, label)

    def _port(self) -> int:
        self._next_port = self._next_port + 1 if self._next_port < 60999 else 32768
        return self._next_port


class _Attempt:
    """A connection attempt under way: SYN, answer, or silence."""

    def __init__(self, net: SimNet, dial: Dial, plan: LinkPlan) -> None:
        self._net = net
        self._dial, self._plan = dial, plan
        self._latency = net.latency(plan)
        self._link: Link | None = None
        self._taken = False
        self.done: asyncio.Future[tuple[Link, Names]] = net.loop.create_future()
        net.later(self._latency, self._arrive)

    def _arrive(self) -> None:
        dial, net = self._dial, self._net
        connect = self._plan.connect if self._plan.connect != "ok" else net.obstacle(dial)
        net.loop.trace.note("dial", f"#{dial.number}", dial.source, dial.host, dial.port, connect)
        if connect == "black hole":
            net.later(_SYN_TIMEOUT, self._fail, TimeoutError(errno.ETIMEDOUT, _text(dial, "Connection timed out")))
        elif connect == "unreachable":
            net.later(_ARP_TIMEOUT, self._fail, OSError(errno.EHOSTUNREACH, _text(dial, "No route to host")))
        elif connect == "refuse":
            error = ConnectionRefusedError(errno.ECONNREFUSED, _text(dial, "Connection refused"))
            net.later(self._latency, self._fail, error)
        else:
            self._link, names = net.accept(dial, self._plan, self._latency)
            net.later(self._latency, self._succeed, self._link, names)

    def _fail(self, error: OSError) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def _succeed(self, link: Link, names: Names) -> None:
        if not self.done.done():
            self._taken = True
            self.done.set_result((link, names))

    def abandon(self) -> None:
        if not self.done.done():
            self.done.cancel()
        if self._link is not None and not self._taken:
            self._link.up.finish(reset=True)
            self._net.closed(self._link)


def _text(dial: Dial, what: str) -> str:
    return f"Connect call failed ({dial.host!r}, {dial.port}): {what}"


def _literal(host: str) -> str:
    """The canonical form of an address; paths of Unix sockets pass. Raises socket.gaierror on a name."""
    if host.startswith("unix:"):
        return host
    try:
        return str(ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]")))
    except ValueError:
        raise socket.gaierror(socket.EAI_NONAME, f"the simulated network knows no names, and got {host!r}") from None


def _source(owner: Process | None, host: str, local_addr: tuple[str, int] | None) -> str:
    mine = ["192.0.2.254", "2001:db8::fe"] if owner is None else owner.addresses
    if host.startswith("unix:"):
        return "unix:"
    version = ipaddress.ip_address(host).version
    if local_addr is not None and local_addr[0] not in ("", "0.0.0.0", "::"):
        source = _literal(local_addr[0])
        if source not in mine or ipaddress.ip_address(source).version != version:
            raise OSError(errno.EADDRNOTAVAIL, f"error while attempting to bind on address {local_addr!r}")
        return source
    for address in mine:
        if ipaddress.ip_address(address).version == version:
            return address
    raise OSError(errno.ENETUNREACH, f"Network is unreachable: no address to reach {host} from")


def _name(address: str, port: int) -> tuple[object, ...]:
    """As getpeername() gives it."""
    if address.startswith("unix:"):
        return (address[5:],)
    return (address, port, 0, 0) if ":" in address else (address, port)
