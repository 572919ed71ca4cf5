"""Memory of a queued message, and the time to recover, with many messages in the queue and nothing going out."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.machine import BenchError, free_port, program, rss, running
from bench.peers import postroad_config
from postroad.serve import ControlError, ask

SIZE = 500


@contextlib.contextmanager
def silent_host() -> Iterator[int]:
    """A port that takes connections and never says a word, so that nothing leaves the queue."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        kept: list[socket.socket] = []

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1]
        for connection in kept:
            connection.close()


def million(folder: Path, messages: int) -> list[str]:
    with silent_host() as next_hop:
        port = free_port()
        # No memory goal for bodies: what is measured is a message of which only the journal has the body.
        config = postroad_config(folder, port, next_hop)
        text = config.read_text().replace('hostname = "postroad.test"', 'hostname = "postroad.test"\nmemory_goal = 0')
        config.write_text(text)
        serve = [sys.executable, "-m", "postroad", "serve", "--config", str(config)]
        with (folder / "log").open("ab") as log:
            with running(serve, port, stderr=log) as process:
                empty = rss(process.pid)
                began = time.monotonic()
                command = [program("smtp-source"), "-d", "-N", "-s", "50", "-m", str(messages), "-l", str(SIZE)]
                command += ["-f", "sender@src.example", "-t", "rcpt@dst.example", f"127.0.0.1:{port}"]
                subprocess.run(command, check=True)
                filled = time.monotonic() - began
                full = rss(process.pid)
                _expect(folder, messages)
                process.send_signal(signal.SIGKILL)
                process.wait()
            began = time.monotonic()
            with running(serve, port, stderr=log) as process:
                open_after = time.monotonic() - began
                while _status(folder)[2] is None:
                    time.sleep(0.02)
                recovered = time.monotonic() - began
                again = rss(process.pid)
                _expect(folder, messages)
                os.kill(process.pid, signal.SIGKILL)
    return [
        f"{messages:,} messages of {SIZE} octets queued in {filled:.0f} s ({messages / filled:,.0f}/s accepted)",
        "",
        "| what | measured |",
        "|---|---|",
        f"| memory a queued message, body not resident | {(full - empty) / messages:.0f} octets |",
        f"| the same after kill -9 and recovery | {(again - empty) / messages:.0f} octets |",
        f"| kill -9 to the first banner | {open_after:.2f} s |",
        f"| kill -9 to the last message back in its queue | {recovered:.2f} s |",
    ]


def _status(folder: Path) -> list[object]:
    for _ in range(600):
        try:
            answer: list[object] = ask(folder / "data", "status")
            return answer
        except ControlError:
            time.sleep(0.1)
    raise BenchError("the control socket does not answer")


def _expect(folder: Path, messages: int) -> None:
    live = _status(folder)[0]
    if live != messages:
        raise BenchError(f"{live} messages are queued, not {messages}")
