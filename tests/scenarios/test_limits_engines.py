"""Limits with one engine and several, as the far end counts them: real processes under load, one of them killed, all
restarted, limits lowered and raised by a reload."""

from __future__ import annotations

import contextlib
import os
import signal
import smtplib
import threading
from pathlib import Path
from typing import Any

import pytest

from postroad.serve import ask
from tests.scenarios.counting import Came, CountingSink
from tests.scenarios.server import Server, free_port, serving, until

# Minutes on a busy machine. Not steady yet: test_connections has failed here with several engines after the kill and
# the reload (7 connections at a limit lowered to 4), and it is not known yet whether the limits or the test are at
# fault.
pytestmark = pytest.mark.soak

HOSTS = ("127.0.0.21", "127.0.0.22", "127.0.0.23")
PEERS = ("127.0.0.31", "127.0.0.32")
DOMAINS = tuple(f"d{number}.test" for number in range(12))


def tables(sink: CountingSink, listener: int, limits: str) -> str:
    """Two bindings with an address each; twelve domains on three hosts, the first six of a provider. limits: a line for
    the provider."""
    parts = [
        f'[[listener]]\naddress = "127.0.0.1:{listener}"\nrelay = true\ngroup = "both"',
        *(f'[[binding]]\nname = "b{at}"\nsource_address = "{peer}"' for at, peer in enumerate(PEERS)),
        '[[group]]\nname = "both"\nmembers = [{ binding = "b0" }, { binding = "b1" }]',
        f'[[provider]]\nname = "big"\ndomains = [{", ".join(repr(each) for each in DOMAINS[:6])}]\n{limits}',
        *(
            f'[[domain]]\nmatch = "{domain}"\ngateway = "{HOSTS[at % 3]}:{sink.port}"'
            for at, domain in enumerate(DOMAINS)
        ),
    ]
    return "\n".join(parts)


