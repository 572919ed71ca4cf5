"""Every command as a user types it, in a process of its own: what it prints, and that nothing a user can do wrong ends
in a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from postroad.lab.rules import Rule
from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import Server, free_port, serving, until

Words = Sequence[str | bytes]


class Done(NamedTuple):
    code: int
    out: str
    err: str


def postroad(folder: Path, *words: str | bytes, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Done:
    """`postroad WORDS` in this folder. Octets that are not UTF-8 are shown as \\xNN."""
    done = subprocess.run(
        [sys.executable, "-m", "postroad", *words],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", **(env or {})},
    )
    out, err = (text.decode(errors="backslashreplace") for text in (done.stdout, done.stderr))
    assert "Traceback" not in out + err, f"{words}: {out}{err}"
    return Done(done.returncode, out, err)


def all_at_once(folder: Path, commands: Sequence[Words]) -> list[Done]:
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(lambda words: postroad(folder, *words), commands))


class Running(NamedTuple):
    server: Server
    far: FarEnd

    def ask(self, *words: str | bytes, stdin: bytes = b"") -> Done:
        return postroad(self.server.folder, *words, stdin=stdin)

    def json(self, *words: str) -> Any:
        """Of a command that must go well."""
        done = self.ask(*words, "--json")
        assert (done.code, done.err) == (0, "")
        return json.loads(done.out)


DELIVERED, REFUSED, DEFERRED = "delivered@far.test", "refused@far.test", "deferred@slow.test"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that has delivered a message, had one refused, and will try one again in an hour."""
    rules = [
        Rule(name="refused", recipient="refused@*", reply="550 5.1.1 No such user"),
        Rule(name="deferred", recipient="deferred@*", reply="451 4.7.1 Come back later"),
    ]
    retry = '[queue]\nretry_interval = "1h"\n'
    with FarEnd(rules) as far, serving(tmp_path_factory.mktemp("server"), gateway=far.port, extra=retry) as server:
        running = Running(server, far)
        for recipient in (DELIVERED, REFUSED, DEFERRED):
            assert running.ask("send", recipient, "--from", "a@sender.test").code == 0
        until(lambda: [path[3] for path in queues(running)] == [1], "two have ended, one waits")
        yield running
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()


def queues(running: Running) -> list[list[Any]]:
    from postroad.serve import ask

    found: list[list[Any]] = ask(running.server.data, "queues")
    return found


# ---- help


def help_of(folder: Path, *path: str) -> Iterator[tuple[tuple[str, ...], Done]]:
    """All commands and groups of commands that --help lists, each with its own --help."""
    done = postroad(folder, *path, "--help")
    yield path, done
    _, box, rest = done.out.partition("Commands ─")
    for line in rest.splitlines() if box else []:
        words = line.strip("│ ").split()
        if line.startswith("│ ") and line[2] != " " and words:
            yield from help_of(folder, *path, words[0])


def test_each_command_has_its_help(tmp_path: Path) -> None:
    found = dict(help_of(tmp_path))
    assert {
        *((name,) for name in ("init", "serve", "config", "queue", "send", "events", "journal", "audit", "lab")),
        *(("config", name) for name in ("check", "explain")),
        *(("journal", name) for name in ("stat", "check", "dump", "compact")),
        *(("lab", name) for name in ("serve", "load", "demo")),
        ("events", "tail"),
    } <= found.keys()
    for path, done in found.items():
        assert (done.code, done.err) == (0, ""), path
        usage, _, about = done.out.strip().partition("\n")
        assert usage.startswith("Usage: "), path
        assert about.strip()[:1].isupper(), path
    assert list(tmp_path.iterdir()) == []


# ---- init, config


def test_init_then_check_and_explain(tmp_path: Path) -> None:
    done = postroad(tmp_path, "init", "mail", "--hostname", "mx.far.test", "--json")
    made = json.loads(done.out)
    assert (done.code, made["config"]) == (0, "mail/postroad.toml")
    assert len(made["api_key"]) == 40
    file = tmp_path / "mail" / "postroad.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    assert made["api_key"].encode() not in before

    again = postroad(tmp_path, "init", "mail", "--hostname", "other.test")
    assert (again.code, again.out) == (1, "")
    assert "exists" in again.err
    assert file.read_bytes() == before

    checked = postroad(tmp_path / "mail", "config", "check", "--json")
    report = json.loads(checked.out)
    assert (checked.code, report["ok"], report["problems"], report["warnings"]) == (0, True, [], [])
    done = postroad(tmp_path, "config", "explain", "server.hostname", "--json", env={"POSTROAD_CONFIG": str(file)})
    (item,) = json.loads(done.out)
    assert item["value"] == "mx.far.test"
    assert item["origin"]["file"] == str(file)
    assert before.splitlines()[item["origin"]["line"] - 1] == b'hostname = "mx.far.test"'
    text = postroad(tmp_path / "mail", "config", "explain", "queue").out
    assert "queue.retry_interval = " in text
    assert "default" in text


