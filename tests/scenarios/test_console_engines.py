"""Several engines, one console: every command sees all of them as one, and says so when one is away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import smtplib
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postroad.console import ANSWERS, ConsoleError, JointConsole
from postroad.lab.rules import Rule
from postroad.serve import ControlError, ask
from postroad.serve.line import SocketLine
from postroad.serve.owner import owner
from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import serving, until
from tests.scenarios.test_console import KEY, Scene

PER_DOMAIN = 3


def domains(engines: int) -> list[str]:
    """One for each engine, in order."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < engines:
        name = f"d{number}.test"
        found.setdefault(owner(name, engines), name)
        number += 1
    return [found[engine] for engine in range(engines)]


@pytest.fixture(params=[2, pytest.param(4, marks=pytest.mark.soak)])
def engines(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def scene(tmp_path: Path, engines: int) -> Iterator[Scene]:
    later = Rule(name="later", reply="451 4.7.1 Come back later")
    with FarEnd([later]) as far, serving(tmp_path, gateway=far.port, extra=KEY, engines=engines) as server:
        until(lambda: server.joined, "engines hand mail over to each other")
        yield Scene(server, far)


def fill(scene: Scene, engines: int) -> list[str]:
    names = domains(engines)
    scene.send(*(f"u{number}@{name}" for name in names for number in range(PER_DOMAIN)))
    until(lambda: [path["delayed"] for path in scene.ask("queue-summary")["paths"]] == [PER_DOMAIN] * engines, "delays")
    return names


def test_answers_have_the_shapes_they_are_described_with(scene: Scene, engines: int) -> None:
    names = fill(scene, engines)
    one = scene.ask("queue-list")["messages"][0]["id"]
    for verb, arguments in {
        "overview": {},
        "processes": {},
        "queue-summary": {},
        "queue-list": {},
        "message-show": {"id": one},
        "message-explain": {"id": one},
        "path-explain": {"domain": names[0]},
        "retry": {"domain": names[0], "dry_run": True},
        "fail": {"domain": names[0]},
        "flush": {"domain": names[0]},
        "suspend": {"domain": names[0]},
        "suspensions": {},
        "resume": {"domain": names[0]},
        "log": {},
    }.items():
        answer = scene.ask(verb, **arguments)
        msgspec.convert(answer, ANSWERS[verb])
    status, answer = scene.http("GET", f"/api/admin/v1/queue-list?domain={names[0]}&limit=2")
    assert status == 200 and len(msgspec.convert(answer["results"], ANSWERS["queue-list"]).messages) == 2  # type: ignore[attr-defined]


def processes(scene: Scene) -> dict[str, Any]:
    return {one["name"]: one for one in scene.ask("processes")["processes"]}


def test_every_command_sees_all_engines_as_one(scene: Scene, engines: int) -> None:
    names = fill(scene, engines)
    number = engines * PER_DOMAIN
    each = scene.server.each()
    assert [status[0] for status in each] == [PER_DOMAIN] * engines  # each engine has its own domain's
    assert scene.command("queue")["total"]["live"] == scene.server.status()[0] == number
    listed = scene.command("queue", "list", "--limit", "100")
    assert sorted(row["domain"] for row in listed) == sorted(names * PER_DOMAIN)
    assert len(scene.command("queue", "list", "--limit", "4")) == 4
    for name in names:
        row = next(row for row in listed if row["domain"] == name)
        assert scene.command("message", "show", row["id"])["recipient"].endswith(name)
        told = scene.command("message", "explain", row["id"])
        assert told["state"] == "delayed" and [one["type"] for one in told["attempts"]] == ["injection", "delay"]
        assert scene.command("path", "explain", "default", name)["delayed"] == PER_DOMAIN
    assert scene.server.command("message", "show", "00000000000000ff").returncode == 1
    assert set(processes(scene)) == {*(f"engine-{k}" for k in range(engines)), "control"}
    assert all(one["up"] and one["pid"] for one in processes(scene).values())
    shown = scene.server.command("console", "status")
    assert f"engine-{engines - 1}" in shown.stdout and f"messages         {number}" in shown.stdout

    lines = scene.server.command("events", "tail", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["type"] for event in events].count("delay") == number and len(events) == 2 * number
    assert len({event["event_id"] for event in events}) == len(events)
    cursor = events[number]["cursor"]
    assert cursor.count(":") == engines
    assert scene.server.command("events", "tail", "--json", "--from", cursor).stdout.splitlines() == lines[number:]
    audit = scene.command("audit")
    assert (audit["accepted"], audit["queued"], audit["clean"], len(audit["journals"])) == (
        number,
        number,
        True,
        engines,
    )
    assert scene.command("journal", "stat")["queued"] == number
    for words in (("journal", "check"), ("journal", "dump"), ("journal", "stat"), ("audit",)):
        done = scene.server.command(*words)
        assert done.returncode == 0 and f"engine {engines - 1}" in done.stdout, done.stderr


def test_a_token_stands_for_the_messages_of_all(scene: Scene, engines: int) -> None:
    names = fill(scene, engines)
    number = engines * PER_DOMAIN
    shown = scene.ask("fail", recipient="u0@*")
    assert shown["count"] == engines and len(shown["sample"]) == min(10, engines)
    scene.send(f"u0@{names[0]}")  # came after the look: not meant
    until(lambda: scene.ask("overview")["messages"] == number + 1, "one more")
    assert scene.ask("fail", token=shown["token"]) == {"verb": "fail", "count": engines, "done": engines}
    with pytest.raises(ControlError, match="not known"):
        scene.ask("fail", token=shown["token"])
    until(lambda: scene.ask("overview")["messages"] == number + 1 - engines, "they are gone")
    begin, end = scene.ask("log")["log"]
    assert (begin["arguments"], begin["count"]) == ({"recipient": "u0@*"}, engines)
    assert end["became"] == {"done": engines}
    status, answer = scene.http("POST", "/api/admin/v1/delay", {"domain": names[-1], "seconds": 1000})
    assert status == 200 and answer["results"]["count"] == 2
    with pytest.raises(ControlError, match="another operator"):
        scene.ask("delay", token=answer["results"]["token"])
    status, answer = scene.http("POST", "/api/admin/v1/delay", {"token": answer["results"]["token"]})
    assert (status, answer["results"]) == (200, {"verb": "delay", "count": 2, "done": 2})
    scene.far.behave()
    assert scene.command("message", "retry", "--all")["count"] == number + 1 - engines
    until(scene.server.quiet, "all are delivered")
    assert len(scene.far.copies()) == number - engines + 1


def test_what_is_held_is_held_by_all_and_by_one_that_comes_back(scene: Scene, engines: int) -> None:
    name = domains(engines)[-1]
    scene.far.behave()
    assert scene.command("path", "suspend", "--domain", name)["domain"] == name
    before = processes(scene)[f"engine-{engines - 1}"]["pid"]
    os.kill(before, signal.SIGKILL)
    until(lambda: processes(scene)[f"engine-{engines - 1}"]["pid"] not in (0, before), "it is started again")
    until(lambda: scene.server.recovered(), "it serves")
    scene.send(f"u0@{name}", f"u0@{domains(engines)[0]}")
    until(lambda: len(scene.far.copies()) == 1, "what is not held goes out")
    assert [rule["domain"] for rule in scene.ask("suspensions")["suspensions"]] == [name]
    assert all(ask_one(scene, k, "suspensions") == scene.ask("suspensions") for k in range(engines))
    scene.command("path", "resume", "--domain", name)
    until(lambda: len(scene.far.copies()) == 2, "it is let go")


def ask_one(scene: Scene, engine: int, verb: str) -> Any:
    return asyncio.run(SocketLine(scene.server.data / "run", f"engine-{engine}.sock").ask(verb, {}))


def test_metrics_are_joined(scene: Scene, engines: int) -> None:
    fill(scene, engines)
    with urllib.request.urlopen(f"http://127.0.0.1:{scene.server.http_port}/metrics") as response:
        lines = response.read().decode().splitlines()
    for engine in range(engines):
        assert f'postroad_accepted_total{{engine="{engine}"}} {PER_DOMAIN}' in lines
        assert f'postroad_process_up{{process="engine-{engine}"}} 1' in lines
    assert f'postroad_queue_messages{{state="delayed"}} {engines * PER_DOMAIN}' in lines
    assert len([line for line in lines if line.startswith("# TYPE postroad_accepted_total")]) == 1


def test_health_tells_how_all_processes_are(scene: Scene, engines: int) -> None:
    up = {**{f"engine-{k}": "up" for k in range(engines)}, "control": "up"}
    for path, status in (("/health", "ok"), ("/ready", "ready")):
        until(lambda path=path: scene.http("GET", path)[1]["results"]["processes"] == up, "all are up")  # type: ignore[misc]
        assert scene.http("GET", path)[1]["results"]["status"] == status


def test_an_engine_that_is_away_is_told(scene: Scene, engines: int, tmp_path: Path) -> None:
    """One more is asked than there are."""
    names = fill(scene, engines)
    run = scene.server.data / "run"

    async def asked() -> None:
        lines = {number: SocketLine(run, f"engine-{number}.sock") for number in range(engines + 1)}
        console = JointConsole(lines, tmp_path, wall=time.time)
        summary: Any = await console.answer("queue-summary", {}, "test")
        assert (summary["total"], summary["missing"]) == (engines, [engines])
        shown: Any = await console.answer("fail", {"domain": names[0]}, "test")
        assert (shown["count"], shown["missing"]) == (PER_DOMAIN, [engines])
        with pytest.raises(ConsoleError, match=rf"engine {engines} does not answer"):
            await console.answer("message-show", {"id": "00000000000000ff"}, "test")
        nobody = JointConsole({9: SocketLine(run, "engine-9.sock")}, tmp_path, wall=time.time)
        with pytest.raises(ConsoleError, match="no engine answers"):
            await nobody.answer("overview", {}, "test")

    asyncio.run(asked())


def test_mail_flows_while_control_is_away_and_it_comes_back(scene: Scene, engines: int) -> None:
    scene.far.behave()
    names = domains(engines)
    sent: list[str] = []
    enough = threading.Event()

    def load() -> None:
        with smtplib.SMTP("127.0.0.1", scene.server.smtp_port, "client.test") as client:
            while not enough.is_set():
                recipient = f"u{len(sent)}@{names[len(sent) % engines]}"
                client.sendmail("ann@home.test", [recipient], b"Subject: x\r\n\r\ntext\r\n")
                sent.append(recipient)

    sender = threading.Thread(target=load)
    sender.start()
    try:
        for _ in range(3):
            before = processes(scene)["control"]["pid"]
            mark = len(sent)
            os.kill(before, signal.SIGKILL)
            until(lambda mark=mark: len(sent) > mark + 50, "mail is taken")  # type: ignore[misc]

            def back(before: int = before) -> bool:
                with contextlib.suppress(ControlError):
                    return bool(processes(scene)["control"]["pid"] not in (0, before))
                return False

            until(back, "control is back")
    finally:
        enough.set()
        sender.join()
    until(scene.server.quiet, "all are delivered")
    assert scene.far.copies() == dict.fromkeys(sent, 1)
    assert ask(scene.server.data, "status")[0] == 0
    assert scene.server.stop() == 0


def test_engines_are_restarted_one_after_another_and_then_all_counts(scene: Scene, engines: int) -> None:
    fill(scene, engines)
    scene.far.behave()
    text = scene.server.config.read_text()
    scene.server.config.write_text(text.replace('hostname = "postroad.test"', 'hostname = "other.test"'))
    before = {name: one["pid"] for name, one in processes(scene).items()}
    plain = scene.server.command("config", "reload")
    assert "needs a restart" in plain.stdout and {n: p["pid"] for n, p in processes(scene).items()} == before
    rolled = scene.server.command("config", "reload", "--rolling")
    assert rolled.returncode == 0, rolled.stderr
    assert [line.split()[:2] for line in rolled.stdout.splitlines() if line.startswith("engine")] == [
        ["engine", str(k)] for k in range(engines)
    ]
    after = {name: one["pid"] for name, one in processes(scene).items()}
    assert after["control"] == before["control"] and not set(before.values()) & {
        after[f"engine-{k}"] for k in range(engines)
    }
    with smtplib.SMTP("127.0.0.1", scene.server.smtp_port, "client.test") as client:
        assert b"other.test" in client.ehlo()[1]
    assert scene.ask("overview")["messages"] == engines * PER_DOMAIN
    scene.command("message", "retry", "--all")
    until(lambda: len(scene.far.copies()) == engines * PER_DOMAIN, "what waited is delivered")
    assert scene.server.stop() == 0
