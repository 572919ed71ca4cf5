"""A real server that sends batches: to smtp-sink, and to a provider with habits while it is killed in the middle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

from tests.scenarios.ends import audit
from tests.scenarios.far_end import FarEnd, Taken
from tests.scenarios.injectors import HttpInjector, Injector, Promises, SmtpInjector, injecting, key_of, letter, same
from tests.scenarios.real_ends import SmtpSink
from tests.scenarios.scene import Scene
from tests.scenarios.server import Server, free_port, serving, until
from tests.scenarios.test_faults_kill import CONNECTIONS, DELIVERY, HABITS, JOURNAL, PATHS, Rounds

BATCH = 8
ROUNDS = 4


def test_one_letter_to_many_is_one_transaction(tmp_path: Path) -> None:
    with (
        SmtpSink(tmp_path / "sink") as sink,
        serving(tmp_path / "server", gateway=sink.port, delivery="max_recipients_per_batch = 50") as server,
    ):
        scene = Scene("smtp-sink", server, sink, free_port())
        recipients = [scene.address() for _ in range(120)]
        with scene.smtp() as client:
            client.sendmail("a@sender.test", recipients, letter("many"))
        until(server.quiet, "the queue is empty")
        arrived = sink.arrived()
        assert Counter(recipient for one in arrived for recipient in one.recipients) == Counter(recipients)
        # The first connection takes 50 of them at once; how the rest falls on others is a matter of moments.
        assert max(len(one.recipients) for one in arrived) == 50
        assert all(same("many", one.content) for one in arrived)
        assert server.stop() == 0
        assert audit(server)["queued"] == 0


def many(key: str) -> Sequence[str]:
    """Up to twelve of one domain, some of them refused or put off at first."""
    rng = Random(key)
    habits = [rng.choice(("", "", "", "", "+refused", "+grey")) for _ in range(rng.choice((1, 3, 12)))]
    return [f"{key}+{number}{habit}@one.test" for number, habit in enumerate(habits)]


def test_killed_in_the_middle_of_batches(tmp_path: Path) -> None:
    spoilt: list[str] = []

    def inspect(taken: Taken) -> None:
        if taken.recipient.startswith("smtp") and taken.sender and not same(key_of(taken.recipient), taken.content):
            spoilt.append(taken.recipient)

    promises = Promises()
    with FarEnd(HABITS, seed=5, keep=False, inspect=inspect) as far:
        delivery = f"{DELIVERY}\nmax_recipients_per_batch = {BATCH}"
        server = Server(tmp_path, gateway=far.port, delivery=delivery, extra=JOURNAL)
        play = Rounds(server, far, Random(5))
        injectors: list[Injector] = [SmtpInjector(f"smtp{n}", server.smtp_port, promises, many) for n in range(2)]
        injectors.append(HttpInjector("http0", server.http_port, promises, many, api_key=server.key))
        try:
            with injecting(injectors):
                for _ in range(ROUNDS):
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
        batches = Counter((taken.sender, taken.at) for taken in far.taken)

    assert max(batches.values()) == BATCH
    refused = {recipient for recipient in promises.kept if "+refused@" in recipient}
    assert promises.kept - refused - copies.keys() == set(), "lost"
    assert {f"{key_of(recipient)}@sender.test" for recipient in refused} - copies.keys() == set(), "senders not told"
    mail = {recipient: count for recipient, count in copies.items() if not recipient.endswith("@sender.test")}
    allowed = Counter(recipient for window in play.windows for recipient in window)
    assert Counter({recipient: count - 1 for recipient, count in mail.items() if count > 1}) - allowed == Counter()
    # The batches that were on their way, a commit that was under way, and the endings that came meanwhile.
    assert max(map(len, play.windows)) <= CONNECTIONS * PATHS * BATCH + 2 * play.most
    assert mail.keys() <= promises.tried and not spoilt
    assert report["queued"] == 0
