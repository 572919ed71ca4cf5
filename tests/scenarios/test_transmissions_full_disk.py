"""A disk that fills up while a transmission is generated: it waits, other mail is refused for now, and when there is
room it goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from postroad.journal import audit_all
from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import serving, until
from tests.scenarios.small_disk import SmallDisk
from tests.scenarios.test_faults_full_disk import CLOSED, DELIVERY, OPTIONS
from tests.scenarios.test_transmissions import addresses, mailing, request

MANY = 2500  # with the text below more than the disk holds


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path, 4 << 20) as disk:
        (tmp_path / "data").symlink_to(disk.path)
        yield disk


def test_a_full_disk_holds_a_transmission_up(tmp_path: Path, disk: SmallDisk) -> None:
    to = addresses(MANY)
    content = {"from": "news@sender.test", "subject": "Hello", "text": "Hello all. " * 300}
    with (
        FarEnd([CLOSED], keep=False) as far,
        serving(tmp_path, gateway=far.port, delivery=DELIVERY, extra=OPTIONS) as server,
    ):
        status, _ = request(server, "POST", "/transmissions", {**mailing(to), "content": content})
        assert status == 200
        until(lambda: server.status()[3] is not None, "the disk is full")
        held_up = server.status()[0]
        assert 0 < held_up < MANY
        assert request(server, "POST", "/transmissions", mailing(["single@one.test"]))[0] == 503
        far.behave()
        until(lambda: len(far.copies()) == MANY and server.quiet(), "all is delivered", 120)
        assert set(far.copies().values()) == {1}
        assert server.stop() == 0
        total, _ = audit_all(server.data)
    assert total.clean
    assert total.accepted == MANY + 1
