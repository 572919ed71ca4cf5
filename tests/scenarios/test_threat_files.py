"""What local users can reach of a running server's data folder, also where an operator has made the folder himself."""

from __future__ import annotations

import smtplib
import stat
from pathlib import Path

import pytest

from tests.scenarios.real_ends import Aiosmtpd
from tests.scenarios.server import Server, serving, until


@pytest.mark.parametrize("engines", [1, 2])
def test_nothing_in_the_data_folder_is_for_others(tmp_path: Path, engines: int) -> None:
    data = tmp_path / "server" / "data"
    data.mkdir(parents=True, mode=0o755)
    with Aiosmtpd() as end, serving(tmp_path / "server", gateway=end.port, engines=engines) as server:
        with smtplib.SMTP("127.0.0.1", server.smtp_port, timeout=30) as client:
            client.sendmail("s@s.test", ["a@one.test", "b@two.test"], "Subject: x\r\n\r\nx\r\n")
        until(lambda: len(end.arrived()) == 2, "both messages arrived")
        for command in (
            ("events", "tail", "--from", "begin"),
            ("path", "suspend", "--domain", "one.test"),
            ("config", "reload"),
        ):
            assert server.command(*command).returncode == 0
        found = sorted(data.rglob("*"))
        kinds = {stat.S_IFMT(each.lstat().st_mode) for each in found}
        open_ = [str(each.relative_to(data)) for each in found if each.lstat().st_mode & 0o077]
        assert server.stop() == 0
    assert kinds == {stat.S_IFREG, stat.S_IFDIR, stat.S_IFSOCK} and len(found) > 8
    assert open_ == []


def test_the_store_that_a_command_makes_is_not_for_others(tmp_path: Path) -> None:
    server = Server(tmp_path / "server")
    server.data.mkdir(mode=0o755)
    assert server.command("store", "upgrade").returncode == 0
    found = sorted(server.data.rglob("*"))
    assert found and [each.name for each in found if each.lstat().st_mode & 0o077] == []
