"""Which engine owns a domain."""

from __future__ import annotations

from collections import Counter

import pytest

from postroad.config.schema import Config, ProviderOptions
from postroad.serve.owner import Owners, owner

DOMAINS = [f"domain-{number}.example" for number in range(10_000)]


def test_the_owner_is_the_same_in_every_process_and_version() -> None:
    """Written down once: were these to change, an upgrade would move all queued mail."""
    names = ["a.example", "b.example", "xn--bcher-kva.example", "[127.0.0.1]", "provider Big"]
    assert [owner(name, 2) for name in names] == [0, 0, 1, 1, 1]
    assert [owner(name, 4) for name in names] == [0, 0, 3, 1, 1]
    assert {owner(name, 1) for name in names} == {0}


@pytest.mark.parametrize("engines", [2, 3, 4, 8, 32])
def test_domains_are_spread_evenly(engines: int) -> None:
    counts = Counter(owner(domain, engines) for domain in DOMAINS)
    share = len(DOMAINS) / engines
    assert set(counts) == set(range(engines))
    assert all(abs(count - share) < 6 * share**0.5 for count in counts.values())  # six sigma


@pytest.mark.parametrize("engines", [1, 2, 4, 31])
def test_one_engine_more_takes_its_share_and_moves_nothing_else(engines: int) -> None:
    before = [owner(domain, engines) for domain in DOMAINS]
    after = [owner(domain, engines + 1) for domain in DOMAINS]
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {engines}
    assert len(moved) < 1.3 * len(DOMAINS) / (engines + 1)


def test_domains_that_a_rolled_up_provider_names_have_one_owner() -> None:
    big = ProviderOptions(name="Big", domains=["big.example", "*.big.example", "/large[0-9]+\\.example/"], rollup=True)
    owners = Owners(Config(provider=[big]), 8)
    family = ["big.example", *(f"{n}.big.example" for n in range(50)), *(f"large{n}.example" for n in range(50))]
    assert len({owners.of(domain) for domain in family}) == 1
    assert len({owners.of(domain) for domain in DOMAINS}) == 8


def test_the_first_provider_that_names_a_domain_counts() -> None:
    apart = ProviderOptions(name="Apart", domains=["*.example"])
    together = ProviderOptions(name="Together", domains=["*.example"], rollup=True)
    assert len({Owners(Config(provider=[apart, together]), 8).of(domain) for domain in DOMAINS}) == 8
    assert len({Owners(Config(provider=[together, apart]), 8).of(domain) for domain in DOMAINS}) == 1


def test_what_a_look_up_shows_counts_until_another_one_shows_something_else() -> None:
    big = ProviderOptions(name="big", mx_suffixes=["big.test"], rollup=True)
    apart = ProviderOptions(name="apart", mx_suffixes=["apart.test"])
    owners = Owners(Config(provider=[big, apart]), 8)
    before = {domain: owners.of(domain) for domain in DOMAINS}
    assert len(set(before.values())) == 8
    changed = [domain for domain in DOMAINS if owners.learn(domain, "big")]
    (number,) = {owners.of(domain) for domain in DOMAINS}
    assert changed == [domain for domain in DOMAINS if before[domain] != number]
    assert not any(owners.learn(domain, "big") for domain in DOMAINS)
    # None of it belongs together under a provider that is not rolled up, one that is not there, or none.
    for other in ("apart", "unknown", ""):
        for domain in DOMAINS:
            owners.learn(domain, other)
        assert {domain: owners.of(domain) for domain in DOMAINS} == before


def test_a_look_up_does_not_change_what_is_configured() -> None:
    big = ProviderOptions(name="big", domains=[DOMAINS[0]], rollup=True)
    other = ProviderOptions(name="other", mx_suffixes=["other.test"], rollup=True)
    owners = Owners(Config(provider=[big, other]), 8)
    before = owners.of(DOMAINS[0])
    assert not owners.learn(DOMAINS[0], "other") and owners.of(DOMAINS[0]) == before
