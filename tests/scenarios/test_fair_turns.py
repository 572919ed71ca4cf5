"""A big campaign does not delay another sender's ten messages to the same domain. What is counted is how much of the
campaign the far end takes between the moment the ten are accepted and the arrival of the last of them: no clock."""

from __future__ import annotations

import json
import smtplib
from contextlib import closing
from pathlib import Path

import pytest

from tests.scenarios.clients import post
from tests.scenarios.ends import audit
from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import Server, serving, until

CHUNK = 5_000  # recipients of one request
CONNECTIONS = 4
TEN = [f"ten-{number}@far.test" for number in range(10)]


def campaign(server: Server, size: int) -> None:
    for start in range(0, size, CHUNK):
        request = {
            "campaign_id": "spring",
            "recipients": [{"address": f"c{number}@far.test"} for number in range(start, start + CHUNK)],
            "content": {"from": "news@sender.test", "subject": "News", "text": "Spring has come."},
        }
        answer = post(server, json.dumps(request).encode())
        assert answer.code == 200, answer


def play(folder: Path, size: int) -> None:
    with (
        FarEnd(keep=False) as far,
        serving(folder, gateway=far.port, delivery=f"max_connections = {CONNECTIONS}") as server,
    ):
        assert server.command("path", "suspend", "--domain", "far.test").returncode == 0
        campaign(server, size)
        assert not far.taken
        assert server.command("path", "resume", "--domain", "far.test").returncode == 0
        until(lambda: len(far.taken) > 100, "the campaign is under way")
        with closing(smtplib.SMTP("127.0.0.1", server.smtp_port, "client.test", timeout=30)) as client:
            for recipient in TEN:
                assert client.sendmail("ann@other.test", [recipient], b"Subject: hello\r\n\r\ntext\r\n") == {}
        accepted = len(far.taken)
        until(lambda: set(TEN) <= {one.recipient for one in far.taken}, "the ten arrive")
        places = [place for place, one in enumerate(far.taken) if one.recipient in TEN]
        # There was a long line to be put at the end of.
        assert places[-1] < size / 2
        # One of the campaign for one of the ten, and what was on its way on each connection; half as much again for
        # what passed while this thread looked.
        assert places[-1] - accepted <= (2 * len(TEN) + 2 * CONNECTIONS) * 1.5
        assert server.command("path", "suspend", "--domain", "far.test").returncode == 0  # the rest is of no interest
        until(lambda: server.status()[1] == 0, "nothing is in flight")
        assert server.stop() == 0
        report = audit(server)
        to_come = sum(job["to_come"] for job in report["jobs"])
        assert report["queued"] + to_come == size + len(TEN) - len(far.taken)
        assert "Traceback" not in server.log.read_text()


def test_ten_messages_pass_a_campaign(tmp_path: Path) -> None:
    play(tmp_path, 50_000)


@pytest.mark.soak
def test_ten_messages_pass_a_very_big_campaign(tmp_path: Path) -> None:
    play(tmp_path, 500_000)
