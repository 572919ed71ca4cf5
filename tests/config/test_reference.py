"""The generated pages say what the code says."""

from pathlib import Path

import pytest

from postroad.cli.reference import PAGES, main, stale, write
from postroad.config import Config, options
from postroad.config.schema import Section
from postroad.events import EVENTS, FIELDS
from postroad.inject.tables import State

DOCS = Path(__file__).parents[2] / "docs" / "reference"


def test_the_pages_in_the_repository_are_fresh() -> None:
    assert stale(DOCS) == []


def test_a_stale_page_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(stale(tmp_path)) == len(PAGES)
    assert main(["--write", str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    (tmp_path / "events.md").write_text("old")
    assert main(["--check", str(tmp_path)]) == 1
    assert f"{tmp_path / 'events.md'} is stale; run: make docs" in capsys.readouterr().err


def test_pages_are_whole(tmp_path: Path) -> None:
    write(tmp_path)
    pages = {name: (tmp_path / name).read_text() for name in PAGES}

    def check(section: type[Section], header: str) -> None:
        assert not header or f"[{header}]" in pages["configuration.md"]
        for option in options(section).values():
            if option.section is None:
                assert f"| `{option.name}` |" in pages["configuration.md"]
            else:
                check(option.section, f"{header}.{option.name}" if header else option.name)

    check(Config, "")
    assert all(f"\n## {name}\n" in pages["events.md"] for name in EVENTS)
    assert all(f"| `{name}`" in pages["events.md"] for name in FIELDS)
    assert all(f"| {state.name} |" in pages["smtp-states.md"] for state in State)
    for command in (
        "init",
        "serve",
        "queue",
        "send",
        "audit",
        "config check",
        "config explain",
        "events tail",
        "journal check",
    ):
        assert f"\n## postroad {command}\n" in pages["commands.md"]


def test_tables_have_as_many_cells_in_each_row(tmp_path: Path) -> None:
    write(tmp_path)
    for name in PAGES:
        width = 0
        for line in (tmp_path / name).read_text().splitlines():
            cells = line.replace("\\|", "").count("|") if line.startswith("|") else 0
            assert not (width and cells) or width == cells, f"{name}: {line}"
            width = cells
