"""Several engines, and what holds when their processes fall: real processes, killed under load."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import smtplib
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from xxhash import xxh3_64_intdigest

from postroad.journal import EventReader, audit_all, journal_folders
from postroad.journal.format import EVENT, VERSION, FileHeader
from postroad.lab.rules import Rule
from postroad.serve import ask
from postroad.serve.owner import owner
from tests.scenarios.ends import audit, events
from tests.scenarios.far_end import FarEnd
from tests.scenarios.injectors import HttpInjector, Injector, Promises, SmtpInjector, injecting
from tests.scenarios.server import Server, serving, until

DOMAINS = tuple(f"{word}.test" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight"))
CONNECTIONS = 2  # of an engine to each domain
DELIVERY = f'max_connections = {CONNECTIONS}\nhost_failure_retry = "1s"'
RETRY = '[queue]\nretry_interval = "300ms"\nmax_retry_interval = "500ms"\n'
HABITS = (
    Rule(name="grey", recipient="*3@*", greylist=0.2, reply="451 4.7.1 Come back later"),
    Rule(name="slow to answer", step="message", percent=10, delay=0.03),
)


def to_several(key: str) -> list[str]:
    rng = Random(key)
    return [f"{key}+{number}@{domain}" for number, domain in enumerate(rng.sample(DOMAINS, rng.choice((1, 1, 3))))]


def injectors(server: Server, promises: Promises) -> list[Injector]:
    found: list[Injector] = [SmtpInjector(f"smtp{n}", server.smtp_port, promises, to_several) for n in range(3)]
    return [*found, HttpInjector("http0", server.http_port, promises, to_several, api_key=server.key)]


def homes(data: Path) -> dict[int, set[str]]:
    """Routing domains of the messages accepted, by journal."""
    found: dict[int, set[str]] = {}
    for number, folder in journal_folders(data).items():
        domains = set()
        reader = EventReader(folder)
        cursor = reader.begin()
        while True:
            some, cursor = reader.read(cursor)
            if not some:
                break
            bodies = (json.loads(event.payload) for event in some)
            domains |= {body["rcpt_to"].rpartition("@")[2] for body in bodies if body["type"] == "injection"}
        found[number] = domains
    return found


def test_mail_is_kept_by_the_owners_of_its_domains(tmp_path: Path) -> None:
    """Whoever took the connection: with all engines there, none keeps another's mail, and all of it arrives once."""
    promises = Promises()
    with (
        FarEnd(HABITS) as far,
        serving(tmp_path, gateway=far.port, delivery=DELIVERY, extra=RETRY, engines=4) as server,
    ):
        until(lambda: server.joined, "all engines know each other")
        with injecting(injectors(server, promises)):
            until(lambda: len(promises.kept) >= 400, "400 are acknowledged")
        until(server.quiet, "the queue is empty")
        assert server.stop() == 0
        report = audit(server)
        copies = far.copies()
    assert copies == Counter(promises.kept)
    assert not promises.unknown and not promises.refused
    found = homes(server.data)
    # What a transmission makes stays with the engine that makes it (docs/explanation/transmissions.md).
    making = {engine for engine in found if audit_all(server.data)[1][engine].jobs}
    for engine in set(range(4)) - making:
        assert found[engine] == {domain for domain in DOMAINS if owner(domain, 4) == engine}
    assert report["accepted"] == report["terminal"] == len(promises.kept)


def test_notifications_go_to_the_owner_of_the_sender(tmp_path: Path) -> None:
    refused = Rule(name="refused", recipient="*+refused@*", reply="550 5.1.1 No such user here")
    sender = next(f"s@from-{n}.test" for n in range(99) if owner(f"from-{n}.test", 2) == 1)
    recipient = next(f"a+refused@to-{n}.test" for n in range(99) if owner(f"to-{n}.test", 2) == 0)
    with FarEnd((refused,)) as far, serving(tmp_path, gateway=far.port, engines=2) as server:
        until(lambda: server.joined, "both engines know each other")
        with smtplib.SMTP("127.0.0.1", server.smtp_port) as client:
            client.sendmail(sender, [recipient], "Subject: x\r\n\r\nx\r\n")
        until(lambda: far.copies()[sender], "the sender is told")
        until(server.quiet, "the queue is empty")
        assert server.stop() == 0
        audit(server)
    assert homes(server.data) == {0: {recipient.rpartition("@")[2]}, 1: {sender.rpartition("@")[2]}}


