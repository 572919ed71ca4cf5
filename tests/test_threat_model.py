"""Every line of docs/explanation/threat-model.md names tests, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_LINE = re.compile(r"^\| (?P<id>[A-Z]+-\d+) \|.*\| (?P<tests>[^|]*) \|$", re.M)
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`")


def lines() -> list[tuple[str, str]]:
    text = (ROOT / "docs/explanation/threat-model.md").read_text("utf-8")
    return [(match["id"], match["tests"]) for match in _LINE.finditer(text)]


def test_each_line_has_a_name_of_its_own() -> None:
    names = [name for name, _ in lines()]
    assert len(names) > 30 and len(set(names)) == len(names)


@pytest.mark.parametrize(("name", "tests"), lines())
def test_each_line_is_shown_by_tests_that_exist(name: str, tests: str) -> None:
    found = _TEST.findall(tests)
    assert found and _TEST.sub("", tests).strip() == ""
    for file, test in found:
        text = (ROOT / file).read_text("utf-8")
        assert f"def {test}(" in text if test else "def test_" in text, f"{file}::{test}"
