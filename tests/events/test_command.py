"""`postroad events tail`, as a user sees it."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from postroad.cli.events import app
from postroad.events import Kind
from postroad.journal import Journal
from tests.events.test_hose import open_journal, tell


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    (tmp_path / "p.toml").write_text('[server]\ndata_dir = "data"\n')
    journal = open_journal(tmp_path / "data")
    await tell(journal, range(1, 4), Kind.DELAY)
    await tell(journal, range(4, 6), Kind.BOUNCE)
    yield journal
    await journal.close()


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["tail", "--config", str(path / "p.toml"), *arguments])


def ids(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [json.loads(line)["event_id"] for line in result.stdout.splitlines()]


async def test_all_of_it_while_the_engine_runs(journal: Journal, tmp_path: Path) -> None:
    assert ids(run(tmp_path, "--json")) == ["1", "2", "3", "4", "5"]
    assert ids(run(tmp_path, "--json", "--limit", "2")) == ["1", "2"]
    assert ids(run(tmp_path, "--json", "--type", "bounce")) == ["4", "5"]
    assert ids(run(tmp_path, "--json", "--type", "bounce", "--type", "delay", "--from", "1h", "--limit", "4")) == (
        ["1", "2", "3", "4"]
    )
    assert ids(run(tmp_path, "--json", "--from", "end")) == []


async def test_a_cursor_of_a_line_takes_up_there(journal: Journal, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in run(tmp_path, "--json").stdout.splitlines()]
    assert ids(run(tmp_path, "--json", "--from", lines[2]["cursor"])) == ["3", "4", "5"]


async def test_lines_for_people(journal: Journal, tmp_path: Path) -> None:
    lines = run(tmp_path).stdout.splitlines()
    assert [line.split()[2] for line in lines] == ["delay", "delay", "delay", "bounce", "bounce"]


async def test_a_cursor_that_was_never_given(journal: Journal, tmp_path: Path) -> None:
    result = run(tmp_path, "--from", str(9 << 32), "--follow")
    assert result.exit_code == 1 and f"there is no cursor {9 << 32}; the last one is" in result.stderr


async def test_mistakes_are_explained(journal: Journal, tmp_path: Path) -> None:
    result = run(tmp_path, "--type", "reception")
    assert result.exit_code == 2 and "there is no event type 'reception'; known: injection" in result.stderr
    result = run(tmp_path, "--from", "yesterday")
    assert result.exit_code == 2 and "'yesterday' is not begin, end, a cursor" in result.stderr


def test_without_a_journal(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("")
    result = run(tmp_path)
    assert result.exit_code == 1 and "there is no journal in" in result.stderr and "Traceback" not in result.output


async def test_follow_shows_new_events(journal: Journal, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", "from postroad.cli.events import app; app()", "tail", "--follow", "--json"]
    child = start([*arguments, "--from", "begin", "--limit", "7", "--config", str(tmp_path / "p.toml")])
    with child:
        assert child.stdout is not None
        first = [child.stdout.readline() for _ in range(5)]
        await tell(journal, range(6, 9))
        rest = child.stdout.readlines()
    assert [json.loads(line)["event_id"] for line in first + rest] == ["1", "2", "3", "4", "5", "6", "7"]
    assert child.returncode == 0


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
