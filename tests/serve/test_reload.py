"""The configuration of a running server: generations come and go, and a wrong one never counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postroad.config import Change, Config, Generation, load
from postroad.config.options import options
from postroad.serve.reload import LIVE, Generations, Swaps

FIRST = """
[server]
hostname = "mx.test"
[delivery]
port = 2525
[[binding]]
name = "b"
"""


class Running:
    """Generations over a file, and the configurations that were applied."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "p.toml"
        self.file.write_text(FIRST)
        self.applied: list[Config] = []
        first = load(self.file)
        self.swaps = Swaps(first, self.applied.append)
        self.generations = Generations(first, self._apply)
        self.refuse = False

    async def _apply(self, new: Generation) -> None:
        if self.refuse:
            raise ValueError("an engine can't take it")
        assert self.swaps.prepare(new) == new.digest
        assert self.swaps.swap(new.number) == new.number

    def write(self, old: str, new: str) -> None:
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(tmp_path)


async def test_what_changed_is_told_and_counts(running: Running) -> None:
    running.write("2525", "26")
    running.write('name = "b"', 'name = "b"\nmessage_rate = "5/s"')
    done = await running.generations.reload()
    assert done.number == 2 and done.restart == []
    assert done.changes == [
        Change("binding[b].message_rate", "(not set)", '"5/s"'),
        Change("delivery.port", "2525", "26"),
    ]
    assert done.warnings[1:] == [f"{running.file}:7:1: binding[0].name: no group or listener names b: it gets no mail"]
    (applied,) = running.applied
    assert applied.delivery.port == 26 and running.generations.current.config == applied


async def test_nothing_new(running: Running) -> None:
    done = await running.generations.reload()
    assert (done.number, done.changes, done.restart) == (2, [], [])


async def test_a_wrong_file_changes_nothing(running: Running) -> None:
    before = running.generations.current
    running.write("2525", "70000")
    with pytest.raises(ValueError, match=r"p.toml:5:1: delivery.port: must be 65535 or less(.|\n)*Nothing was changed"):
        await running.generations.reload()
    running.file.unlink()
    with pytest.raises(ValueError, match=r"there is no .*p.toml; the running configuration stays"):
        await running.generations.reload()
    assert running.applied == [] and running.generations.current is before
    with pytest.raises(ValueError, match="no earlier"):
        await running.generations.rollback()


async def test_what_needs_a_restart_is_told_and_does_not_count(running: Running) -> None:
    running.write('"mx.test"', '"other.test"\n[[listener]]\naddress = "127.0.0.1:26"')
    running.write("2525", "26\nuse_ipv6 = false")
    done = await running.generations.reload()
    assert done.changes == [Change("delivery.port", "2525", "26")]
    assert done.restart == [
        Change("delivery.use_ipv6", "true", "false"),
        Change("listener[127.0.0.1:26].address", "", '"127.0.0.1:26"'),
        Change("server.hostname", '"mx.test"', '"other.test"'),
    ]
    (applied,) = running.applied
    assert (applied.server.hostname, applied.listener, applied.delivery.port) == ("mx.test", [], 26)


async def test_api_keys_count_at_once(running: Running) -> None:
    running.write("[delivery]", f'[[http.keys]]\nlabel = "new"\nsha256 = "{"ab" * 32}"\n[delivery]')
    done = await running.generations.reload()
    assert [change.name for change in done.changes] == ["http.keys[new].label", "http.keys[new].sha256"]
    assert running.applied[-1].http.keys[0].label == "new" and done.restart == []


async def test_a_dry_run_only_tells(running: Running) -> None:
    running.write("2525", "26")
    done = await running.generations.reload(dry_run=True)
    assert done.changes == [Change("delivery.port", "2525", "26")] and done.number == 1
    assert running.applied == [] and running.generations.current.number == 1


async def test_back_and_back_again(running: Running) -> None:
    for port in (26, 27):
        running.write("port = ", f"port = {port} #")
        await running.generations.reload()
    ports = []
    for expected in (4, 5):
        done = await running.generations.rollback()
        assert done.number == expected
        ports.append(running.applied[-1].delivery.port)
    assert ports == [26, 2525]
    with pytest.raises(ValueError, match="no earlier"):
        await running.generations.rollback()
    assert (await running.generations.reload()).number == 6
    assert running.applied[-1].delivery.port == 27


async def test_reloads_come_one_after_the_other(running: Running) -> None:
    done = await asyncio.gather(*(running.generations.reload() for _ in range(5)))
    assert sorted(each.number for each in done) == [2, 3, 4, 5, 6]


def test_every_section_either_counts_at_once_or_needs_a_restart() -> None:
    assert set(options(Config)) - set(LIVE) == {
        *("server", "listener", "http", "dns", "tls_reports", "journal", "store", "engagement"),
    }
