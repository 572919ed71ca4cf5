"""Fuzzers: some thousand inputs of each target in `make test`, a million in `make soak`, other ones each day.
An input that broke something is kept as tests/fuzz/finds/TARGET-NAME, and tried each time."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path

import pytest

from tests.fuzz.mutate import mutations
from tests.fuzz.targets import TARGETS

SLOW = ("dkim", "arc")
FINDS = Path(__file__).parent / "finds"


async def _one(name: str, data: bytes) -> None:
    await TARGETS[name].check(data)


async def _all(name: str, seed: int, rounds: int) -> None:
    target = TARGETS[name]
    for data in mutations(target.seeds, target.words, seed, rounds):
        try:
            await target.check(data)
        except Exception as error:
            raise AssertionError(f"{name}, seed {seed}: {data!r}") from error


@pytest.mark.parametrize("name", TARGETS)
def test_some(name: str) -> None:
    asyncio.run(_all(name, 1, 300 if name in SLOW else 3000))


@pytest.mark.soak
@pytest.mark.parametrize("name", TARGETS)
def test_many(name: str) -> None:
    asyncio.run(_all(name, datetime.date.today().toordinal(), 30_000 if name in SLOW else 1_000_000))


@pytest.mark.parametrize("name", TARGETS)
async def test_what_it_starts_from(name: str) -> None:
    for data in TARGETS[name].seeds:
        await TARGETS[name].check(data)


def test_what_was_found() -> None:
    for file in sorted(FINDS.glob("*-*")):
        asyncio.run(_one(file.name.partition("-")[0], file.read_bytes()))
