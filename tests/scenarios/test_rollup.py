"""Forty domains on one host, rolled up: to the receiver they are one path."""

from __future__ import annotations

import smtplib
from collections import Counter
from pathlib import Path

import pytest

from postroad.serve import ask
from tests.scenarios.counting import CountingSink
from tests.scenarios.ends import audit
from tests.scenarios.server import free_port, serving, until

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
