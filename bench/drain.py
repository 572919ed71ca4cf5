"""A full queue: does it drain as fast as a short one, how long do counting and listing take, what does it weigh?

    python -m bench.drain                                   a million messages over 10,000 domains
    python -m bench.drain --messages 100000 --domains 1000

Both queues have as many messages a domain, bodies are never resident, and nothing goes out while a queue is filled.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bench.machine import BenchError, Meter, free_port, rss, running, tree
from bench.relay import about, sink
from postroad.auth import new_key
from postroad.serve import ControlError, ask

CHUNK = 5_000  # recipients of one request
SMALL = 20_000
_STALL = 60.0  # seconds without a delivery that end a run

_CONFIG = """
[server]
hostname = "postroad.test"
data_dir = "data"
memory_goal = 0

[[listener]]
address = "127.0.0.1:{port}"
relay = true

[http]
address = "127.0.0.1:{http}"

[[http.keys]]
label = "bench"
sha256 = "{key_hash}"

[delivery]
gateway = "127.0.0.1:{next_hop}"
prohibited_hosts = []
max_connections = 2
server_max_connections = 60
"""


class Drained(NamedTuple):
    """rate: messages a second, between the first and the last tenth, so that neither start nor end counts. cpu: ms of
    the server a message, in all. octets: memory a queued message. console: seconds by command."""

    messages: int
    filled: float
    rate: float
    cpu: float
    octets: float
    console: dict[str, float]


def drain(folder: Path, messages: int, per_domain: int) -> Drained:
    folder.mkdir(parents=True)
    port, web = free_port(), free_port()
    key, key_hash = new_key()
    config = folder / "postroad.toml"
    with sink(folder) as (next_hop, _, count):
        config.write_text(_CONFIG.format(port=port, http=web, key_hash=key_hash, next_hop=next_hop))
        serve = [sys.executable, "-m", "postroad", "serve", "--config", str(config)]
        with (folder / "log").open("ab") as log, running(serve, port, stderr=log) as process:
            _answering(folder)
            _confirmed(folder, "suspend", all=True)
            empty = rss_of_all(process.pid)
            began = time.monotonic()
            fill(web, key, messages, per_domain)
            filled = time.monotonic() - began
            octets = (rss_of_all(process.pid) - empty) / messages
            console = look(folder, messages)
            meter = Meter(process.pid)
            before = meter.read()
            _confirmed(folder, "resume", all=True)
            rate = wait(count.read, messages)
            cpu = (meter.read() - before) * 1000 / messages
    meter.close()
    return Drained(messages, filled, rate, cpu, octets, console)


def rss_of_all(pid: int) -> int:
    """A supervisor and its children."""
    return sum(rss(member) for member in tree(pid))


def fill(port: int, key: str, messages: int, per_domain: int) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Authorization": key, "Content-Type": "application/json"}
    domains = max(1, messages // per_domain)
    for start in range(0, messages, CHUNK):
        # Neighbours go to different domains, as in a list sorted by nothing.
        numbers = range(start, min(start + CHUNK, messages))
        request = {
            "campaign_id": f"campaign {start // (20 * CHUNK)}",
            "recipients": [{"address": f"u{number}@d{number % domains}.example"} for number in numbers],
            "content": {"from": "news@sender.example", "subject": "News", "text": "Some words. " * 30},
        }
        client.request("POST", "/api/v1/transmissions", json.dumps(request), headers)
        answer = client.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise BenchError(f"a request was refused: {answer.status} {text[:200]!r}")
    client.close()


def look(folder: Path, messages: int) -> dict[str, float]:
    """Seconds that these take with the queue full."""
    found = {}
    for name, verb, arguments in (
        ("queue summary", "queue-summary", {}),
        ("queue list, 1000", "queue-list", {"limit": 1000}),
        ("queue list of a domain", "queue-list", {"domain": "d7.example", "limit": 1000}),
        ("path explain", "path-explain", {"domain": "d7.example"}),
    ):
        began = time.monotonic()
        answer = ask(folder / "data", verb, wait=None, **arguments)
        found[name] = time.monotonic() - began
        if verb == "queue-summary":
            counted = sum(path["active"] + path["delayed"] + path["in_flight"] for path in answer["paths"])
            if counted > messages or not counted:
                raise BenchError(f"{counted} messages are queued, not {messages}")
    return found


def _answering(folder: Path) -> None:
    """Commands may be heard a moment later than SMTP."""
    end = time.monotonic() + 30
    while True:
        try:
            ask(folder / "data", "status", wait=None)
        except ControlError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def _confirmed(folder: Path, verb: str, **arguments: object) -> None:
    answer: Any = ask(folder / "data", verb, wait=None, **arguments)
    if isinstance(answer, dict) and "token" in answer:
        ask(folder / "data", verb, wait=None, token=answer["token"])


def wait(read: Callable[[], int], messages: int) -> float:
    """Messages a second between the first and the last tenth."""
    first = last = moved = 0.0
    seen = at_first = at_last = 0
    while True:
        now, done = time.monotonic(), read()
        if done != seen:
            seen, moved = done, now
        elif moved and now - moved > _STALL:
            raise BenchError(f"{done} of {messages} delivered, then nothing for {_STALL} s")
        moved = moved or now
        if not first and done >= messages // 10:
            first, at_first = now, done
        if done >= messages * 9 // 10 and not last:
            last, at_last = now, done
        if done >= messages:
            return (at_last - at_first) / (last - first)
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--domains", type=int, default=10_000)
    arguments = parser.parse_args()
    per_domain = max(1, arguments.messages // arguments.domains)
    with tempfile.TemporaryDirectory(prefix="postroad-bench-", dir="/var/tmp") as name:
        small = drain(Path(name) / "small", min(SMALL, arguments.messages), per_domain)
        full = drain(Path(name) / "full", arguments.messages, per_domain)
        again = drain(Path(name) / "again", min(SMALL, arguments.messages), per_domain)
    short = (small.rate + again.rate) / 2
    lines = [
        about(),
        "",
        "| queue | filled/s | drained/s | CPU ms/msg | octets a queued message |",
        "|---|---|---|---|---|",
        *(
            f"| {one.messages:,} | {one.messages / one.filled:,.0f} | {one.rate:,.0f} | {one.cpu:.3f} "
            f"| {one.octets:.0f} |"
            for one in (small, full, again)
        ),
        "",
        f"The full queue drains at {100 * full.rate / short:.0f} % of the rate of the short one.",
        "",
        "| command on the full queue | seconds |",
        "|---|---|",
        *(f"| {what} | {seconds:.3f} |" for what, seconds in full.console.items()),
    ]
    print("\n".join(lines))


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(f"bench: {error}")
