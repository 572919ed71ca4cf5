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
    """The owners of domains under one configuration. Domains of a provider that is rolled up belong together: they have
    one owner. Those that the provider names are known at once. Whether a domain's MX belongs to it only DNS could tell,
    which mail that waits for its 250 should not wait for: until somebody who delivered to the domain has said so, and
    after it was forgotten, its name counts. That moves nothing that is queued; limits are exact whoever owns what."""

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

    def learn(self, domain: str, provider: str) -> bool:
        """A look-up has shown to which provider a domain belongs; "": to none. Is its owner another one now?"""
        if any(each.names(domain) for each in self._providers):
            return False
        rolled = any(each.name == provider and each.rollup for each in self._providers)
        number = owner(f"provider {provider}" if rolled else domain, self.engines)
        if self.of(domain) == number:
            return False
        self._found[domain] = number
        return True

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
