"""The whole engine through many simulated worlds: crashes at any moment, receivers and networks that fail, name servers
that are gone, clocks that jump, disks that fail. After each: nothing acknowledged is lost, nothing comes twice without
cause, the audit is clean.

POSTROAD_SEEDS says how many seeds (default 400, some 20 seconds); POSTROAD_FIRST_SEED where to begin. One seed again:

    python -c "from postroad.lab.sim.scenario import Scenario; Scenario(123).run()"
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from postroad.lab.sim import Broken
from postroad.lab.sim.scenario import Scenario

FIRST = int(os.environ.get("POSTROAD_FIRST_SEED", "0"))
SEEDS = int(os.environ.get("POSTROAD_SEEDS", "400"))
PARTS = 8  # so that pytest-xdist can spread them
SHOWN = 3  # broken seeds told in full


def play(seeds: range) -> Counter[str]:
    """What happened in them all. Raises AssertionError with the first broken seeds."""
    sums: Counter[str] = Counter()
    broken: list[str] = []
    for seed in seeds:
        scenario = Scenario(seed)
        try:
            verdict = scenario.run()
        except Broken as error:
            broken.append(str(error))
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
        else:
            sums.update(delivered=verdict.delivered, failed=verdict.failed, duplicates=verdict.duplicates)
            sums.update(crashes=len(scenario.world.crashes), worlds=1)
    assert not broken, f"{len(broken)} of {len(seeds)} seeds:\n" + "\n".join(broken[:SHOWN])
    return sums


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost_in_any_world(part: int) -> None:
    seeds = range(FIRST + part, FIRST + SEEDS, PARTS)
    sums = play(seeds)
    # The worlds were eventful enough to mean something.
    assert sums["delivered"] > 5 * len(seeds)
    assert sums["failed"] > 0
    assert sums["crashes"] > 0


@pytest.mark.parametrize("seed", [200876])
def test_seeds_that_found_something(seed: int) -> None:
    """200876: a disk that fails under compaction is an alarm, not a traceback."""
    Scenario(seed).run()


@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost_in_thousands_of_worlds(part: int) -> None:
    play(range(100_000 + part, 105_000, PARTS))


def test_a_long_storm_over_many_letters() -> None:
    scenario = Scenario(1, letters=150, seconds=3000, web=True)
    verdict = scenario.run()
    assert verdict.delivered + verdict.failed > 200
    assert scenario.world.crashes


def test_the_same_seed_gives_the_same_trace() -> None:
    def digest(seed: int) -> str:
        scenario = Scenario(seed)
        scenario.run()
        return scenario.digest

    digests = [digest(seed) for seed in range(20)]
    assert [digest(seed) for seed in range(20)] == digests
    assert len(set(digests)) == len(digests)


def test_the_trace_does_not_depend_on_the_hash_seed() -> None:
    code = "from postroad.lab.sim.scenario import Scenario as S\nfor n in range(3): s = S(n); s.run(); print(s.digest)"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] != b""