# A configuration that can't be served -> what is said of it, by `serve` and, where it is the file's fault, by `config
# check` too.
LISTENER = '[[listener]]\naddress = "127.0.0.1:0"\n[http]\naddress = ""\n'
BAD_FILES = {
    "[server\n": "bad.toml:1:8: ",
    "[server]\nhostname = 'bad host'\n": "bad.toml:2:1: server.hostname: is not a host name",
    f"{LISTENER}[nope]\nx = 1\n": "bad.toml:5:1: nope: there is no such option",
    "[[listener]]\naddress = 'nowhere'\n": "bad.toml:2:1: listener[0].address: must be HOST:PORT",
    "[[listener]]\naddress = '127.0.0.1:99999'\n": "bad.toml:2:1: listener[0].address: must be HOST:PORT",
    f"{LISTENER}[queue]\nretry_interval = '-5s'\n": "bad.toml:6:1: queue.retry_interval: must be a time",
    f"{LISTENER}[journal]\nsegment_size = '1KB'\n": 'bad.toml:6:1: journal.segment_size: must be "64KB" or more',
    f"{LISTENER}[delivery]\nprohibited_hosts = ['x']\n": "delivery.prohibited_hosts[0]: x is not a network",
    f"{LISTENER}[server]\ndata_dir = 'a\\u0000b'\n".replace("'", '"'): "bad.toml:6:1: server.data_dir: holds a NUL",
    "x = " + "[" * 2000: "nested too deeply",
}
BAD_PLACES = {
    "[[listener]]\naddress = '192.0.2.1:2525'\n": "a listener can't be opened: ",
    "[[listener]]\naddress = '127.0.0.1:{taken}'\n": "address already in use",
    LISTENER.replace('""', "'127.0.0.1:{taken}'"): "address already in use",
    f"{LISTENER}[server]\ndata_dir = '/proc/nowhere'\n": "can't be opened: ",
    f"{LISTENER}[server]\ndata_dir = 'bad.toml'\n": "can't be opened: ",
}


def test_serving_bad_configurations(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        cases = {text.replace("{taken}", port): said for text, said in (BAD_FILES | BAD_PLACES).items()}
        folders = []
        for number, text in enumerate(cases):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "bad.toml").write_text(text)
            folders.append(folder)
        with ThreadPoolExecutor(2) as threads:
            served = list(threads.map(lambda folder: postroad(folder, "serve", "-c", "bad.toml"), folders))
            checked = list(threads.map(lambda folder: postroad(folder, "config", "check", "bad.toml"), folders))
    for (text, said), serve, check in zip(cases.items(), served, checked, strict=True):
        assert (serve.code, serve.out) == (1, ""), text
        assert said in serve.err.splitlines()[-1], text
        assert serve.err.splitlines()[-1].startswith("postroad: "), text
        if text in BAD_FILES:
            assert (check.code, check.out) == (1, ""), text
            assert said in check.err, text
        else:
            assert check.code == 0, text


def test_serving_where_the_control_socket_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "data" / "control.sock").mkdir(parents=True)
    (tmp_path / "postroad.toml").write_text(LISTENER)
    served = postroad(tmp_path, "serve")
    assert served.code == 1 and "the control socket in " in served.err.splitlines()[-1]
    assert "Traceback" not in served.err


def test_a_second_server_on_the_same_folder(running: Running) -> None:
    done = running.ask("serve")
    assert done.code == 1
    assert "is in use by process" in done.err.splitlines()[-1]
    assert running.server.status()


# ---- what a running server shows


def test_queue(running: Running) -> None:
    shown = running.json("queue")
    assert shown["total"] | {"sessions": 0} == {
        "live": 1,
        "in_flight": 0,
        "recovered": 0,
        "refusal": None,
        "sessions": 0,
    }
    (path,) = shown["paths"]
    assert (path["domain"], path["active"], path["delayed"]) == ("slow.test", 0, 1)
    assert running.json("queue", "--domain", "SLOW.test")["paths"] == [path]
    assert running.json("queue", "--domain", "far.test")["paths"] == []
    text = running.ask("queue").out
    assert "slow.test" in text
    assert "1 messages queued, 0 in flight" in text


