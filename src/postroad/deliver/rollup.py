"""Which domains are delivered together (MX roll-up), found out by their look-ups.

The first domain that leads to some hosts has a path of its own; when a second one is found to lead there in the same
way, the two get a `Line`, and others join it. A member looks itself up again as long as it has mail, and leaves when
the answer is another one. Nothing here is done for a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Protocol

from postroad.deliver.line import Line
from postroad.deliver.means import Means
from postroad.deliver.path import Path
from postroad.deliver.steps import Result
from postroad.message import Verdict

_REVIEW = 1.0  # seconds between looks at members whose look-ups are out of date
_AT_ONCE = 200  # look-ups that one review begins


class SharedQueues(Protocol):
    """The queue's side of it."""

    def join(self, binding: str, domain: str, name: str) -> None:
        """The domain's mail is given out as that of `name` from now on."""

    def part(self, binding: str, domains: Iterable[str], name: str) -> None:
        """These are given out by themselves again."""

    def forget(self, binding: str, name: str) -> None:
        """The name is not used any more; no domain is in it, but at the stop."""

    def has_mail(self, binding: str, domain: str) -> bool:
        """Is anything of this domain queued, in whatever state?"""


class Rollup:
    """opened(line), left(path): a line there is now, and a path that is by itself again."""

    def __init__(
        self, means: Means, queues: SharedQueues, make: Callable[[str, Path], Line], left: Callable[[Path], None]
    ) -> None:
        self._means = means
        self._queues = queues
        self._make = make
        self._left = left
        self._loop = asyncio.get_running_loop()
        self._places: dict[Hashable, list[Path]] = {}  # lines, and paths that are alone, by where they lead
        self._place_of: dict[Path, Hashable] = {}
        self._lines: dict[tuple[str, str], Line] = {}
        self._timer: asyncio.TimerHandle | None = None

    def located(self, path: Path, no_way: Result | None) -> bool:
        """A path's look-up has ended: put it where it belongs now. False: nothing is to follow from the look-up."""
        line = path.line
        if no_way is not None:
            if isinstance(line, Line):
                if no_way.verdict is Verdict.DEFERRED and line.connections:
                    return False  # as with connections of its own: they show that there is a way
                self.leave([path], line)
            self._unplace(path)
            return True
        place = self._place(path)
        if isinstance(line, Line):
            if place is not None and place == self._place_of.get(line) and self._fits(path, line):
                line.adopt(path)
                return True
            self.leave([path], line)
        self._unplace(path)
        if place is not None:
            self._put(path, place)
        return True

    def _place(self, path: Path) -> Hashable | None:
        """Where it leads; None: it must be by itself."""
        allowance = path.allowance
        if not allowance.provider or not self._means.limits.scopes.rolled_up(allowance.provider):
            return None
        if allowance.delivery.domain_max_connections:
            return None  # a limit of each domain's own
        return path.key[0], allowance.provider, path.route.hosts()

    def _fits(self, path: Path, other: Path) -> bool:
        """Options (by identity, as shaping hands them out), rules and TLS policies that are the same."""
        if path.allowance.options is not other.allowance.options or not path.route.alike(other.route):
            return False
        rules = self._means.replies.concerning
        return [*rules(path.key[0], path.domain)] == [*rules(other.key[0], other.domain)]

    def _put(self, path: Path, place: Hashable) -> None:
        there = self._places.setdefault(place, [])
        for at, other in enumerate(there):
            if self._fits(path, other):
                if isinstance(other, Line):
                    self._join(path, other)
                    return
                line = self._make(self._name(other), other)
                self._lines[line.key] = line
                line.adopt(other)
                there[at] = line
                self._place_of[line] = place
                del self._place_of[other]
                self._join(other, line)
                self._join(path, line)
                return
        there.append(path)
        self._place_of[path] = place

    def _name(self, path: Path) -> str:
        """For people, and nobody else's: no domain has a blank in it."""
        best = min(path.route.hosts())
        name = found = f"{path.allowance.provider} ({best[1]})"
        number = 1
        while (path.key[0], found) in self._lines:
            number += 1
            found = f"{name} {number}"
        return found

    def _join(self, path: Path, line: Line) -> None:
        path.line = line
        line.members[path] = None
        self._queues.join(*path.key, line.key[1])
        line.wake()
        path.wake()  # its idle connections are for the line
        if self._timer is None:
            self._timer = self._loop.call_later(_REVIEW, self._review)

    def leave(self, paths: list[Path], line: Line) -> None:
        """These are by themselves again."""
        for path in paths:
            path.line = None
            del line.members[path]
        self._queues.part(line.key[0], [path.domain for path in paths], line.key[1])
        for path in paths:
            self._left(path)
        line.wake()

    def _unplace(self, path: Path) -> None:
        place = self._place_of.pop(path, None)
        if place is not None:
            there = self._places[place]
            there.remove(path)
            if not there:
                del self._places[place]

    def forgotten(self, path: Path) -> None:
        """It has nothing left to do."""
        self._unplace(path)
        if isinstance(path, Line):
            del self._lines[path.key]
            self._queues.forget(*path.key)

    def lines(self) -> Iterator[Line]:
        return iter(list(self._lines.values()))

    def reconfigured(self) -> None:
        """Whose options are not those of its line any more is by itself at once, before another message is taken."""
        for line in self.lines():
            leaving = []
            rolled = self._means.limits.scopes.rolled_up
            for path in line.members:
                allowance = path.allowance
                same = allowance.options is line.allowance.options and allowance.provider == line.allowance.provider
                if not same or not rolled(allowance.provider) or allowance.delivery.domain_max_connections:
                    leaving.append(path)
            if leaving:
                self.leave(leaving, line)

    def _review(self) -> None:
        """Members that have mail look themselves up again when it is time; those that have none are forgotten."""
        self._timer = None
        begun = 0
        for line in self.lines():
            gone = []
            for path in list(line.members):
                if path.route.fresh() or path.route.finding:
                    continue
                if not self._queues.has_mail(*path.key):
                    gone.append(path)
                elif begun < _AT_ONCE:
                    begun += 1
                    path.route.find()
            if gone:
                self.leave(gone, line)
        if any(line.members for line in self._lines.values()):
            self._timer = self._loop.call_later(_REVIEW, self._review)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
