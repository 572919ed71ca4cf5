"""Every line of docs/explanation/threat-model.md names tests, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_LINE = re.compile(r"^\| (?P<id>T-[A-Z]+-\d+) \|.*\| (?P<places>[^|]*) \| (?P<tests>[^|]*) \|$", re.M)
_PLACE = re.compile(r"`([\w/]+(?:\.py)?)`")
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`")


def lines() -> list[tuple[str, str, str]]:
    text = (ROOT / "docs/explanation/threat-model.md").read_text("utf-8")
    return [(match["id"], match["places"], match["tests"]) for match in _LINE.finditer(text)]


def test_each_line_has_a_name_of_its_own() -> None:
    names = [name for name, _, _ in lines()]
    assert len(names) > 30 and len(set(names)) == len(names)


def test_no_line_is_passed_over() -> None:
    text = (ROOT / "docs/explanation/threat-model.md").read_text("utf-8")
    assert len(re.findall(r"^\| T-", text, re.M)) == len(lines())


@pytest.mark.parametrize(("name", "places", "tests"), lines())
def test_each_line_is_shown_by_tests_that_exist(name: str, places: str, tests: str) -> None:
    lives = _PLACE.findall(places)
    assert lives and _PLACE.sub("", places).strip() == ""
    assert [place for place in lives if not (ROOT / "src/postroad" / place).exists()] == []
    found = _TEST.findall(tests)
    assert found and _TEST.sub("", tests).strip() == ""
    for file, test in found:
        text = (ROOT / file).read_text("utf-8")
        assert f"def {test}(" in text if test else "def test_" in text, f"{file}::{test}"
