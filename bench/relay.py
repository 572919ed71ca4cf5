"""Relay: smtp-source -> server -> smtp-sink, in alternating rounds of raw, Postroad and tuned Postfix.

    python -m bench.relay                       the table of docs/performance.md
    python -m bench.relay --sizes 10240 --rounds 5 --no-postfix
    python -m bench.relay --engines 2 --sizes 10240 --no-postfix
                                                one engine and two: one smtp-source for each engine's domain
    python -m bench.relay --sign --sizes 10240   the same with DKIM signatures, Ed25519 and RSA-2048
    python -m bench.relay --million             memory and recovery with 1,000,000 messages queued

Raw (smtp-source straight to smtp-sink) is the limit of the load tools on this machine in the same run. Ratios between
rows of one run mean something; rates of different machines or days don't.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from bench.machine import BenchError, Count, Meter, free_port, program, running
from bench.peers import DURABILITY, postfix, postroad
from postroad.auth.dkim import Algorithm, PrivateKey
from postroad.serve.owner import owner

SESSIONS = 30
SIZES = (2048, 10240, 102400)
_STALL = 20.0  # seconds without a delivery that end a run


class Peer(NamedTuple):
    """engines: 0 for what is no Postroad. sign: algorithm of a DKIM key for the sender's domain, or None."""

    engines: int = 0
    sign: Algorithm | None = None


class Result(NamedTuple):
    """rate_in: accepted a second. rate: delivered a second, from the first in to the last out. CPU in ms a message."""

    peer: str
    size: int
    kept: bool
    messages: int
    rate_in: float
    rate: float
    cpu: float
    source_cpu: float
    sink_cpu: float


class Latency(NamedTuple):
    """Milliseconds a client waits for a whole transaction (from MAIL to the 250 after the dot), at full load."""

    size: int
    p50: float
    p99: float


def latency(port: int, size: int, messages: int) -> Latency:
    from postroad.lab.load import LoadPlan, run_load

    plan = LoadPlan(
        count=messages,
        smtp=("127.0.0.1", port),
        smtp_connections=SESSIONS,
        pipelining=True,
        per_session=0,
        recipients={"rcpt@dst.example": 1},
        sizes={size: 1},
    )
    result = asyncio.run(run_load(plan))
    if result.accepted != messages:
        raise BenchError(f"of {messages} messages only {result.accepted} were accepted: {result}")
    return Latency(size, result.percentile(50) * 1000, result.percentile(99) * 1000)


@contextlib.contextmanager
def sink(folder: Path) -> Iterator[tuple[int, int, Count]]:
    port = free_port()
    log = folder / f"sink-{port}.log"
    with (
        log.open("wb") as out,
        running([program("smtp-sink"), "-u", "nobody", "-c", f"127.0.0.1:{port}", "1000"], port, stdout=out) as process,
    ):
        yield port, process.pid, Count(log)


def destinations(engines: int) -> list[str]:
    """A domain for each engine, which it owns."""
    if engines == 1:
        return ["dst.example"]
    names = [f"dst{number}.example" for number in range(50 * engines)]
    return [next(name for name in names if owner(name, engines) == engine) for engine in range(engines)]


