"""Domains of one binding that are delivered as one path: they have one active queue. What waits for its time, and every
count, stays with the domain, so that each can be looked at, held, tried, moved and ended by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from postroad.queue.books import Books
from postroad.queue.order import Order
from postroad.queue.paths import Path


class Rollup:
    """binding, name: as deliver knows it. order: the active queue. members: paths that have mail, with those that are
    held back and therefore stand in an order of their own."""

    __slots__ = ("binding", "members", "name", "order")

    def __init__(self, binding: str, name: str) -> None:
        self.binding = binding
        self.name = name
        self.order = Order()
        self.members: dict[Path, None] = {}

    def __repr__(self) -> str:
        return f"<Rollup {self.binding}/{self.name} members={len(self.members)} standing={self.order.standing}>"

    def count(self) -> None:
        """Set the ghosts right, after positions were moved."""
        self.order.ghosts = self.order.count - sum(path.active for path in self.members if path.order is self.order)
        if not self.order.standing:
            self.order.clear()


class Rollups:
    """Which domains are delivered together, as deliver found out: also those that have no mail now. held(path): is it
    held back by itself? Such a path leaves the common queue until it is let go, so that nobody stands behind it."""

    def __init__(self, books: Books, held: Callable[[Path], bool]) -> None:
        self._books = books
        self._held = held
        self._by_name: dict[tuple[str, str], Rollup] = {}
        self._of: dict[tuple[str, str], Rollup] = {}  # by (binding, domain)

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, binding: str, name: str) -> Rollup | None:
        return self._by_name.get((binding, name))

    def of(self, binding: str, domain: str) -> Rollup | None:
        """The one that this domain is in."""
        return self._of.get((binding, domain))

    def carries(self, name: str, domain: str) -> bool:
        """Is this domain in one of that name, whatever the binding?"""
        of = self._of
        return any(of.get((binding, domain)) is each for (binding, at), each in self._by_name.items() if at == name)

    def join(self, binding: str, domain: str, name: str) -> None:
        """From now on the domain's mail is given out as that of `name`, which is made if it is not there. The domain
        must be in none."""
        key = (binding, name)
        rollup = self._by_name.get(key)
        if rollup is None:
            rollup = self._by_name[key] = Rollup(binding, name)
        assert (binding, domain) not in self._of
        self._of[binding, domain] = rollup
        self._books.paths.opened = self._opened
        path = self._books.paths.get(binding, domain)
        if path is not None:
            self._opened(path)

    def part(self, binding: str, domains: Iterable[str], name: str) -> None:
        """These domains of the rollup are paths of their own again. The rollup is forgotten with the last of them."""
        rollup = self._by_name[binding, name]
        parted = []
        for domain in domains:
            assert self._of.pop((binding, domain)) is rollup
            path = self._books.paths.get(binding, domain)
            if path is not None:
                parted.append(path)
        self._set_apart(rollup, parted)
        for path in parted:
            del rollup.members[path]
            path.rollup = None

    def forget(self, binding: str, name: str) -> None:
        """Deliver has no use for the name any more; no domain is in it."""
        self._by_name.pop((binding, name), None)
        if not self._by_name:
            self._books.paths.opened = None

    def reconsider(self, paths: Iterable[Path]) -> None:
        """Something was held back, or let go."""
        leaving: dict[Rollup, list[Path]] = {}
        for path in paths:
            rollup = path.rollup
            if rollup is None:
                continue
            if self._held(path):
                if path.order is rollup.order:
                    leaving.setdefault(rollup, []).append(path)
            elif path.order is not rollup.order:
                self._take_in(path, rollup)
        for rollup, some in leaving.items():
            self._set_apart(rollup, some)

    def has_mail(self, binding: str, domain: str) -> bool:
        """Is anything of this domain queued, in whatever state?"""
        return self._books.paths.get(binding, domain) is not None

    def _opened(self, path: Path) -> None:
        rollup = self._of.get((path.binding, path.domain))
        if rollup is None:
            return
        path.rollup = rollup
        rollup.members[path] = None
        if not self._held(path):
            self._take_in(path, rollup)

    def _take_in(self, path: Path, rollup: Rollup) -> None:
        own = path.order
        path.order = rollup.order
        if own.count:
            own.pour(lambda number: rollup.order)
            rollup.count()

    def _set_apart(self, rollup: Rollup, paths: list[Path]) -> None:
        """One pass over the common queue, however many leave it: each takes its messages along, in their order."""
        paths = [path for path in paths if path.order is rollup.order]
        if any(path.active for path in paths):
            active, orders = self._books.live.active_path, {path: Order() for path in paths}

            def into(number: int) -> Order | None:
                path = active(number)
                return None if path is None else orders.get(path)

            rollup.order.pour(into)
            for path, order in orders.items():
                order.ghosts = order.count - path.active
                path.order = order
                path.expiry = 0.0  # a search for what has expired may have passed it by
        else:
            for path in paths:
                path.order = Order()
        rollup.count()