def test_events_tail(running: Running) -> None:
    lines = running.ask("events", "tail", "--json").out.splitlines()
    events = [json.loads(line) for line in lines]
    told = {(event["type"], event["rcpt_to"]) for event in events}
    assert told == {
        *((("injection", to)) for to in (DELIVERED, REFUSED, DEFERRED, "a@sender.test")),
        *((("delivery", to)) for to in (DELIVERED, "a@sender.test")),
        ("bounce", REFUSED),
        ("delay", DEFERRED),
    }
    assert len(events) == len(told)
    # Each cursor is the place of its event.
    for start in (0, 3, len(lines) - 1):
        rest = running.ask("events", "tail", "--json", "--from", events[start]["cursor"]).out.splitlines()
        assert rest == lines[start:]
    some = running.ask("events", "tail", "--json", "--type", "bounce", "--type", "delay", "--limit", "1").out
    assert some.splitlines() == [line for line in lines if json.loads(line)["type"] in ("bounce", "delay")][:1]
    assert running.ask("events", "tail", "--json", "--from", "2h").out.splitlines() == lines
    assert running.ask("events", "tail", "--from", "end") == Done(0, "", "")
    assert running.ask("events", "tail", "--from", "2199-01-01T00:00:00Z") == Done(0, "", "")
    text = running.ask("events", "tail", "--type", "delivery").out
    assert DELIVERED in text


def test_events_tail_into_a_pipe_that_closes(running: Running) -> None:
    """`postroad events tail | head -1`: no complaint."""
    command = f"{sys.executable} -m postroad events tail --json | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=True, cwd=running.server.folder)
    assert (done.stdout.count(b"\n"), done.stderr) == (1, b"")


def test_journal_and_audit(running: Running) -> None:
    stat = running.json("journal", "stat")
    assert (stat["accepted"], stat["terminal"], stat["queued"]) == (4, 3, 1)
    assert running.json("journal", "check")["findings"] == []
    records = [json.loads(line) for line in running.ask("journal", "dump", "--json").out.splitlines()]
    assert {record["stream"] for record in records} == {"mail", "event"}
    number = next(record for record in records if record["stream"] == "mail")["fields"]["messages"][0]["message_id"]
    one = running.ask("journal", "dump", "--message", f"{number:016x}", "--stream", "mail", "--content", "--json").out
    assert len(one.splitlines()) == 1
    audit = running.json("audit")
    assert (audit["accepted"], audit["terminal"], audit["queued"], audit["clean"]) == (4, 3, 1, True)
    for words in (("journal", "stat"), ("journal", "check"), ("journal", "dump"), ("audit",)):
        done = running.ask(*words)
        assert (done.code, done.err) == (0, "")
        assert done.out
    assert running.json("journal", "compact", "--dry-run") == running.json("journal", "stat")
    done = running.ask("journal", "compact")
    assert (done.code, done.out) == (1, "")
    assert "is in use by process" in done.err


def test_journal_compact_of_a_stopped_server(tmp_path: Path) -> None:
    with FarEnd() as far, serving(tmp_path, gateway=far.port) as server:
        assert server.command("send", "a@far.test", "--from", "b@far.test").returncode == 0
        until(server.quiet, "it is delivered")
        assert server.stop() == 0
        assert postroad(tmp_path, "queue").err.startswith("postroad: no server is running on ")
        done = postroad(tmp_path, "journal", "compact", "--below", "1", "--json")
        assert (done.code, done.err) == (0, "")
        assert json.loads(done.out).keys() == {"rewritten", "octets_before", "octets_after"}
        assert json.loads(postroad(tmp_path, "audit", "--json").out)["clean"]


def test_lab_load(running: Running) -> None:
    target = f"127.0.0.1:{running.server.smtp_port}"
    done = running.ask("lab", "load", "--smtp", target, "--count", "20", "--to", "far.test", "--connections", "2")
    assert done.code == 0
    assert done.out.startswith("20 accepted, 0 refused, 0 failed")
    http = ("--http", f"127.0.0.1:{running.server.http_port}", "--http-share", "1", "--count", "5", "--to", "far.test")
    assert running.ask("lab", "load", *http, "--api-key", running.server.key).out.startswith("5 accepted")
    done = running.ask("lab", "load", *http, "--api-key", "wrong")
    assert (done.code, "5 x HTTP 401" in done.out) == (1, True)


# ---- mistakes

