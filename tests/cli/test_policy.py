"""`postroad policy`, as a user types it; the replay over the journal of a real server."""

from __future__ import annotations

import json
import smtplib
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from postroad.cli.app import app
from postroad.lab.rules import Rule
from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import serving, until

PLUGIN = """
import structlog
from postroad.policy import Discard, Reject, Tarpit
log = structlog.get_logger()
def connect(facts):
    return Tarpit(200)
def rcpt_to(facts):
    return Reject("5.1.1 who?") if facts.recipient.startswith("nobody@") else None
def each_recipient(facts):
    log.warning("seen", who=facts.recipient)
    if facts.recipient.startswith("broken@"):
        raise RuntimeError("boom")
    if facts.recipient.startswith("hole@"):
        return Discard("a hole")
    if facts.recipient.startswith("big@"):
        facts.binding, facts.context["k"] = "bulk", "v"
        facts.content.set("Subject", "for big")
"""
CONFIG = """
[server]
data_dir = "data"
[[policy]]
file = "mine.py"
[[rule]]
name = "closed"
phase = "mail_from"
when = "sender_domain == 'closed.example'"
action = "reject"
text = "5.7.1 closed"
listeners = ["127.0.0.1:25"]
[[listener]]
address = "127.0.0.1:25"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "postroad.toml").write_text(CONFIG)
    (tmp_path / "m.eml").write_text("Subject: hello\nFrom: a@x.example\n\ntext\n")
    return tmp_path


def run(folder: Path, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["policy", command, "--config", str(folder / "postroad.toml"), *arguments])


def test_what_hooks_said_and_what_became_of_it(folder: Path) -> None:
    to = [word for name in ("a", "nobody", "hole", "big") for word in ("--to", f"{name}@x.example")]
    result = run(folder, "test", str(folder / "m.eml"), "--from", "s@y.example", *to)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "connect mine - tarpit 200 -" in lines
    assert "rcpt_to mine nobody@x.example reject 550 5.1.1 who? -" in lines
    assert "each_recipient mine big@x.example continue content, context.k, binding" in lines or (
        "each_recipient mine big@x.example continue binding, content, context.k" in lines
    )
    assert "a@x.example: taken from <s@y.example>, for x.example" in lines
    assert "hole@x.example: discarded: a hole" in lines
    assert "big@x.example: taken from <s@y.example>, for x.example, binding bulk, context k=v" in lines
    assert "-Subject: hello" in lines and "+Subject: for big" in lines
    assert "seen" in result.stderr and "seen" not in result.stdout


def test_json_and_a_refusal(folder: Path) -> None:
    arguments = ["test", str(folder / "m.eml"), "--from", "s@closed.example", "--json"]
    result = run(folder, *arguments, "--listener", "127.0.0.1:25")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["refused"] == "550 5.7.1 closed" and told["messages"] == []
    assert told["said"][-1] == {
        "phase": "mail_from",
        "plugin": "closed",
        "recipient": "",
        "said": "reject 550 5.7.1 closed",
        "changed": [],
        "error": "",
    }
    told = json.loads(run(folder, *arguments).stdout)  # another listener
    assert told["refused"] is None
    (copy,) = told["messages"]
    assert copy["message"] == "Subject: hello\r\nFrom: a@x.example\r\n\r\ntext\r\n"
    people = run(folder, "test", str(folder / "m.eml"), "--from", "s@closed.example", "--listener", "127.0.0.1:25")
    assert "refused: 550 5.7.1 closed" in people.stdout


def test_one_phase_http_and_all_refused(folder: Path) -> None:
    message = str(folder / "m.eml")
    told = json.loads(run(folder, "test", message, "--phase", "rcpt_to", "--json").stdout)
    assert [one["phase"] for one in told["said"]] == ["rcpt_to"]
    told = json.loads(run(folder, "test", message, "--http", "--json").stdout)
    assert told["said"] == [] and len(told["messages"]) == 1
    told = json.loads(run(folder, "test", message, "--to", "nobody@x.example", "--json").stdout)
    assert told["refused"] == "550 5.1.1 who?"


def test_a_hook_that_fails_ends_with_1(folder: Path) -> None:
    result = run(folder, "test", str(folder / "m.eml"), "--to", "broken@x.example")
    assert result.exit_code == 1
    assert "failed: RuntimeError: boom" in result.stdout and "refused: 451 4.3.0" in result.stdout


def test_mistakes_are_explained(folder: Path) -> None:
    message = str(folder / "m.eml")
    for arguments, code, text in (
        (["test", message, "--phase", "nonsense"], 2, "there is no phase 'nonsense'; known: connect"),
        (["test", str(folder / "none.eml")], 1, "No such file"),
        (["test", message, "--to", "no address"], 1, "the address has no @"),
        (["replay", "--running", str(folder / "postroad.toml")], 2, "--config is the running configuration itself"),
        (["replay", "--from", "yesterday"], 2, "'yesterday' is not begin"),
    ):
        result = run(folder, *arguments)
        assert (result.exit_code, text in result.stderr) == (code, True), result.output
    other = folder / "other.toml"
    other.write_text(CONFIG)
    result = run(folder, "replay", "--running", str(other))
    assert result.exit_code == 1 and "there is no journal in" in result.stderr
    (folder / "mine.py").write_text("def connect(facts)\n")
    for command in (["list"], ["test", message]):
        result = run(folder, *command)
        assert result.exit_code == 1 and "mine.py:1: SyntaxError" in result.stderr


def test_a_list_without_a_server(folder: Path) -> None:
    rows = json.loads(run(folder, "list", "--json").stdout)
    assert [(row["phase"], row["plugin"], row["listeners"], row["calls"]) for row in rows] == [
        ("connect", "mine", [], None),
        ("mail_from", "closed", ["127.0.0.1:25"], None),
        ("rcpt_to", "mine", [], None),
        ("each_recipient", "mine", [], None),
    ]
    lines = [" ".join(line.split()) for line in run(folder, "list").stdout.splitlines()]
    assert lines[0] == "phase plugin listeners calls errors said"
    assert "mail_from closed 127.0.0.1:25 - - -" in lines
    (folder / "postroad.toml").write_text("")
    assert "No [[policy]] and no [[rule]]" in run(folder, "list").stdout


OLD = """
[[rule]]
name = "old"
phase = "each_recipient"
when = "recipient.startsWith('b')"
action = "reject"
text = "5.7.1 not b"
"""
NEW = """
[[rule]]
name = "new"
phase = "each_recipient"
when = "recipient.startsWith('c') && header('Subject') == 'spam'"
action = "reject"
text = "5.7.1 not c"
[[rule]]
name = "deep"
phase = "message"
when = "body_contains('x')"
action = "reject"
[[rule]]
name = "hello"
phase = "ehlo"
when = "name == 'x'"
action = "reject"
"""


def test_a_replay_of_what_a_real_server_took(tmp_path: Path) -> None:
    with FarEnd([Rule(name="all")]) as far, serving(tmp_path, gateway=far.port, extra=OLD) as server:
        with smtplib.SMTP("127.0.0.1", server.smtp_port, "client.test") as client:
            for recipient, subject in (("a@x.test", "hi"), ("c@x.test", "spam"), ("c@y.test", "hi")):
                client.sendmail("ann@home.test", [recipient], f"Subject: {subject}\r\n\r\ntext\r\n".encode())
            with pytest.raises(smtplib.SMTPDataError, match="not b"):
                client.sendmail("ann@home.test", ["b@x.test"], b"Subject: hi\r\n\r\ntext\r\n")
        until(server.quiet, "all is delivered")
        changed = tmp_path / "changed.toml"
        changed.write_text(server.config.read_text().replace(OLD, NEW))

        def replay(*more: str) -> subprocess.CompletedProcess[str]:
            done = server.command("policy", "replay", "--config", "changed.toml", *more)
            assert done.returncode == 0, done.stderr
            return done

        told = json.loads(replay("--json").stdout)
        assert (told["mails"], told["same"], told["differ"]) == (4, 2, 2)
        assert sorted((kind["was"], kind["becomes"], kind["by"]) for kind in told["kinds"]) == [
            ("reject", "taken", "old.each_recipient"),
            ("taken", "reject", "new.each_recipient"),
        ]
        assert told["passed_over"] == [{"hook": "deep.message", "mails": 4, "looked_at": ["content"]}]
        assert told["not_asked"] == {"ehlo": "events don't keep the EHLO name"}
        (rejected,) = [one for one in told["samples"] if one["new"]["verdict"] == "reject"]
        assert rejected["event"]["rcpt_to"] == "c@x.test"
        text = replay().stdout
        assert "4 mails: 2 as before, 2 otherwise" in text
        assert "<ann@home.test> -> <c@x.test>: taken => reject 550 5.7.1 not c (new.each_recipient)" in text
        assert json.loads(replay("--json", "--from", "end").stdout)["mails"] == 0

        rows = json.loads(server.command("policy", "list", "--json").stdout)
        (row,) = rows
        assert (row["plugin"], row["phase"], row["calls"], row["said"]) == ("old", "each_recipient", 4, {"reject": 1})
        assert not row["errors"]
        server.config.write_text(changed.read_text())  # and not loaded yet
        people = server.command("policy", "list").stdout
        assert "The server runs with others, which the file does not have: old.each_recipient" in people
        assert server.stop() == 0
