"""CPU of HTTP injection: transmissions over keep-alive connections to a server whose acceptor keeps nothing, so the
figure is HTTP, JSON, checks and message building, without the commit. With --durable the acceptor is an engine's queue
and journal, synced before each answer: all that an engine does of a transmission but its delivery.

    python bench/http_in.py [--count 20000] [--connections 16] [--size 2048 ...] [--recipients 1]
                            [--loop uvloop|asyncio] [--durable] [--profile FILE]

The server runs in a process of its own; its CPU is read from /proc (user and system, whole process). Prints one line a
size: microseconds of CPU a transmission, the rate, and latency percentiles as the client saw them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from postroad.api import HttpServer
from postroad.auth import new_key
from postroad.config.schema import ApiKey, HttpOptions, JournalOptions, QueueOptions, Size
from postroad.events import EventEncoder, Kind
from postroad.journal import Journal
from postroad.message import Accepted, IdSource, Refused, Rejection, Reply, Transaction
from postroad.net import SystemClock
from postroad.queue import Queue

TICK = os.sysconf("SC_CLK_TCK")


class NullAcceptor:
    """Accepts at once and forgets."""

    def refusal(self) -> Reply | None:
        return None

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        done(Accepted([1] * len(transaction.recipients)))

    def rejected(self, rejection: Rejection) -> None:
        pass


def durable(folder: Path) -> Queue:
    """A queue and a journal, as an engine has them; nothing takes the mail out."""
    clock, encoder = SystemClock(), EventEncoder()
    journal = Journal.open(folder, JournalOptions(min_free=Size(0)), durability="power", clock=clock)
    ids = IdSource(clock.wall, last=journal.last_id)
    options, rng = QueueOptions(), random.Random(1)
    return Queue(
        *(journal, encoder, Kind),
        options=options,
        clock=clock,
        ids=ids,
        rng=rng,
        hostname="mx.example",
        memory_goal=64 << 20,
    )


def serve(pipe: Connection, digest: str, loop: str, folder: Path | None, profile: str) -> None:
    async def run() -> None:
        clock = SystemClock()
        queue = None if folder is None else durable(folder)
        if queue is not None:
            await queue.recover()
        options = HttpOptions(address="127.0.0.1:0", keys=[ApiKey(label="bench", sha256=digest)])
        server = HttpServer(
            options,
            hostname="mx.example",
            acceptor=NullAcceptor() if queue is None else queue,
            clock=clock,
            ids=IdSource(clock.wall),
            rng=random.SystemRandom(),
        )
        await server.start()
        pipe.send(server.address)
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        await server.close()

    profiler = cProfile.Profile() if profile else contextlib.nullcontext()
    with profiler:
        if loop == "uvloop":
            uvloop.run(run())
        else:
            asyncio.run(run())
    if isinstance(profiler, cProfile.Profile):
        profiler.dump_stats(profile)


def cpu(pid: int) -> float:
    """Seconds of CPU the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def request(key: str, size: int, recipients: int) -> bytes:
    line = "<p>A line of an ordinary message, as long as most of them are in real mail.</p>\n"
    body = json.dumps(
        {
            "campaign_id": "bench",
            "recipients": [
                {
                    "address": {"email": f"user{number}@b.example", "name": f"User {number}"},
                    "metadata": {"place": number},
                    "tags": ["bench"],
                }
                for number in range(recipients)
            ],
            "content": {
                "from": {"name": "Bench", "email": "bench@a.example"},
                "subject": "A subject",
                "html": (line * (size // len(line) + 1))[:size],
                "text": "A short text part.",
            },
        }
    ).encode()
    head = (
        f"POST /api/v1/transmissions HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def client(host: str, port: int, data: bytes, count: int, latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    for _ in range(count):
        begin = time.perf_counter()
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the server answered {head.decode()}")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - begin)
    writer.close()


async def load(address: str, data: bytes, count: int, connections: int) -> tuple[float, list[float]]:
    host, _, port = address.rpartition(":")
    latencies: list[float] = []
    begin = time.perf_counter()
    clients = [client(host, int(port), data, count // connections, latencies) for _ in range(connections)]
    await asyncio.gather(*clients)
    return time.perf_counter() - begin, sorted(latencies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--size", type=int, nargs="*", default=[2048, 10_240, 102_400])
    parser.add_argument("--recipients", type=int, default=1)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    parser.add_argument("--durable", action="store_true", help="with queue and journal")
    parser.add_argument("--profile", default="", metavar="FILE", help="write cProfile's figures of the server there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="postroad-bench-") as folder:
        measure(options, Path(folder) if options.durable else None)


def measure(options: argparse.Namespace, folder: Path | None) -> None:
    key, digest = new_key()
    here, there = multiprocessing.Pipe()
    arguments = (there, digest, options.loop, folder, options.profile)
    process = multiprocessing.get_context("spawn").Process(target=serve, args=arguments)
    process.start()
    try:
        address = here.recv()
        assert process.pid is not None
        for size in options.size:
            data = request(key, size, options.recipients)
            uvloop.run(load(address, data, min(500, options.count), options.connections))  # warm up
            before = cpu(process.pid)
            took, latencies = uvloop.run(load(address, data, options.count, options.connections))
            each = (cpu(process.pid) - before) / len(latencies) * 1e6
            print(
                f"{size:>7} octets of html, {options.recipients} recipients: {each:6.0f} us CPU a transmission, "
                f"{len(latencies) / took:6.0f}/s, p50 {latencies[len(latencies) // 2] * 1e3:.1f} ms, "
                f"p99 {latencies[len(latencies) * 99 // 100] * 1e3:.1f} ms"
            )
            sys.stdout.flush()
    finally:
        here.send("stop")
        process.join(10)
        if process.is_alive():
            process.kill()


if __name__ == "__main__":
    main()
