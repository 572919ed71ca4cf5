"""Every command in every state: the reply's code, and the state the table promises."""

from __future__ import annotations

import pytest

from postroad.inject import TABLE, Machine, State, draw
from tests.inject.kit import HOSTNAME, Talk

_SCRIPTS: dict[State, list[bytes]] = {
    State.START: [],
    State.READY: [b"EHLO c.example\r\n"],
    State.MAIL: [b"EHLO c.example\r\n", b"MAIL FROM:<a@b.example>\r\n"],
    State.RCPT: [b"EHLO c.example\r\n", b"MAIL FROM:<a@b.example>\r\n", b"RCPT TO:<c@d.example>\r\n"],
    State.CHUNKS: [
        b"EHLO c.example\r\n",
        b"MAIL FROM:<a@b.example>\r\n",
        b"RCPT TO:<c@d.example>\r\n",
        b"BDAT 3\r\nabc",
    ],
}

_LINES = {
    "EHLO": b"EHLO other.example\r\n",
    "HELO": b"HELO other.example\r\n",
    "MAIL": b"MAIL FROM:<x@y.example>\r\n",
    "RCPT": b"RCPT TO:<x@y.example>\r\n",
    "DATA": b"DATA\r\n",
    "BDAT": b"BDAT 5 LAST\r\nabc\r\n",
    "RSET": b"RSET\r\n",
    "NOOP": b"NOOP\r\n",
    "VRFY": b"VRFY x\r\n",
    "HELP": b"HELP\r\n",
    "QUIT": b"QUIT\r\n",
}

#                  EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT
_CODES = {
    State.START: [250, 250, 503, 503, 503, 503, 250, 250, 252, 214, 221],
    State.READY: [250, 250, 250, 503, 503, 503, 250, 250, 252, 214, 221],
    State.MAIL: [250, 250, 503, 250, 554, 554, 250, 250, 252, 214, 221],
    State.RCPT: [250, 250, 503, 250, 354, 250, 250, 250, 252, 214, 221],
    State.CHUNKS: [250, 250, 503, 503, 503, 250, 250, 250, 252, 214, 221],
}


@pytest.mark.parametrize(
    ("state", "verb", "code"),
    [(state, verb, code) for state, row in _CODES.items() for verb, code in zip(_LINES, row, strict=True)],
)
def test_every_command_in_every_state(state: State, verb: str, code: int) -> None:
    talk = Talk()
    for line in _SCRIPTS[state]:
        assert talk.one(line).code == 250
    assert talk.machine.state is state
    answer = talk.one(_LINES[verb])
    assert answer.code == code
    after = TABLE[state].get(verb)
    if after is None:
        assert code >= 500 and talk.machine.state is state
    elif verb == "BDAT":
        assert talk.machine.state is State.READY and len(talk.contents) == 1
    else:
        assert talk.machine.state is after
    if verb in ("EHLO", "HELO"):
        assert talk.machine.extended is (verb == "EHLO") and talk.machine.envelope is None


def test_nothing_is_read_before_the_greeting() -> None:
    talk = Talk(greeted=False)
    machine = talk.machine
    assert machine.state is State.GREETING
    machine.receive(b"EHLO early.example\r\n")
    assert machine.next_event() is not None and machine.next_event() is None
    assert machine.take_output() == b""
    machine.answer()
    assert machine.take_output() == b"220 mx.example ESMTP Postroad\r\n"
    assert talk.one(b"").code == 250


def test_nothing_is_read_after_the_end() -> None:
    talk = Talk()
    answers = talk.say(b"QUIT\r\nNOOP\r\nEHLO x.example\r\n")
    assert [a.code for a in answers] == [221] and talk.machine.closed and talk.machine.parted
    assert talk.say(b"NOOP\r\n") == []
    talk.machine.answer()  # an answer that comes late is nobody's any more


def test_an_answer_needs_a_question() -> None:
    machine = Machine(Talk().machine.options, HOSTNAME)
    machine.next_event()
    machine.answer()
    with pytest.raises(RuntimeError):
        machine.answer()


def test_the_table_names_every_state_and_only_states() -> None:
    assert set(TABLE) == set(State)
    reached = {State.GREETING} | {after for steps in TABLE.values() for after in steps.values()}
    assert reached == set(State)


def test_the_drawing_shows_the_whole_table() -> None:
    text = draw()
    rows = text.splitlines()[2:]
    assert len(rows) == len(State)
    for row, (state, steps) in zip(rows, TABLE.items(), strict=True):
        assert row.startswith(f"| {state.name} | {state.value} |")
        assert all(f"{word} → {after.name}" in row for word, after in steps.items())
