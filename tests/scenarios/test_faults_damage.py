"""Files of a killed server that decayed: the next start serves what is whole, and each message that is not comes to an
end that is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from postroad.journal import audit as audit_files
from postroad.journal import check
from postroad.journal.catalog import Catalog, read_catalog
from postroad.journal.disk import OsDisk
from postroad.journal.scan import EventRow, EventScanner, MailRow, MailScanner
from postroad.lab.rules import Rule
from tests.scenarios.ends import audit, events
from tests.scenarios.far_end import FarEnd
from tests.scenarios.injectors import Promises, SmtpInjector, injecting, key_of, same
from tests.scenarios.inside import Inside, soon
from tests.scenarios.server import Server, serving, until

DELIVERY = 'host_failure_retry = "1s"'
CLOSED = Rule(name="closed", step="mail", reply="451 4.3.2 Not now")
OPTIONS = """
[queue]
retry_interval = "{retry}"
max_retry_interval = "{retry}"

[journal]
segment_size = "64KB"
"""
LETTERS = 60


def to(key: str) -> list[str]:
    """Every third letter has three recipients."""
    more = ["+1", "+2"] if int(key.rpartition("-")[2]) % 3 == 0 else []
    return [f"{key}{suffix}@one.test" for suffix in ("", *more)]


class Files:
    """The segments of a journal that nobody writes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog: Catalog = read_catalog(OsDisk(), folder)

    def mail(self, segment: int) -> list[MailRow]:
        found = self.catalog.mail[segment]
        file = OsDisk().open(self.folder / found.name)
        return list(MailScanner(file, found.number, self.catalog.salt or 0, found.end).rows())

    def events(self, segment: int) -> list[EventRow]:
        found = self.catalog.events[segment]
        file = OsDisk().open(self.folder / found.name)
        return list(EventScanner(file, found.number, self.catalog.salt or 0, found.end).rows())

    def flip(self, name: str, offset: int) -> None:
        with (self.folder / name).open("r+b") as file:
            file.seek(offset)
            (old,) = file.read(1)
            file.seek(offset)
            file.write(bytes([old ^ 0x10]))

    def flip_mail(self, segment: int, where: Callable[[MailRow], int]) -> None:
        row = self.mail(segment)[1]
        self.flip(self.catalog.mail[segment].name, row.offset + where(row))

    def flip_event(self, segment: int, offset: int) -> None:
        row = self.events(segment)[1]
        self.flip(self.catalog.events[segment].name, row.offset + offset)


def content(row: MailRow) -> int:
    return row.head.front_size + row.head.meta_length + row.head.trace_length + 10


def meta(row: MailRow) -> int:
    return row.head.front_size + 3


# What is done to the files, by name.
DAMAGE: dict[str, Callable[[Files], None]] = {
    "content, sealed": lambda files: files.flip_mail(0, content),
    "content, last": lambda files: files.flip_mail(-1, content),
    "envelope, sealed": lambda files: files.flip_mail(0, meta),
    "envelope, last": lambda files: files.flip_mail(-1, meta),
    "ids, sealed": lambda files: files.flip_mail(0, lambda row: 66),
    "ids, last": lambda files: files.flip_mail(-1, lambda row: 66),
    "header, sealed": lambda files: files.flip_mail(0, lambda row: 20),
    "header, last": lambda files: files.flip_mail(-1, lambda row: 20),
    "segment header, sealed": lambda files: files.flip(files.catalog.mail[0].name, 30),
    "segment header, last": lambda files: files.flip(files.catalog.mail[-1].name, 30),
    "event payload, sealed": lambda files: files.flip_event(0, 80),
    "event payload, last": lambda files: files.flip_event(-1, 80),
    "event header, sealed": lambda files: files.flip_event(0, 20),
    "event header, last": lambda files: files.flip_event(-1, 20),
    "event segment header, sealed": lambda files: files.flip(files.catalog.events[0].name, 30),
    "event segment header, last": lambda files: files.flip(files.catalog.events[-1].name, 30),
}


class Killed(NamedTuple):
    """What a killed server left, all of it undelivered. kept: recipients."""

    data: Path
    config: Path
    kept: frozenset[str]


