"""The configuration of a running server: generation after generation, without a stop.

A reload reads the files, checks the whole, and swaps; one that fails changes nothing. What can't change while the
server runs (its folder, its listeners ...) is told, and stays as it was until the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple

from msgspec import structs

from postroad.config import Change, Config, ConfigError, Generation, difference, load

# Sections that count at once, and the API keys. All others need a restart.
LIVE = (
    "include",
    "queue",
    "delivery",
    "binding",
    "group",
    "domain",
    "provider",
    "policy",
    "rule",
    "dkim",
    "reply",
    "smtp_user",
)
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
    """apply(generation): have it count from now on, everywhere; it may refuse with a ValueError, and then it counts
    nowhere."""

    def __init__(self, first: Generation, apply: Callable[[Generation], Awaitable[None]]) -> None:
        self.current = first
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
            before = self.current
            done = await self._swap(new)
            self._earlier = [*self._earlier[1 - _REMEMBERED :], before]
            return done

    async def rollback(self) -> Reloaded:
        """Back to the generation before this one. The files stay as they are. Raises ValueError when there is none."""
        async with self._turn:
            if not self._earlier:
                raise ValueError("there is no earlier configuration in this run of the server")
            done = await self._swap(replace(self._earlier[-1], number=self._last_number + 1))
            self._earlier.pop()
            return done

    async def _swap(self, new: Generation) -> Reloaded:
        before = self.current
        await self._apply(new)
        self._last_number = new.number
        self.current = new
        return self._told(before, new, new.number)

    def _told(self, before: Generation, after: Generation, number: int) -> Reloaded:
        changes = difference(before, after)
        live = [change for change in changes if _is_live(change.name)]
        restart = [change for change in changes if not _is_live(change.name)]
        return Reloaded(number, live, restart, [str(warning) for warning in after.warnings])


class Swaps:
    """The two steps of an engine: prepare (anything that can go wrong goes wrong here), then swap (nothing does).
    use(config): count by it from now on."""

    def __init__(self, first: Generation, use: Callable[[Config], None]) -> None:
        self.current = first
        self._started = first.config
        self._use = use
        self._prepared: Generation | None = None

    def prepare(self, new: Generation) -> str:
        """Its digest, to be compared."""
        self._prepared = new
        return new.digest

    def swap(self, number: int) -> int:
        """Raises ValueError when another one was prepared, or none."""
        new, self._prepared = self._prepared, None
        if new is None or new.number != number:
            raise ValueError(f"generation {number} is not prepared here")
        self.current = new
        self._use(live_part(self._started, new.config))
        return number


def live_part(started: Config, wanted: Config) -> Config:
    """What counts after a reload: the live sections as wanted, all else as at the start."""
    http = structs.replace(started.http, keys=wanted.http.keys)
    return structs.replace(started, http=http, **{name: getattr(wanted, name) for name in LIVE})


def _is_live(name: str) -> bool:
    return name.startswith(_KEYS) or (name.partition(".")[0].partition("[")[0] in LIVE and name not in FIXED)