def drive(
    peer: str,
    port: int,
    server: Meter | None,
    sink_meter: Meter,
    count: Count,
    size: int,
    messages: int,
    *,
    kept: bool,
    domains: list[str],
) -> Result:
    each = messages // len(domains)
    messages = each * len(domains)
    command = [program("smtp-source"), *(["-d"] if kept else []), "-N", "-s", str(SESSIONS // len(domains))]
    command += ["-m", str(each), "-l", str(size), "-f", "sender@src.example"]
    before, server_cpu, sink_cpu = count.read(), server.read() if server else 0.0, sink_meter.read()
    begin = time.monotonic()
    sources = [subprocess.Popen([*command, "-t", f"rcpt@{domain}", f"127.0.0.1:{port}"]) for domain in domains]
    accepted = 0.0
    last, moved = before, begin
    while (delivered := count.read()) - before < messages:
        now = time.monotonic()
        if not accepted and all(source.poll() is not None for source in sources):
            accepted = now
            if any(source.returncode for source in sources):
                raise BenchError(f"smtp-source ended with {sources[0].returncode} against {peer}")
        if delivered != last:
            last, moved = delivered, now
        elif now - moved > _STALL:
            raise BenchError(f"{peer}: {delivered - before} of {messages} delivered, then nothing for {_STALL} s")
        time.sleep(0.01)
    end = time.monotonic()
    usage = _reap(sources)
    time.sleep(0.7)  # what a server does after the last delivery is part of its cost
    return Result(
        peer,
        size,
        kept,
        messages,
        messages / ((accepted or end) - begin),
        messages / (end - begin),
        ((server.read() if server else 0.0) - server_cpu) * 1000 / messages,
        usage * 1000 / messages,
        (sink_meter.read() - sink_cpu) * 1000 / messages,
    )


def _reap(sources: list[subprocess.Popen[bytes]]) -> float:
    """Their CPU seconds. The usage of children is a running total, so its growth is that of these."""
    for source in sources:
        if source.wait():
            raise BenchError(f"smtp-source ended with {source.returncode}")
    import resource

    total = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = total.ru_utime + total.ru_stime
    grown, _reap.seen = used - getattr(_reap, "seen", 0.0), used  # type: ignore[attr-defined]
    return grown


def amount(peer: str, size: int, seconds: float) -> int:
    """How many messages keep this peer busy for about so many seconds (rates seen on two cores)."""
    rates = {"raw": (20_000, 11_000, 2_200), "postfix": (700, 700, 430)}.get(peer, (5_500, 4_500, 1_200))
    rate = rates[0] if size <= 4096 else rates[1] if size <= 32768 else rates[2]
    return max(int(rate * seconds), 2 * SESSIONS)


def run_round(
    folder: Path,
    size: int,
    *,
    kept: bool,
    peers: dict[str, Peer],
    seconds: float,
    latencies: list[Latency],
    domains: list[str],
) -> list[Result]:
    results = []
    for peer, (engines, sign) in peers.items():
        messages = amount(peer, size, seconds)
        with sink(folder) as (sink_port, sink_pid, count), contextlib.closing(Meter(sink_pid)) as sink_meter:
            if peer == "raw":
                results.append(
                    drive(peer, sink_port, None, sink_meter, count, size, messages, kept=kept, domains=domains)
                )
                continue
            if engines:
                own = Path(tempfile.mkdtemp(dir=folder))
                server = postroad(own, sink_port, _signing(own, sign), engines=engines)
            else:
                server = postfix(sink_port)
            with server as (port, pid):
                meter = Meter(pid)
                drive(peer, port, meter, sink_meter, count, size, messages // 10, kept=kept, domains=domains)  # warm
                results.append(drive(peer, port, meter, sink_meter, count, size, messages, kept=kept, domains=domains))
                if peer == "postroad" and kept:
                    latencies.append(latency(port, size, max(messages // 4, SESSIONS)))
            meter.close()
    return results


def _signing(folder: Path, algorithm: Algorithm | None) -> str:
    """Lines of a configuration; they stand behind all others."""
    if algorithm is None:
        return ""
    (folder / "key.pem").write_bytes(PrivateKey.generate("src.example", "bench", algorithm).pem())
    return '[[dkim]]\ndomain = "src.example"\nselector = "bench"\nkey = "key.pem"\n'


def table(results: list[Result]) -> list[str]:
    lines = [
        "| size | sessions | peer | accepted/s | delivered/s (min-max) | % of raw | x Postfix | CPU ms/msg (min-max) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[int, bool], dict[str, list[Result]]] = {}
    for result in results:
        groups.setdefault((result.size, result.kept), {}).setdefault(result.peer, []).append(result)
    for (size, kept), peers in groups.items():
        middle = {peer: statistics.median(r.rate for r in runs) for peer, runs in peers.items()}
        for peer, runs in peers.items():
            rates, cpus = [r.rate for r in runs], [r.cpu for r in runs]
            if peer == "raw":
                cpus = [r.source_cpu + r.sink_cpu for r in runs]
            times = f"{middle[peer] / middle['postfix']:.1f}" if "postfix" in middle else "-"
            lines.append(
                f"| {size // 1024} KB | {'kept' if kept else 'new each'} | {peer} "
                f"| {statistics.median(r.rate_in for r in runs):,.0f} "
                f"| {middle[peer]:,.0f} ({min(rates):,.0f}-{max(rates):,.0f}) "
                f"| {100 * middle[peer] / middle['raw']:.0f} | {times} "
                f"| {statistics.median(cpus):.3f} ({min(cpus):.3f}-{max(cpus):.3f}) |"
            )
    return lines


def latency_table(latencies: list[Latency]) -> list[str]:
    lines = ["| size | accept latency p50 ms (min-max) | p99 ms (min-max) |", "|---|---|---|"]
    for size in dict.fromkeys(one.size for one in latencies):
        halves = [one.p50 for one in latencies if one.size == size]
        tails = [one.p99 for one in latencies if one.size == size]
        lines.append(
            f"| {size // 1024} KB | {statistics.median(halves):.1f} ({min(halves):.1f}-{max(halves):.1f}) "
            f"| {statistics.median(tails):.1f} ({min(tails):.1f}-{max(tails):.1f}) |"
        )
    return lines


def about() -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit.stdout.strip() or 'unknown'}, "
        f"CPython {platform.python_version()}, durability `{DURABILITY}`, events on, {SESSIONS} sessions in"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="octets, comma-separated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="about how long each measurement runs")
    parser.add_argument("--new", action="store_true", help="also 10 KB with a new session for each message")
    parser.add_argument("--no-postfix", action="store_true")
    parser.add_argument("--engines", type=int, default=1, help="also Postroad with so many engines")
    parser.add_argument("--sign", action="store_true", help="also Postroad with DKIM signatures")
    parser.add_argument("--million", action="store_true", help="memory and recovery with many messages queued")
    parser.add_argument("--queued", type=int, default=1_000_000, help="how many, with --million")
    parser.add_argument("--json", type=Path, help="append every single result to this file, a JSON line each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="postroad-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        if arguments.million:
            from bench.million import million

            print("\n".join([about(), "", *million(folder, arguments.queued)]))
            return
        peers = {"raw": Peer(), "postroad": Peer(1)}
        if arguments.engines > 1:
            peers[f"postroad, {arguments.engines} engines"] = Peer(arguments.engines)
        if arguments.sign:
            peers |= {f"postroad, {kind.value}": Peer(1, kind) for kind in Algorithm}
        if not arguments.no_postfix:
            peers["postfix"] = Peer()
        domains = destinations(arguments.engines)
        cases = [(int(size), True) for size in arguments.sizes.split(",")]
        if arguments.new:
            cases.append((10240, False))
        results: list[Result] = []
        latencies: list[Latency] = []
        for number in range(arguments.rounds):
            for size, kept in cases:
                found = run_round(
                    folder,
                    size,
                    kept=kept,
                    peers=peers,
                    seconds=arguments.seconds,
                    latencies=latencies,
                    domains=domains,
                )
                results += found
                for result in found:
                    print(f"round {number + 1}: {result}", file=sys.stderr)
        if arguments.json:
            with arguments.json.open("a") as file:
                file.writelines(json.dumps(result._asdict()) + "\n" for result in results)
        print("\n".join([about(), "", *table(results), "", *latency_table(latencies)]))


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(f"bench: {error}")
