"""What the parts of the queue share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from postroad.config.schema import QueueOptions
from postroad.journal import Journal
from postroad.message import IdSource, Message
from postroad.queue.live import Live
from postroad.queue.paths import Path, Paths
from postroad.queue.tell import Kinds, Teller


@dataclass(slots=True)
class Books:
    """wall: Unix seconds as the world sees them, for time stamps. now: Unix seconds that never jump, for deadlines: a
    wall clock set wrong for a moment must neither expire everything nor hold everything back.

    path_options(binding, domain): what counts of `options` for messages of that path.
    wake(binding, domain): tell deliver that a path has work. orders: what operators want done with messages that are
    in flight, when they come back undelivered.
    """

    journal: Journal
    teller: Teller[Any]
    kinds: Kinds
    options: QueueOptions
    ids: IdSource
    rng: Random
    hostname: str
    wall: Callable[[], float]
    now: Callable[[], float]
    path_options: Callable[[str, str], QueueOptions]
    paths: Paths
    live: Live
    orders: dict[int, Callable[[], object]] = field(default_factory=dict)
    bounced: int = 0  # messages that ended undelivered
    told_delayed: dict[int, int] = field(default_factory=dict)  # notifications of delay sent for a message
    wake: Callable[[str, str], None] = field(default=lambda binding, domain: None)

    def path(self, message: Message) -> Path:
        return self.paths.open(message.binding, message.domain)
