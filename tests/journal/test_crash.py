"""Crashes at every moment, over many seeds: nothing acknowledged is lost, nothing that ended comes back.

POSTROAD_SEEDS: how many histories of seven lives each test tries (default: some seconds' worth).
"""

from __future__ import annotations

import os
from random import Random

import pytest

from postroad.journal import audit, check
from tests.journal.kit import DIRECTORY, Model, options

SEEDS = int(os.environ.get("POSTROAD_SEEDS", "160"))
BLOCKS = 8


def _histories(block: int, seeds: int) -> range:
    return range(block * seeds // BLOCKS, (block + 1) * seeds // BLOCKS)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_power_cuts(block: int) -> None:
    compacted = 0
    for seed in _histories(block, SEEDS):
        model = Model(seed)
        for _ in range(6):
            model.live(60, model.rng.randrange(5, 200))
        model.live(0)
        assert not model.errors, (seed, model.errors[:3])
        assert not check(DIRECTORY, model.disk).findings, seed
        compacted += model.compacted
    assert compacted


@pytest.mark.parametrize("block", range(BLOCKS))
def test_killed_processes_at_durability_process(block: int) -> None:
    for seed in _histories(block, SEEDS // 2):
        model = Model(seed, durability="process", power=False)
        for _ in range(6):
            model.live(60, model.rng.randrange(5, 200))
        model.live(0)
        assert not model.errors, (seed, model.errors[:3])
        assert not check(DIRECTORY, model.disk).findings, seed


def test_killed_processes_at_durability_memory() -> None:
    """May lose what was acknowledged in the last moment, and nothing else: the account still balances."""
    for seed in range(SEEDS // 4):
        model = Model(seed, durability="memory", power=False, lossy=True)
        for _ in range(6):
            model.live(60, model.rng.randrange(5, 200))
            report = audit(DIRECTORY, model.disk)
            assert not report.lost and not report.twice and not report.difference, (seed, report)
        model.live(0)
        assert not model.errors, (seed, model.errors[:3])


def test_power_cuts_below_the_durability_are_survived() -> None:
    """Durability process promises nothing after a power cut, but the next start comes up and serves what is left."""
    for seed in range(SEEDS // 4):
        model = Model(seed, durability="process", lossy=True)
        for _ in range(6):
            model.live(60, model.rng.randrange(5, 200))
        model.live(0)
        assert not model.errors, (seed, model.errors[:3])


def test_retention_and_compaction_through_power_cuts() -> None:
    """Old events go all the while, and the account still balances from what is left."""
    dropped = 0
    for seed in range(SEEDS // 4):
        model = Model(seed, opts=options(4096, retention=0.5, retention_size=20_000))
        rng = Random(seed)
        for _ in range(8):
            model.live(80, rng.randrange(20, 400))
        model.live(0)
        assert not model.errors, (seed, model.errors[:3])
        dropped += "event-00000001.seg" not in model.disk.list(DIRECTORY)
    assert dropped


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("faults", [False, True])
def test_many_more(faults: bool) -> None:
    for seed in range(10_000, 14_000):
        model = Model(seed, faults=faults)
        for _ in range(6):
            model.live(60, model.rng.randrange(5, 200))
        model.live(0)
        assert not model.errors, (seed, model.errors[:3])
