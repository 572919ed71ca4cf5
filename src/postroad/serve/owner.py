"""Which engine owns a routing domain. Pure, and the same in every process, after every restart, in every version.

Rendezvous hashing: each engine draws a number for the name, the highest wins. When one engine more (or less) is
configured, only the names move that it wins (or had won); all others stay where they are.
"""

from __future__ import annotations

from xxhash import xxh3_64_intdigest

from postroad.config.match import exact, pattern
from postroad.config.schema import Config, ProviderOptions

_CACHED = 50_000  # domains remembered; senders meet millions


def owner(name: str, engines: int) -> int:
    """The engine, 0..engines-1, that owns this name (a routing domain, or the key of a provider)."""
    if engines == 1:
        return 0
    data = name.encode()
    return max(range(engines), key=lambda engine: xxh3_64_intdigest(data, engine))


class Owners:
    """The owners of domains under one configuration. Domains of a provider that is rolled up, and names them itself,
    belong together: they have one owner, so that few of the limits they share need to be lent between engines. (Limits
    are exact whoever owns what; and whether a domain's MX belongs to a provider only DNS could tell, which mail that
    waits for its 250 should not wait for.)"""

    def __init__(self, config: Config, engines: int) -> None:
        self.engines = engines
        self._providers = [_Named(each) for each in config.provider]
        self._found: dict[str, int] = {}

    def of(self, domain: str) -> int:
        """domain: a routing domain."""
        found = self._found.get(domain)
        if found is None:
            if len(self._found) >= _CACHED:
                self._found.clear()
            found = self._found[domain] = owner(self._key(domain), self.engines)
        return found

    def _key(self, domain: str) -> str:
        for provider in self._providers:
            if provider.names(domain):
                # The first provider that fits counts. No domain has a blank in it, so the key is nobody else's.
                return f"provider {provider.name}" if provider.rollup else domain
        return domain


class _Named:
    """The domains that a provider names."""

    def __init__(self, options: ProviderOptions) -> None:
        self.name = options.name
        self.rollup = options.rollup
        self._exact = frozenset(name for text in options.domains if (name := exact(text)) is not None)
        self._patterns = [pattern(text) for text in options.domains if exact(text) is None]

    def names(self, domain: str) -> bool:
        return domain in self._exact or any(each.fullmatch(domain) for each in self._patterns)
