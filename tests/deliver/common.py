"""A queue in memory that gives out the mail of several domains under one name, as deliver sees one."""

from __future__ import annotations

from collections.abc import Iterable

from postroad.message import Message
from tests.deliver.supply import Shelf


class CommonShelf(Shelf):
    """Implements SharedQueues as well. told: what deliver did, in order: ("join" or "part", domain, name)."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        super().__init__(messages)
        self.names: dict[tuple[str, str], str] = {}  # by (binding, domain)
        self.told: list[tuple[str, str, str]] = []

    def join(self, binding: str, domain: str, name: str) -> None:
        assert (binding, domain) not in self.names
        self.names[binding, domain] = name
        self.told.append(("join", domain, name))

    def part(self, binding: str, domains: Iterable[str], name: str) -> None:
        for domain in domains:
            assert self.names.pop((binding, domain)) == name
            self.told.append(("part", domain, name))

    def forget(self, binding: str, name: str) -> None:
        self.told.append(("forget", "", name))  # at the stop its domains may still be in it

    def has_mail(self, binding: str, domain: str) -> bool:
        return bool(self.queues[binding, domain]) or bool(self.in_flight)

    def members(self, name: str) -> list[str]:
        return [domain for (_, domain), found in self.names.items() if found == name]

    def waiting(self, binding: str, domain: str) -> int:
        if (binding, domain) in self.names:
            return 0
        return super().waiting(binding, domain) + sum(len(self.queues[binding, each]) for each in self.members(domain))

    def take(self, binding: str, domain: str) -> Message | None:
        if (binding, domain) in self.names:
            return None
        fullest = max(self.members(domain), key=lambda each: len(self.queues[binding, each]), default=domain)
        return super().take(binding, fullest)
