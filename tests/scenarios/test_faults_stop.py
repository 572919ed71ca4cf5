"""SIGTERM under load: the server finishes what it has begun, and no client is left without its answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroad.lab.rules import Rule
from tests.scenarios.ends import audit
from tests.scenarios.far_end import FarEnd
from tests.scenarios.injectors import HttpInjector, Injector, Promises, SmtpInjector, injecting
from tests.scenarios.server import serving, until

DOMAINS = ("one.test", "two.test")
DELIVERY = 'max_connections = 2\nhost_failure_retry = "1s"'
RETRY = '[queue]\nretry_interval = "300ms"\nmax_retry_interval = "300ms"'

HABITS = (
    Rule(name="grey", recipient="*3@*", greylist=0.2, reply="451 4.7.1 Come back later"),
    Rule(name="slow to answer", step="message", percent=20, delay=0.05),
)


@pytest.mark.parametrize("engines", [1, 2])
def test_stopped_under_load(tmp_path: Path, engines: int) -> None:
    """Three times in a row: exit code 0; every acknowledged message arrives once, and no other one does."""
    promises = Promises()

    def to(key: str) -> list[str]:
        return [f"{key}-{number}@{domain}" for number, domain in enumerate(DOMAINS)]

    with (
        FarEnd(HABITS) as far,
        serving(tmp_path, gateway=far.port, delivery=DELIVERY, extra=RETRY, engines=engines) as server,
    ):
        injectors: list[Injector] = [
            SmtpInjector(f"smtp{number}", server.smtp_port, promises, to) for number in range(3)
        ]
        injectors.append(HttpInjector("http0", server.http_port, promises, to, api_key=server.key))
        codes = []
        with injecting(injectors):
            for _ in range(3):
                goal = len(promises.kept) + 200
                until(lambda goal=goal: len(promises.kept) >= goal, "200 more are acknowledged")  # type: ignore[misc]
                codes.append(server.stop())
                server.start()
        until(server.quiet, "the queue is empty")
        codes.append(server.stop())
        report = audit(server)
        copies = far.copies()

    assert codes == [0, 0, 0, 0]
    assert [address for address, count in copies.items() if count > 1] == []
    assert promises.kept - copies.keys() == set()
    assert copies.keys() - promises.kept == set()
    # A client over HTTP may meet a connection that is just being closed; one over SMTP is told 421 first.
    assert {address for address in promises.unknown if address.startswith("smtp")} == set()
    assert promises.refused.keys() <= {421, 503}
    assert report["queued"] == 0
