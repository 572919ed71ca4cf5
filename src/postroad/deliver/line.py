"""Domains that are delivered as one path (MX roll-up), each member still a path of its own for looking itself up."""

from __future__ import annotations

from postroad.deliver.means import Means
from postroad.deliver.path import Path, Pool
from postroad.deliver.route import Route
from postroad.deliver.sharedroute import SharedRoute
from postroad.shaping import Allowance


class Line(Path):
    """The one path of several domains: one set of connections, one place in every line. first: a domain whose options
    and rules are those of all. members: in the order they came."""

    def __init__(self, pool: Pool, means: Means, name: str, first: Path) -> None:
        self.members: dict[Path, None] = {}
        self._name = name
        self._first = first.domain
        self._reported = first.route
        super().__init__(pool, means, first.key[0], first.domain)

    def _allow(self, means: Means) -> Allowance:
        self.key = (self.key[0], self._name)  # to the queue and to limits
        return means.limits.allowance(*self.key, like=self._first)

    def _find_route(self, means: Means) -> Route:
        return SharedRoute(means, self.allowance, self._name, self._on_route, self._reports)

    def _reports(self) -> Route:
        """Each in its turn: a session is for all of them, and would else always be the first one's."""
        member = next(iter(self.members), None)
        if member is not None:
            del self.members[member]
            self.members[member] = None
            self._reported = member.route
        return self._reported

    def adopt(self, path: Path) -> None:
        """What this member found is where the mail goes from now on."""
        assert isinstance(self.route, SharedRoute)
        self.route.adopt(path.route)
        self.crew.rerouted()

    def finished(self) -> bool:
        return (self._stopping or not self.members) and super().finished()
