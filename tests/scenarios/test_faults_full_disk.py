"""A full disk, and one that is read-only: new mail is refused, the rest goes on, and nothing acknowledged is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from postroad.lab.rules import Rule
from tests.scenarios.ends import audit
from tests.scenarios.far_end import FarEnd
from tests.scenarios.injectors import HttpInjector, Injector, Promises, SmtpInjector, injecting
from tests.scenarios.server import Server, serving, until
from tests.scenarios.small_disk import SmallDisk

MIN_FREE = 512 << 10
SEGMENT = 64 << 10
DELIVERY = 'max_connections = 4\nhost_failure_retry = "1s"'
OPTIONS = f"""
[queue]
retry_interval = "500ms"
max_retry_interval = "500ms"

[journal]
segment_size = {SEGMENT}
event_retention = "1s"
min_free = {MIN_FREE}
"""
CLOSED = Rule(name="closed", step="mail", reply="451 4.3.2 Not now")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path, 4 << 20) as disk:
        (tmp_path / "data").symlink_to(disk.path)
        yield disk


def to(key: str) -> Sequence[str]:
    return [f"{key}@one.test"]


def clients(server: Server, promises: Promises, name: str) -> list[Injector]:
    return [
        SmtpInjector(f"smtp{name}", server.smtp_port, promises, to),
        HttpInjector(f"http{name}", server.http_port, promises, to, api_key=server.key),
    ]


def refused(promises: Promises) -> bool:
    """Both ways in have refused some."""
    return promises.refused[452] >= 3 and promises.refused[503] >= 3


def arrived_once(far: FarEnd, promises: Promises) -> None:
    copies = far.copies()
    assert promises.kept - copies.keys() == set()
    assert copies.keys() - promises.kept == set()
    assert [address for address, count in copies.items() if count > 1] == []


def test_filled_by_our_own_mail(tmp_path: Path, disk: SmallDisk) -> None:
    """Nothing gets out until the disk is full. Then the queue drains, and mail is taken again by itself."""
    promises = Promises()
    with FarEnd([CLOSED]) as far, serving(tmp_path, gateway=far.port, delivery=DELIVERY, extra=OPTIONS) as server:
        with injecting(clients(server, promises, "1")):
            until(lambda: refused(promises), "new mail is refused")
            kept = len(promises.kept)
            assert kept > 0
            assert server.status()[3] is not None
            far.behave()
            until(lambda: len(promises.kept) > kept + 20, "mail is taken again")
        until(server.quiet, "the queue is empty")
        assert server.stop() == 0
        assert audit(server)["queued"] == 0
        arrived_once(far, promises)
    assert promises.refused.keys() == {452, 503}


def test_filled_by_a_stranger(tmp_path: Path, disk: SmallDisk) -> None:
    """The last octet is gone while mail is queued. What is queued goes out all the same; mail flows again by itself
    when the room is given back, and a kill meanwhile changes nothing."""
    promises = Promises()
    with FarEnd([CLOSED]) as far, serving(tmp_path, gateway=far.port, delivery=DELIVERY, extra=OPTIONS) as server:
        with injecting(clients(server, promises, "1")):
            until(lambda: len(promises.kept) >= 100, "100 are acknowledged")
            stranger = disk.fill()
            until(lambda: refused(promises), "new mail is refused")
            kept = set(promises.kept)
            far.behave()
            until(lambda: len(far.copies().keys() & kept) >= 10, "what is queued is delivered")
            stranger.unlink()
            until(lambda: len(promises.kept) > len(kept) + 20, "mail is taken again")
        until(server.quiet, "the queue is empty")
        assert server.stop() == 0
        assert audit(server)["queued"] == 0
        arrived_once(far, promises)
    assert promises.refused.keys() == {452, 503}


def test_no_room_for_events(tmp_path: Path, disk: SmallDisk) -> None:
    """Every mail segment is held by a message that is put off, so that deliveries free nothing, and the room runs out
    for the events themselves: no attempt is begun whose end could not be written, and all ends well later."""
    stuck = Rule(name="stuck", recipient="*7@*", reply="451 4.3.2 Not now")
    promises = Promises()
    with FarEnd([CLOSED]) as far, serving(tmp_path, gateway=far.port, delivery=DELIVERY, extra=OPTIONS) as server:
        with injecting(clients(server, promises, "1")):
            until(lambda: len(promises.kept) >= 400, "400 are acknowledged")
        stranger = disk.fill()
        far.behave(stuck)
        until(lambda: disk.fill() and server.status()[6]["held_events"], "events are held back")
        held = far.copies().keys()
        assert 0 < len(held & promises.kept) < len(promises.kept)
        far.behave()
        stranger.unlink()
        until(server.quiet, "the queue is empty")
        assert server.stop() == 0
        assert audit(server)["queued"] == 0
        arrived_once(far, promises)


@pytest.mark.parametrize("leave", [0, 4 * SEGMENT])
def test_started_on_a_full_disk(tmp_path: Path, disk: SmallDisk, leave: int) -> None:
    """A server that is killed on a full disk starts there again and refuses new mail. It delivers what it had as soon
    as there is room to write down how that ends."""
    promises = Promises()
    with FarEnd([CLOSED]) as far, serving(tmp_path, gateway=far.port, delivery=DELIVERY, extra=OPTIONS) as server:
        with injecting(clients(server, promises, "1")):
            until(lambda: len(promises.kept) >= 100, "100 are acknowledged")
        server.kill()
        stranger = disk.fill(leave)
        server.start()
        with injecting(clients(server, promises, "2")):
            until(lambda: refused(promises), "new mail is refused")
            far.behave()
            if leave:
                until(lambda: promises.kept <= far.copies().keys(), "what was queued is delivered")
            stranger.unlink()
            kept = len(promises.kept)
            until(lambda: len(promises.kept) > kept + 20, "mail is taken again")
        until(server.quiet, "the queue is empty")
        assert server.stop() == 0
        assert audit(server)["queued"] == 0
        assert promises.kept - far.copies().keys() == set()


def test_read_only(tmp_path: Path, disk: SmallDisk) -> None:
    """A server on a read-only disk says so and ends; once it is writable, everything is still there."""
    promises = Promises()
    with FarEnd([CLOSED]) as far, serving(tmp_path, gateway=far.port, delivery=DELIVERY, extra=OPTIONS) as server:
        with injecting(clients(server, promises, "1")):
            until(lambda: len(promises.kept) >= 100, "100 are acknowledged")
        server.kill()
        disk.remount("ro")
        done = server.command("serve", "--config", str(server.config))
        assert done.returncode == 1
        assert "Read-only" in done.stderr
        assert "Traceback" not in done.stderr
        disk.remount("rw")
        far.behave()
        server.start()
        until(server.quiet, "the queue is empty")
        assert server.stop() == 0
        assert audit(server)["queued"] == 0
        arrived_once(far, promises)
