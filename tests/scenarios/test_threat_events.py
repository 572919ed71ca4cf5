"""A stranger whose mail is refused, however late, can't fill the journal with events of it; nothing goes uncounted."""

from __future__ import annotations

import smtplib
from pathlib import Path

import pytest

from tests.scenarios.ends import events
from tests.scenarios.server import free_port, serving

MOST = 3
MESSAGES = 20
LISTENER = """
[[listener]]
address = "127.0.0.1:{port}"
relay_domains = ["ours.test"]
max_rejection_events = {most}
max_bad_commands = 1000

[[rule]]
name = "never"
phase = "{phase}"
when = "sender == 's@s.test'"
action = "reject"
text = "5.7.1 never"
"""


@pytest.mark.parametrize("phase", ["rcpt_to", "message", "each_recipient", "final_validation"])
def test_refusals_of_policy_are_told_within_bounds(tmp_path: Path, phase: str) -> None:
    port = free_port()
    rule = LISTENER.format(port=port, most=MOST, phase=phase)
    with serving(tmp_path / "server", extra=rule) as server:
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
            for _ in range(MESSAGES):
                with pytest.raises(smtplib.SMTPException, match="never"):
                    client.sendmail("s@s.test", ["a@ours.test"], "Subject: x\r\n\r\nx\r\n")
        assert server.stop() == 0
        refused = [event for event in events(server.data) if event["type"] == "policy_rejection"]
    assert len(refused) == MOST + 1
    assert sum(int(event.get("rejections", "1")) for event in refused) == MESSAGES
