"""A property-based attack on the machine: whatever comes, in whatever pieces, it keeps its promises."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.config.schema import ListenerOptions, Size
from postroad.inject import TABLE, Content, Data, Event, Machine, Mail, Rcpt, Refusal, State
from postroad.message import Reply
from tests.inject.kit import HOSTNAME, read_answers

_OPTIONS = ListenerOptions(
    max_message_size=Size(2000),
    max_headers_size=Size(400),
    max_line_length=998,
    max_command_length=512,
    max_recipients=3,
    max_bad_commands=12,
    max_messages_per_session=6,
    max_hops=4,
)
_LINES = st.sampled_from(
    [
        b"EHLO c.example",
        b"HELO c.example",
        b"MAIL FROM:<a@b.example>",
        b"MAIL FROM:<> SIZE=100 BODY=8BITMIME",
        b"MAIL FROM:<a@b.example> SIZE=99999",
        b"MAIL FROM:<no@b.example>",
        b"RCPT TO:<c@d.example>",
        b"RCPT TO:<c@d.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+40y",
        b"RCPT TO:<no@d.example>",
        b"RCPT TO:<postmaster>",
        b"DATA",
        b"BDAT 0",
        b"BDAT 0 LAST",
        b"BDAT 3",
        b"BDAT 7 LAST",
        b"BDAT 3000",
        b"BDAT x",
        b"RSET",
        b"NOOP",
        b"VRFY x",
        b"HELP",
        b"QUIT",
        b"GET / HTTP/1.0",
        b"EXPN x",
        b".",
        b"..",
        b"Subject: x",
        b"Received: x",
        b"",
        b"x" * 600,
        b"x" * 1500,
    ]
)
_ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"", b"\r\n.\r\n", b"\r\n.\r\n", b"\0"])
_CRUMBS = st.binary(max_size=20) | st.text(max_size=10).map(str.encode)
_TALK = st.tuples(_LINES, _ENDS).map(b"".join)
# Others know how to get to where it hurts.
_CONTENT = st.lists(
    st.sampled_from(
        [b"A: b\r\n", b"Received: x\r\n", b"\r\n", b"..\r\n", b".x\r\n", b"x\r\n", b"y" * 998 + b"\r\n", b"\xff\r\n"]
        * 4
        + [b"z", b"\n", b"\r", b"\0", b"\n.\r\n", b"\r\n.\n", b"w" * 999]
    ),
    max_size=6,
).map(b"".join)
_ENVELOPE = st.lists(
    st.sampled_from([b"RCPT TO:<c@d.example>\r\n", b"RCPT TO:<no@d.example>\r\n", b"RCPT TO:<x>\r\n", b"NOOP\r\n"]),
    max_size=4,
).map(lambda lines: b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n" + b"".join(lines))
_BY_DATA = st.tuples(_ENVELOPE, _CONTENT).map(lambda parts: parts[0] + b"DATA\r\n" + parts[1] + b"\r\n.\r\n")


def _chunked(envelope: bytes, chunks: list[bytes], lie: int) -> bytes:
    sizes = [len(chunk) for chunk in chunks]
    sizes[-1] += lie
    commands = [b"BDAT %d\r\n" % max(size, 0) for size in sizes]
    commands[-1] = commands[-1][:-2] + b" LAST\r\n"
    return envelope + b"".join(command + chunk for command, chunk in zip(commands, chunks, strict=True))


_BY_BDAT = st.builds(
    _chunked, _ENVELOPE, st.lists(_CONTENT, min_size=1, max_size=3), st.sampled_from([0] * 8 + [-1, 1, 9])
)
_STEP = _TALK | _CRUMBS | _BY_DATA | _BY_DATA | _BY_BDAT | _BY_BDAT
_STREAM = st.tuples(
    st.sampled_from([b"EHLO c.example\r\n", b"EHLO c.example\r\n", b"HELO c.example\r\n", b""]),
    st.lists(_STEP, max_size=12).map(b"".join),
).map(b"".join)

_HOLD = _OPTIONS.max_message_size + 1024


def _policy(event: Event) -> Reply | None:
    if isinstance(event, Mail) and event.envelope.sender.startswith("no@"):
        return Reply(450, "4.7.1 Not you")
    if isinstance(event, Rcpt) and event.recipient.address.startswith("no@"):
        return Reply(550, "5.7.1 Not there")
    return None


class Witness:
    """Drives a machine and checks what must hold at every moment."""

    def __init__(self, answer_late: bool) -> None:
        self.machine = Machine(_OPTIONS, HOSTNAME)
        self.answer_late = answer_late
        self.out = b""
        self.contents: list[tuple[str, list[str], bytes, bool]] = []
        self.refusals: list[Reply] = []
        self.finals = 0  # replies given to whole messages

    def feed(self, piece: bytes) -> None:
        machine = self.machine
        machine.receive(piece)
        while True:
            before = machine.state
            event = machine.next_event()
            assert _reachable(before, machine.state)
            # Bounded memory: a command line, a message, a buffer of replies.
            assert machine.held <= _HOLD + len(piece)
            if event is None:
                out = machine.take_output()
                self.out += out
                if not out:
                    break
            elif isinstance(event, Refusal):
                self.refusals.append(event.reply)
            else:
                self._answer(event)
        assert machine.unread <= _OPTIONS.max_command_length
        assert not machine.waiting

    def _answer(self, event: Event) -> None:
        machine = self.machine
        assert machine.waiting
        if self.answer_late:
            assert machine.next_event() is None
            self.out += machine.take_output()
            assert machine.next_event() is None
        if isinstance(event, Content):
            envelope = event.envelope
            assert 1 <= len(envelope.recipients) <= _OPTIONS.max_recipients
            assert len(event.content) <= _OPTIONS.max_message_size
            stripped = event.content.replace(b"\r\n", b"")
            assert b"\r" not in stripped and b"\n" not in stripped and b"\0" not in stripped
            assert event.dotted is (b"\r\n." in b"\r\n" + event.content)
            self.contents.append(
                (envelope.sender, [r.address for r in envelope.recipients], event.content, event.dotted)
            )
        machine.answer(_policy(event))
        # BDAT 0 LAST needs no more octets: its message is the next question at once.
        assert machine.waiting is (isinstance(event, Data) and event.chunk == 0 and event.last)


def _reachable(before: State, after: State) -> bool:
    """Is there a way through the table? (One call may read many commands.)"""
    seen, edge = {before}, {before}
    while edge:
        edge = {to for state in edge for to in TABLE[state].values()} - seen
        seen |= edge
    return after in seen or after is State.CLOSED


def run_in_pieces(pieces: list[bytes], *, answer_late: bool = False) -> Witness:
    witness = Witness(answer_late)
    witness.feed(b"")
    for piece in pieces:
        witness.feed(piece)
    return witness


@settings(max_examples=400)
@given(_STREAM, st.lists(st.integers(0, 5000), max_size=10))
def test_attack(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    parted = [stream[a:b] for a, b in pairwise(edges)]
    whole = run_in_pieces([stream])
    pieces = run_in_pieces(parted, answer_late=True)
    octets = run_in_pieces([stream[i : i + 1] for i in range(len(stream))])
    assert whole.out == pieces.out == octets.out
    assert whole.contents == pieces.contents == octets.contents
    assert whole.refusals == pieces.refusals == octets.refusals
    answers = read_answers(whole.out)
    assert answers[0].code == 220
    # One reply a message, good or bad: never none, never two.
    queued = [a for a in answers if str(a) == "250 2.0.0 Ok"]
    assert len(queued) >= len(whole.contents)
    refused = [a for a in answers if a.code in (550, 552, 554)]
    assert len(refused) >= len(whole.refusals)


@settings(max_examples=200)
@given(st.binary(max_size=3000))
def test_noise(noise: bytes) -> None:
    witness = run_in_pieces([noise])
    assert witness.contents == [] or b"DATA" in noise.upper() or b"BDAT" in noise.upper()
    read_answers(witness.out)


@pytest.mark.parametrize(
    "verb", [b"DATA\r\n", b"BDAT 100000\r\n", b"NOOP ", b"MAIL FROM:<", b"BDAT 99999999999999999999\r\n"]
)
@pytest.mark.parametrize("filler", [b"x", b"\r", b"\n", b".", b"\r\n", b"\n.", b"\r\n..", b"\0", b"\r\n.\r"])
def test_a_flood_stays_small(verb: bytes, filler: bytes) -> None:
    witness = Witness(answer_late=False)
    witness.feed(b"")
    witness.feed(b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n" + verb)
    for _ in range(50):
        witness.feed(filler * (10_000 // len(filler)))
    assert witness.contents == []
    read_answers(witness.out)
