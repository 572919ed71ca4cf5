"""The machine against a slow and obvious server (reference.py): the same replies and the same messages, whatever is
said and however it is cut into pieces."""

from __future__ import annotations

from base64 import b64encode
from random import Random

import pytest

from postroad.config.schema import ListenerOptions, Size
from postroad.inject import Connect, Content, Data, Event, Hello, Machine, Mail, Rcpt, Refusal, State
from postroad.inject.events import Auth, AuthResponse, StartTls, XClient
from postroad.inject.offer import offer_for
from postroad.message import Reply
from tests.inject.kit import HOSTNAME
from tests.inject.reference import Judge, Letter, Server

OPTIONS = ListenerOptions(
    max_message_size=Size(2000),
    max_headers_size=Size(300),
    max_line_length=998,
    max_command_length=512,
    max_recipients=3,
    max_bad_commands=9,
    max_idle_commands=12,
    max_messages_per_session=5,
    max_hops=2,
    auth=True,
    auth_without_tls=True,
    auth_mechanisms=["PLAIN", "LOGIN"],
    tls="offered",
)
JUDGE = Judge()
SHAKE = b"(handshake)"  # stands in a list of pieces for the client's TLS


class Driven:
    """The machine, with the same judge behind it."""

    def __init__(self) -> None:
        self.machine = Machine(OPTIONS, HOSTNAME)
        self.out = b""
        self.letters: list[Letter] = []
        self.refused: list[Reply] = []
        self._said: list[bytes | None] = []
        self._mechanism = ""
        self._offer()
        self.receive(b"")

    def _offer(self) -> None:
        self.machine.offer = offer_for(OPTIONS, self.machine.secure, self.machine.user != "", True)

    def shaken(self) -> None:
        if self.machine.state is State.HANDSHAKE:
            self.machine.secured()
            self._offer()

    def receive(self, piece: bytes) -> None:
        machine = self.machine
        if piece:
            machine.receive(piece)
        while True:
            event = machine.next_event()
            if event is not None:
                self._answer(event)
                continue
            out = machine.take_output()
            self.out += out
            if not out:
                return

    def _answer(self, event: Event) -> None:
        machine = self.machine
        reply: Reply | None = None
        match event:
            case Refusal():
                self.refused.append(event.reply)
                return
            case Mail():
                reply = JUDGE.sender(event.envelope.sender)
            case Rcpt():
                reply = JUDGE.recipient(event.recipient.address)
            case Data():
                reply = JUDGE.data(event.envelope.sender)
            case Content():
                addresses = [recipient.address for recipient in event.envelope.recipients]
                self.letters.append(Letter(event.envelope.sender, addresses, event.content))
                reply = JUDGE.content(event.content)
            case Auth() | AuthResponse():
                if isinstance(event, Auth):
                    self._mechanism, self._said = event.mechanism, [event.initial]
                else:
                    self._said.append(event.octets)
                reply = JUDGE.login(self._mechanism, self._said)
                if reply is None:
                    machine.user = "user"
            case XClient():
                reply = JUDGE.speaks_for(event.client.addr)
                if reply is None:
                    machine.answer()
                    self._offer()
                    return
            case Connect() | Hello() | StartTls():
                pass
        machine.answer(reply)


# --- what is said -----------------------------------------------------------------------------------------------------

_PLAIN = b64encode(b"\0user\0right")
_LINES = [
    *[b"EHLO c.example", b"HELO c.example", b"ehlo [192.0.2.1]", b"EHLO", b"LHLO c.example"],
    *[b"MAIL FROM:<a@b.example>", b"MAIL FROM:<> SIZE=100 BODY=8BITMIME", b"MAIL FROM:<a@b.example> SIZE=99999"],
    *[b"MAIL FROM:<no@b.example>", b"MAIL FROM:<nodata@b.example>", b"MAIL FROM:<a@b.example> REQUIRETLS"],
    *[b"MAIL FROM:<\xc3\xa9@b.example> SMTPUTF8", b"MAIL FROM:<\xc3\xa9@b.example>", b"mail from:<x>"],
    *[b"RCPT TO:<c@d.example>", b"RCPT TO:<c@d.example> NOTIFY=NEVER", b"RCPT TO:<no@d.example>", b"RCPT TO:<x>"],
    *[b"DATA", b"DATA now", b"data ", b"BDAT 0", b"BDAT 0 LAST", b"BDAT 4", b"BDAT 9 LAST", b"BDAT 2500"],
    *[b"RSET", b"RSET x", b"NOOP", b"NOOP x", b"VRFY", b"VRFY x", b"HELP", b"STARTTLS", b"STARTTLS x"],
    *[b"AUTH", b"AUTH PLAIN", b"AUTH LOGIN", b"AUTH PLAIN =", b"AUTH plain " + _PLAIN, b"AUTH PLAIN !", b"AUTH X"],
    *[b"AUTH LOGIN " + b64encode(b"user"), b64encode(b"user"), b64encode(b"right"), b64encode(b"wrong"), b"*", _PLAIN],
    *[b"XCLIENT ADDR=192.0.2.9", b"XCLIENT ADDR=203.0.113.1", b"XCLIENT", b"XCLIENT NAME=x LOGIN=y"],
    *[b"EXPN x", b".", b"..", b"Subject: x", b"", b" ", b"x" * 509, b"x" * 511, b"x" * 1500, b"a\tb", b"\xff", b"a\0b"],
]
_RARE = [b"QUIT", b"QUIT x", b"GET / HTTP/1.0", b"BDAT x", b"MAIL FROM:<gone@b.example>", b"RCPT TO:<gone@b.example>"]
_CONTENT = [
    *[b"A: b\r\n", b"Received: x\r\n", b"received : x\r\n", b"\r\n", b"..\r\n", b".x\r\n", b"x\r\n", b"spam\r\n"],
    *[b"y" * 998 + b"\r\n", b"\xff\r\n", b"Received: x\r\n" * 3, b"H: " + b"h" * 290 + b"\r\n", b"z", b"\r\n..\r\n"],
]
_BAD_CONTENT = [b"\n", b"\r", b"\0", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"w" * 999, b"x\r\r\n", b"v" * 800 + b"\r\n"]
_ENDS = [b"\r\n"] * 20 + [b"\n", b"\r", b"", b"\r\n.\r\n", b" \r\n"]


