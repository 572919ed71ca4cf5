"""The deliveries of a path as an operator sees them: snapshots, taken on the event loop."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from postroad.deliver.connection import Connection
from postroad.deliver.path import Path
from postroad.deliver.pool import Deliverer


class HostLook(NamedTuple):
    """avoided_for: seconds, 0 when the host may be tried. failures: in a row, each after it had been
    avoided for longer. reason: what it did when it failed last."""

    host: str
    address: str
    preference: int
    avoided_for: float
    failures: int
    reason: str
    connections: int


class ConnectionLook(NamedTuple):
    """step: what its next reply answers (docs/reference/smtp-states.md). message: id of the one it carries, 0 if none.
    served: messages so far."""

    host: str
    address: str
    source: str
    step: str
    message: int
    served: int
    idle: bool


class LimitLook(NamedTuple):
    """One limit on a path. value: how many; seconds: in how long a time, None for what may be open at once. used: how
    many of them are in use. binds: it holds the path back now. ceiling: messages a second it allows, None when it does
    not tell (connections: that depends on how fast the receiver is)."""

    name: str
    value: float
    seconds: float | None
    used: int
    binds: bool
    ceiling: float | None
    text: str


class PathLook(NamedTuple):
    """connecting: host names. carried: messages in flight between two connections. ceiling: no more connections than
    this for now, since a host refused one more; None: no such thing. sweeping: all that waits is being deferred or
    failed, because there is no way to deliver it. curfew_until: Unix seconds, None when there is none now. blackhole:
    what it holds ends unsent. put_off_for: seconds until the next try to find a way for mail there was none for; 0:
    that is not so."""

    looking_up: bool
    connecting: list[str]
    carried: int
    ceiling: int | None
    sweeping: bool
    suspended: bool
    curfew_until: float | None
    blackhole: bool
    put_off_for: float
    hosts: list[HostLook]
    connections: list[ConnectionLook]
    limits: list[LimitLook]


def look(deliverer: Deliverer, binding: str, domain: str, waiting: int, now: float) -> PathLook | None:
    """None when deliver has nothing to do with this path now. waiting: messages due. now: loop time."""
    path = deliverer.path(binding, domain)
    if path is None:
        return None
    return PathLook(
        path.route.finding,
        [attempt.target.host for attempt in path.dialing],
        path.carried,
        path.ceiling(now),
        path.sweeping,
        path.allowance.suspended,
        path.curfew_until(),
        path.allowance.delivery.blackhole != "no",
        path.put_off_for(now),
        _hosts(path, now),
        [_connection(connection) for connection in path.connections],
        _limits(path, waiting, now),
    )


def forgive(deliverer: Deliverer, binding: str, domain: str) -> int:
    """Forget that hosts of the path failed a moment ago, so that they are tried at once; how many there were."""
    return deliverer.forgive(binding, domain)


def _hosts(path: Path, now: float) -> list[HostLook]:
    in_use = [connection.target.address for connection in path.connections]
    hosts = []
    for target in path.route.targets:
        failure = path.route.failure(target.address)
        hosts.append(
            HostLook(
                target.host,
                target.address,
                target.preference,
                0.0 if failure is None else failure.until - now,
                0 if failure is None else failure.times,
                "" if failure is None else str(failure.reply),
                in_use.count(target.address),
            )
        )
    return hosts


def _connection(connection: Connection) -> ConnectionLook:
    return ConnectionLook(
        connection.target.host,
        connection.target.address,
        connection.source,
        connection.machine.step.name.lower(),
        0 if connection.message is None else connection.message.id,
        connection.machine.served,
        connection.idle,
    )


def _limits(path: Path, waiting: int, now: float) -> list[LimitLook]:
    allowance = path.allowance
    have = allowance.connections
    wanted = allowance.goal(waiting) if waiting else 0
    short = have < wanted
    found = [
        LimitLook(
            "connection goal",
            wanted,
            None,
            have,
            waiting > 0 and not short,
            None,
            f"{have} connections are as many as {waiting} due messages are worth (connection_growth, max_connections)",
        )
    ]
    for gate in allowance.gates:
        if gate.most == inf:
            continue
        text = f"{gate.name}: {gate.open} of {gate.most:.0f} connections are open"
        if allowance.lease is None:
            binds = short and not gate.room(allowance)
        else:  # the lender decides, and says which gate was full
            refused = allowance.lease.refused
            binds = short and refused is not None and refused[0] == gate.name
            text += " in this engine"
            if binds and refused is not None:
                text += f", {refused[1]} in all: it waits for one to end"
        found.append(LimitLook(gate.name, gate.most, None, gate.open, binds, None, text))
    for kind, throttles in allowance.throttles():
        for throttle in throttles:
            wait = throttle.wait(now)
            for window in throttle.windows:
                binds = waiting > 0 and wait > 0 and (kind == "messages" or short)
                text = f"{kind}: {window.most} in {window.seconds:g} s"
                if allowance.lease is not None:
                    binds = waiting > 0 and kind == "messages" and allowance.lease.wanting
                    text += ", all engines together"
                elif wait > 0:
                    text += f"; the next one in {wait:.1f} s"
                ceiling = window.most / window.seconds if kind == "messages" else None
                found.append(
                    LimitLook(f"{kind} rate", window.most, window.seconds, window.held(now), binds, ceiling, text)
                )
    return found
