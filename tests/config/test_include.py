"""Several files are one configuration, and each name keeps its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroad.config import ConfigError, Generation, load
from postroad.config.schema import Config

MAIN = 'include = ["conf.d/*.toml", "more.toml"]\n[queue]\nretry_interval = "5m"\n[[binding]]\nname = "main"\n'


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "p.toml"


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [str(problem).replace(f"{path.parent}/", "") for problem in caught.value.problems]


def places(generation: Generation, folder: Path) -> dict[str, str]:
    return {name: str(origin).replace(f"{folder}/", "") for name, origin in generation.origins.items()}


def test_files_are_joined_in_order(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "p.toml": MAIN,
            "conf.d/b.toml": '[[binding]]\nname = "b"\n\n[[binding.domain]]\nmatch = "x.test"\nport = 26\n',
            "conf.d/a.toml": '\n[[binding]]\nname = "a"\n[queue]\nretry_jitter = 0.5\n',
            "conf.d/.hidden.toml": "nonsense",
            "conf.d/notes.txt": "nonsense",
            "more.toml": 'include = ["deep/deep.toml"]\n[delivery]\nport = 2525\n',
            "deep/deep.toml": '[[binding]]\nname = "deep"\n',
        },
    )
    generation = load(path)
    config = generation.config
    assert [binding.name for binding in config.binding] == ["main", "a", "b", "deep"]
    assert (config.queue.retry_interval, config.queue.retry_jitter, config.delivery.port) == (300.0, 0.5, 2525)
    assert config.binding[2].domain[0].port == 26
    assert [file.name for file in generation.files] == ["p.toml", "a.toml", "b.toml", "more.toml", "deep.toml"]
    assert places(generation, tmp_path) == {
        "include": "p.toml:1",
        "queue.retry_interval": "p.toml:3",
        "queue.retry_jitter": "conf.d/a.toml:5",
        "delivery.port": "more.toml:3",
        "binding[0].name": "p.toml:5",
        "binding[1].name": "conf.d/a.toml:3",
        "binding[2].name": "conf.d/b.toml:2",
        "binding[2].domain[0].match": "conf.d/b.toml:5",
        "binding[2].domain[0].port": "conf.d/b.toml:6",
        "binding[3].name": "deep/deep.toml:2",
    }


def test_a_change_in_any_file_is_another_digest(tmp_path: Path) -> None:
    path = write(tmp_path, {"p.toml": 'include = ["q.toml"]', "q.toml": "[queue]\nmax_queued = 1"})
    before = load(path).digest
    write(tmp_path, {"q.toml": "[queue]\nmax_queued = 2"})
    assert load(path).digest != before


def test_an_empty_folder_is_no_mistake(tmp_path: Path) -> None:
    assert load(write(tmp_path, {"p.toml": 'include = ["conf.d/*.toml"]'})).config == Config(include=["conf.d/*.toml"])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"p.toml": 'include = [\n"q.toml"]'}, ["p.toml:2:1: include: there is no q.toml"]),
        ({"p.toml": 'include = ["p.toml"]'}, ["p.toml:1:12: include: p.toml includes itself"]),
        (
            {"p.toml": 'include = ["q.toml"]', "q.toml": 'include = ["./p.toml"]'},
            ["q.toml:1:12: include: p.toml includes itself"],
        ),
        (
            {"p.toml": 'include = ["q.toml", "*.txt", "q.toml"]', "q.toml": ""},
            ["p.toml:1:31: include: q.toml is included already"],
        ),
        (
            {"p.toml": 'include = ["q.toml"]\n[queue]\nmax_queued = 1', "q.toml": "\n[queue]\n  max_queued = 2"},
            ["q.toml:3:3: queue.max_queued: is set already in p.toml:3"],
        ),
        (
            {"p.toml": 'include = ["q.toml"]\n[queue]\nmax_queued = 1', "q.toml": "[[queue]]"},
            ["q.toml:1:1: queue: is set already in p.toml:2"],
        ),
        (
            {"p.toml": 'include = ["q.toml"]\n[[binding]]\nname = "a"', "q.toml": "[[binding]]\nname = 1\nprt = 2"},
            [
                "q.toml:2:1: binding[1].name: must be text, not 1",
                "q.toml:3:1: binding[1].prt: there is no such option; did you mean port?",
            ],
        ),
        ({"p.toml": 'include = ["q.toml"]', "q.toml": "[queue"}, ["q.toml:1:7: Expected ']' at the end of a table"]),
        ({"p.toml": 'include = "q.toml"'}, ['p.toml:1:1: include: must be a list of texts, not "q.toml"']),
        (
            {"p.toml": 'include = ["q.toml"]\n[[binding]]\nname = "a"', "q.toml": '[[binding]]\nname = "a"'},
            [
                "q.toml:2:1: binding[1].name: a is the name of binding[0] already",
            ],
        ),
    ],
)
def test_mistakes_are_told_in_the_file_they_are_in(tmp_path: Path, files: dict[str, str], expected: list[str]) -> None:
    found = problems(write(tmp_path, files))
    if "Expected" in expected[0]:  # the words of tomllib differ between versions of Python
        assert len(found) == 1 and found[0].startswith("q.toml:1:")
    else:
        assert found == expected


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = write(tmp_path, {"p.toml": 'include = ["q.toml"]'})
    (tmp_path / "q.toml").write_bytes(b"\n# \xff")
    assert problems(path) == ["q.toml:2:3: is not UTF-8 text"]
