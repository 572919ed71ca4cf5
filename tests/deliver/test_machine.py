"""The machine as a table of conversations: what the peer says, what goes out, how the message ends."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.deliver.machine import TABLE, Machine
from postroad.deliver.steps import Again, Result, Step
from postroad.deliver.wireform import wire_form
from postroad.message import Body, Message, Stage, Verdict
from tests.deliver.supply import message

EHLO = b"250-mx.example.net\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 8BITMIME\r\n"
PLAIN_EHLO = b"250 mx.example.net\r\n"
GROUP = b"MAIL FROM:<sender@example.com> SIZE=21\r\nRCPT TO:<user1@example.net>\r\nDATA\r\n"
CONTENT = b"Subject: x\r\n\r\nHello\r\n.\r\n"

D, T, F = Verdict.DELIVERED, Verdict.DEFERRED, Verdict.FAILED


def ready(ehlo: bytes = EHLO) -> Machine:
    machine = Machine("us.example")
    say(machine, b"220 mx.example.net ESMTP\r\n")
    say(machine, ehlo)
    assert machine.step is Step.READY
    return machine


def say(machine: Machine, octets: bytes, unsent: bool = False) -> bytes:
    """The peer says something; what the machine answers."""
    machine.receive(octets, unsent)
    return written(machine)


def written(machine: Machine) -> bytes:
    output = b"".join(machine.output)
    machine.output = []
    return output


def send(machine: Machine, each: Message | None = None) -> bytes:
    each = each or message()
    assert each.body is not None
    machine.send(each, each.body)
    return written(machine)


def at(machine: Machine, step: Step) -> bool:
    return machine.step is step  # in a function, as the type checker takes a step for settled once it is compared


def result(machine: Machine) -> Result:
    assert machine.result is not None
    found, machine.result = machine.result, None
    return found


def test_every_step_has_its_row() -> None:
    assert set(TABLE) == set(Step)


def test_a_session_with_pipelining() -> None:
    machine = Machine("us.example")
    assert say(machine, b"220 hi\r\n") == b"EHLO us.example\r\n"
    assert say(machine, EHLO) == b""
    for _ in range(2):
        assert send(machine) == GROUP
        assert say(machine, b"250 ok\r\n250 ok\r\n354 go\r\n") == CONTENT
        assert at(machine, Step.CONTENT) and machine.result is None
        assert say(machine, b"250 2.0.0 queued as 7\r\n") == b""
        assert result(machine) == Result(D, (250, "2.0.0 queued as 7"), Stage.CONFIRMATION)  # type: ignore[arg-type]
        assert at(machine, Step.READY)
    assert machine.served == 2
    machine.quit()
    assert written(machine) == b"QUIT\r\n"
    say(machine, b"221 bye\r\n")
    assert machine.step is Step.CLOSED and machine.failure is None


def test_a_session_without_pipelining() -> None:
    machine = ready(PLAIN_EHLO)
    assert send(machine) == b"MAIL FROM:<sender@example.com>\r\n"
    assert say(machine, b"250 ok\r\n") == b"RCPT TO:<user1@example.net>\r\n"
    assert say(machine, b"251 will forward\r\n") == b"DATA\r\n"
    assert say(machine, b"354 go\r\n") == CONTENT
    say(machine, b"250 ok\r\n")
    assert result(machine).verdict is D


def test_helo_for_hosts_of_old() -> None:
    machine = Machine("us.example")
    say(machine, b"220 hi\r\n")
    assert say(machine, b"502 what?\r\n") == b"HELO us.example\r\n"
    say(machine, b"250 hello\r\n")
    assert machine.step is Step.READY
    assert send(machine) == b"MAIL FROM:<sender@example.com>\r\n"


class Start(NamedTuple):
    """How a session that does not begin ends."""

    peer: list[bytes]
    verdict: Verdict
    code: int
    stage: Stage
    internal: bool
    last: bytes


@pytest.mark.parametrize(
    "case",
    [
        Start([b"421 too many\r\n"], T, 421, Stage.BANNER, False, b""),
        Start([b"450 later\r\n"], T, 450, Stage.BANNER, False, b"QUIT\r\n"),
        Start([b"554 no\r\n"], F, 554, Stage.BANNER, False, b"QUIT\r\n"),
        Start([b"354 what\r\n"], T, 451, Stage.BANNER, True, b""),
        Start([b"SSH-2.0-OpenSSH\r\n"], T, 451, Stage.BANNER, True, b""),
        Start([b"220 a\r\n250 too eager\r\n"], T, 451, Stage.EHLO, True, b""),
        Start([b"220 a\r\n", b"451 no\r\n"], T, 451, Stage.EHLO, False, b"QUIT\r\n"),
        Start([b"220 a\r\n", b"421 no\r\n"], T, 421, Stage.EHLO, False, b""),
        Start([b"220 a\r\n", b"550 no\r\n", b"550 go away\r\n"], F, 550, Stage.EHLO, False, b"QUIT\r\n"),
        Start([b"220 a\r\n", b"502 no\r\n", b"450 later\r\n"], T, 450, Stage.EHLO, False, b"QUIT\r\n"),
        Start([b"220 a\r\n", b"354 no\r\n"], T, 451, Stage.EHLO, True, b""),
        Start([b"220 a\r\n", b"x" * 5000], T, 451, Stage.EHLO, True, b""),
    ],
)
def test_sessions_that_do_not_begin(case: Start) -> None:
    machine = Machine("us.example")
    last = b""
    for octets in case.peer:
        assert machine.step is not Step.CLOSED
        last = say(machine, octets)
    assert machine.step is Step.CLOSED and machine.result is None
    failure = machine.failure
    assert failure is not None
    assert (failure.verdict, failure.reply.code, failure.stage, failure.internal) == case[1:5]
    assert last == case.last


class Attempt(NamedTuple):
    """How a message ends. after: READY, or CLOSED when the session is over too. again: for the first message."""

    peer: list[bytes]
    verdict: Verdict
    code: int
    stage: Stage
    internal: bool = False
    again: Again = Again.NO
    after: Step = Step.READY
    next_begins: bytes = b"MAIL"


BY_PIPELINE = [
    Attempt([b"250 \r\n250 \r\n354 \r\n", b"250 \r\n"], D, 250, Stage.CONFIRMATION),
    Attempt([b"250 \r\n250 \r\n354 \r\n", b"450 \r\n"], T, 450, Stage.CONFIRMATION),
    Attempt([b"250 \r\n250 \r\n354 \r\n", b"554 \r\n"], F, 554, Stage.CONFIRMATION),
    Attempt([b"250 \r\n250 \r\n354 \r\n", b"250 \r\n421 bye\r\n"], D, 250, Stage.CONFIRMATION, after=Step.CLOSED),
    Attempt([b"450 \r\n503 \r\n503 \r\n"], T, 450, Stage.MAIL, again=Again.NEXT_HOST),
    Attempt([b"550 \r\n", b"503 \r\n", b"503 \r\n"], F, 550, Stage.MAIL),
    Attempt([b"550 \r\n250 \r\n354 \r\n", b"554 no recipients\r\n"], F, 550, Stage.MAIL),
    Attempt([b"250 \r\n550 5.1.1 who\r\n503 \r\n"], F, 550, Stage.RCPT, next_begins=b"RSET"),
    Attempt([b"250 \r\n450 \r\n451 \r\n"], T, 450, Stage.RCPT, next_begins=b"RSET"),
    Attempt([b"250 \r\n550 \r\n354 \r\n", b"554 \r\n"], F, 550, Stage.RCPT),
    Attempt([b"250 \r\n550 \r\n354 \r\n", b"250 empty, but mine\r\n"], F, 550, Stage.RCPT),
    Attempt([b"250 \r\n550 \r\n421 \r\n"], F, 550, Stage.RCPT, after=Step.CLOSED),
    Attempt([b"250 \r\n550 \r\n250 lie\r\n"], F, 550, Stage.RCPT, after=Step.CLOSED),
    Attempt([b"250 \r\n250 \r\n451 \r\n"], T, 451, Stage.DATA, next_begins=b"RSET"),
    Attempt([b"250 \r\n250 \r\n554 \r\n"], F, 554, Stage.DATA, next_begins=b"RSET"),
    Attempt([b"421 \r\n"], T, 421, Stage.MAIL, again=Again.NEXT_HOST, after=Step.CLOSED),
    Attempt([b"250 \r\n421 \r\n"], T, 421, Stage.RCPT, after=Step.CLOSED),
    Attempt([b"250 \r\n250 \r\n421 \r\n"], T, 421, Stage.DATA, after=Step.CLOSED),
    Attempt([b"250 \r\n250 \r\n354 \r\n", b"421 \r\n"], T, 421, Stage.CONFIRMATION, after=Step.CLOSED),
    Attempt([b"354 \r\n"], T, 451, Stage.MAIL, True, Again.NEXT_HOST, Step.CLOSED),
    Attempt([b"250 \r\n354 \r\n"], T, 451, Stage.RCPT, True, after=Step.CLOSED),
    Attempt([b"250 \r\n250 \r\n250 instead of 354\r\n"], T, 451, Stage.DATA, True, after=Step.CLOSED),
    Attempt([b"250 \r\n250 \r\n354 \r\n", b"354 \r\n"], T, 451, Stage.CONFIRMATION, True, after=Step.CLOSED),
    Attempt([b"250 \r\n250 \r\n354 \r\n", b"yes\r\n"], T, 451, Stage.CONFIRMATION, True, after=Step.CLOSED),
    # It says 250 to a message it can't have.
    Attempt([b"250 \r\n250 \r\n354 \r\n250 \r\n"], T, 451, Stage.BODY, True, after=Step.CLOSED),
    # It may refuse at any time.
    Attempt([b"250 \r\n250 \r\n354 \r\n552 \r\n"], F, 552, Stage.BODY, after=Step.CLOSED),
    # One reply too many: the message is through, the session is not to be trusted.
    Attempt([b"250 \r\n250 \r\n354 \r\n", b"250 \r\n250 \r\n"], D, 250, Stage.CONFIRMATION, after=Step.CLOSED),
]


@pytest.mark.parametrize("case", BY_PIPELINE)
def test_attempts_with_pipelining(case: Attempt) -> None:
    machine = ready()
    send(machine)
    for octets in case.peer:
        say(machine, octets)
    found = result(machine)
    assert (found.verdict, found.reply.code, found.stage, found.internal, found.again) == case[1:6]
    assert machine.step is case.after
    if case.after is Step.READY:
        assert send(machine, message(2)).startswith(case.next_begins)


STEPWISE = [
    Attempt([b"450 \r\n"], T, 450, Stage.MAIL, again=Again.NEXT_HOST),
    Attempt([b"550 \r\n"], F, 550, Stage.MAIL),
    Attempt([b"250 \r\n", b"450 \r\n"], T, 450, Stage.RCPT, next_begins=b"RSET"),
    Attempt([b"250 \r\n", b"550 \r\n"], F, 550, Stage.RCPT, next_begins=b"RSET"),
    Attempt([b"250 \r\n", b"250 \r\n", b"554 \r\n"], F, 554, Stage.DATA, next_begins=b"RSET"),
    Attempt([b"250 \r\n", b"250 \r\n", b"354 \r\n", b"554 \r\n"], F, 554, Stage.CONFIRMATION),
    Attempt([b"250 \r\n250 early\r\n"], T, 451, Stage.RCPT, True, after=Step.CLOSED),
    Attempt([b"250 \r\n", b"250 \r\n354 early\r\n"], T, 451, Stage.DATA, True, after=Step.CLOSED),
]


@pytest.mark.parametrize("case", STEPWISE)
def test_attempts_without_pipelining(case: Attempt) -> None:
    machine = ready(PLAIN_EHLO)
    send(machine)
    for octets in case.peer:
        say(machine, octets)
    found = result(machine)
    assert (found.verdict, found.reply.code, found.stage, found.internal, found.again) == case[1:6]
    assert machine.step is case.after
    if case.after is Step.READY:
        assert send(machine, message(2)).startswith(case.next_begins)


@pytest.mark.parametrize("ehlo", [EHLO, PLAIN_EHLO])
def test_after_a_refused_recipient_the_transaction_is_reset(ehlo: bytes) -> None:
    machine = ready(ehlo)
    send(machine)
    for octets in [b"250 \r\n", b"550 \r\n"] + [b"503 \r\n"] * (ehlo is EHLO):
        say(machine, octets)
    assert result(machine).verdict is F
    output = send(machine, message(2))
    if ehlo is EHLO:
        assert output.startswith(b"RSET\r\nMAIL") and output.endswith(b"DATA\r\n")
        output = say(machine, b"250 \r\n250 \r\n250 \r\n354 \r\n")
    else:
        assert output == b"RSET\r\n"
        for octets in [b"250 \r\n"] * 3 + [b"354 \r\n"]:
            output = say(machine, octets)
    assert output == CONTENT
    say(machine, b"250 \r\n")
    assert result(machine).verdict is D


def test_the_empty_message_of_a_refused_recipient_is_a_lone_dot() -> None:
    machine = ready()
    send(machine)
    assert say(machine, b"250 \r\n550 \r\n354 \r\n") == b".\r\n"
    assert machine.result is None


@pytest.mark.parametrize("reply", [b"500 what\r\n", b"421 bye\r\n", b"354 ?\r\n"])
def test_a_refused_rset_hands_the_next_message_over(reply: bytes) -> None:
    machine = ready()
    send(machine)
    say(machine, b"250 \r\n550 \r\n503 \r\n")
    result(machine)
    send(machine, message(2))
    say(machine, reply)
    assert result(machine).again is Again.HAND_OVER
    assert machine.step is Step.CLOSED


def ended(*, after: int, by: str) -> tuple[Machine, Result]:
    """A session that ends when `after` of the replies to its second message have come."""
    machine = ready()
    send(machine)
    say(machine, b"250 \r\n250 \r\n354 \r\n")
    say(machine, b"250 \r\n")
    result(machine)
    send(machine, message(2))
    for octets in [b"250 \r\n", b"250 \r\n", b"354 \r\n"][:after]:
        say(machine, octets)
    if by == "loss":
        machine.lost()
    elif by == "silence":
        machine.timed_out(300)
    else:
        say(machine, b"421 bye\r\n")
    assert machine.step is Step.CLOSED
    return machine, result(machine)


@pytest.mark.parametrize("by", ["loss", "silence", "421"])
@pytest.mark.parametrize(
    ("after", "again", "stage"),
    [
        (0, Again.HAND_OVER, Stage.MAIL),
        (1, Again.NO, Stage.RCPT),
        (2, Again.NO, Stage.DATA),
        (3, Again.NO, Stage.CONFIRMATION),
    ],
)
def test_sessions_that_end_in_the_middle(by: str, after: int, again: Again, stage: Stage) -> None:
    machine, found = ended(after=after, by=by)
    assert (found.verdict, found.again, found.stage, found.internal) == (T, again, stage, by != "421")
    assert ("duplicate" in found.reply.text) == (after == 3 and by != "421")
    machine.lost()  # the transport reports its end as well, which changes nothing
    assert machine.result is None and machine.failure is None


def test_a_loss_before_the_end_of_the_message_makes_no_duplicate() -> None:
    machine = ready()
    send(machine)
    say(machine, b"250 \r\n250 \r\n354 \r\n")
    machine.lost(unsent=True)
    found = result(machine)
    assert found.stage is Stage.BODY and "duplicate" not in found.reply.text


def test_an_early_yes_is_no_delivery_while_octets_are_on_their_way() -> None:
    machine = ready()
    send(machine)
    say(machine, b"250 \r\n250 \r\n354 \r\n")
    say(machine, b"250 ok\r\n", unsent=True)
    assert result(machine).verdict is T


def test_a_loss_between_messages_is_nobodys_loss() -> None:
    machine = ready()
    machine.lost()
    assert machine.step is Step.CLOSED and machine.result is None and machine.failure is None


def test_a_message_over_the_announced_size_is_not_sent() -> None:
    machine = ready()
    assert send(machine, message(content=b"x" * 1001)) == b""
    found = result(machine)
    assert (found.verdict, found.reply.code, found.internal) == (F, 552, True)
    assert found.reply.text.startswith("5.3.4 ")
    assert machine.step is Step.READY
    assert send(machine, message(content=b"x" * 1000)).startswith(b"MAIL")


def test_an_international_message_wants_another_host() -> None:
    machine = ready()
    assert send(machine, message(recipient="дом@example.net", smtputf8=True)) == b""
    found = result(machine)
    assert (found.verdict, found.again, found.reply.text[:5]) == (F, Again.NEXT_HOST, "5.6.7")
    assert machine.step is Step.READY


def test_a_forged_envelope_is_not_sent() -> None:
    machine = ready()
    assert send(machine, message(sender="a@b\r\nRSET")) == b""
    assert result(machine).verdict is F


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"..\r\n...\r\n", b"...\r\n....\r\n.\r\n"),
        (b"a.\r\n", b"a.\r\n.\r\n"),
        (b"a\n.\r\nb", b"a\n..\r\nb\r\n.\r\n"),  # no end mark for those who take LF for a line end
        (b"a\r", b"a\r\r\n.\r\n"),
    ],
)
def test_wire_form(content: bytes, wire: bytes) -> None:
    assert b"".join(wire_form(Body(content))) == wire
    assert b"".join(wire_form(Body(content, b"Received: x\r\n"))) == b"Received: x\r\n" + wire


LINES = st.lists(st.sampled_from([b".", b"..", b"a", b"\xff.", b"", b" ."]), max_size=8)


@given(LINES, st.booleans())
def test_wire_form_read_as_rfc_5321_says_is_the_message(lines: list[bytes], ended_line: bool) -> None:
    content = b"\r\n".join(lines) + b"\r\n" * ended_line
    wire = b"".join(wire_form(Body(content)))
    assert wire.endswith(b".\r\n") and (wire == b".\r\n" or wire.endswith(b"\r\n.\r\n"))
    read = wire[:-3].split(b"\r\n")
    assert b"." not in read
    unstuffed = b"\r\n".join(line.removeprefix(b".") for line in read)
    assert unstuffed in (content, content + b"\r\n")


@given(st.sampled_from(BY_PIPELINE), st.data())
def test_pieces_do_not_matter(case: Attempt, data: st.DataObject) -> None:
    """However the peer's octets are cut, the message ends in the same way.

    Not for the two cases in which an answer comes ahead of its question: there, the cut is what matters.
    """
    machine = ready()
    send(machine)
    for octets in case.peer:
        early = case.stage is Stage.BODY
        cuts = [] if early else data.draw(st.lists(st.integers(0, len(octets)), max_size=5))
        edges = sorted({0, len(octets), *cuts})
        for start, end in pairwise(edges):
            say(machine, octets[start:end])
    found = result(machine)
    assert (found.verdict, found.reply.code, found.stage, found.internal, found.again) == case[1:6]
    assert machine.step is case.after


CHAOS = st.lists(
    st.one_of(
        st.sampled_from(
            [b"220 \r\n", b"250 \r\n", b"354 \r\n", b"421 \r\n", b"450 \r\n", b"550 \r\n", b"250-PIPELINING\r\n", b"2"]
        ),
        st.binary(max_size=12),
        st.sampled_from(["loss", "silence"]),
    ),
    max_size=30,
)


@given(CHAOS)
def test_whatever_a_peer_does_each_message_ends_once(events: list[bytes | str]) -> None:
    machine = Machine("us.example")
    begun = 0
    results = 0
    for event in events:
        if isinstance(event, bytes):
            say(machine, event)
        elif event == "loss":
            machine.lost()
        else:
            machine.timed_out(1)
        if machine.result is not None:
            result(machine)
            results += 1
            assert results == begun
        if machine.step is Step.READY:
            assert results == begun
            begun += 1
            send(machine, message(begun))
            if machine.result is not None:
                result(machine)
                results += 1
    machine.lost()
    results += machine.result is not None
    assert results == begun
    assert begun or machine.failure is not None
