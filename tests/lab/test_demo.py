"""What `make run` does, from outside: it ends by itself, accounts for every message and leaves nothing running."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postroad.journal import audit_all
from postroad.lab.demo import program
from postroad.lab.outcomes import outcomes

_HEAD = ("accepted", "delivered", "deferred", "bounced", "queued")


@asynccontextmanager
async def demo(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "postroad.lab.demo", "--dir", str(folder), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "100"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def servers(folder: Path) -> list[int]:
    """Processes that were started with the demo's configuration."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder / "postroad.toml").encode() in line:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("engines", [1, 2])
async def test_the_demo_accounts_for_every_message(tmp_path: Path, engines: int) -> None:
    folder = tmp_path / "run"
    async with asyncio.timeout(110), demo(folder, "--count", "1000", "--engines", str(engines)) as process:
        out, err = await process.communicate()
        text = out.decode()
        assert process.returncode == 0, text + err.decode()
    rows = {
        match[1]: dict(zip(_HEAD, (int(count.replace("-", "0")) for count in match[2].split()), strict=True))
        for match in re.finditer(r"^(\S+\.test|all) +((?:(?:\d+|-) +){4}(?:\d+|-))", text, re.MULTILINE)
    }
    assert rows["bigmail.test"]["accepted"] == rows["bigmail.test"]["delivered"] > 0
    assert rows["gone.test"]["accepted"] == rows["gone.test"]["bounced"] > 0
    assert rows["nomail.test"]["accepted"] == rows["nomail.test"]["bounced"] > 0
    assert rows["greylisted.test"]["deferred"] == rows["greylisted.test"]["delivered"] > 0
    assert rows["dark.test"]["accepted"] == rows["dark.test"]["queued"] > 0
    assert all(row["queued"] == 0 for name, row in rows.items() if name not in ("dark.test", "all"))
    # Every bounce went to the sender as a message of its own, and arrived.
    assert rows["sender.test"]["delivered"] == rows["all"]["bounced"]
    assert rows["all"]["accepted"] == 1000 + rows["sender.test"]["accepted"]
    assert "Audit clean" in text
    # The table is what the files say, now that nobody writes them.
    assert servers(folder) == []
    total = outcomes(folder / "data").total
    assert rows["all"] == {name: getattr(total, name) for name in _HEAD}
    proof, each = audit_all(folder / "data")
    assert proof.clean and len(each) == engines
    assert (proof.accepted, proof.queued) == (total.accepted, total.queued)
    log = (folder / "postroad.log").read_text()
    assert "Traceback" not in log


async def test_stay_ends_on_sigterm_and_takes_its_server_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    async with asyncio.timeout(110), demo(folder, "--stay", "--count", "20") as process:
        assert process.stdout is not None
        await process.stdout.readuntil(b"Everything runs until Ctrl-C.")
        assert len(servers(folder)) == 1
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 130
    assert servers(folder) == []


async def test_ctrl_c_while_it_sends(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    async with asyncio.timeout(60), demo(folder, "--count", "100000") as process:
        assert process.stdout is not None
        await process.stdout.readuntil(b"Postroad runs")
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        assert process.returncode == 130
        assert b"Traceback" not in out + err
    assert servers(folder) == []


async def test_a_folder_that_is_not_the_labs_is_left_alone(tmp_path: Path) -> None:
    config = tmp_path / "postroad.toml"
    config.write_text("# mine\n")
    async with asyncio.timeout(60), demo(tmp_path, "--count", "10") as process:
        out, _ = await process.communicate()
        assert process.returncode == 1
        assert b"is not the lab's" in out
    assert config.read_text() == "# mine\n"
    assert os.listdir(tmp_path) == ["postroad.toml"]


@pytest.mark.parametrize("known", [True, False])
def test_the_command_it_names_can_be_run(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether PATH knows the environment that `make run` made, or not."""
    beside = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{beside}:/usr/bin:/bin" if known else "/usr/bin:/bin")
    named = program()
    assert (shutil.which(named) is not None) and (named == "postroad") == known
    subprocess.run([named, "--help"], check=True, capture_output=True, timeout=60)
