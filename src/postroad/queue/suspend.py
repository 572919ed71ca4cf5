"""Paths that an operator holds: their messages are not given out, and wait where they stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from math import inf
from typing import NamedTuple

from postroad.queue.books import Books
from postroad.queue.paths import Path


class Suspension(NamedTuple):
    """binding, domain: "" stands for all. until: Unix seconds, inf for no end. note: why, in the operator's words."""

    binding: str
    domain: str
    until: float = inf
    note: str = ""


class Suspensions:
    """rules: by (binding, domain), looked at for every message: empty in most systems. changed(paths): these are held
    now, or let go."""

    def __init__(self, books: Books) -> None:
        self.rules: dict[tuple[str, str], Suspension] = {}
        self._books = books
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.changed: Callable[[Iterable[Path]], None] = lambda paths: None

    def holds(self, path: Path) -> Suspension | None:
        """What holds the path now, the most specific rule first."""
        return self.holding(path.binding, path.domain)

    def holding(self, binding: str, domain: str) -> Suspension | None:
        for key in ((binding, domain), (binding, ""), ("", domain), ("", "")):
            rule = self.rules.get(key)
            if rule is not None and rule.until > self._books.now():
                return rule
        return None

    def add(self, rule: Suspension) -> None:
        """Hold what the rule names; an older rule of the same name is replaced."""
        self.rules[rule.binding, rule.domain] = rule
        self.changed(self._named(rule))
        self._arm()

    def remove(self, binding: str, domain: str) -> Suspension | None:
        """Let go of what a rule of exactly this name held; the rule, None if there was none."""
        rule = self.rules.pop((binding, domain), None)
        if rule is not None:
            self._wake([rule])
            self._arm()
        return rule

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        """Wake when the next rule ends."""
        self.stop()
        soonest = min((rule.until for rule in self.rules.values()), default=inf)
        if soonest < inf:
            self._timer = self._loop.call_later(max(0.0, soonest - self._books.now()), self._end)

    def _end(self) -> None:
        self._timer = None
        now = self._books.now()
        over = [rule for rule in self.rules.values() if rule.until <= now]
        for rule in over:
            del self.rules[rule.binding, rule.domain]
        self._wake(over)
        self._arm()

    def _wake(self, rules: Iterable[Suspension]) -> None:
        for rule in rules:
            paths = self._named(rule)
            self.changed(paths)
            for path in paths:
                if path.active:
                    self._books.wake(path.binding, path.domain)

    def _named(self, rule: Suspension) -> list[Path]:
        if rule.binding and rule.domain:
            path = self._books.paths.get(rule.binding, rule.domain)
            return [] if path is None else [path]
        return [
            path
            for path in self._books.paths
            if rule.binding in ("", path.binding) and rule.domain in ("", path.domain)
        ]
