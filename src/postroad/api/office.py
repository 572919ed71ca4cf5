"""The office: what the resources of the management API work with, in the control process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postroad.api.body import Budget
from postroad.api.callers import NO_SUBACCOUNTS, Caller, Keys, Subaccounts, find_caller
from postroad.config.schema import Config
from postroad.net import Clock
from postroad.store.database import Database

_HELD = 256 << 20  # octets of request bodies at once


@dataclass
class Office:
    """database: a writing transaction tells store.changed what the engines must hear of; `begin` returns when they have
    heard it, so what a client made is there for its next request on any engine. config: what counts now. ask: puts a
    verb of the console to the engines (see console.JointConsole.ask_all), for resources that live there. data_dir: of
    files that are no rows; None: the present folder."""

    database: Database
    clock: Clock
    config: Callable[[], Config]
    keys: Keys
    subaccounts: Subaccounts = NO_SUBACCOUNTS
    ask: Callable[..., Awaitable[Any]] | None = None
    data_dir: Path | None = None
    budget: Budget = field(default_factory=lambda: Budget(_HELD))

    def caller(self, scope: Mapping[str, Any], grant: str) -> Caller:
        """Raises Failure 401 or 403, 400 for a wrong X-MSYS-SUBACCOUNT."""
        return find_caller(scope, grant, self.keys, self.subaccounts)