def test_a_connection_waits_while_its_engine_is_started_again(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        before = server.children()["engine-0"]
        os.kill(before, signal.SIGKILL)
        until(lambda: server.children().get("engine-0") != before, "it is gone")
        with socket.create_connection(("127.0.0.1", server.smtp_port), 30) as sock:  # not refused
            sock.settimeout(60)
            assert sock.recv(4) == b"220 "
        assert server.children()["engine-0"] != before
        assert server.stop() == 0
    assert [(fall["process"], fall["text"]) for fall in falls(server)] == [("engine-0", "ended with signal SIGKILL")]


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    with serving(tmp_path, engines=3) as server:
        children = server.children()
        assert {f"engine-{number}" for number in range(3)} <= children.keys()
        server.kill()
        for pid in children.values():
            until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "it is gone")  # type: ignore[misc]
        server.start()
        assert server.stop() == 0


def test_while_an_engine_can_not_start_the_others_take_its_connections(tmp_path: Path) -> None:
    """Its journal is that of a later version: it falls again and again, and after some falls its doors are closed."""
    with FarEnd() as far, serving(tmp_path, gateway=far.port, engines=2) as server:
        until(lambda: server.joined, "both engines know each other")
        with later_version(server.data / "journal-1"):
            os.kill(server.children()["engine-1"], signal.SIGKILL)
            until(lambda: any(fall["next_try_in"] > 2 for fall in falls(server)), "its doors are closed")
            for number in range(20):
                with smtplib.SMTP("127.0.0.1", server.smtp_port, timeout=20) as client:
                    client.sendmail("s@sender.test", [f"r{number}@{DOMAINS[number % 8]}"], "Subject: x\r\n\r\nx\r\n")
            until(lambda: len(far.copies()) == 20, "all of it is delivered, by the one that is there")
        until(lambda: server.joined, "it is back", 90)
        assert server.stop() == 0
        audit(server)
    assert all("program reads versions" in fall["text"] for fall in falls(server)[1:])
    assert {fall["process"] for fall in falls(server)} == {"engine-1"}


def test_an_engine_that_is_stuck_is_told_not_waited_for_and_killed(tmp_path: Path) -> None:
    with FarEnd() as far:
        server = Server(tmp_path, gateway=far.port, engines=2)
        text = server.config.read_text()
        server.config.write_text(text.replace("drain_time = 5", 'drain_time = 5\nstuck_after = "10s"'))
        try:
            server.start()
            until(lambda: server.joined, "both engines know each other")
            stuck = server.children()["engine-1"]
            os.kill(stuck, signal.SIGSTOP)
            until(lambda: '"process_stuck"' in server.log.read_text(), "it is told")
            summary = ask(server.data, "queue-summary")
            shown = {one["name"]: (one["up"], one["stuck"]) for one in ask(server.data, "processes")["processes"]}
            # A connection that the system gives to the stuck one waits, and breaks when it is killed: try again.
            sent = [f"r{number}@{domain}" for number, domain in enumerate(DOMAINS)]
            for recipient in sent:
                until(lambda recipient=recipient: taken(server, recipient), "it is taken")  # type: ignore[misc]
            until(lambda: server.children().get("engine-1", stuck) != stuck, "it is killed, and started again")
            until(lambda: server.joined, "it is back")
            until(server.quiet, "the queue is empty")
            assert server.stop() == 0
        finally:
            if server.process is not None and server.process.poll() is None:
                server.kill()
        audit(server)
        copies = far.copies()
    assert summary["missing"] == [1]
    assert shown["engine-0"] == (True, False) and shown["engine-1"] == (False, True)
    assert copies.keys() == set(sent)
    assert [fall["text"] for fall in falls(server)] == ["killed: it was stuck for 10 s"]


