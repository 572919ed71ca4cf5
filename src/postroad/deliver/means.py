"""What all paths of an engine share."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from postroad.config.schema import DeliveryOptions
from postroad.deliver.connection import StepTimes
from postroad.deliver.health import Health
from postroad.deliver.plan import Screen
from postroad.message import Supply, Verdict
from postroad.net import Resolver
from postroad.shaping import Limits


class Counts:
    """Since the start: connections asked for, and attempts by verdict."""

    __slots__ = ("opened", "verdicts")

    def __init__(self) -> None:
        self.opened = 0
        self.verdicts = [0] * (max(Verdict) + 1)


@dataclass(slots=True)
class Means:
    """screen: for hosts that the DNS names; gateway_screen: for the gateway, whose address the operator chose."""

    supply: Supply
    resolver: Resolver
    options: DeliveryOptions
    limits: Limits
    health: Health
    screen: Screen
    gateway_screen: Screen
    rng: Random
    hostname: str
    times: StepTimes
    counts: Counts
