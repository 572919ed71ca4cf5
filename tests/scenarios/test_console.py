"""The operator's console from outside: a real server, commands and HTTP, and what comes of them at the far end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import smtplib
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from postroad.auth import new_key
from postroad.lab.rules import Rule
from postroad.serve import ControlError, ask
from tests.scenarios.ends import audit
from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import Server, serving, until

LATER = Rule(name="later", recipient="*@later.test", reply="451 4.7.1 Come back later")
ADMIN, ADMIN_HASH = new_key()
KEY = f'[[http.keys]]\nlabel = "operator"\nsha256 = "{ADMIN_HASH}"\ngrants = ["admin"]\n'


class Scene(NamedTuple):
    server: Server
    far: FarEnd

    def send(self, *recipients: str, sender: str = "ann@home.test", subject: str = "hello") -> None:
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port, "client.test") as client:
            for recipient in recipients:
                client.sendmail(sender, [recipient], f"Subject: {subject}\r\n\r\ntext\r\n".encode())

    def ask(self, verb: str, **arguments: object) -> Any:
        return ask(self.server.data, verb, wait=60, **arguments)

    def states(self, domain: str) -> tuple[int, int, int]:
        """(active, delayed, in flight)"""
        paths = self.ask("queue-summary", domain=domain)["paths"]
        return tuple(sum(path[name] for path in paths) for name in ("active", "delayed", "in_flight"))

    def delayed(self, number: int, domain: str = "later.test") -> None:
        until(lambda: self.states(domain) == (0, number, 0), f"{number} messages are delayed")

    def command(self, *words: str) -> Any:
        done = self.server.command(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def http(self, method: str, path: str, body: object = None, key: str = ADMIN) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.server.http_port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **({"Authorization": key} if key else {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with FarEnd([LATER]) as far, serving(tmp_path, gateway=far.port, extra=KEY) as server:
        yield Scene(server, far)


def test_why_does_this_message_wait(scene: Scene) -> None:
    scene.send("bob@later.test")
    scene.delayed(1)
    (row,) = scene.command("queue", "list", "--domain", "later.test")
    assert row["state"] == "delayed" and row["attempts"] == 1 and row["last_code"] == 451
    told = scene.command("message", "explain", row["id"])
    assert told["reason"] == "the last attempt did not succeed" and told["waits_for"].startswith("its time, in ")
    assert told["eta"] == told["next_attempt"] and told["history_complete"] is True
    assert [(event["type"], event.get("reply")) for event in told["attempts"]] == [
        ("injection", None),
        ("delay", "451 4.7.1 Come back later"),
    ]
    shown = scene.command("message", "show", row["id"])
    assert (shown["sender"], shown["recipient"]) == ("ann@home.test", "bob@later.test")
    assert "Subject: hello\r\n" in shown["header"]
    text = scene.server.command("message", "explain", row["id"]).stdout
    assert "451 4.7.1 Come back later" in text and "waits for  its time" in text


def test_the_limit_that_holds_a_path_is_named(tmp_path: Path) -> None:
    slow = Rule(name="slow", step="message", delay=30)
    with FarEnd([slow]) as far, serving(tmp_path, gateway=far.port, delivery="max_connections = 1") as server:
        scene = Scene(server, far)
        scene.send(*(f"u{n}@slow.test" for n in range(5)))
        until(lambda: scene.states("slow.test") == (4, 0, 1), "one is in flight, four wait")
        told = scene.ask("path-explain", domain="slow.test")
        binding = [limit["name"] for limit in told["limits"] if limit["binds"]]
        assert binding == ["connection goal"] or "path" in str(binding)
        assert len(told["connections"]) == 1 and told["connections"][0]["step"] == "content"
        flying, *waiting = scene.ask("queue-list", domain="slow.test")["messages"]
        assert told["connections"][0]["message"] == flying["id"] and flying["state"] == "in-flight"
        assert scene.ask("message-explain", id=flying["id"])["waits_for"].startswith("it is on its way to 127.0.0.1")
        positions = [scene.ask("message-explain", id=one["id"])["position"] for one in waiting]
        assert positions == [0, 1, 2, 3]
        server.kill()


def test_fail_shows_first_then_does_exactly_what_was_shown(scene: Scene) -> None:
    scene.send(*(f"u{n}@later.test" for n in range(12)), "other@later.test")
    scene.delayed(13)
    refused = scene.server.command("message", "fail", "--recipient", "u*")
    assert refused.returncode == 2 and "12 messages are meant" in refused.stderr and "--yes" in refused.stderr
    dry = scene.command("message", "fail", "--recipient", "u*", "--dry-run")
    assert dry["count"] == 12 and len(dry["sample"]) == 10 and "token" not in dry
    shown = scene.ask("fail", recipient="u*")
    scene.send("u99@later.test")  # came after the look: not meant
    scene.delayed(14)
    with pytest.raises(ControlError, match="a token says all"):
        scene.ask("fail", token=shown["token"], notify=True)
    assert scene.ask("fail", token=shown["token"]) == {"verb": "fail", "count": 12, "done": 12}
    with pytest.raises(ControlError, match="not known"):
        scene.ask("fail", token=shown["token"])
    left = {scene.ask("message-show", id=one["id"])["recipient"] for one in scene.ask("queue-list")["messages"]}
    assert left == {"other@later.test", "u99@later.test"}
    events = scene.server.command("events", "tail", "--type", "bounce", "--json").stdout.splitlines()
    bounces = [json.loads(line) for line in events]
    assert len(bounces) == 12 and {event["bounce_class"] for event in bounces} == {"25"}
    assert scene.far.taken == []  # nobody was notified
    trail = scene.command("console", "log")
    assert [(line["verb"], line["phase"]) for line in trail] == [("fail", "begin"), ("fail", "end")]
    assert re.fullmatch(r"user \S+", trail[0]["who"]) and trail[0]["arguments"] == {"recipient": "u*"}
    assert trail[0]["count"] == 12 and trail[1]["became"] == {"done": 12}
    scene.server.stop()
    assert audit(scene.server)["queued"] == 2


def test_retry_and_flush_try_at_once_and_delay_holds(scene: Scene) -> None:
    scene.send("u1@later.test", "u2@later.test")
    scene.delayed(2)
    scene.far.behave()
    assert scene.command("message", "delay", "--recipient", "u2@*", "--seconds", "3000", "--yes")["done"] == 1
    assert scene.command("message", "retry", "--recipient", "u1@*")["done"] == 1
    until(lambda: scene.far.copies() == {"u1@later.test": 1}, "the first one arrives")
    assert scene.states("later.test") == (0, 1, 0)
    assert scene.command("path", "flush", "later.test")["done"] == 1
    until(lambda: scene.far.copies() == {"u1@later.test": 1, "u2@later.test": 1}, "the second one arrives")
    with pytest.raises(ControlError, match="suspend its domain"):
        scene.ask("delay", all=True, seconds=10**6)


def test_reroute_sends_a_domains_mail_to_other_hosts(scene: Scene) -> None:
    scene.send("u1@later.test", "u2@later.test", subject="moved")
    scene.delayed(2)
    scene.far.behave()
    unknown = scene.server.command("message", "rebind", "--domain", "later.test", "--to", "nowhere", "--yes")
    assert unknown.returncode == 1 and "known: default" in unknown.stderr
    done = scene.command("message", "reroute", "--domain", "later.test", "--to", "Elsewhere.test", "--yes")
    assert done == {"verb": "reroute", "count": 2, "done": 2}
    assert scene.states("later.test") == (0, 0, 0) and scene.states("elsewhere.test") == (0, 2, 0)
    scene.server.kill()
    scene.server.start()
    until(scene.server.recovered, "the queue is loaded")
    assert scene.states("elsewhere.test") == (0, 2, 0)
    scene.command("path", "flush", "elsewhere.test")
    until(lambda: scene.far.copies() == {"u1@later.test": 1, "u2@later.test": 1}, "both arrive")
    until(scene.server.quiet, "their ends are written")
    told = scene.server.command("events", "tail", "--type", "delivery", "--json").stdout.splitlines()
    assert [json.loads(line)["routing_domain"] for line in told] == ["elsewhere.test"] * 2
    ended = scene.command("message", "show", json.loads(told[0])["message_id"])
    assert (ended["state"], ended["domain"], ended["sender"]) == ("ended", "elsewhere.test", "ann@home.test")
    assert ended["recipient"] in scene.far.copies() and "delivery" in ended["text"] and ended["history_complete"]
    assert all(b"\r\nSubject: moved\r\n\r\ntext\r\n" in taken.content for taken in scene.far.taken)
    until(scene.server.quiet, "the queue is empty")
    scene.server.stop()
    assert audit(scene.server)["queued"] == 0


def test_a_suspended_domain_stays_suspended_over_a_restart(scene: Scene) -> None:
    told = scene.command("path", "suspend", "--domain", "Held.test", "--note", "they asked us to wait")
    assert told["domain"] == "held.test" and told["until"] is None
    scene.command("path", "suspend", "--binding", "other", "--until", "2h")
    scene.send("a@held.test", "b@free.test")
    until(lambda: scene.far.copies() == {"b@free.test": 1}, "the other domain is served")
    assert scene.ask("path-explain", domain="held.test")["waits_for"] == (
        "an operator suspended it: they asked us to wait"
    )
    scene.server.kill()
    scene.server.start()
    until(scene.server.recovered, "the queue is loaded")
    scene.send("c@held.test", "d@free.test")
    until(lambda: scene.far.copies() == {"b@free.test": 1, "d@free.test": 1}, "the other domain is served again")
    assert scene.states("held.test") == (2, 0, 0)
    assert [rule["domain"] for rule in scene.command("path", "suspended")] == ["held.test", ""]
    scene.command("path", "resume", "--domain", "held.test")
    until(lambda: len(scene.far.copies()) == 4, "all arrive")
    wrong = scene.server.command("path", "resume", "--domain", "held.test")
    assert wrong.returncode == 1 and "other/*" in wrong.stderr


def test_the_same_over_http(scene: Scene) -> None:
    scene.send("u1@later.test", "u2@later.test")
    scene.delayed(2)
    base = "/api/admin/v1"
    assert scene.http("GET", f"{base}/overview", key="")[0] == 401
    status, answer = scene.http("GET", f"{base}/overview", key=scene.server.key)
    assert status == 403 and "admin" in answer["errors"][0]["description"]
    status, answer = scene.http("GET", f"{base}/queue-summary?domain=later.test")
    assert status == 200 and answer["results"] == scene.ask("queue-summary", domain="later.test")
    status, answer = scene.http("GET", f"{base}/queue-list?limit=1&state=delayed")
    assert status == 200 and len(answer["results"]["messages"]) == 1
    assert scene.http("GET", f"{base}/queue-list?limit=x")[0] == 400
    assert scene.http("GET", f"{base}/queue-list?colour=x")[0] == 400
    assert scene.http("GET", f"{base}/nonsense")[0] == 404
    assert scene.http("GET", f"{base}/fail")[0] == 405 and scene.http("POST", f"{base}/overview", {})[0] == 405
    assert scene.http("POST", f"{base}/fail", [1])[0] == 422
    status, answer = scene.http("POST", f"{base}/fail", {})
    assert status == 400 and "nothing is selected" in answer["errors"][0]["description"]
    status, answer = scene.http("POST", f"{base}/fail", {"domain": "later.test"})
    assert status == 200 and answer["results"]["count"] == 2
    token = answer["results"]["token"]
    with pytest.raises(ControlError, match="another operator"):
        scene.ask("fail", token=token)
    status, answer = scene.http("POST", f"{base}/fail", {"token": token})
    assert (status, answer["results"]) == (200, {"verb": "fail", "count": 2, "done": 2})
    assert scene.ask("log")["log"][0]["who"] == "key operator from 127.0.0.1"


_SAMPLE = re.compile(r"^([a-z_]+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)


def test_metrics(scene: Scene) -> None:
    scene.send("u1@later.test", "u2@free.test")
    scene.delayed(1)
    until(lambda: len(scene.far.copies()) == 1, "one arrives")
    until(lambda: scene.server.status()[0] == 1, "its end is written")
    with urllib.request.urlopen(f"http://127.0.0.1:{scene.server.http_port}/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = response.read().decode()
    samples = {match[1] + (match[2] or ""): float(match[3]) for match in _SAMPLE.finditer(text)}
    assert samples['postroad_accepted_totalengine="0"'] == 2 and samples['postroad_ended_totalengine="0"'] == 1
    assert samples['postroad_attempts_totaloutcome="delivered",engine="0"'] == 1
    assert samples['postroad_attempts_totaloutcome="deferred",engine="0"'] == 1
    assert samples['postroad_queue_messagesstate="delayed"'] == 1
    assert samples['postroad_process_upprocess="engine-0"'] == samples['postroad_process_upprocess="control"'] == 1
    assert samples['postroad_acceptingengine="0"'] == 1 and samples['postroad_alarmname="disk"'] == 0
    dashboard = json.loads((Path(__file__).parents[2] / "examples/grafana/postroad.json").read_text())
    wanted = set(re.findall(r"postroad_[a-z_]+", json.dumps(dashboard)))
    known = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    # A consumer's lag has a sample only where there is a consumer.
    assert wanted - {"postroad_events_lag_seconds"} <= known and len(wanted) > 10


def test_a_live_trace_shows_both_ends_and_no_content(scene: Scene) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "postroad", "trace", "--peer", "127.0.0.0/8", "--seconds", "60", "--json"],
        cwd=scene.server.folder,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as tracing:
        assert tracing.stdout is not None
        until(lambda: any(line["verb"] == "trace" for line in scene.ask("log")["log"]), "the trace runs")
        scene.send("bob@free.test", subject="first line")
        seen = []
        for text in tracing.stdout:
            seen.append(json.loads(text))
            if sum(line["line"].startswith("S: 250 2.0.0") or "kept" in line["line"] for line in seen) and any(
                line.get("domain") == "free.test" and line["line"] == "C: ." for line in seen
            ):
                break
        tracing.terminate()
    for direction in ("in", "out"):
        lines = [line["line"] for line in seen if line.get("direction") == direction]
        assert "C: RCPT TO:<BOB@FREE.TEST>" in "\n".join(lines).upper()
        assert any("octets of content" in line for line in lines)
    assert all(line["line"] != "text" for line in seen)
    # Nobody listens any more: nothing is left of it, and mail goes on.
    scene.send("eve@free.test")
    until(lambda: len(scene.far.copies()) == 2, "both arrive")
    with pytest.raises(ControlError, match="name a domain or a peer"):
        scene.ask("trace")


def test_a_trace_over_http(scene: Scene) -> None:
    base = f"http://127.0.0.1:{scene.server.http_port}/api/admin/v1/trace"
    assert scene.http("GET", "/api/admin/v1/trace?domain=free.test", key=scene.server.key)[0] == 403
    assert scene.http("GET", "/api/admin/v1/trace")[0] == 400
    assert scene.http("GET", "/api/admin/v1/trace?peer=nowhere")[0] == 400
    assert scene.http("GET", "/api/admin/v1/trace?domain=free.test&seconds=4000")[0] == 400
    request = urllib.request.Request(f"{base}?domain=free.test&seconds=60", headers={"Authorization": ADMIN})
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.headers["Content-Type"].startswith("application/x-ndjson")
        scene.send("bob@free.test", subject="secret")
        lines = []
        for text in response:
            lines.append(json.loads(text))
            if lines[-1]["line"] == "C: .":
                break
    assert {line["domain"] for line in lines} == {"free.test"}
    assert any("octets of content" in line["line"] for line in lines) and "C: text" not in str(lines)
    until(lambda: len(scene.far.copies()) == 1, "it arrives")
    (entry,) = scene.ask("log")["log"]
    assert (entry["verb"], entry["who"]) == ("trace", "key operator from 127.0.0.1")
    scene.send("eve@free.test")
    until(lambda: len(scene.far.copies()) == 2, "mail goes on")


class Terminal(NamedTuple):
    """A command of ours on a terminal of its own."""

    process: subprocess.Popen[bytes]
    descriptor: int

    def until(self, text: str) -> str:
        """What it shows, up to this text."""
        shown = b""
        while text.encode() not in shown:
            ready, _, _ = select.select([self.descriptor], [], [], 60)
            assert ready, shown
            shown += os.read(self.descriptor, 65536)
        return shown.decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())


@contextlib.contextmanager
def terminal(server: Server, *words: str) -> Iterator[Terminal]:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "postroad", *words],
        cwd=server.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "160", "LINES": "40"},
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_on_a_terminal_commands_ask_and_top_ends_with_q(scene: Scene) -> None:
    scene.send("u1@later.test")
    scene.delayed(1)
    with terminal(scene.server, "queue", "top", "--interval", "0.2") as top:
        top.until("later.test")
        top.type("q")
        assert top.process.wait(60) == 0
    for answer, left in (("n\n", 1), ("y\n", 0)):
        with terminal(scene.server, "message", "fail", "--all") as asking:
            assert "<u1@later.test>" in asking.until("[y/N]")
            asking.type(answer)
            assert asking.process.wait(60) == left
        until(lambda left=left: scene.server.status()[0] == left, "the answer is followed")  # type: ignore[misc]


def test_a_domain_may_be_named_as_people_write_it(scene: Scene) -> None:
    """A stop that is taken and stops nothing is worse than one that is refused."""
    scene.command("path", "suspend", "--domain", "BÜCHER.test")
    assert [rule["domain"] for rule in scene.ask("suspensions")["suspensions"]] == ["xn--bcher-kva.test"]
    scene.send("u1@xn--bcher-kva.test")
    until(lambda: scene.states("bücher.test") == (1, 0, 0), "it is held")
    done = scene.server.command("path", "suspend", "--domain", "no domain")
    assert done.returncode == 1 and "domain" in done.stderr
    scene.command("path", "resume", "--domain", "bücher.test")
    until(lambda: len(scene.far.copies()) == 1, "it goes out")


def test_what_strangers_wrote_does_not_command_the_terminal(scene: Scene) -> None:
    sender = "a\u202eb@home.test"
    with smtplib.SMTP("127.0.0.1", scene.server.smtp_port, "client.test") as client:
        client.command_encoding = "utf-8"
        client.ehlo()
        client.sendmail(sender, ["u1@later.test"], b"Subject: \x1b[2J\r\n\r\ntext\r\n", ["SMTPUTF8"])
    scene.delayed(1)
    (found,) = scene.ask("queue-list")["messages"]
    for words in (
        ("message", "show", found["id"]),
        ("message", "retry", "--dry-run", "--all"),
        ("message", "explain", found["id"]),
    ):
        shown = scene.server.command(*words).stdout
        assert "home.test" in shown or words[1] == "explain"
        assert "".join(shown.split("\n")).replace("\t", "").isprintable(), words
