"""What the journal costs: CPU and time a message for append + commit + terminal event, and the time to recover.

    python bench/journal.py [--messages N] [--size BYTES] [--recover N]

Closed loop: each of --sessions appends a mail, waits for its commit, then appends the terminal event and goes on, as an
SMTP session and a delivery do. CPU is of the whole process, writer thread and kernel included.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from postroad.config.schema import Durability, JournalOptions, Size
from postroad.journal import ACCEPTED, TERMINAL, Event, Journal, JournalError, Mail, audit
from postroad.net import SystemClock

EVENT_OCTETS = 600  # of a typical event's JSON


def _cpu() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


async def relay(directory: Path, durability: Durability, messages: int, size: int, sessions: int) -> str:
    """Run the closed loop once; returns a line for people."""
    loop = asyncio.get_running_loop()
    journal = Journal.open(directory, JournalOptions(min_free=Size(0)), durability=durability, clock=SystemClock())
    for _ in journal.recover():
        pass
    meta, trace, content = os.urandom(250), os.urandom(180), os.urandom(size)
    payload = b'{"type":"injection"' + b" " * (EVENT_OCTETS - 20) + b"}"
    finished = loop.create_future()
    issued = completed = 0
    latencies: list[float] = []

    def start() -> None:
        nonlocal issued
        if issued >= messages:
            return
        issued += 1
        message_id = issued
        begun = loop.time()

        def kept(place: int | JournalError) -> None:
            if not isinstance(place, int):
                finished.set_exception(place)
                return
            latencies.append(loop.time() - begun)
            journal.append_event(Event(message_id, 2, payload, flags=TERMINAL, place=place), ended)
            start()

        journal.append_mail(
            Mail([message_id], 1_700_000_000_000, meta, trace, content),
            [Event(message_id, 1, payload, flags=ACCEPTED)],
            kept,
        )

    def ended(error: JournalError | None) -> None:
        nonlocal completed
        completed += 1
        if completed == messages:
            finished.set_result(None)

    user, system = _cpu()
    begun = time.perf_counter()
    for _ in range(sessions):
        start()
    await finished
    seconds = time.perf_counter() - begun
    user_after, system_after = _cpu()
    commits = journal.stats().commits
    await journal.close()
    latencies.sort()
    return (
        f"{durability:8} {size:6} B x {messages}: {(user_after - user) / messages * 1e6:6.1f} us user + "
        f"{(system_after - system) / messages * 1e6:5.1f} us system a message, {messages / seconds:7.0f}/s, "
        f"{messages / commits:5.1f} a commit, p50 {latencies[len(latencies) // 2] * 1e3:.2f} ms, "
        f"p99 {latencies[len(latencies) * 99 // 100] * 1e3:.2f} ms"
    )


async def fill(directory: Path, messages: int, size: int) -> None:
    journal = Journal.open(directory, JournalOptions(min_free=Size(0)), durability="process", clock=SystemClock())
    payload = b'{"type":"injection"' + b" " * (EVENT_OCTETS - 20) + b"}"
    content, meta = os.urandom(size), os.urandom(200)
    for first in range(1, messages + 1, 1000):
        done: asyncio.Future[int | JournalError] = asyncio.get_running_loop().create_future()
        last = min(first + 999, messages)
        for message_id in range(first, last + 1):
            journal.append_mail(
                Mail([message_id], 1_700_000_000_000, meta, b"", content),
                [Event(message_id, 1, payload, flags=ACCEPTED)],
                done.set_result if message_id == last else lambda place: None,
            )
        await done
    await journal.close()


async def recover(directory: Path) -> str:
    begun = time.perf_counter()
    journal = Journal.open(directory, JournalOptions(min_free=Size(0)), clock=SystemClock())
    opened = time.perf_counter() - begun
    count, longest, last = 0, 0.0, time.perf_counter()
    for mails in journal.recover():
        now = time.perf_counter()
        longest = max(longest, now - last)
        count += len(mails)
        await asyncio.sleep(0)
        last = time.perf_counter()
    seconds = time.perf_counter() - begun
    await journal.close()
    return f"recover {count} messages: open {opened:.2f} s, all {seconds:.2f} s, longest slice {longest * 1e3:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=10_240)
    parser.add_argument("--sessions", type=int, default=30)
    parser.add_argument("--recover", type=int, default=0, help="fill a journal with so many small messages and recover")
    parser.add_argument("--directory", type=Path, default=None, help="where to work; default: a new temporary folder")
    arguments = parser.parse_args()
    sys.setswitchinterval(0.0005)
    with tempfile.TemporaryDirectory(dir=arguments.directory) as folder:
        if arguments.recover:
            directory = Path(folder) / "full"
            uvloop.run(fill(directory, arguments.recover, 500))
            print(uvloop.run(recover(directory)))
            return
        durabilities: tuple[Durability, ...] = ("power", "process", "memory")
        for durability in durabilities:
            directory = Path(folder) / durability
            print(uvloop.run(relay(directory, durability, arguments.messages, arguments.size, arguments.sessions)))
            begun = time.perf_counter()
            report = audit(directory)
            print(f"         audit {'clean' if report.clean else report} in {time.perf_counter() - begun:.2f} s")


if __name__ == "__main__":
    main()
