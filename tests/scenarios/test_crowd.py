"""2,000 idle and slow-writing connections at once leave the others served, cost little memory, and are sent away when
their time is over; over SMTP and over HTTP."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from smtplib import SMTP, SMTPDataError, SMTPSenderRefused

import pytest

from tests.scenarios import clients
from tests.scenarios.crowd import ENOUGH_FILES, Crowd, Habit, many_files
from tests.scenarios.ends import audit
from tests.scenarios.far_end import FarEnd
from tests.scenarios.injectors import letter
from tests.scenarios.server import Server, free_port, serving, until

COUNT = 2000
# Octets of memory a connection may cost, all told: objects, buffers, timers. Measured: 2,300 to 3,500 over SMTP, 4,000
# to 17,000 over HTTP.
SMTP_SHARE = 8_000
HTTP_SHARE = 25_000
SERVED = 200  # messages of the clients that behave

# The server has to ask for as many descriptors as it needs: the limit it begins with is the usual one.
USUAL = ["prlimit", f"--nofile=1024:{ENOUGH_FILES}"]

HELLO = (b"220 ", b"EHLO crowd.test\r\n")
TRANSACTION = (b"250 DSN", b"MAIL FROM:<a@crowd.test>\r\nRCPT TO:<never@far.test>\r\nDATA\r\n")
SMTP_HABITS = (
    Habit([]),  # says nothing, and does not even wait for the greeting
    Habit([HELLO, (b"250 DSN", b"")]),  # is silent after EHLO
    Habit([HELLO, (b"250 DSN", b"")], b"NOOP forever and ever "),  # one octet of a command line now and then
    Habit([HELLO, TRANSACTION, (b"354 ", b"Subject: slow\r\n\r\n")], b"content\r\n"),  # the same of a message
)

POST = b"POST /api/v1/transmissions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def http_habits(key: str) -> tuple[Habit, ...]:
    authorized = POST + b"Authorization: " + key.encode() + b"\r\nContent-Length: 100000\r\n\r\n"
    return (
        Habit([]),
        Habit([(b"", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"), (b"HTTP/1.1 200", b"")]),  # kept alive
        Habit([(b"", POST + b"X-Slow: ")], b"slow loris "),  # a head without end
        Habit([(b"", authorized)], b"[" + b" " * 100),  # a body that is slow to come
    )


@pytest.fixture(autouse=True)
def files() -> Iterator[None]:
    with many_files():
        yield


def test_smtp_serves_the_others(tmp_path: Path) -> None:
    with FarEnd() as far, serving(tmp_path, gateway=far.port, prefix=USUAL) as server:
        by_smtp(server, "before", SERVED)  # what a server at work needs is no share of the crowd's
        empty = rss(server)
        with Crowd(server.smtp_port, SMTP_HABITS, COUNT) as crowd:
            until(lambda: server.status()[4] == COUNT, "all are in")
            by_smtp(server, "while", SERVED)
            until(server.quiet, "all are delivered")
            dripped = crowd.rounds
            until(lambda: crowd.rounds > dripped + 10, "they drip on")
            assert crowd.staying().total() == COUNT == server.status()[4]
            assert (rss(server) - empty) / COUNT < SMTP_SHARE
        until(lambda: server.status()[4] == 0, "all have left")
        assert server.stop() == 0
        check_delivered(server, far, {"before": SERVED, "while": SERVED})


def test_http_serves_the_others(tmp_path: Path) -> None:
    with FarEnd() as far, serving(tmp_path, gateway=far.port, prefix=USUAL) as server:
        by_http(server, "before", SERVED)
        empty = rss(server)
        with Crowd(server.http_port, http_habits(server.key), COUNT) as crowd:
            by_http(server, "while", SERVED)
            until(server.quiet, "all are delivered")
            dripped = crowd.rounds
            until(lambda: crowd.rounds > dripped + 10, "they drip on")
            assert crowd.staying().total() == COUNT
            assert (rss(server) - empty) / COUNT < HTTP_SHARE
        assert server.stop() == 0
        check_delivered(server, far, {"before": SERVED, "while": SERVED})


# A second listener, with short times; the crowd is still coming while they run.
SHORT = (
    '[[listener]]\naddress = "127.0.0.1:{port}"\nrelay = true\nidle_time = "2s"\nmessage_time = "3s"\n'
    "max_idle_commands = 1000000\n"
)
TOO_SLOW = "421 4.4.2 Nothing came for too long"


def test_smtp_sends_the_slow_away(tmp_path: Path) -> None:
    """Half a command is nothing, and a message has its own time. Who is quick enough stays as long as it likes."""
    port = free_port()
    with serving(tmp_path, extra=SHORT.format(port=port)) as server, ExitStack() as stack:
        until(server.recovered, "the second listener is open too")
        busy = stack.enter_context(closing(SMTP("127.0.0.1", port, "client.test", timeout=30)))
        with Crowd(port, SMTP_HABITS, 400) as crowd:
            until(lambda: busy.noop()[0] == 250 and not crowd.staying(), "all have been sent away")
            assert crowd.last_words() == {
                (0, TOO_SLOW): 100,
                (1, TOO_SLOW): 100,
                (2, TOO_SLOW): 100,
                (3, "421 4.4.2 The message took too long to arrive"): 100,
            }
        assert busy.noop()[0] == 250
        busy.quit()
        until(lambda: server.status()[4] == 0, "all have left")
        assert server.stop() == 0
        assert audit(server)["accepted"] == 0


def test_http_sends_the_slow_away(tmp_path: Path) -> None:
    with FarEnd() as far, serving(tmp_path, gateway=far.port, http='idle_time = "2s"') as server:
        with Crowd(server.http_port, http_habits(server.key)[:3], 300) as crowd:
            until(lambda: not crowd.staying(), "all have been sent away")
        by_http(server, "after", SERVED)
        until(server.quiet, "all are delivered")
        assert server.stop() == 0
        check_delivered(server, far, {"after": SERVED})


def test_more_connections_than_descriptors(tmp_path: Path) -> None:
    """Mail that can't be written down for want of a descriptor is put off, never lost; all is well when they leave."""
    prefix = ["prlimit", "--nofile=200:200"]
    # Small segments: files are opened now and then. Delivery lacks descriptors as well; that is no host's failure, so
    # it goes on as soon as there are some, not after a retry interval.
    extra = '[journal]\nsegment_size = "64KB"\nmin_free = "1MB"\n'
    with FarEnd() as far, serving(tmp_path, gateway=far.port, prefix=prefix, extra=extra) as server:
        accepted = 0
        with ExitStack() as stack:
            client = stack.enter_context(closing(SMTP("127.0.0.1", server.smtp_port, "client.test", timeout=30)))
            for _ in range(400):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.smtp_port), 30))
            try:
                while True:
                    content = letter(f"while-{accepted}")
                    client.sendmail("a@sender.test", [f"while-{accepted}@far.test"], content)
                    accepted += 1
            except (SMTPSenderRefused, SMTPDataError) as refused:
                # Where our files lie, and what is wrong with them, is nobody's business.
                assert (refused.smtp_code, refused.smtp_error) == (
                    452,
                    b"4.3.1 The message can't be stored now; try again later",
                )
        until(server.welcoming, "mail is taken again")
        by_smtp(server, "after", SERVED)
        until(server.quiet, "all are delivered")
        assert server.stop() == 0
        check_delivered(server, far, {"while": accepted, "after": SERVED})


def rss(server: Server) -> int:
    """Octets of memory the server's process has."""
    assert server.process is not None
    fields = Path(f"/proc/{server.process.pid}/status").read_text().split()
    return int(fields[fields.index("VmRSS:") + 1]) * 1024


def by_smtp(server: Server, name: str, count: int) -> None:
    """All of them must be accepted. Several sessions, so that new ones must get in too."""
    for session in range(4):
        with closing(SMTP("127.0.0.1", server.smtp_port, "client.test", timeout=30)) as client:
            for number in range(session, count, 4):
                key = f"{name}-{number}"
                assert client.sendmail("a@sender.test", [f"{key}@far.test"], letter(key)) == {}


def by_http(server: Server, name: str, count: int) -> None:
    for number in range(count):
        key = f"{name}-{number}"
        assert clients.http_lib(server, "a@sender.test", f"{key}@far.test", letter(key)).code == 200


def check_delivered(server: Server, far: FarEnd, accepted: dict[str, int]) -> None:
    copies = far.copies()
    assert set(copies.values()) == {1}
    assert Counter(address.partition("-")[0] for address in copies) == accepted
    assert audit(server)["queued"] == 0
    assert "Traceback" not in server.log.read_text()
