"""What all paths of an engine share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any

from msgspec import structs

from postroad.config.schema import DeliveryOptions
from postroad.deliver.health import Health
from postroad.deliver.ourselves import Doors
from postroad.deliver.plan import Screen
from postroad.deliver.policies import TlsPolicies
from postroad.deliver.replies import ReplyRules
from postroad.deliver.siblings import Siblings
from postroad.deliver.steptimes import StepTimes
from postroad.deliver.tls import Footing, Terms
from postroad.deliver.tlsrpt import TlsCounts
from postroad.message import Supply, Verdict
from postroad.net import Resolver, Tap
from postroad.shaping import Limits


class Counts:
    """Since the start: connections asked for, those taken over from other paths instead, attempts by verdict, and how
    many of them a blackhole swallowed."""

    __slots__ = ("blackholed", "opened", "reused", "verdicts")

    def __init__(self) -> None:
        self.blackholed = 0
        self.opened = 0
        self.reused = 0
        self.verdicts = [0] * (max(Verdict) + 1)


# Options that say how much there may be, not how a session is held.
_LIMITS = (
    *("max_connections", "host_max_connections", "domain_max_connections", "binding_max_connections"),
    *("provider_max_connections", "server_max_connections", "server_reserved_connections", "connection_growth"),
    *("message_rate", "connection_rate", "path_message_rate", "path_connection_rate"),
)
_NO_LIMITS: dict[str, Any] = {name: getattr(DeliveryOptions(), name) for name in _LIMITS}


class Made:
    """What is made of the options of a path, once for all paths that have the same. screen: for the hosts that mail may
    be sent to; the gateway's address was chosen by the operator, so nothing prohibits it. chosen: the same for
    routes. common: equal where paths may take over each other's connections; it stands for all options but those of
    limits, which each path keeps as its own."""

    __slots__ = ("chosen", "common", "options", "screen", "times", "tls")

    def __init__(self, options: DeliveryOptions) -> None:
        self.options = options
        self.times = StepTimes(options)
        self.tls = Terms(options)
        self.common = sha256(repr(structs.replace(options, **_NO_LIMITS)).encode()).digest()
        self.chosen = Screen((), use_ipv6=options.use_ipv6)
        self.screen = Screen(() if options.gateway else options.prohibited_hosts, use_ipv6=options.use_ipv6)


@dataclass(slots=True)
class Means:
    """health: by (source address, host address). insecure: hosts that could not be talked to safely enough, by (path,
    host address): another domain on the same host may be content with less, and must not suffer. wall: Unix
    time. doors: where we take mail ourselves. policies: None leaves DANE and MTA-STS out. tls_counts: None counts
    nothing."""

    supply: Supply
    resolver: Resolver
    limits: Limits
    health: Health
    rng: Random
    hostname: str
    counts: Counts
    insecure: Health
    replies: ReplyRules
    wall: Callable[[], float]
    doors: Doors = field(default_factory=Doors)
    policies: TlsPolicies | None = None
    tls_counts: TlsCounts | None = None
    footing: Footing = field(default_factory=Footing)
    siblings: Siblings = field(default_factory=Siblings)
    tap: Tap | None = None  # who listens in on the connections
    _made: dict[int, Made] = field(default_factory=dict)

    def made(self, options: DeliveryOptions) -> Made:
        # By identity, which is what shaping hands out; the entry keeps its options alive, and so their identity.
        found = self._made.get(id(options))
        if found is None:
            found = self._made[id(options)] = Made(options)
        return found

    def reconfigured(self) -> None:
        """Other options count from now on."""
        self._made.clear()
