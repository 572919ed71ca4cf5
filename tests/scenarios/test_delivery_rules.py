"""Rules on replies, hints, curfews, blackholes and loops from outside: a real server and far end, the commands."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from postroad.lab.rules import Rule
from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import Server, serving, until
from tests.scenarios.test_reload import reload, rewrite, send

FULL = "552 5.2.2 <u0@full.test> mailbox is full"
GREY = "450 4.2.0 Greylisted, try again in 10 minutes"

RULES = """
[[reply]]
name = "full-mailboxes"
stages = ["rcpt"]
codes = ["552"]
pattern = "(?i)mailbox is full"
action = "temporary"
wait = "6h"
samples = ["552 5.2.2 mailbox is full"]
"""


def events(server: Server) -> list[dict[str, Any]]:
    done = server.command("events", "tail", "--json", "--config", str(server.config))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def of(server: Server, kind: str, domain: str) -> list[dict[str, Any]]:
    return [event for event in events(server) if event.get("type") == kind and event.get("routing_domain") == domain]


def test_a_rule_makes_a_no_a_not_now_and_says_so_and_a_reload_takes_it_back(tmp_path: Path) -> None:
    with FarEnd() as far, serving(tmp_path, gateway=far.port, extra=RULES) as server:
        far.behave(Rule(name="full", domain="full.test", reply=FULL), Rule(name="grey", domain="grey.test", reply=GREY))
        send(server, 1, "full.test")
        send(server, 1, "grey.test")
        until(lambda: of(server, "delay", "full.test") and of(server, "delay", "grey.test"), "both are put off")
        (delay,) = of(server, "delay", "full.test")
        assert (delay["raw_reason"], delay["reason"]) == (FULL, "450 4.2.2 <u0@full.test> mailbox is full")
        assert (delay["error_code"], delay["reply_rule"]) == ("450", "full-mailboxes")
        assert 6 * 3600 - 60 <= int(delay["next_attempt"]) - time.time() <= 6 * 3600
        (hinted,) = of(server, "delay", "grey.test")
        assert hinted["retry_hint"] == "600" and "reply_rule" not in hinted
        assert 600 - 60 <= int(hinted["next_attempt"]) - time.time() <= 660

        told = server.command("message", "explain", delay["message_id"], "--config", str(server.config)).stdout
        assert "rule full-mailboxes acted on that reply: it counts as 450 4.2.2" in told
        told = server.command("message", "explain", hinted["message_id"], "--config", str(server.config)).stdout
        assert "it asked us to come back in" in told

        rewrite(server, 'pattern = "(?i)mailbox is full"', 'pattern = "(mailbox"')
        failed = server.command("config", "reload", "--config", str(server.config))
        assert failed.returncode == 1 and "is no RE2 expression" in failed.stderr
        rewrite(server, 'pattern = "(mailbox"', 'pattern = "no such text"\nbinding = "default"')
        rewrite(server, 'samples = ["552 5.2.2 mailbox is full"]\n', "")
        reload(server)
        send(server, 1, "full.test", "v")
        until(lambda: of(server, "bounce", "full.test"), "without the rule it is a no")
        (bounce,) = of(server, "bounce", "full.test")
        assert bounce["raw_reason"] == FULL and "reply_rule" not in bounce


def test_a_curfew_holds_says_until_when_and_a_reload_ends_it(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    begin, end = now - timedelta(hours=2), now + timedelta(hours=2)
    curfew = f'[[domain]]\nmatch = "*.quiet.test"\ncurfew = ["{begin:%H:%M}-{end:%H:%M} UTC"]\n'
    with FarEnd() as far, serving(tmp_path, gateway=far.port, extra=curfew) as server:
        send(server, 2, "a.quiet.test")
        send(server, 1, "loud.test")
        until(lambda: far.copies() == {"u0@loud.test": 1}, "the mail without a curfew")
        told = server.command("path", "explain", "default", "a.quiet.test", "--config", str(server.config)).stdout
        assert f"a curfew holds it until {end:%Y-%m-%d %H:%M} UTC; the mail still expires" in told
        rewrite(server, "curfew = [", "curfew = [] # [")
        reload(server)
        until(lambda: len(far.copies()) == 3, "the mail that was held")


def test_a_blackhole_ends_mail_with_an_event_and_without_a_word_to_its_sender(tmp_path: Path) -> None:
    hole = '[[domain]]\nmatch = "hole.test"\nblackhole = "discard"\n'
    with FarEnd() as far, serving(tmp_path, gateway=far.port, extra=hole) as server:
        send(server, 3, "hole.test")
        until(lambda: len(of(server, "bounce", "hole.test")) == 3, "they end")
        ends = of(server, "bounce", "hole.test")
        assert {(each["error_code"], each["bounce_class"]) for each in ends} == {("551", "25")}
        assert all("[internal]" in each["raw_reason"] and "blackhole" in each["raw_reason"] for each in ends)
        assert [each for each in events(server) if each.get("routing_domain") == "s.test"] == []  # no notification
        assert far.copies() == {}


def test_a_gateway_that_is_our_own_listener_makes_no_loop(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        text = server.config.read_text()
        server.config.write_text(f'{text}\n[[domain]]\nmatch = "loop.test"\ngateway = "127.0.0.1:{server.smtp_port}"\n')
        reload(server)
        send(server, 1, "loop.test")
        until(lambda: of(server, "bounce", "loop.test"), "it ends")
        (bounce,) = of(server, "bounce", "loop.test")
        assert bounce["error_code"] == "550" and "5.4.6" in bounce["raw_reason"]
