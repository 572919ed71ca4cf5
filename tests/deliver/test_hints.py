"""What hosts say of when to come back."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.deliver.hints import hint

SAMPLES = tomllib.loads(Path(__file__).with_name("hints.toml").read_text())["sample"]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: str(sample["text"])[:60])
def test_the_samples(sample: dict[str, object]) -> None:
    assert hint(str(sample["text"])) == sample.get("seconds")


@given(st.integers(1, 10**6), st.sampled_from(["try again in", "retry after", "please wait", "come back in"]))
def test_any_number_of_seconds(seconds: int, words: str) -> None:
    assert hint(f"4.7.1 {words} {seconds} seconds") == seconds


@given(st.lists(st.sampled_from(["try", "again", " ", "in", "5", "1", "s", "minutes", "and", "/", ":", "not", "("])))
def test_hostile_texts_end(words: list[str]) -> None:
    found = hint("".join(words * 20))
    assert found is None or found > 0
