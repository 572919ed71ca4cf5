"""Limits, bindings and reloads from outside: a real server, a real far end, and the commands a user types."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import smtplib
from collections import Counter
from pathlib import Path

from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import Server, serving, until

BINDINGS = """
[[binding]]
name = "one"
source_address = "127.0.0.2"
[[binding]]
name = "two"
source_address = "127.0.0.3"
[[group]]
name = "both"
members = [{ binding = "one", weight = 3 }, { binding = "two" }]
[[provider]]
name = "big"
domains = ["big.test"]
"""


def send(server: Server, count: int, domain: str, prefix: str = "u") -> None:
    with smtplib.SMTP("127.0.0.1", server.smtp_port, timeout=30) as client:
        for number in range(count):
            client.sendmail("s@s.test", [f"{prefix}{number}@{domain}"], "Subject: x\r\n\r\nx\r\n")


def rewrite(server: Server, old: str, new: str) -> None:
    text = server.config.read_text()
    assert old in text
    server.config.write_text(text.replace(old, new))


def reload(server: Server, *options: str) -> dict[str, object]:
    done = server.command("config", "reload", "--json", *options, "--config", str(server.config))
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_suspended_mail_is_let_go_by_a_reload_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    with FarEnd() as far, serving(tmp_path, gateway=far.port, extra=BINDINGS + "suspend_delivery = true") as server:
        send(server, 20, "big.test")
        send(server, 20, "small.test")
        until(lambda: len(far.copies()) == 20, "the mail that is not suspended")
        assert set(far.copies()) == {f"u{number}@small.test" for number in range(20)}

        rewrite(server, "suspend_delivery = true", "suspend_delivery = maybe")
        failed = server.command("config", "reload", "--config", str(server.config))
        assert failed.returncode == 1 and "Nothing was changed" in failed.stderr and "Traceback" not in failed.stderr
        rewrite(server, "suspend_delivery = maybe", "suspend_delivery = false\nmax_connections = 2")
        shown = server.command("config", "reload", "--dry-run", "--config", str(server.config))
        assert shown.stdout.splitlines() == [
            "provider[big].max_connections: (not set) -> 2",
            "provider[big].suspend_delivery: true -> false",
            "2 options would change; generation 1 counts",
        ]
        assert reload(server)["generation"] == 2
        until(lambda: len(far.copies()) == 40, "the mail that was suspended")

        back = server.command("config", "rollback", "--config", str(server.config))
        assert "provider[big].suspend_delivery: false -> true" in back.stdout and back.returncode == 0
        send(server, 1, "big.test", "late")
        send(server, 1, "small.test", "late")
        until(lambda: "late0@small.test" in far.copies(), "mail after the roll-back")
        assert "late0@big.test" not in far.copies()
        # The file still says otherwise, and a hang-up means: read it.
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGHUP)
        until(lambda: "late0@big.test" in far.copies(), "mail after the hang-up")
        assert server.stop() == 0


def test_bindings_are_chosen_by_weight_and_send_from_their_addresses(tmp_path: Path) -> None:
    sources: Counter[str] = Counter()
    with FarEnd() as far, serving(tmp_path, gateway=far.port, extra=BINDINGS) as server:
        rewrite(server, "relay = true", 'relay = true\ngroup = "both"')
        assert [change["name"] for change in restart(reload(server))] == [
            f"listener[127.0.0.1:{server.smtp_port}].group"
        ]
        assert server.stop() == 0
        server.start()
        send(server, 200, "big.test")
        until(lambda: len(far.copies()) == 200, "all of the mail")
        until(server.quiet, "an empty queue")
        listed = server.command("events", "tail", "--type", "delivery", "--json")
        assert listed.returncode == 0, listed.stderr
        events = [json.loads(line) for line in listed.stdout.splitlines()]
        sources = Counter(f"{event['binding']} {event['sending_ip']}" for event in events)
        assert server.stop() == 0
    assert set(sources) == {"one 127.0.0.2", "two 127.0.0.3"}
    assert 110 < sources["one 127.0.0.2"] < 190  # three of four; six deviations


def transmit(server: Server, recipient: str, **options: str) -> int:
    """The status of a transmission."""
    content = {"from": "s@s.test", "subject": "x", "text": "x"}
    body = {"options": options, "recipients": [{"address": recipient}], "content": content}
    headers = {"Authorization": server.key, "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/api/v1/transmissions", json.dumps(body), headers)
        return connection.getresponse().status


def test_a_transmission_names_its_group_and_the_rest_may_be_refused(tmp_path: Path) -> None:
    with FarEnd() as far, serving(tmp_path, gateway=far.port, delivery='default_binding = "none"') as server:
        assert transmit(server, "a@big.test") == 503
        assert transmit(server, "a@big.test", ip_pool="both") == 400
        server.config.write_text(server.config.read_text() + BINDINGS)
        reload(server)
        assert transmit(server, "b@big.test", ip_pool="both") == 200
        assert transmit(server, "c@big.test") == 503
        until(lambda: list(far.copies()) == ["b@big.test"], "the mail that named a group")
        assert server.stop() == 0


def restart(done: dict[str, object]) -> list[dict[str, str]]:
    found = done["restart"]
    assert isinstance(found, list)
    return found


def test_explain_tells_the_scope_and_the_line(tmp_path: Path) -> None:
    server = Server(tmp_path, extra=BINDINGS + 'max_connections = 7\n[[binding.domain]]\nmatch = "*.test"\nport = 26')
    where = ("--config", str(server.config))
    shown = server.command("config", "explain", "max_connections", "--domain", "big.test", *where).stdout.splitlines()
    line = server.config.read_text().splitlines().index("max_connections = 7") + 1
    assert shown[0] == "delivery.max_connections = 7"
    assert shown[2:] == [f'    provider "big": {server.config}:{line}', "    overrides 32 of [delivery]: default"]
    told = server.command(
        "config", "explain", "--json", "delivery.port", "--binding", "two", "--domain", "x.test", *where
    )
    (row,) = json.loads(told.stdout)
    assert (row["value"], row["scope"]) == (26, 'binding "two", domain "*.test"')
    assert row["overrides"] == [{"scope": "[delivery]", "text": "25", "origin": None}]
    wrong = server.command("config", "explain", "port", "--binding", "three", *where)
    assert wrong.returncode == 1 and wrong.stderr == "postroad: there is no binding three\n"