def _content(rng: Random) -> bytes:
    pieces = [rng.choice(_BAD_CONTENT if rng.random() < 0.08 else _CONTENT) for _ in range(rng.randrange(6))]
    return b"".join(pieces)


def _step(rng: Random) -> bytes:
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(_RARE if rng.random() < 0.06 else _LINES) + rng.choice(_ENDS)
    sender = rng.choice([b"a@b.example"] * 6 + [b"", b"nodata@b.example", b"no@b.example"])
    recipients = [
        rng.choice([b"c@d.example", b"c@d.example", b"no@d.example", b"postmaster"])
        for _ in range(rng.choice([1, 1, 2, 4]))
    ]
    said = b"MAIL FROM:<%b>\r\n" % sender + b"".join(b"RCPT TO:<%b>\r\n" % one for one in recipients)
    if kind < 0.4:
        return said
    if kind < 0.7:
        return said + b"DATA\r\n" + _content(rng) + rng.choice([b".\r\n", b"\r\n.\r\n"])
    chunks = [_content(rng) for _ in range(rng.choice([1, 1, 2, 3]))]
    for number, chunk in enumerate(chunks):
        lie = rng.choice([-1, 1, 5]) if rng.random() < 0.06 else 0
        last = number == len(chunks) - 1 and rng.random() < 0.95
        said += b"BDAT %d%b\r\n" % (max(0, len(chunk) + lie), b" LAST" if last else b"") + chunk
    return said


def session(rng: Random) -> list[bytes]:
    """Pieces, and handshakes between them."""
    flights = []
    for _ in range(rng.choice([1, 1, 2])):
        said = b"EHLO c.example\r\n" if rng.random() < 0.9 else b""
        if rng.random() < 0.2:
            said += b"AUTH PLAIN " + _PLAIN + b"\r\n"
        said += b"".join(_step(rng) for _ in range(rng.randrange(8)))
        flights += [said + rng.choice([b"STARTTLS\r\n", b"RSET\r\nSTARTTLS\r\n"]), SHAKE]
    return flights[: rng.choice([-1, len(flights)])] if len(flights) > 2 or rng.random() < 0.5 else flights


def _cut(rng: Random, flights: list[bytes]) -> list[bytes]:
    pieces = []
    for flight in flights:
        if flight is SHAKE:
            pieces.append(flight)
            continue
        if rng.random() < 0.1:
            pieces += [flight[at : at + 1] for at in range(len(flight))]
            continue
        edges = sorted(rng.randrange(len(flight) + 1) for _ in range(rng.choice([0, 1, 3, 9])))
        pieces += [flight[a:b] for a, b in zip([0, *edges], [*edges, len(flight)], strict=True)]
    return pieces


def compare(pieces: list[bytes]) -> Server:
    theirs, ours = Server(OPTIONS, JUDGE), Driven()
    for piece in pieces:
        if piece is SHAKE:
            theirs.shaken()
            ours.shaken()
        else:
            theirs.receive(piece)
            ours.receive(piece)
        assert ours.out == theirs.out, (ours.out[-300:], theirs.out[-300:])
    assert ours.letters == theirs.letters
    assert ours.refused == theirs.refused
    assert ours.machine.closed == theirs.closed
    return theirs


@pytest.mark.parametrize("rounds", [3000, pytest.param(400_000, marks=pytest.mark.soak)])
def test_the_same_replies_and_the_same_messages(rounds: int) -> None:
    letters = refused = secured = logged_in = 0
    for seed in range(rounds):
        rng = Random(seed)
        pieces = _cut(rng, session(rng))
        try:
            server = compare(pieces)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {pieces!r}") from error
        letters += len(server.letters)
        refused += len(server.refused)
        secured += server.secure
        logged_in += server.logged_in
    # They must get somewhere, else nothing is compared.
    assert min(letters, refused, secured * 5, logged_in * 10) > rounds / 5


_TO = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
FINDS = [
    # Too big, and the last octet is a bare CR: that was not told.
    _TO + b"BDAT 3501 LAST\r\n" + b"x" * 3500 + b"\r",
    _TO + b"BDAT 3501\r\n" + b"x" * 3500 + b"\rBDAT 1 LAST\r\n\n",
]


@pytest.mark.parametrize("said", FINDS)
def test_what_was_found(said: bytes) -> None:
    compare([said])
    compare([said[at : at + 1] for at in range(len(said))])
