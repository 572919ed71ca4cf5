"""The name servers are gone while mail is queued, and come back: every message is delivered, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from postroad.lab.dnsserver import LabDns, Zone
from tests.scenarios.ends import audit, events
from tests.scenarios.far_end import FarEnd
from tests.scenarios.injectors import Promises, SmtpInjector, injecting
from tests.scenarios.server import serving, until

DOMAINS = ("one.test", "two.test", "three.test")
OPTIONS = """
[queue]
retry_interval = "500ms"
max_retry_interval = "1s"

[dns]
servers = ["127.0.0.1:{port}"]
timeout = "200ms"
attempts = 1
min_ttl = "0s"
failure_ttl = "200ms"
negative_ttl = "200ms"
"""


def zone() -> Zone:
    names: dict[str, dict[str, object]] = {f"mx.{domain}": {"A": ["127.0.0.1"]} for domain in DOMAINS}
    # A record without life: each attempt asks again.
    names |= {domain: {"MX": [f"10 mx.{domain}"], "ttl": 0} for domain in (*DOMAINS, "sender.test")}
    names["sender.test"] = {"MX": ["10 mx.one.test"]}
    return Zone.from_dict(names)


@pytest.mark.parametrize("gone", ["stopped", "servfail", "timeout", "garbage"])
def test_names_gone_and_back(tmp_path: Path, gone: str) -> None:
    promises = Promises()
    with FarEnd() as far:
        dns = LabDns(zone())
        port = far.run(dns.start())
        down: dict[str, Callable[[], object]] = {"stopped": lambda: far.run(dns.stop())}
        up: dict[str, Callable[[], object]] = {"stopped": lambda: far.run(dns.start(port=port))}
        fault = down.get(gone, lambda: far.call(lambda: dns.zone.fault(".", gone)))  # type: ignore[arg-type]
        repair = up.get(gone, lambda: far.call(lambda: dns.zone.fault(".", None)))
        delivery = f'port = {far.port}\nuse_ipv6 = false\nhost_failure_retry = "500ms"\nidle_timeout = "100ms"'

        def to(key: str) -> list[str]:
            return [f"{key}@{domain}" for domain in DOMAINS]

        try:
            with serving(tmp_path, delivery=delivery, extra=OPTIONS.format(port=port)) as server:
                fault()
                client = SmtpInjector("smtp", server.smtp_port, promises, to, limit=20)
                with injecting([client]):
                    until(lambda: len(promises.kept) == 60, "all are acknowledged")
                until(lambda: _delayed(server.data) == promises.kept, "each has been put off")
                assert far.copies() == {}
                repair()
                until(server.quiet, "the queue is empty")
                assert server.stop() == 0
                report = audit(server)
        finally:
            far.run(dns.stop())
    assert far.copies() == dict.fromkeys(promises.kept, 1)
    assert report["terminal"] == report["accepted"] == 60


def _delayed(data: Path) -> set[str]:
    """Recipients with a delay for want of names."""
    told = [event for event in events(data) if event["type"] == "delay"]
    assert all("4.4.3" in event["raw_reason"] for event in told), told[:1]
    return {event["rcpt_to"] for event in told}
