"""Many domains on one host, rolled up: to the receiver they are one path, to the operator as well, and each domain can
still be held and ended alone."""

from __future__ import annotations

import smtplib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from postroad.lab.dnsserver import LabDns, Zone
from postroad.serve import ask
from tests.scenarios.counting import CountingSink
from tests.scenarios.ends import audit, events
from tests.scenarios.far_end import LoopThread
from tests.scenarios.server import Server, free_port, serving, until

HOST = "127.0.0.41"
DOMAINS = [f"d{number}.test" for number in range(40)]
MOST = 3
EACH = 5


@pytest.mark.parametrize("engines", [1, 2])
def test_domains_that_are_rolled_up_share_one_path(tmp_path: Path, engines: int) -> None:
    """Never more connections than one path may have, and these carry the mail of all; one domain that is suspended
    holds back its own mail only."""
    port = free_port()
    with CountingSink((HOST,), pause=0.005) as far:
        extra = (
            f'[[listener]]\naddress = "127.0.0.1:{port}"\nrelay = true\n'
            f'[[provider]]\nname = "big"\ndomains = ["*.test"]\nrollup = true\ngateway = "{HOST}:{far.port}"\n'
            '[[domain]]\nmatch = "d7.test"\nsuspend_delivery = true'
        )
        with serving(tmp_path, delivery=f"max_connections = {MOST}", extra=extra, engines=engines) as server:
            until(lambda: server.joined, "every engine is there")
            sent = [f"u{number}@{domain}" for number in range(EACH) for domain in DOMAINS]
            with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
                assert client.sendmail("s@sender.test", sent, b"Subject: x\r\n\r\nx\r\n") == {}
            free = [address for address in sent if not address.endswith("@d7.test")]
            until(lambda: len(far.came) >= len(free), lambda: f"all others' mail: {len(far.came)} came")
            assert Counter(each.recipient for each in far.came) == Counter(free)
            assert far.most["all"] == MOST
            if engines == 1:
                # Who is first in line takes over what another domain has no more use for.
                assert far.accepted < 20
            server.config.write_text(server.config.read_text().replace("suspend_delivery = true", ""))
            ask(server.data, "reload")
            until(server.quiet, "the rest is delivered")
            assert Counter(each.recipient for each in far.came) == Counter(sent)
            assert far.most["all"] == MOST
            assert server.stop() == 0
            assert audit(server)["queued"] == 0


CUSTOMERS = [f"c{number}.test" for number in range(50)]


def zone() -> Zone:
    """Fifty domains with the hosts of one provider, in one order under different preferences; one that has only one of
    its hosts."""
    names: dict[str, dict[str, object]] = {f"mx{n}.big.test": {"A": [HOST]} for n in (1, 2)}
    for number, domain in enumerate(CUSTOMERS):
        names[domain] = {"MX": [f"{10 + number} mx1.big.test", f"{20 + number} mx2.big.test"]}
    names["other.test"] = {"MX": ["10 mx2.big.test"]}
    return Zone.from_dict(names)


def asked(server: Server, verb: str, **arguments: object) -> Any:
    return ask(server.data, verb, wait=60, **arguments)


def summary(server: Server, domain: str = "") -> dict[str, dict[str, Any]]:
    return {row["domain"]: row for row in asked(server, "queue-summary", domain=domain)["paths"]}


@pytest.mark.parametrize("engines", [1, 2])
def test_domains_with_the_same_mx_are_one_path(tmp_path: Path, engines: int) -> None:
    """Found out by look-ups. Limits are those of one path, sessions carry mail of many domains, one line in the summary
    names them; one domain is suspended, another failed, and all others arrive."""
    port = free_port()
    names = LoopThread()
    dns = LabDns(zone())
    with names, CountingSink((HOST,), pause=0.01) as far:
        server_port = names.run(dns.start())
        extra = (
            f'[[listener]]\naddress = "127.0.0.1:{port}"\nrelay = true\n'
            '[[provider]]\nname = "big"\nmx_suffixes = ["big.test"]\nrollup = true\n'
            f'[dns]\nservers = ["127.0.0.1:{server_port}"]\n'
        )
        delivery = f"max_connections = {MOST}\nport = {far.port}\nuse_ipv6 = false"
        try:
            with serving(tmp_path, delivery=delivery, extra=extra, engines=engines) as server:
                until(lambda: server.joined, "every engine is there")
                for domain in (CUSTOMERS[7], CUSTOMERS[8]):
                    asked(server, "suspend", domain=domain)
                sent = [f"u{number}@{domain}" for number in range(EACH) for domain in (*CUSTOMERS, "other.test")]
                with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
                    assert client.sendmail("s@sender.test", sent, b"Subject: x\r\n\r\nx\r\n") == {}
                until(lambda: "big (mx1.big.test)" in summary(server), "the domains are found to be one path")
                row = summary(server)["big (mx1.big.test)"]
                assert len(row["domains"]) > 1 and set(row["domains"]) <= set(CUSTOMERS)
                held = [address for address in sent if address.endswith(("@c7.test", "@c8.test"))]
                free = [address for address in sent if address not in held]
                until(lambda: len(far.came) >= len(free), lambda: f"all others' mail: {len(far.came)} came")
                assert Counter(each.recipient for each in far.came) == Counter(free)
                assert far.most["all"] == MOST and far.accepted < len(CUSTOMERS)
                told = asked(server, "fail", domain="c7.test")
                assert told["count"] == EACH
                assert asked(server, "fail", token=told["token"])["done"] == EACH
                asked(server, "resume", domain="c8.test")
                until(server.quiet, "the rest is delivered")
                assert Counter(each.recipient for each in far.came) == Counter(
                    address for address in sent if not address.endswith("@c7.test")
                )
                assert far.most["all"] == MOST
                bounced = [event for event in events(server.data) if event["type"] == "bounce"]
                assert {event["routing_domain"] for event in bounced if event["rcpt_to"] in held} == {"c7.test"}
                delivered = [event for event in events(server.data) if event["type"] == "delivery"]
                assert all(event["rcpt_to"].endswith(f"@{event['routing_domain']}") for event in delivered)
                assert server.stop() == 0
                assert audit(server)["queued"] == 0
        finally:
            names.run(dns.stop())
