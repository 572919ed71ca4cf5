"""Tests of deliver on the simulated loop: minutes of waiting cost nothing, and the time of everything is exact."""

from __future__ import annotations

from collections.abc import Coroutine
from random import Random
from typing import Any

from postroad.lab.sim import Process, SimLoop, SimNet

ADDRESSES = [f"127.0.0.{i}" for i in range(1, 5)]


def simulated(body: Coroutine[Any, Any, None], seed: int = 1) -> None:
    """Run it; nothing may be left running or open."""
    loop = SimLoop(Random(seed))
    SimNet(loop, Random(seed + 1))
    process = Process(loop, "p", ADDRESSES)
    try:
        loop.run_until_complete(process.run(body))
        assert process.leftovers() == []
    finally:
        loop.close()