def inject(port: int, count: int, connections: int = 4) -> None:
    """So many messages to each domain. Several connections, since each goes to one engine."""

    def some(part: int) -> None:
        number = part
        while number < count * len(DOMAINS):
            with (
                contextlib.suppress(OSError, smtplib.SMTPException),
                smtplib.SMTP("127.0.0.1", port, timeout=60) as client,
            ):
                while number < count * len(DOMAINS):
                    recipient = f"u{number}@{DOMAINS[number % len(DOMAINS)]}"
                    client.sendmail("s@sender.test", [recipient], b"Subject: x\r\n\r\nx\r\n")
                    number += connections

    threads = [threading.Thread(target=some, args=(part,)) for part in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def engine_pid(server: Server, number: int) -> int:
    found: Any = ask(server.data, "processes")
    return next(int(each["pid"]) for each in found["processes"] if each["name"] == f"engine-{number}")


def crowded(came: list[Came], most: int, seconds: float) -> list[tuple[float, float]]:
    """Where more than `most` came within `seconds`."""
    times = sorted(each.at for each in came)
    pairs = zip(times, times[most:], strict=False)
    return [(first, last) for first, last in pairs if last < first + seconds]


# Option, where it stands, two values, and what the far end counts for it.
CONNECTIONS = {
    "server": ("server_max_connections", 7, 4, ("all",)),
    "binding": ("binding_max_connections", 5, 3, tuple(f"peer {each}" for each in PEERS)),
    "host": ("host_max_connections", 4, 2, tuple(f"host {each}" for each in HOSTS)),
}


@pytest.mark.parametrize("engines", [1, 2, 4])
@pytest.mark.parametrize("kind", sorted(CONNECTIONS))
def test_connections(tmp_path: Path, engines: int, kind: str) -> None:
    """Never one too many, and all that are allowed; also while an engine is killed, and after the limit is lowered and
    raised."""
    option, high, low, names = CONNECTIONS[kind]
    listener = free_port()
    with CountingSink(HOSTS) as sink:
        delivery = f"server_reserved_connections = 0\n{option} = {high}"
        with serving(tmp_path, delivery=delivery, extra=tables(sink, listener, ""), engines=engines) as server:

            def reached(limit: int) -> None:
                until(lambda: any(sink.most[name] == limit for name in names), f"{limit} connections: {sink.most}")

            def reload(value: int) -> None:
                text = server.config.read_text()
                server.config.write_text(
                    "\n".join(f"{option} = {value}" if line.startswith(option) else line for line in text.splitlines())
                )
                done = server.command("config", "reload", "--config", str(server.config))
                assert done.returncode == 0, done.stderr

            stop = threading.Event()

            def load() -> None:
                while not stop.is_set():
                    inject(listener, 20)

            loading = threading.Thread(target=load)
            loading.start()
            try:
                reached(high)
                if engines > 1:
                    os.kill(engine_pid(server, engines - 1), signal.SIGKILL)
                    seen = len(sink.came)
                    until(lambda: len(sink.came) > seen + 100, "mail goes on")
                assert max(sink.most[name] for name in names) <= high, sink.most
                reload(low)
                until(lambda: max(sink.now_open()[name] for name in names) <= low, "the rest ends")
                sink.forget()
                seen = len(sink.came)
                until(lambda: len(sink.came) > seen + 100, "mail goes on")
                reached(low)
                assert max(sink.most[name] for name in names) <= low, sink.most
                reload(high)
                reached(high)
            finally:
                stop.set()
                loading.join()
            assert max(sink.most[name] for name in names) <= high, sink.most


@pytest.mark.parametrize("engines", [1, 2, 4])
def test_a_quota_is_used_up_and_not_exceeded_through_restarts(tmp_path: Path, engines: int) -> None:
    """60 an hour for a provider: no clock of the test matters, only how many come in all."""
    listener = free_port()
    with CountingSink(HOSTS, pause=0.0) as sink:
        extra = tables(sink, listener, 'message_rate = "40/s, 60/h"')
        with serving(tmp_path, extra=extra, engines=engines) as server:
            inject(listener, 15)
            until(lambda: len(others(sink)) == 90, "the others' mail")
            until(lambda: len(big(sink)) == 60, "the quota is used")
            server.stop()
            server.start()
            inject(listener, 1)
            until(lambda: len(others(sink)) == 96, "the others' mail")
            assert len(big(sink)) == 60
            server.kill()
            server.start()
            inject(listener, 1)
            until(lambda: len(others(sink)) == 102, "the others' mail")
            assert len(big(sink)) == 60


@pytest.mark.parametrize("engines", [1, 2, 4])
def test_a_quota_through_kills(tmp_path: Path, engines: int) -> None:
    """Killed in the middle, an engine or all: what may have been sent counts as sent."""
    listener = free_port()
    with CountingSink(HOSTS, pause=0.0) as sink:
        extra = tables(sink, listener, 'message_rate = "10/s, 60/h"')
        with serving(tmp_path, extra=extra, engines=engines) as server:
            inject(listener, 30)
            until(lambda: len(big(sink)) >= 10, "it begins")
            if engines > 1:
                os.kill(engine_pid(server, 0), signal.SIGKILL)
                until(lambda: len(big(sink)) >= 20, "it goes on")
            server.kill()
            server.start()
            until(lambda: len(others(sink)) >= 180, "the others' mail")
            inject(listener, 5)
            until(lambda: len(others(sink)) >= 210, "the others' mail")
            assert len(big(sink)) <= 60


@pytest.mark.parametrize("engines", [1, 2, 4])
def test_rates_by_the_clock(tmp_path: Path, engines: int) -> None:
    """30 in 3 seconds and 60 in 10, of all engines together. What is on its way may be late, so the far end's windows
    are half a second shorter; exact windows are a matter of simulated time (tests/shaping/test_lender.py)."""
    listener = free_port()
    with CountingSink(HOSTS, pause=0.0) as sink:
        extra = tables(sink, listener, 'message_rate = "30/3s, 60/10s"')
        with serving(tmp_path, extra=extra, engines=engines):
            inject(listener, 30)
            until(lambda: len(big(sink)) >= 130, "two windows and more")
            assert crowded(big(sink), 30, 2.5) == []
            assert crowded(big(sink), 60, 9.5) == []


def big(sink: CountingSink) -> list[Came]:
    return [each for each in list(sink.came) if each.recipient.partition("@")[2] in DOMAINS[:6]]


def others(sink: CountingSink) -> list[Came]:
    return [each for each in list(sink.came) if each.recipient.partition("@")[2] in DOMAINS[6:]]
