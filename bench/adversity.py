"""Mail to receivers that are difficult: 30 % of all tries are deferred, 5 % of the hosts are slow, over 10,000 domains.

    python -m bench.adversity                       raw, Postroad and tuned Postfix in one run
    python -m bench.adversity --messages 5000 --no-postfix

The far end is the lab's receiver on 20 loopback addresses, one of which takes its time for each reply; both servers
find the host of a domain in a table. What is deferred comes back after ten seconds. Raw is smtp-source straight to
smtp-sink in the same run: the limit of the load tools, without any adversity.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import NamedTuple

from bench.machine import BenchError, Meter
from bench.peers import DURABILITY, postfix, postroad
from bench.relay import about, drive, sink
from postroad.lab.ledger import Ledger
from postroad.lab.load import LoadPlan, run_load
from postroad.lab.provider import Provider
from postroad.lab.rules import Rule

HOSTS = 20  # one of them is slow: 5 %
DEFERRED = 30  # percent of the tries
SLOW = 0.5  # seconds for the reply to each recipient and each content
RETRY = 10  # seconds
SIZE = 10_240
_ADDRESS = "127.0.1.{}"
_MOST = 0.6  # the share that a first try can bring in; what comes later waited for its time


class Result(NamedTuple):
    """rate: delivered a second to hosts that are not slow, until they had _MOST of all messages. left: what had not
    arrived by the end. cpu: of the server, ms a message delivered, every try of it included."""

    peer: str
    messages: int
    rate: float
    cpu: float
    delivered: int
    left: int


def _receive(ports: Synchronized[int], counted: list[Synchronized[int]]) -> None:
    """A process: HOSTS receivers on one port. counted: messages taken by fast hosts, and by the slow one."""

    async def run() -> None:
        rng = random.Random(1)
        defer = Rule(name="defer", step="rcpt", percent=DEFERRED, reply="451 4.7.1 Come back later")
        slow = [Rule(name=f"slow {step}", step=step, delay=SLOW) for step in ("rcpt", "message")]
        hosts = []
        port = 0
        for number in range(HOSTS):
            rules = [defer, *(slow if not number else [])]
            address = _ADDRESS.format(number + 1)
            hosts.append(Provider(f"h{number}.example", address=address, rules=rules, rng=rng, ledger=Ledger()))
            port = await hosts[-1].start(port)
        ports.value = port
        while True:
            await asyncio.sleep(0.05)
            counted[0].value = sum(host.ledger.messages for host in hosts[1:])
            counted[1].value = hosts[0].ledger.messages

    asyncio.run(run())


@contextlib.contextmanager
def receivers() -> Iterator[tuple[int, list[Synchronized[int]]]]:
    context = multiprocessing.get_context("spawn")
    port = context.Value("i", 0)
    counted = [context.Value("i", 0) for _ in range(2)]
    process = context.Process(target=_receive, args=(port, counted), daemon=True)
    process.start()
    try:
        end = time.monotonic() + 30
        while not port.value:
            if time.monotonic() > end or not process.is_alive():
                raise BenchError("the receivers do not start")
            time.sleep(0.05)
        yield port.value, counted
    finally:
        process.kill()
        process.join()


def run(peer: str, folder: Path, messages: int, domains: int, seconds: float) -> Result:
    with receivers() as (next_hop, counted):
        if peer == "postroad":
            hops = "".join(
                f'[[domain]]\nmatch = "*.h{number}.example"\ngateway = "{_ADDRESS.format(number + 1)}:{next_hop}"\n'
                for number in range(HOSTS)
            )
            wait = f'[queue]\nretry_interval = "{RETRY}s"\nmax_retry_interval = "{RETRY}s"\n'
            server = postroad(folder, next_hop, wait + hops)
        else:
            hops = "".join(
                f"/\\.h{number}\\.example$/ smtp:[{_ADDRESS.format(number + 1)}]:{next_hop}\n"
                for number in range(HOSTS)
            )
            wait = (
                f"minimal_backoff_time = {RETRY}s\nmaximal_backoff_time = {RETRY}s\nqueue_run_delay = {RETRY // 2}s\n"
            )
            server = postfix(next_hop, wait, hops)
        with server as (port, pid):
            meter = Meter(pid)
            before = meter.read()
            began = time.monotonic()
            names = [f"d{number}.h{number % HOSTS}.example" for number in range(domains)]
            plan = LoadPlan(
                count=messages,
                smtp=("127.0.0.1", port),
                recipients=dict.fromkeys(names, 1.0),
                sizes={SIZE: 1},
                seconds=seconds,
            )
            end = began + seconds
            took = seconds
            quick = 0
            last, moved = 0, began
            with ThreadPoolExecutor(1) as pool:
                load = pool.submit(lambda: asyncio.run(run_load(plan)).accepted)
                while time.monotonic() < end:
                    now, total = time.monotonic(), counted[0].value + counted[1].value
                    if total != last:
                        last, moved = total, now
                    if quick < messages * _MOST:
                        quick, took = counted[0].value, now - began
                    if load.done() and (total >= load.result() or now - moved > 3 * RETRY):
                        break
                    time.sleep(0.05)
                accepted = load.result()
            delivered = counted[0].value + counted[1].value
            cpu = (meter.read() - before) * 1000 / max(delivered, 1)
        meter.close()
    return Result(peer, accepted, quick / took, cpu, delivered, accepted - delivered)


def raw(folder: Path, messages: int) -> float:
    with sink(folder) as (port, pid, count), contextlib.closing(Meter(pid)) as meter:
        return drive("raw", port, None, meter, count, SIZE, messages, kept=True, domains=["dst.example"]).rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--domains", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=180.0, help="each server has so long at the most")
    parser.add_argument("--no-postfix", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="postroad-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        limit = raw(folder, arguments.messages)
        results = [
            run(peer, folder / peer, arguments.messages, arguments.domains, arguments.seconds)
            for peer in ("postroad", *(() if arguments.no_postfix else ("postfix",)))
        ]
    lines = [
        about(),
        "",
        f"{DEFERRED} % of the tries deferred, {100 // HOSTS} % of the hosts slow by {SLOW} s at two steps, "
        f"{arguments.domains:,} domains on {HOSTS} hosts; Postroad's durability `{DURABILITY}`; raw: {limit:,.0f}/s",
        "",
        "| peer | accepted | delivered | left | delivered/s to hosts that are not slow | CPU ms/msg |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one.peer} | {one.messages:,} | {one.delivered:,} | {one.left:,} | {one.rate:,.0f} | {one.cpu:.3f} |"
            for one in results
        ),
    ]
    print("\n".join(lines))


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(f"bench: {error}")
