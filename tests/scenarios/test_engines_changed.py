"""Another number of engines, and a journal of an older version: what is queued goes on, once, and its state with it."""

from __future__ import annotations

import contextlib
import os
import signal
import smtplib
import tarfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from xxhash import xxh3_64_intdigest

from postroad.journal import audit_all
from postroad.journal.format import VERSION, read_file_header
from postroad.lab.rules import Rule
from postroad.serve.homes import Homes, read_homes
from tests.scenarios.ends import audit, events
from tests.scenarios.far_end import FarEnd
from tests.scenarios.injectors import letter
from tests.scenarios.server import Server, until

DOMAINS = tuple(f"{word}.test" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight"))
RETRY = '[queue]\nretry_interval = "1h"\nmax_retry_interval = "2h"\nretry_jitter = 0\n'
SMALL = '[journal]\nsegment_size = "64KB"\nmin_free = "1MB"\n'
STUCK = Rule(name="stuck", recipient="*+stuck@*", reply="451 4.2.2 Mailbox full")
CLOSED = Rule(name="closed", step="mail", reply="451 4.3.2 Not now")
SLOW = Rule(name="slow to answer", step="message", percent=30, delay=0.2)
WRITTEN = Path(__file__).parents[1] / "journal" / "written"


def send(server: Server, name: str, count: int) -> list[str]:
    """So many letters, every third with three recipients, every fourth of which is put off. Returns the recipients."""
    found = []
    with smtplib.SMTP("127.0.0.1", server.smtp_port, timeout=30) as client:
        for number in range(count):
            key = f"{name}-{number}"
            many = 3 if number % 3 == 0 else 1
            to = [
                f"{key}+{n}{'+stuck' if (number + n) % 4 == 0 else ''}@{DOMAINS[(number + 3 * n) % len(DOMAINS)]}"
                for n in range(many)
            ]
            client.sendmail(f"{key}@sender.test", to, letter(key))
            found += to
    return found


def kill_while_moving(server: Server, rng: Random) -> bool:
    """Start it, and kill the supervisor or the process that moves in the middle. False: it was done before."""
    server.spawn()
    assert server.process is not None
    while not read_homes(server.data).moving:
        if server.process.poll() is not None:
            raise AssertionError(server.log.read_text()[-2000:])
        if read_homes(server.data) == Homes(server.engines):
            until(lambda: server.each(), "it serves")
            server.kill()
            return False
    time.sleep(rng.uniform(0.0, 0.15))
    mover = server.children().get("rehome")
    if mover is not None and rng.random() < 0.5:
        with contextlib.suppress(ProcessLookupError):
            os.kill(mover, signal.SIGKILL)
        # The start ends with what its child met; unless that was done already.
        process = server.process
        until(lambda: process.poll() is not None or server.recovered(), "it has ended, or serves")
    server.kill()
    return True


def on_their_way(server: Server, far: FarEnd) -> set[str]:
    """No server is there: what the far end took, and no journal knows of."""
    known = {event["rcpt_to"] for event in events(server.data) if event["type"] == "delivery"}
    return far.copies().keys() - known


def changed_again_and_again(folder: Path, numbers: list[int], count: int, seed: int, kills: int) -> str:
    """1 -> N -> M ... engines with mail in every state, most starts killed while mail is being moved."""
    rng = Random(seed)
    promised: list[str] = []
    allowed: Counter[str] = Counter()
    cut = 0
    with FarEnd((CLOSED,), seed=seed, keep=False) as far:
        server = Server(folder, gateway=far.port, delivery="max_connections = 3", extra=RETRY + SMALL, engines=1)
        try:
            for turn, number in enumerate(numbers):
                server.configure(number)
                if turn:
                    for _ in range(kills):
                        cut += kill_while_moving(server, rng)
                        # It may have come so far as to deliver some.
                        until(lambda: far.sessions == 0, "the far end has seen the end")
                        allowed.update(on_their_way(server, far))
                        total, each = audit_all(server.data)
                        assert total.clean and all(one.clean for one in each.values()), each
                        assert total.accepted == len(promised)
                    far.behave(STUCK, SLOW)  # from now on some is delivered, and some on its way when the server ends
                server.start()
                until(server.recovered, "all is loaded")
                assert read_homes(server.data) == Homes(number)
                before = len(far.taken)
                promised += send(server, f"n{len(promised)}", count)
                if turn:
                    until(lambda before=before: len(far.taken) > before + 10, "some are delivered")  # type: ignore[misc]
                if turn % 2:
                    server.kill()
                    until(lambda: far.sessions == 0, "the far end has seen the end")
                    allowed.update(on_their_way(server, far))
                else:
                    assert server.stop() == 0
            far.behave()
            server.start()
            until(server.recovered, "all is loaded")
            for domain in DOMAINS:
                server.ask_each("flush", domain=domain)
            until(server.quiet, "the queue is empty", 90)
            assert server.stop() == 0
        finally:
            if server.process is not None and server.process.poll() is None:
                server.kill()
        report = audit(server)
        copies = far.copies()
    figures = (
        f"{numbers} engines, seed {seed}: {len(promised)} recipients, {cut} moves cut short, "
        f"{allowed.total()} on their way at a kill, {copies.total() - len(copies)} twice; {report}"
    )
    assert copies.keys() == set(promised), figures
    assert copies - Counter(promised) <= allowed, figures
    assert report["accepted"] == report["terminal"] == len(promised), figures
    told = Counter(event["rcpt_to"] for event in events(server.data) if event["type"] == "injection")
    assert told == Counter(promised), figures
    return figures


def test_another_number_of_engines(tmp_path: Path) -> None:
    print(changed_again_and_again(tmp_path, [1, 4, 2, 1], 60, 1, 1))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(3))
