"""What limits cost: `python -m bench.limits` (some minutes; small, so that it says little on a busy machine).

Decisions of one engine in a loop, and whole servers that relay small messages with and without a rate, with connections
that are kept and with a new one for each message. With several engines the supervisor lends: its own CPU is told for
each message and each connection.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench.machine import TICK, Meter
from bench.peers import postroad
from bench.relay import about, destinations, drive, sink
from postroad.config import parse
from postroad.shaping import Limits

RATE = 'message_rate = "90000/s, 900000000/h"'  # far above what goes, so that nothing waits
NEW = "max_deliveries_per_connection = 1"


def decisions(text: str, count: int = 200_000) -> float:
    """ns for one message to be allowed: the best of five runs."""
    limits = Limits(parse(f"[delivery]\n{text}").config, time.monotonic)
    allowance = limits.allowance("default", "a.test")
    best = float("inf")
    for _ in range(5):
        begin = time.process_time()
        for _ in range(count):
            assert not allowance.message()
        best = min(best, time.process_time() - begin)
    return best / count * 1e9


class Cost(NamedTuple):
    """ms of CPU a message, of all processes, of the supervisor alone; and messages a second."""

    whole: float
    supervisor: float
    rate: float


def relay(extra: str, engines: int, messages: int) -> Cost:
    domains = destinations(engines)
    with tempfile.TemporaryDirectory(prefix="bench-limits") as name:
        folder = Path(name)
        with sink(folder) as (sink_port, sink_pid, count), contextlib.closing(Meter(sink_pid)) as sink_meter:
            with postroad(folder / "server", sink_port, extra, engines) as (port, pid):
                meter = Meter(pid)
                drive("postroad", port, meter, sink_meter, count, 1024, messages // 10, kept=True, domains=domains)
                before = own_cpu(pid)
                done = drive("postroad", port, meter, sink_meter, count, 1024, messages, kept=True, domains=domains)
                supervisor = own_cpu(pid) - before
            meter.close()
    return Cost(done.cpu, supervisor * 1000 / done.messages, done.rate)


def own_cpu(pid: int) -> float:
    """Seconds of this process alone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    messages = parser.parse_args().messages
    print(about())
    for name, text in (
        ("no rate", ""),
        ("one window", 'message_rate = "1000000/s"'),
        ("two windows", 'message_rate = "1000000/s, 900000000/h"'),
    ):
        print(f"a decision, {name}: {decisions(text):.0f} ns", flush=True)
    print("relay of 1 KB: ms of CPU a message in all, of the supervisor; messages a second")
    for engines in (1, 2):
        for name, extra in (("no rate", ""), ("a rate", RATE), ("a connection each", NEW)):
            cost = relay(extra, engines, messages)
            server = f"{engines} engine{'s' * (engines > 1)}, {name}"
            print(f"{server}: {cost.whole:.3f} {cost.supervisor:.4f} {cost.rate:.0f}", flush=True)


if __name__ == "__main__":
    main()