def put_off(data: Path) -> set[str]:
    return {event["rcpt_to"] for event in events(data) if event["type"] == "delay"}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    promises = Promises()
    folder = tmp_path_factory.mktemp("killed")
    extra = OPTIONS.format(retry="1h")
    with FarEnd([CLOSED]) as far, serving(folder, gateway=far.port, delivery=DELIVERY, extra=extra) as server:
        with injecting([SmtpInjector("smtp", server.smtp_port, promises, to, limit=LETTERS)]):
            until(lambda: len(promises.kept) == LETTERS // 3 * 5, "all are acknowledged")
        until(lambda: put_off(server.data) == promises.kept, "each was put off for an hour")
        server.kill()  # in a moment of rest: nothing is half written
        assert not check(server.data / "journal").findings
        yield Killed(server.data, server.config, frozenset(promises.kept))


async def afterwards(folder: Path, kept: frozenset[str]) -> set[str]:
    """Start on the files, let everything come to its end, and check what must hold whatever was damaged. Returns the
    recipients that did not get their message."""
    with FarEnd() as far:
        inside = Inside(folder, far.port, OsDisk())
        await inside.start()
        await inside.engine.recovered()
        await soon(lambda: inside.live == 0, "the queue is empty")
        await inside.engine.stop()
    copies = far.copies()
    assert copies.keys() <= kept
    assert all(same(key_of(taken.recipient), taken.content) for taken in far.taken)
    missing = set(kept - copies.keys())
    told = [event for event in events(folder) if event["type"] == "bounce"]
    assert all("5.3.0" in event["raw_reason"] for event in told)
    assert len(told) == len(missing), (told, missing)
    report = audit_files(folder / "journal")
    assert report.clean and report.queued == 0, report
    return missing


@pytest.mark.parametrize("damage", DAMAGE)
async def test_one_bit(tmp_path: Path, killed: Killed, damage: str) -> None:
    """It is reported, and costs one record's messages at the most; in the events it costs none."""
    folder = shutil.copytree(killed.data, tmp_path / "data", ignore=shutil.ignore_patterns("*.sock"))
    DAMAGE[damage](Files(folder / "journal"))
    found = check(folder / "journal").findings
    missing = await afterwards(folder, killed.kept)
    assert len(found) == 1, found
    assert len({key_of(address) for address in missing}) <= (0 if damage.startswith("event") else 1), missing


@pytest.mark.parametrize(
    ("stream", "octets"),
    [
        *(("event", octets) for octets in (1, 40, 200, 3000)),
        *(("mail", octets) for octets in (1, 40, 200, 3000)),
    ],
)
async def test_torn_tail(tmp_path: Path, killed: Killed, stream: str, octets: int) -> None:
    """The last octets of a stream are zeros, as after a loss of power on a disk that lies about its syncs."""
    folder = shutil.copytree(killed.data, tmp_path / "data", ignore=shutil.ignore_patterns("*.sock"))
    files = Files(folder / "journal")
    rows: list[MailRow] | list[EventRow] = files.mail(-1) if stream == "mail" else files.events(-1)
    segment = (files.catalog.mail if stream == "mail" else files.catalog.events)[-1]
    end = rows[-1].offset + rows[-1].size
    with (files.folder / segment.name).open("r+b") as file:
        file.seek(max(end - octets, rows[0].offset))
        file.write(bytes(min(octets, end - rows[0].offset)))
    missing = await afterwards(folder, killed.kept)
    assert stream == "mail" or not missing, missing


@pytest.mark.parametrize("seed", range(4))
async def test_many_bits(tmp_path: Path, killed: Killed, seed: int) -> None:
    """A bit in each of ten places: the rest is served."""
    rng = Random(seed)
    folder = shutil.copytree(killed.data, tmp_path / "data", ignore=shutil.ignore_patterns("*.sock"))
    files = Files(folder / "journal")
    for _ in range(10):
        segment = rng.randrange(len(files.catalog.mail))
        row = rng.choice(files.mail(segment))
        files.flip(files.catalog.mail[segment].name, row.offset + content(row))
    missing = await afterwards(folder, killed.kept)
    assert 0 < len({key_of(address) for address in missing}) <= 10


def test_as_the_operator_sees_it(tmp_path: Path, killed: Killed) -> None:
    folder = shutil.copytree(killed.data, tmp_path / "data", ignore=shutil.ignore_patterns("*.sock"))
    DAMAGE["content, sealed"](Files(folder / "journal"))
    with FarEnd() as far:
        server = Server(tmp_path, gateway=far.port, delivery=DELIVERY, extra=OPTIONS.format(retry="300ms"))
        found = server.command("journal", "check", "--json", "--config", str(server.config))
        assert (found.returncode, len(json.loads(found.stdout)["findings"])) == (1, 1)
        (finding,) = check(folder / "journal").findings
        try:
            server.start()
            until(server.quiet, "the queue is empty")
            assert server.stop() == 0
        finally:
            if server.process is not None and server.process.poll() is None:
                server.kill()
        assert len(finding.ids) == len(killed.kept - far.copies().keys()) > 0
        assert audit(server)["queued"] == 0
    assert "Traceback" not in server.log.read_text()
