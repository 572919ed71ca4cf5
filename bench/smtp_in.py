"""CPU of SMTP reception alone: smtp-source into a listener whose acceptor keeps nothing, so that the figure is socket,
protocol machine, content checks and trace fields, without the commit.

    python -m bench.smtp_in [--count 20000] [--sessions 20] [--size 2048 10240 102400] [--loop uvloop|asyncio]
                            [--rounds 3] [--new-connection] [--tls] [--profile FILE] [--idle N]

The server runs in a process of its own; its CPU is read from /proc (user and system). A line a size and round.
--tls: the same through TLS (implicit, ECDSA P-256), sent by a client of our own, as smtp-source knows none.
--idle measures the memory of N idle sessions instead.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import multiprocessing
import os
import resource
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import uvloop

from bench.machine import cpu_seconds, program, rss
from postroad.config.schema import CertificateOptions, ListenerOptions
from postroad.inject import SmtpListener
from postroad.message import Accepted, IdSource, Refused, Rejection, Reply, Transaction
from postroad.net import SystemClock


class NullAcceptor:
    """Accepts at once and forgets."""

    def __init__(self) -> None:
        self.messages = 0

    def refusal(self) -> Reply | None:
        return None

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        self.messages += 1
        done(Accepted([1] * len(transaction.recipients)))

    def rejected(self, rejection: Rejection) -> None:
        pass


def serve(pipe: Connection, loop: str, profile: str, certificate: str) -> None:
    async def run() -> None:
        clock, acceptor = SystemClock(), NullAcceptor()
        listener = SmtpListener(
            ListenerOptions(
                address="127.0.0.1:0",
                relay=True,
                max_sessions=100_000,
                max_sessions_per_peer=0,
                backlog=4096,
                tls="implicit" if certificate else "no",
                certificates=[CertificateOptions(certificate=certificate)] if certificate else [],
            ),
            hostname="mx.example",
            acceptor=acceptor,
            clock=clock,
            ids=IdSource(clock.wall),
        )
        await listener.start()
        pipe.send(listener.addresses[0][1])
        while await asyncio.get_running_loop().run_in_executor(None, pipe.recv):
            pipe.send((acceptor.messages, listener.sessions))
        await listener.close()

    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    if loop == "uvloop":
        uvloop.run(run())
    else:
        asyncio.run(run())
    if profile:
        profiler.disable()
        profiler.dump_stats(profile)


@contextlib.contextmanager
def server(loop: str, profile: str, certificate: str = "") -> Iterator[tuple[int, int, Callable[[], tuple[int, int]]]]:
    """Process id, port, and a question that gives (messages accepted, sessions open)."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, loop, profile, certificate))
    process.start()

    def ask() -> tuple[int, int]:
        ours.send(True)
        messages, sessions = ours.recv()
        return int(messages), int(sessions)

    try:
        port = int(ours.recv())
        yield process.pid or 0, port, ask
        ours.send(False)
        process.join(20)
    finally:
        if process.is_alive():
            process.kill()
            process.join()


def load(port: int, *, size: int, count: int, sessions: int, new_connection: bool) -> None:
    command = [program("smtp-source"), "-s", str(sessions), "-m", str(count), "-l", str(size)]
    command += ["-f", "sender@client.example", "-t", "someone@receiver.example"]
    command += [] if new_connection else ["-d"]
    subprocess.run([*command, f"127.0.0.1:{port}"], check=True, timeout=300)


def own_certificate(folder: str) -> str:
    """A PEM file with a certificate that nobody trusts, and its key."""
    path = f"{folder}/bench.pem"
    command = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=mx.example", "-keyout", path, "-out", f"{path}.crt"]
    subprocess.run([program("openssl"), *command], check=True, capture_output=True)
    with open(path, "a") as file, open(f"{path}.crt") as more:
        file.write(more.read())
    return path


def load_tls(port: int, *, size: int, count: int, sessions: int, new_connection: bool) -> None:
    """As `load`, through TLS: MAIL, RCPT and DATA sent at once, as PIPELINING allows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    line = b"x" * 70 + b"\r\n"
    content = b"Subject: x\r\nDate: x\r\nMessage-ID: <x@y.example>\r\n\r\n" + line * (size // len(line)) + b".\r\n"
    head = b"MAIL FROM:<sender@client.example>\r\nRCPT TO:<someone@receiver.example>\r\nDATA\r\n"

    async def session(messages: int) -> None:
        while messages > 0:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            await reader.readline()
            writer.write(b"EHLO client.example\r\n")
            while not (await reader.readline()).startswith(b"250 "):
                pass
            for _ in range(1 if new_connection else messages):
                writer.write(head)
                for _ in range(3):
                    await reader.readline()
                writer.write(content)
                assert (await reader.readline()).startswith(b"250 ")
                messages -= 1
            writer.close()

    async def run() -> None:
        await asyncio.gather(*(session(count // sessions) for _ in range(sessions)))

    uvloop.run(run())


def measure_cpu(arguments: argparse.Namespace) -> None:
    how = "a connection a message" if arguments.new_connection else "connections reused"
    how += ", TLS" if arguments.tls else ""
    print(f"{arguments.loop}, {arguments.sessions} sessions, {how}, {arguments.count} messages a line, nothing kept")
    send = load_tls if arguments.tls else load
    with (
        tempfile.TemporaryDirectory() as folder,
        server(arguments.loop, arguments.profile, own_certificate(folder) if arguments.tls else "") as (pid, port, ask),
    ):
        send(port, size=2048, count=1000, sessions=arguments.sessions, new_connection=False)
        for size in arguments.size:
            for _ in range(arguments.rounds):
                before, taken, begun = cpu_seconds(pid), ask()[0], time.perf_counter()
                send(
                    port,
                    size=size,
                    count=arguments.count,
                    sessions=arguments.sessions,
                    new_connection=arguments.new_connection,
                )
                wall = time.perf_counter() - begun
                messages = ask()[0] - taken
                cpu = (cpu_seconds(pid) - before) / messages
                print(
                    f"{size:>7} octets: {cpu * 1e6:6.1f} us CPU/message, {messages / wall:7.0f} messages/s", flush=True
                )


async def _open_idle(port: int, count: int) -> list[asyncio.StreamWriter]:
    writers = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        await reader.readline()
        writer.write(b"EHLO client.example\r\n")
        while not (await reader.readline()).startswith(b"250 "):
            pass
        writers.append(writer)
    return writers


def measure_idle(arguments: argparse.Namespace) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, arguments.idle + 200)), hard))
    with server(arguments.loop, arguments.profile) as (pid, port, ask):
        load(port, size=2048, count=100, sessions=10, new_connection=False)
        before = rss(pid)

        async def run() -> None:
            writers = await _open_idle(port, arguments.idle)
            sessions = ask()[1]
            print(f"{arguments.loop}: {sessions} idle sessions, {(rss(pid) - before) / sessions:.0f} octets each")
            for writer in writers:
                writer.close()

        asyncio.run(run())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.smtp_in", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--count", type=int, default=20_000, help="messages a round")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, nargs="+", default=[2048, 10240, 102400], help="octets of a message")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--new-connection", action="store_true", help="a connection a message")
    parser.add_argument("--tls", action="store_true", help="through TLS, with a client of our own")
    parser.add_argument("--profile", default="", help="write a cProfile of the server to this file")
    parser.add_argument("--idle", type=int, default=0, help="measure the memory of this many idle sessions instead")
    arguments = parser.parse_args()
    if arguments.idle:
        measure_idle(arguments)
    else:
        measure_cpu(arguments)
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
