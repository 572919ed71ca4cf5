"""kill -9 at random moments, over and over, under load: nothing acknowledged is lost, and only messages that were on
their way at a kill arrive twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from postroad.events import Kind
from postroad.journal import audit as audit_files
from postroad.lab.rules import Rule
from tests.scenarios.ends import audit, ends
from tests.scenarios.far_end import FarEnd, Taken
from tests.scenarios.injectors import HttpInjector, Injector, Promises, SmtpInjector, injecting, key_of, same
from tests.scenarios.server import Server, until

DOMAINS = ("one.test", "two.test", "three.test")
CONNECTIONS = 2  # to each of those domains, and to the senders' own
PATHS = len(DOMAINS) + 1

HABITS = (
    Rule(name="refused", recipient="*+refused@*", reply="550 5.1.1 No such user here"),
    Rule(name="grey", recipient="*+grey@*", greylist=0.3, reply="451 4.7.1 Come back later"),
    Rule(name="slow to answer", step="message", percent=10, delay=0.03),
)
# Some wait until the kills are over: they hold on to their segments, which makes compaction worth while.
STUCK = Rule(name="stuck", recipient="*+stuck@*", reply="451 4.2.2 Mailbox full")
# Nothing gets through: the queue grows, so that the next start has something to recover.
CLOSED = (Rule(name="closed", step="mail", reply="451 4.3.2 Not now"),)

DELIVERY = f'max_connections = {CONNECTIONS}\nhost_failure_retry = "1s"'
# Small segments, soon dropped: kills meet segment changes, removals and compaction.
JOURNAL = """
[queue]
retry_interval = "500ms"
max_retry_interval = "1s"

[journal]
segment_size = "64KB"
event_retention = "5s"
compact_below = 0.9
min_free = "1MB"
"""


def recipients(key: str) -> Sequence[str]:
    """One, three, one that is refused, one that is put off at first, or one that is put off for long."""
    rng = Random(key)
    kind = rng.choice(("one",) * 7 + ("three", "three", "refused", "grey", "stuck"))
    if kind == "three":
        return [f"{key}@{rng.choice(DOMAINS)}", f"{key}+1@{DOMAINS[0]}", f"{key}+2@{DOMAINS[1]}"]
    return [f"{key}{'' if kind == 'one' else '+' + kind}@{rng.choice(DOMAINS)}"]


@dataclass
class Rounds:
    """Kills a server that works, again and again.

    windows: for each kill, the recipients that the far end had taken in that life of the server and of whose delivery
    the journal had no event: those may be sent again, and no others. ended: delivered, as the journal says. most:
    endings in one commit, at the most.
    """

    server: Server
    far: FarEnd
    rng: Random
    windows: list[set[str]] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    most: int = 0
    seen: int = 0

    def play(self) -> None:
        """One life of the server: at times it ends before the server answers, or while it loads the queue."""
        self.far.behave(*self.rng.choice(((*HABITS, STUCK), (*HABITS, STUCK), CLOSED)))
        if self.rng.random() < 0.4:
            self.server.spawn()
            time.sleep(self.rng.uniform(0.3, 1.0))
        else:
            self.server.start()
            # Compaction and retention look around once a second: some lives are long enough for them.
            time.sleep(self.rng.uniform(0.0, self.rng.choice((0.7, 0.7, 0.7, 2.0))))
        self.server.kill()
        # What the server had written to its sockets is still taken by the far end.
        until(lambda: self.far.sessions == 0, "the far end has seen the end")
        self.look()

    def look(self) -> None:
        if not (self.server.data / "journal").is_dir():
            return  # killed before its first file
        found = ends(self.server.data)
        self.most = max(self.most, found.most)
        self.ended |= {recipient for recipient, kind in found.ends.items() if kind is Kind.DELIVERY}
        taken = self.far.taken[self.seen :]
        self.seen += len(taken)
        self.windows.append({one.recipient for one in taken if one.sender} - self.ended)
        report = audit_files(self.server.data / "journal")
        assert report.clean, report


def run_rounds(folder: Path, rounds: int, seed: int) -> str:
    """Returns the figures, for people."""
    spoilt: list[str] = []

    def inspect(taken: Taken) -> None:
        if taken.recipient.startswith("smtp") and taken.sender and not same(key_of(taken.recipient), taken.content):
            spoilt.append(taken.recipient)

    promises = Promises()
    with FarEnd(HABITS, seed=seed, keep=False, inspect=inspect) as far:
        server = Server(folder, gateway=far.port, delivery=DELIVERY, extra=JOURNAL)
        play = Rounds(server, far, Random(seed))
        injectors: list[Injector] = [
            SmtpInjector(f"smtp{number}", server.smtp_port, promises, recipients) for number in range(3)
        ]
        injectors.append(HttpInjector("http0", server.http_port, promises, recipients, api_key=server.key))
        try:
            with injecting(injectors):
                for _ in range(rounds):
                    play.play()
                far.behave(*HABITS)
                server.start()
            until(server.quiet, "the queue is empty", 90)
            assert server.stop() == 0
        finally:
            if server.process is not None and server.process.poll() is None:
                server.kill()
        report = audit(server)
        copies = far.copies()

    refused = {recipient for recipient in promises.kept if "+refused@" in recipient}
    lost = promises.kept - refused - copies.keys()
    untold = {f"{key_of(recipient)}@sender.test" for recipient in refused} - copies.keys()
    mail = {recipient: count for recipient, count in copies.items() if not recipient.endswith("@sender.test")}
    # Each kill allows one copy more of what was on its way at that moment.
    allowed = Counter(recipient for window in play.windows for recipient in window)
    twice = Counter({recipient: count - 1 for recipient, count in mail.items() if count > 1})
    unexplained = twice - allowed
    largest = max(map(len, play.windows), default=0)
    figures = (
        f"{rounds} rounds, seed {seed}: {len(promises.kept)} recipients acknowledged, {len(lost)} lost, "
        f"{len(untold)} senders not told, {twice.total()} duplicates; in flight at a kill: {allowed.total()} in all, "
        f"{largest} at the most; endings in a commit: {play.most} at the most; {report}"
    )
    assert not spoilt, figures
    assert (lost, untold, unexplained) == (set(), set(), Counter()), figures
    # A commit is under way, and the endings of the next one have come meanwhile.
    assert largest <= CONNECTIONS * PATHS + 2 * play.most, figures
    assert mail.keys() <= promises.tried, figures
    assert report["queued"] == 0, figures
    return figures


def test_killed_at_random_moments(tmp_path: Path) -> None:
    print(run_rounds(tmp_path, 10, 1))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_killed_hundreds_of_times(tmp_path: Path, seed: int) -> None:
    print(run_rounds(tmp_path, 150, seed))