# The words after `postroad` -> exit code, and part of what is said on stderr.
MISTAKES: dict[tuple[str | bytes, ...], tuple[int, str]] = {
    ("bogus",): (2, "No such command"),
    ("init", "--hostname", "bad host"): (2, "server.hostname: is not a host name"),
    ("init", "/proc/nowhere"): (1, "/proc/nowhere"),
    ("init", "postroad.toml"): (1, "exists"),
    ("serve", "--loop", "x"): (2, "--loop is uvloop or asyncio"),
    ("serve", "-c", "/nowhere"): (1, "there is no /nowhere"),
    ("queue", "-c", "/nowhere"): (1, "there is no /nowhere"),
    ("queue", "--limit", "0"): (2, "--limit"),
    ("config", "check", "/nowhere"): (1, "there is no /nowhere"),
    ("config", "check", "/tmp"): (1, "Is a directory"),
    ("config", "explain", "nope.x"): (1, "there is no option nope.x"),
    ("config", "explain", b"\xff"): (1, "there is no option"),
    ("events", "tail", "--from", "banana"): (2, "is not begin, end, a cursor"),
    ("events", "tail", "--from", b"\xff"): (2, "is not begin, end, a cursor"),
    ("events", "tail", "--from", "99999999999999999999999"): (2, "is not begin, end, a cursor"),
    ("events", "tail", "--type", "nope"): (2, "there is no event type 'nope'"),
    ("events", "tail", "--limit", "-1"): (2, "--limit"),
    ("journal", "stat", "/nowhere"): (1, "there is no journal in /nowhere"),
    ("journal", "check", "empty"): (1, "there is no journal in empty"),
    ("journal", "dump", "empty"): (1, "there is no journal in empty"),
    ("journal", "compact", "empty"): (1, "there is no journal in empty"),
    ("journal", "dump", "--message", "zz"): (2, "a message id has 16 hexadecimal digits"),
    ("journal", "dump", "--stream", "x"): (2, "--stream is mail or event"),
    ("journal", "compact", "--below", "2"): (2, "--below"),
    ("audit", "empty"): (1, "there is no journal in empty"),
    ("audit", "postroad.toml"): (1, "there is no journal in postroad.toml"),
    ("audit", b"\xff"): (1, "there is no journal in"),
    ("send", "x@far.test"): (2, "--from"),
    ("send", "no address", "-f", "<>"): (2, "'no address': the address has no @"),
    ("send", "x@far.test>\r\nRCPT TO:<y@far.test", "-f", "<>"): (2, "the local part is not well formed"),
    ("send", "x@far.test", "-f", ""): (2, "'': the address has no @"),
    ("send", "x@far.test", "-f", "a@sender.test>\r\nX"): (2, "is not well formed"),
    ("send", b"\xff@far.test", "-f", "<>"): (2, "the address is not valid Unicode"),
    ("send", "x@far.test", "-f", b"\xff@sender.test"): (2, "the address is not valid Unicode"),
    ("send", "x@far.test", "-f", "<>", "-s", "a\r\nBcc: y@far.test"): (2, "may not contain linefeed"),
    ("send", "x@far.test", "-f", "<>", "-t", b"\xff"): (2, "must be valid UTF-8"),
    ("send", "x@far.test", "-f", "<>", "--eml", "/nowhere"): (1, "No such file"),
    ("send", "x@far.test", "-f", "<>", "--eml", "/tmp"): (1, "Is a directory"),
    ("send", "x@far.test", "-f", "<>", "--server", "nohost"): (2, "--server must be HOST:PORT"),
    ("send", "x@far.test", "-f", "<>", "--server", "[::1"): (2, "--server must be HOST:PORT"),
    ("send", "x@far.test", "-f", "<>", "--server", "127.0.0.1:99999"): (2, "--server must be HOST:PORT"),
    ("send", "x@far.test", "-f", "<>", "--server", "127.0.0.1:{closed}"): (1, "Connection refused"),
    ("lab", "load", "--smtp", "192.0.2.1:25"): (2, "loopback addresses only"),
    ("lab", "load", "--smtp", "x"): (2, "is not HOST:PORT"),
    ("lab", "load", "--size", "-5"): (2, "--size"),
    ("lab", "serve", "--cast", "/nowhere"): (2, "/nowhere"),
    ("lab", "serve", "--port", "70000"): (2, "--port"),
}


def test_mistakes(running: Running) -> None:
    (running.server.folder / "empty").mkdir()
    closed = str(free_port())
    commands = [
        tuple(word.replace("{closed}", closed) if isinstance(word, str) else word for word in words)
        for words in MISTAKES
    ]
    found = all_at_once(running.server.folder, commands)
    for (words, (code, said)), done in zip(MISTAKES.items(), found, strict=True):
        assert (done.code, done.out) == (code, ""), (words, done)
        assert said in " ".join(done.err.split()), (words, done)
    assert list((running.server.folder / "empty").iterdir()) == []


def test_send_from_standard_input(running: Running) -> None:
    sent = running.ask("send", DELIVERED, "--from", "a@sender.test", "--text", "-", stdin="Grüße\n".encode())
    assert (sent.code, sent.err) == (0, "")
    done = running.ask("send", DELIVERED, "--from", "a@sender.test", "--text", "-", stdin=b"\xff")
    assert done == Done(2, "", "postroad: the subject and the text must be valid UTF-8\n")
