"""TLS out of a real server: what its events say, and a reload that makes it stricter."""

from __future__ import annotations

import json
import smtplib
from pathlib import Path
from typing import Any

from tests.deliver.tls.peers import Certificates, TlsPeer, server_context
from tests.scenarios.ends import audit, events
from tests.scenarios.far_end import LoopThread
from tests.scenarios.server import Server, serving, until

DOMAINS = """
[[domain]]
match = "sure.test"
tls = "required"
tls_verify = "host"
tls_ca = "{ca}"
[[domain]]
match = "stranger.test"   # the system's authorities know nothing of the test's
tls = "required"
tls_verify = "host"
[[domain]]
match = "plain.test"
tls = "no"
"""


def send(server: Server, *recipients: str) -> None:
    with smtplib.SMTP("127.0.0.1", server.smtp_port, timeout=30) as client:
        for recipient in recipients:
            client.sendmail("s@s.test", [recipient], "Subject: x\r\n\r\nx\r\n")


def told(server: Server, kind: str, recipient: str) -> dict[str, Any]:
    """The last event of this type about the recipient."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found[:] = [e for e in events(server.data) if e["type"] == kind and e.get("rcpt_to") == recipient]
        return bool(found)

    until(look, f"{kind} of {recipient}")
    return found[-1]


def test_what_events_say_and_what_a_reload_changes(tmp_path: Path) -> None:
    issued = Certificates(tmp_path)
    peer = TlsPeer(server_context(issued.authority.issue_cert("127.0.0.1")))
    with LoopThread() as thread:
        thread.run(peer.start())
        with serving(tmp_path, gateway=peer.port, extra=DOMAINS.format(ca=issued.file)) as server:
            send(server, "u@any.test", "u@sure.test", "u@plain.test", "u@stranger.test")
            for recipient, encrypted in (("u@any.test", "1"), ("u@sure.test", "1"), ("u@plain.test", "0")):
                assert told(server, "delivery", recipient)["outbound_tls"] == encrypted
            delay = told(server, "delay", "u@stranger.test")
            assert delay["outbound_tls"] == "0"
            assert "the host's certificate is not accepted" in delay["raw_reason"]

            server.config.write_text(server.config.read_text().replace('tls = "no"', 'tls = "required"'))
            done = server.command("config", "reload", "--json", "--config", str(server.config))
            assert done.returncode == 0, done.stderr
            assert not json.loads(done.stdout)["restart"]
            send(server, "v@plain.test")
            assert told(server, "delivery", "v@plain.test")["outbound_tls"] == "1"
            audit(server)

            server.config.write_text(server.config.read_text().replace(issued.file, "/gone/ca.pem"))
            failed = server.command("config", "reload", "--config", str(server.config))
            assert failed.returncode != 0
            assert "can't be read" in failed.stderr
        thread.run(peer.stop())
