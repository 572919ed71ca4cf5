"""What the console looks at and works on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postroad.config.schema import Config
from postroad.deliver import Deliverer
from postroad.events import Hose
from postroad.journal import Journal
from postroad.message import Reply
from postroad.net import Clock, Tap
from postroad.policy import Policies
from postroad.queue import Queue


class ConsoleError(Exception):
    """The request can't be met. The message is fit for the operator."""


class EngineAway(Exception):
    """The engine does not answer: it is being started, or has fallen."""


@dataclass(slots=True)
class Parts:
    """config(): that of the present generation. sessions(): SMTP sessions open now. recovered(): messages found at the
    start, None while they are being loaded. failed_logins(), failed_handshakes(): in SMTP sessions to us, since the
    start. tap: listen in on all SMTP sessions; None: no more."""

    queue: Queue
    deliverer: Deliverer
    journal: Journal
    hose: Hose
    clock: Clock
    config: Callable[[], Config]
    data_dir: Path
    sessions: Callable[[], int]
    recovered: Callable[[], int | None]
    tap: Callable[[Tap | None], None]
    policies: Policies
    failed_logins: Callable[[], int]
    failed_handshakes: Callable[[], int]

    def refusal(self) -> Reply | None:
        return self.queue.refusal()

    def now(self) -> float:
        """Seconds of the loop's clock."""
        return asyncio.get_running_loop().time()

    async def off_loop(self, work: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)
