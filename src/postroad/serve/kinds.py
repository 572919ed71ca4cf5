"""The kinds of process below the supervisor."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from postroad.serve.frames import CONTROL, ENGINE, REHOME, Start
from postroad.serve.link import Link

# run(start, link, stop): sends Ready when it serves, and ends in order soon after `stop` is set. It may raise
# StartError before Ready.
Run = Callable[[Start, Link, asyncio.Event], Awaitable[None]]


class Kind(NamedTuple):
    """module: has `run`; it is imported in the process alone. each: one for each engine that is configured. first: it
    runs before the others, where there is something to do for it, and has ended when they start."""

    name: str
    module: str
    each: bool = False
    first: bool = False

    @property
    def exists(self) -> bool:
        return importlib.util.find_spec(self.module) is not None

    @property
    def run(self) -> Run:
        found: Run = importlib.import_module(self.module).run
        return found


KINDS = {
    kind.name: kind
    for kind in (
        Kind(ENGINE, "postroad.serve.engine_process", each=True),
        Kind(CONTROL, "postroad.serve.control_process"),
        Kind(REHOME, "postroad.serve.rehome", first=True),
    )
}