def test_another_number_of_engines_many_times(tmp_path: Path, seed: int) -> None:
    print(changed_again_and_again(tmp_path, [1, *Random(seed).choices((1, 2, 3, 4, 8), k=12)], 300, seed, 4))


@pytest.mark.parametrize("engines", [1, 3])
def test_a_journal_of_version_1_goes_on(tmp_path: Path, engines: int) -> None:
    """99 recipients were accepted by that version, 57 had come to their end."""
    with FarEnd() as far:
        server = Server(tmp_path, gateway=far.port, extra=SMALL, engines=engines)
        folder = server.data / "journal"
        folder.mkdir(parents=True)
        with tarfile.open(WRITTEN / "version1.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        old = sorted(path.name for path in folder.glob("*.seg"))
        tried = {event["rcpt_to"] for event in events(server.data) if event["type"] == "delay"}
        total, _ = audit_all(server.data)
        assert (total.accepted, total.terminal, total.queued, total.clean) == (99, 57, 42, True)
        try:
            server.start()
            until(server.recovered, "all is loaded")
            for domain in DOMAINS:
                server.ask_each("flush", domain=domain)
            until(server.quiet, "the queue is empty")
            assert server.stop() == 0
        finally:
            if server.process is not None and server.process.poll() is None:
                server.kill()
        report = audit(server)
        copies = far.copies()
    assert (report["accepted"], report["terminal"], report["queued"]) == (99, 99, 0)
    assert copies == Counter(tried)
    delivered = [event for event in events(server.data) if event["type"] == "delivery" and event["rcpt_to"] in tried]
    assert {event["num_retries"] for event in delivered} == {"1"}  # the first attempt is not forgotten
    versions = {path.name: read_file_header(path.read_bytes()[:128]) for path in folder.glob("event-*.seg")}
    assert set(versions) - set(old)
    raw = {name: int.from_bytes((folder / name).read_bytes()[8:10], "little") for name in versions}
    assert {raw[name] for name in set(old) & set(raw)} == {1}
    assert {raw[name] for name in set(raw) - set(old)} == {VERSION}


def test_a_journal_of_a_later_version_is_refused(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    assert server.stop() == 0
    (path, *_) = (server.data / "journal").glob("event-*.seg")
    head = bytearray(path.read_bytes()[:128])
    head[8:10] = (VERSION + 1).to_bytes(2, "little")
    head[120:128] = xxh3_64_intdigest(bytes(head[:120])).to_bytes(8, "little")
    with path.open("r+b") as file:
        file.write(head)
    server.spawn()
    assert server.process is not None
    assert server.process.wait(60) == 1
    last = server.log.read_text().splitlines()[-1]
    assert f"{path.name}: written in format version {VERSION + 1}; this program reads versions 1 to {VERSION}" in last
