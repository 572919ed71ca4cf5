"""Power cuts at every moment, over many seeds: nothing acknowledged is lost, nothing that ended comes back."""

from __future__ import annotations

import os

import pytest

from tests.journal.kit import Model

SEEDS = int(os.environ.get("POSTROAD_SEEDS", "150"))


@pytest.mark.parametrize("block", range(10))
def test_power_cut_in_the_middle_of_anything(block: int) -> None:
    compacted = crashes = 0
    for seed in range(block * SEEDS // 10, (block + 1) * SEEDS // 10):
        model = Model(seed)
        for _ in range(6):
            model.live(60, model.rng.randrange(5, 200))
            crashes += 1
        model.live(0)
        assert not model.errors, (seed, model.errors[:3])
        compacted += model.compacted
    assert compacted or SEEDS < 50
