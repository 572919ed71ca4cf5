"""The console on a full queue: how long counting, listing, explaining and selecting take, and what mail feels of it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from bench.machine import free_port, program, running
from bench.million import silent_host
from bench.peers import postroad_config
from postroad.serve import ask

SIZE = 500


def console(folder: Path, messages: int) -> list[str]:
    """Rows of a table: verb, seconds, longest time in which the server answered nothing else."""
    with silent_host() as next_hop:
        port = free_port()
        config = postroad_config(folder, port, next_hop)
        text = config.read_text().replace('hostname = "postroad.test"', 'hostname = "postroad.test"\nmemory_goal = 0')
        config.write_text(text)
        serve = [sys.executable, "-m", "postroad", "serve", "--config", str(config)]
        with (folder / "log").open("ab") as log, running(serve, port, stderr=log):
            command = [program("smtp-source"), "-d", "-N", "-s", "50", "-m", str(messages), "-l", str(SIZE)]
            command += ["-f", "sender@src.example", "-t", "rcpt@dst.example", f"127.0.0.1:{port}"]
            subprocess.run(command, check=True)
            one = _ask(folder, "queue-list", limit=1, state="active")["messages"][0]["id"]
            rows = [
                _timed(folder, "queue-summary"),
                _timed(folder, "queue-list", domain="dst.example", limit=1000),
                _timed(folder, "message-show", id=one),
                _timed(folder, "path-explain", domain="dst.example"),
                _timed(folder, "message-explain", id=one),
                _timed(folder, "fail", domain="dst.example", dry_run=True),
                _timed(folder, "fail", sender="nobody@nowhere.example", dry_run=True),
                _timed(folder, "delay", domain="dst.example", seconds=3600),
            ]
    return [f"{messages:,} messages of {SIZE} octets queued, bodies not resident", "", *_HEAD, *rows]


_HEAD = ("| verb | seconds | longest pause of the server meanwhile, ms |", "|---|---|---|")


def _ask(folder: Path, verb: str, **arguments: object) -> dict[str, list[dict[str, str]]]:
    answer: dict[str, list[dict[str, str]]] = ask(folder / "data", verb, wait=None, **arguments)
    return answer


def _timed(folder: Path, verb: str, **arguments: object) -> str:
    """The two steps of a confirmed verb are one here."""
    done = threading.Event()
    pauses: list[float] = []

    def watch() -> None:
        while not done.is_set():
            began = time.monotonic()
            ask(folder / "data", "suspensions", wait=None)
            pauses.append(time.monotonic() - began)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    answer = _ask(folder, verb, **arguments)
    if "token" in answer:
        _ask(folder, verb, token=answer["token"])
    seconds = time.monotonic() - began
    done.set()
    watcher.join()
    what = " ".join([verb, *(f"{name}={value}" for name, value in arguments.items() if name != "id")])
    return f"| {what} | {seconds:.3f} | {max(pauses) * 1000:.0f} |"


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        print("\n".join(console(Path(name), int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)))