def taken(server: Server, recipient: str) -> bool:
    with contextlib.suppress(OSError, smtplib.SMTPException), smtplib.SMTP("127.0.0.1", server.smtp_port) as client:
        client.sendmail("s@sender.test", [recipient], "Subject: x\r\n\r\nx\r\n")
        return True
    return False


def falls(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text().splitlines() if '"process_fell"' in line]


@contextlib.contextmanager
def later_version(folder: Path) -> Iterator[None]:
    """The journal in this folder has a segment that a later version began."""
    segment = folder / "event-00009999.seg"
    head = bytearray(FileHeader(EVENT, 1, 9999, 0, 0, 1_700_000_000_000, 1).pack())
    head[8:10] = (VERSION + 1).to_bytes(2, "little")
    head[120:128] = xxh3_64_intdigest(bytes(head[:120])).to_bytes(8, "little")
    segment.write_bytes(head)
    try:
        yield
    finally:
        segment.unlink()


def killed_again_and_again(folder: Path, rounds: int, seed: int, engines: int) -> str:
    """kill -9 of an engine, of another kind of process, or of the supervisor, in turn, under load."""
    rng = Random(seed)
    promises = Promises()
    kills: list[tuple[float, float]] = []  # when it died, and when there was another in its place
    with FarEnd(HABITS, seed=seed, keep=False) as far:
        server = Server(folder, gateway=far.port, delivery=DELIVERY, extra=RETRY, engines=engines)
        try:
            server.start()
            with injecting(injectors(server, promises)):
                for number in range(rounds):
                    goal = len(promises.kept) + 100
                    until(lambda goal=goal: len(promises.kept) >= goal, "more are acknowledged")  # type: ignore[misc]
                    time.sleep(rng.uniform(0.0, 0.3))  # a moment that is nobody's
                    victims = sorted(server.children())
                    victim = ["supervisor", *victims][number % (len(victims) + 1)]
                    began = time.monotonic()
                    if victim == "supervisor":
                        server.kill()
                        kills.append((began, time.monotonic()))
                        server.start()
                        continue
                    before = server.children()[victim]
                    os.kill(before, signal.SIGKILL)
                    until(lambda v=victim, b=before: server.children().get(v, b) != b, f"{victim} is back")  # type: ignore[misc]
                    kills.append((began, time.monotonic()))
            until(server.quiet, "the queue is empty", 90)
            assert server.stop() == 0
        finally:
            if server.process is not None and server.process.poll() is None:
                server.kill()
        report = audit(server)
        taken = list(far.taken)
    times: dict[str, list[float]] = defaultdict(list)
    for one in taken:
        times[one.recipient].append(one.at)
    accepted = Counter(event["rcpt_to"] for event in events(server.data) if event["type"] == "injection")
    twice = {recipient for recipient, copies in times.items() if len(copies) > 1}
    handed = {recipient for recipient in twice if accepted[recipient] > 1}
    figures = (
        f"{rounds} kills, {engines} engines, seed {seed}: {len(promises.kept)} acknowledged, {len(twice)} twice, "
        f"{len(handed)} of them kept by two engines; {report}"
    )
    assert promises.kept - times.keys() == set(), figures
    assert times.keys() <= promises.tried, figures
    for recipient in twice:
        # Between two copies lies a kill: the first was on its way, or its hand-over was, when a process died.
        pairs = zip(times[recipient], times[recipient][1:], strict=False)
        for first, second in pairs:
            assert any(first <= back and began <= second for began, back in kills), (recipient, figures)
    # A client waits for its answer: what is being handed over at a kill is at most a transaction of each.
    assert len(handed) <= len(kills) * 4 * 3, figures
    assert report["queued"] == 0, figures
    return figures


def test_killed_under_load(tmp_path: Path) -> None:
    print(killed_again_and_again(tmp_path, 8, 1, 2))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("engines", [1, 2, 4])
def test_killed_hundreds_of_times(tmp_path: Path, engines: int) -> None:
    print(killed_again_and_again(tmp_path, 200, engines, engines))
