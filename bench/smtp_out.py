"""CPU per message of SMTP delivery alone: messages made in memory go through Deliverer to Postfix's smtp-sink.

    python bench/smtp_out.py [--count N] [--size OCTETS] [--connections N] [--batch N] [--loop uvloop|asyncio]

The sink runs as a process of its own and is not counted. Times are user+system of this process, divided by the messages
delivered; a warm-up of a tenth is left out. Nothing is written to disk.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

from postroad.config.schema import Config, DeliveryOptions
from postroad.deliver import Deliverer
from postroad.message import Body, Message, Notify, Outcome, Ret, Verdict
from postroad.net import MxHost
from postroad.shaping import Limits

SINKS = ("/usr/sbin/smtp-sink", "/usr/local/sbin/smtp-sink")


class Loopback:
    """Every domain is served by 127.0.0.1."""

    async def mx(self, domain: str) -> list[MxHost]:
        return [MxHost(10, f"mx.{domain}")]

    async def addresses(self, host: str) -> list[str]:
        return ["127.0.0.1"]


class Stock:
    """A Supply of `count` equal messages; `done` when all are settled."""

    def __init__(self, count: int, body: Body) -> None:
        self.left = count
        self.settled = 0
        self.failed = 0
        self.count = count
        self.done = asyncio.get_running_loop().create_future()
        self._body = body

    def waiting(self, binding: str, domain: str) -> int:
        return self.left

    def take(self, binding: str, domain: str) -> Message | None:
        if not self.left:
            return None
        self.left -= 1
        message = Message()
        message.id = self.left
        message.sender = "sender@example.com"
        message.recipient = f"recipient{self.left}@example.net"
        message.domain = domain
        message.binding = binding
        message.body = self._body
        message.notify = Notify.UNSET
        message.orcpt = ""
        message.ret = Ret.UNSET
        message.envid = ""
        message.context = {}
        message.smtputf8 = False
        return message

    async def load(self, message: Message) -> bool:
        raise AssertionError("every message has its body")

    def settle(self, message: Message, outcome: Outcome) -> None:
        self.settled += 1
        self.failed += outcome.verdict is not Verdict.DELIVERED
        if self.settled == self.count:
            self.done.set_result(None)


def body_of(octets: int) -> Body:
    line = b"The quick brown fox jumps over the lazy dog, and so on until the line is full.\r\n"
    header = b"From: <sender@example.com>\r\nTo: <recipient@example.net>\r\nSubject: bench\r\n\r\n"
    content = header + line * (max(0, octets - len(header)) // len(line))
    return Body(content, b"Received: from bench (localhost [127.0.0.1]) by bench; Mon, 01 Jan 2024 00:00:00 +0000\r\n")


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def run(options: argparse.Namespace, port: int) -> None:
    body = body_of(options.size)
    settings = DeliveryOptions(
        port=port,
        max_connections=options.connections,
        max_recipients_per_batch=options.batch,
        prohibited_hosts=[],
    )
    for label, count in (("warm-up", options.count // 10), ("measured", options.count)):
        stock = Stock(count, body)
        limits = Limits(Config(delivery=settings), asyncio.get_running_loop().time)
        deliverer = Deliverer(stock, Loopback(), limits, hostname="bench.example", rng=random.Random(1))
        before, start = cpu(), time.perf_counter()
        deliverer.wake("default", "example.net")
        await stock.done
        used, passed = cpu() - before, time.perf_counter() - start
        stats = deliverer.stats()
        await deliverer.stop(5)
        if label == "measured":
            print(
                f"{options.loop} {len(body)} octets, {stats.connections} connections ({stats.opened} opened): "
                f"{used / count * 1e6:.1f} us CPU a message, {count / passed:.0f} messages/s, {stock.failed} failed"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40_000)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--batch", type=int, default=1, help="recipients of a transaction")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    options = parser.parse_args()
    sink = next((path for path in SINKS if Path(path).exists()), None)
    if sink is None:
        sys.exit("smtp-sink is not here: install postfix")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([sink, *user, f"127.0.0.1:{port}", "1000"])
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 0.1).close()
                break
            except OSError:
                time.sleep(0.05)
        if options.loop == "uvloop":
            import uvloop

            uvloop.run(run(options, port))
        else:
            asyncio.run(run(options, port))
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
