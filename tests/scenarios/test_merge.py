"""Mail merge seen from outside: a template kept over HTTP, sent at once to one and to many; whose data does not fit,
and who is suppressed, is told of by an event."""

from __future__ import annotations

import json
import smtplib
from pathlib import Path
from typing import Any

from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import Server, serving, until
from tests.scenarios.test_transmissions import managed, request

CONTENT = {"from": "{{shop}} <news@sender.test>", "subject": "For {{name}}", "text": "Hi {{user.name}}\n"}


GRANTS = ("transmissions/modify", "transmissions/view", "templates/modify", "suppression_lists/manage")


def events(server: Server) -> list[dict[str, Any]]:
    lines = server.command("events", "tail", "--json", "--config", str(server.config)).stdout.splitlines()
    return [json.loads(line) for line in lines]


def failures(server: Server) -> list[dict[str, Any]]:
    return [event for event in events(server) if event["type"] in ("generation_failure", "bounce")]


def test_template_to_one_and_to_many(tmp_path: Path) -> None:
    with FarEnd() as far, serving(tmp_path, gateway=far.port) as server:
        until(lambda: managed(server), "the management API is there")
        grants = [word for grant in GRANTS for word in ("--grant", grant)]
        server.key = server.command("key", "create", "merge", *grants, "--config", str(server.config)).stdout.strip()
        status, _ = request(server, "POST", "/templates", {"id": "welcome", "published": True, "content": CONTENT})
        assert status == 200
        stopped = {"recipients": [{"recipient": "stop@one.test", "type": "non_transactional"}]}
        assert request(server, "PUT", "/suppression-list", stopped)[0] == 200
        shared = {"content": {"template_id": "welcome"}, "substitution_data": {"shop": "Shop"}}
        named = {"user": {"name": "Kim"}, "name": "Kim"}
        for recipients in (
            [{"address": "kim@one.test", "substitution_data": named}],
            [{"address": "none@one.test"}],
            [
                {"address": "mara@one.test", "substitution_data": named},
                {"address": "stop@one.test", "substitution_data": named},
                {"address": "nobody@one.test"},
            ],
        ):
            status, answer = request(server, "POST", "/transmissions", {**shared, "recipients": recipients})
            assert status == 200, answer
            assert answer["results"]["total_accepted_recipients"] == len(recipients)
        until(lambda: len(far.taken) == 2, "two are delivered")
        until(lambda: len(failures(server)) == 3, "three have failed")
        assert sorted(each.recipient for each in far.taken) == ["kim@one.test", "mara@one.test"]
        for taken in far.taken:
            assert b'From: "Shop" <news@sender.test>\r\n' in taken.content
            assert b"Subject: For Kim\r\n" in taken.content
            assert taken.content.endswith(b"\r\n\r\nHi Kim\r\n")
        told = {event["rcpt_to"]: event for event in failures(server)}
        assert told["stop@one.test"]["bounce_class"] == "25"
        assert told["stop@one.test"]["reason"].startswith("554 5.7.1 recipient address was suppressed")
        for who in ("none@one.test", "nobody@one.test"):
            event = told[who]
            assert event["type"] == "generation_failure"
            problem = "substitution value 'user' did not exist or was null"
            assert event["reason"] == f"554 5.3.3 [internal] Error while rendering part text: line 1: {problem}"
            assert event["rcpt_subs"] == {"shop": "Shop"}
        assert server.stop() == 0


def test_mail_by_smtp_to_who_is_suppressed(tmp_path: Path) -> None:
    with FarEnd() as far, serving(tmp_path, gateway=far.port) as server:
        until(lambda: managed(server), "the management API is there")
        grants = ("--grant", "suppression_lists/manage")
        server.key = server.command("key", "create", "lists", *grants, "--config", str(server.config)).stdout.strip()
        stopped = {"recipients": [{"recipient": "stop@one.test", "type": "non_transactional"}]}
        assert request(server, "PUT", "/suppression-list", stopped)[0] == 200
        with smtplib.SMTP("127.0.0.1", server.smtp_port, "client.test", timeout=30) as client:
            for header in ("", 'X-MSYS-API: {"options": {"transactional": true}}\r\n'):
                refused = client.sendmail(
                    "", ["Stop@one.test", "kim@one.test"], f"{header}From: a@sender.test\r\n\r\nhello\r\n"
                )
                assert refused == {}
        until(lambda: len(far.taken) == 3, "three are delivered")
        until(lambda: failures(server), "one has failed")
        assert sorted(each.recipient for each in far.taken) == ["Stop@one.test", "kim@one.test", "kim@one.test"]
        (event,) = failures(server)
        assert (event["type"], event["raw_rcpt_to"], event["bounce_class"]) == ("bounce", "Stop@one.test", "25")
        assert event["reason"].startswith("554 5.7.1 recipient address was suppressed due to customer policy")
        told = [each["type"] for each in events(server) if each.get("message_id") == event["message_id"]]
        assert told == ["injection", "bounce"]
        assert server.stop() == 0
