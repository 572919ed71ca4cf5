"""The configuration of a running server: generation after generation, without a stop.

A reload reads the files, checks the whole, and swaps; one that fails changes nothing. What can't change while the
server runs (its folder, its listeners ...) is told, and stays as it was until the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from msgspec import structs

from postroad.config import Change, Config, ConfigError, Generation, difference, load

# Sections that count at once, and the API keys. All others need a restart.
LIVE = ("include", "queue", "delivery", "binding", "group", "domain", "provider", "reply")
_KEYS = "http.keys"
# Options in them that don't: the resolver asks for IPv6 addresses, or does not, from its start on.
FIXED = ("delivery.use_ipv6",)
_REMEMBERED = 10  # generations to go back to


class Reloaded(NamedTuple):
    """What a reload did, or would do. number: of the generation that counts now. restart: changes that count only after
    a restart. warnings: one line each."""

    number: int
    changes: list[Change]
    restart: list[Change]
    warnings: list[str]


class Generations:
    """apply(config): use it from now on; it must not fail."""

    def __init__(self, first: Generation, apply: Callable[[Config], None]) -> None:
        self.current = first
        self._started = first.config
        self._apply = apply
        self._earlier: list[Generation] = []
        self._last_number = first.number
        self._turn = asyncio.Lock()

    async def reload(self, *, dry_run: bool = False) -> Reloaded:
        """Read the file again. Raises ValueError that says what is wrong with it; then nothing has changed."""
        async with self._turn:
            path = self.current.path
            try:
                # Reading thousands of domains takes longer than mail should wait.
                new = await asyncio.get_running_loop().run_in_executor(None, load, path, self._last_number + 1)
            except FileNotFoundError:
                raise ValueError(f"there is no {path}; the running configuration stays") from None
            except (ConfigError, OSError) as error:
                raise ValueError(f"{error}\nNothing was changed.") from None
            if dry_run:
                return self._told(self.current, new, self.current.number)
            self._earlier = [*self._earlier[1 - _REMEMBERED :], self.current]
            return self._swap(new)

    def rollback(self) -> Reloaded:
        """Back to the generation before this one. The files stay as they are. Raises ValueError when there is none."""
        if not self._earlier:
            raise ValueError("there is no earlier configuration in this run of the server")
        return self._swap(replace(self._earlier.pop(), number=self._last_number + 1))

    def _swap(self, new: Generation) -> Reloaded:
        before = self.current
        self._last_number = new.number
        self.current = new
        self._apply(live_part(self._started, new.config))
        return self._told(before, new, new.number)

    def _told(self, before: Generation, after: Generation, number: int) -> Reloaded:
        changes = difference(before, after)
        live = [change for change in changes if _is_live(change.name)]
        restart = [change for change in changes if not _is_live(change.name)]
        return Reloaded(number, live, restart, [str(warning) for warning in after.warnings])


def live_part(started: Config, wanted: Config) -> Config:
    """What counts after a reload: the live sections as wanted, all else as at the start."""
    http = structs.replace(started.http, keys=wanted.http.keys)
    return structs.replace(started, http=http, **{name: getattr(wanted, name) for name in LIVE})


def _is_live(name: str) -> bool:
    return name.startswith(_KEYS) or (name.partition(".")[0].partition("[")[0] in LIVE and name not in FIXED)
