"""Receivers that go wrong at every step, side by side with a healthy one: it gets its mail, each of theirs comes to an
end that is told, and nothing is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from postroad.events import Kind
from postroad.lab.dnsserver import LabDns, Zone
from tests.deliver.peers import Peer, Wrong
from tests.scenarios.ends import audit, ends
from tests.scenarios.far_end import FarEnd
from tests.scenarios.injectors import Promises, SmtpInjector, injecting
from tests.scenarios.server import serving, until

STEPS = ("banner", "ehlo", "mail", "rcpt", "data", "content")
# Right in form and wrong in place, or not a reply at all.
ODD = {
    "early": b"354 go on\r\n250 2.0.0 got it\r\n",
    "code": b"999 what\r\n",
    "never-ending": b"250-and more\r\n" * 400,
    "binary": bytes(range(256)) * 4,
}
MESSAGES = 3  # to each domain
OPTIONS = """
[queue]
retry_interval = "500ms"
max_retry_interval = "1s"
message_expiration = "4s"

[dns]
servers = ["127.0.0.1:{port}"]
"""
DELIVERY = """
port = {port}
use_ipv6 = false
host_failure_retry = "500ms"
max_connections = 2
connect_timeout = "500ms"
banner_timeout = "300ms"
ehlo_timeout = "300ms"
mail_timeout = "300ms"
rcpt_timeout = "300ms"
data_timeout = "300ms"
body_timeout = "300ms"
final_timeout = "300ms"
quit_timeout = "300ms"
"""


def madness() -> dict[str, Any]:
    """Domain -> the step that goes wrong there, and how."""
    cases: dict[str, Any] = {}
    for step in STEPS:
        for wrong in Wrong:
            cases[f"{wrong.name.lower()}-{step}.test"] = {step: wrong}
        for name, octets in ODD.items():
            cases[f"{name}-{step}.test"] = {step: octets}
    return cases


def test_mad_peers(tmp_path: Path) -> None:
    cases = madness()
    addresses = {domain: f"127.78.{number >> 8}.{number & 255}" for number, domain in enumerate(cases, 1)}
    names: dict[str, dict[str, object]] = {
        f"mx.{domain}": {"A": [address]} for domain, address in {**addresses, "healthy.test": "127.0.0.1"}.items()
    }
    names |= {domain: {"MX": [f"10 mx.{domain}"]} for domain in (*cases, "healthy.test")}
    names["sender.test"] = {"MX": ["10 mx.healthy.test"]}
    domains = ["healthy.test", *cases]
    promises = Promises()

    def to(key: str) -> list[str]:
        return [f"{key}@{domain}" for domain in domains]

    with FarEnd() as far:
        peers = {domain: Peer(**case) for domain, case in cases.items()}
        dns = LabDns(Zone.from_dict(names))
        far.run(_start(peers, addresses, far.port))
        extra = OPTIONS.format(port=far.run(dns.start()))
        try:
            with serving(tmp_path, delivery=DELIVERY.format(port=far.port), extra=extra) as server:
                with injecting([SmtpInjector("smtp", server.smtp_port, promises, to, limit=MESSAGES)]):
                    until(lambda: len(promises.kept) == MESSAGES * len(domains), "all are acknowledged")
                until(server.quiet, "every message has come to an end")
                log = server.log.read_text()
                assert server.stop() == 0
                report = audit(server)
                end = ends(server.data).ends
        finally:
            far.run(dns.stop())
            far.run(_stop(peers))
        copies = far.copies()

    healthy = {address for address in promises.kept if address.endswith("@healthy.test")}
    assert {address: copies[address] for address in healthy} == dict.fromkeys(healthy, 1)
    for address in promises.kept:
        kind = Kind.DELIVERY if address in healthy else Kind.BOUNCE
        assert (address, end.get(address)) == (address, kind)
    # Every sender heard of it: a notification for each message that could not be delivered.
    told = [taken for taken in far.taken if not taken.sender]
    assert len(told) == MESSAGES * len(cases)
    assert report["queued"] == 0
    assert "Traceback" not in log


async def _start(peers: dict[str, Peer], addresses: dict[str, str], port: int) -> None:
    for domain, peer in peers.items():
        await peer.start(addresses[domain], port)


async def _stop(peers: dict[str, Peer]) -> None:
    await asyncio.gather(*(peer.stop() for peer in peers.values()))
