"""`postroad serve`: the supervisor of a server and, below it, the processes that do the work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from postroad.config import Generation
from postroad.serve.kinds import KINDS
from postroad.serve.lending import Warden
from postroad.serve.logs import configure_log
from postroad.serve.supervisor import Guest, supervise
from postroad.serve.windows import rate_windows


def run(generation: Generation, *, use_uvloop: bool = True) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError."""
    configure_log()
    engines = generation.config.server.engines
    kinds = [(kind.name, engines if kind.each else 1) for kind in KINDS.values() if kind.exists and not kind.first]
    loop_name = "uvloop" if use_uvloop else "asyncio"
    # The supervisor itself has nothing to do that uvloop would do faster.
    asyncio.run(supervise(generation, loop_name, kinds, guests))


def guests(generation: Generation) -> Sequence[Guest]:
    """What lives in the supervisor. With one engine nothing is lent."""
    if generation.config.server.engines == 1:
        return ()
    return (Warden(rate_windows(generation.data_dir)),)
