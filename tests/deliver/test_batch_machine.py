"""Transactions with several recipients as conversations, as in test_machine."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.deliver.batch import APART, BATCH_TABLE, BatchMachine, share
from postroad.deliver.steps import LMTP, SMTP, Again, Manner, Result, Step
from postroad.message import REQUIRE_TLS, Body, Message, Notify, Ret, Stage, Verdict
from tests.deliver.supply import message
from tests.deliver.test_machine import CHAOS, CONTENT, EHLO, PLAIN_EHLO, at, say, written

BODY = Body(b"Subject: x\r\n\r\nHello\r\n")
RCPTS = b"".join(b"RCPT TO:<user%d@example.net>\r\n" % number for number in range(3))
D, T, F = Verdict.DELIVERED, Verdict.DEFERRED, Verdict.FAILED


def ready(ehlo: bytes = EHLO, manner: Manner = SMTP) -> BatchMachine:
    machine = BatchMachine("us.example", manner=manner)
    say(machine, b"220 mx.example.net\r\n")
    say(machine, ehlo)
    assert machine.step is Step.READY
    return machine


def batch(count: int = 3) -> list[Message]:
    return [message(number, body=BODY) for number in range(count)]


def send(machine: BatchMachine, messages: Sequence[Message]) -> bytes:
    machine.send_all(messages)
    return written(machine)


def results(machine: BatchMachine, count: int = 3) -> list[Result]:
    assert machine.result is not None
    found = [machine.own.get(place, machine.result) for place in range(count)]
    machine.result, machine.own = None, {}
    return found


def verdicts(machine: BatchMachine, count: int = 3) -> list[Verdict]:
    return [each.verdict for each in results(machine, count)]


def test_every_step_has_its_row() -> None:
    assert set(BATCH_TABLE) == set(Step)


def test_with_pipelining() -> None:
    machine = ready()
    for _ in range(2):
        assert send(machine, batch()) == b"MAIL FROM:<sender@example.com> SIZE=21\r\n" + RCPTS + b"DATA\r\n"
        assert say(machine, b"250 \r\n250 \r\n250 \r\n250 \r\n354 \r\n") == CONTENT
        say(machine, b"250 2.0.0 queued\r\n")
        assert results(machine) == [Result(D, (250, "2.0.0 queued"), Stage.CONFIRMATION)] * 3  # type: ignore[arg-type]
    assert machine.served == 6


def test_without_pipelining() -> None:
    machine = ready(PLAIN_EHLO)
    assert send(machine, batch()) == b"MAIL FROM:<sender@example.com>\r\n"
    heard = b"".join(say(machine, b"250 \r\n") for _ in range(4))
    assert heard == RCPTS + b"DATA\r\n"
    assert say(machine, b"354 \r\n") == CONTENT
    say(machine, b"250 \r\n")
    assert verdicts(machine) == [D, D, D]


def test_a_refused_recipient_is_refused_alone() -> None:
    machine = ready()
    send(machine, batch())
    assert say(machine, b"250 \r\n250 \r\n550 5.1.1 who\r\n450 4.2.1 later\r\n354 \r\n") == CONTENT
    say(machine, b"250 \r\n")
    found = results(machine)
    assert [(each.verdict, each.reply.code, each.stage) for each in found] == [
        (D, 250, Stage.CONFIRMATION),
        (F, 550, Stage.RCPT),
        (T, 450, Stage.RCPT),
    ]
    assert send(machine, batch()).startswith(b"MAIL")


def test_no_message_goes_out_when_all_are_refused() -> None:
    machine = ready()
    send(machine, batch(2))
    assert say(machine, b"250 \r\n550 \r\n450 \r\n354 \r\n") == b".\r\n"
    say(machine, b"554 \r\n")
    assert verdicts(machine, 2) == [F, T]
    assert send(machine, batch(2)).startswith(b"MAIL")
    say(machine, b"250 \r\n550 \r\n450 \r\n503 \r\n")
    assert verdicts(machine, 2) == [F, T]
    assert send(machine, batch(2)).startswith(b"RSET\r\nMAIL")
    assert say(machine, b"250 \r\n250 \r\n250 \r\n250 \r\n354 \r\n") == CONTENT
    say(machine, b"250 \r\n")
    assert verdicts(machine, 2) == [D, D]


def test_no_data_is_said_when_all_are_refused() -> None:
    machine = ready(PLAIN_EHLO)
    send(machine, batch(2))
    for reply in (b"250 \r\n", b"550 \r\n", b"550 \r\n"):
        heard = say(machine, reply)
    assert heard == b"" and verdicts(machine, 2) == [F, F]
    assert send(machine, batch(2)) == b"RSET\r\n"


@pytest.mark.parametrize(
    "reply", [b"452 4.5.3 too many recipients\r\n", b"452 too many\r\n", b"552 5.5.3 too many\r\n"]
)
def test_too_many_recipients_go_in_the_next_transaction(reply: bytes) -> None:
    machine = ready()
    send(machine, batch())
    say(machine, b"250 \r\n250 \r\n" + reply * 2 + b"354 \r\n")
    say(machine, b"250 \r\n")
    assert [each.again for each in results(machine)] == [Again.NO, Again.NEXT_TRANSACTION, Again.NEXT_TRANSACTION]
    assert machine.takes == 1


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        (b"250 \r\n452 4.2.2 mailbox full\r\n250 \r\n", [D, T, D]),  # that is the mailbox's affair
        (b"452 4.5.3 too many\r\n250 \r\n250 \r\n", [T, D, D]),  # one can't be too many
        (b"250 \r\n552 5.2.2 mailbox full\r\n250 \r\n", [D, F, D]),
    ],
)
def test_what_is_not_too_many(replies: bytes, expected: list[Verdict]) -> None:
    machine = ready()
    send(machine, batch())
    say(machine, b"250 \r\n" + replies + b"354 \r\n")
    say(machine, b"250 \r\n")
    found = results(machine)
    assert [each.verdict for each in found] == expected
    assert {each.again for each in found} == {Again.NO}


@pytest.mark.parametrize("data", [b"503 \r\n", b"354 \r\n"])
def test_a_refused_sender_is_refused_for_all(data: bytes) -> None:
    machine = ready()
    send(machine, batch())
    heard = say(machine, b"451 \r\n503 \r\n250 \r\n503 \r\n" + data)
    assert (heard == b".\r\n") == (data == b"354 \r\n")
    if heard:
        say(machine, b"554 \r\n")
    assert [(each.verdict, each.again) for each in results(machine)] == [(T, Again.NEXT_HOST)] * 3
    assert at(machine, Step.READY)


@pytest.mark.parametrize("after", [b"451 \r\n", b"354 \r\n451 \r\n"])
def test_a_refusal_of_the_content_is_for_all_that_were_accepted(after: bytes) -> None:
    machine = ready()
    send(machine, batch())
    say(machine, b"250 \r\n250 \r\n550 \r\n250 \r\n")
    for line in after.splitlines(keepends=True):
        say(machine, line)
    assert verdicts(machine) == [T, F, T]


@pytest.mark.parametrize("by", ["loss", "silence", "421"])
def test_an_end_behind_the_end_mark_leaves_all_that_were_accepted_in_doubt(by: str) -> None:
    machine = ready()
    send(machine, batch())
    say(machine, b"250 \r\n250 \r\n550 \r\n250 \r\n354 \r\n")
    if by == "loss":
        machine.lost()
    elif by == "silence":
        machine.timed_out(60)
    else:
        say(machine, b"421 bye\r\n")
    found = results(machine)
    assert [(each.verdict, each.stage) for each in found] == [
        (T, Stage.CONFIRMATION),
        (F, Stage.RCPT),
        (T, Stage.CONFIRMATION),
    ]
    assert ("duplicate" in found[0].reply.text) == (by != "421")


def test_a_loss_before_the_first_reply_hands_all_over() -> None:
    machine = ready()
    send(machine, batch())
    say(machine, b"250 \r\n" * 4 + b"354 \r\n")
    say(machine, b"250 \r\n")
    results(machine)
    send(machine, batch())
    machine.lost()
    assert {each.again for each in results(machine)} == {Again.HAND_OVER}


def test_lmtp_replies_for_each_recipient() -> None:
    machine = ready(manner=LMTP)
    send(machine, batch(4))
    assert say(machine, b"250 \r\n250 \r\n550 \r\n250 \r\n250 \r\n354 \r\n") == CONTENT
    assert say(machine, b"250 one\r\n452 4.2.2 full\r\n") == b"" and machine.result is None
    say(machine, b"250 three\r\n")
    found = results(machine, 4)
    assert [str(each.reply) for each in found] == ["250 one", "550 ", "452 4.2.2 full", "250 three"]
    assert [each.verdict for each in found] == [D, F, T, D]
    assert at(machine, Step.READY) and machine.served == 4


def test_lmtp_that_ends_between_its_replies() -> None:
    machine = ready(manner=LMTP)
    send(machine, batch())
    say(machine, b"250 \r\n250 \r\n250 \r\n250 \r\n354 \r\n")
    say(machine, b"250 one\r\n")
    machine.lost()
    found = results(machine)
    assert [each.verdict for each in found] == [D, T, T]
    assert "duplicate" in found[2].reply.text


def test_lmtp_with_one_reply_too_few_or_too_many() -> None:
    machine = ready(manner=LMTP)
    send(machine, batch(2))
    say(machine, b"250 \r\n250 \r\n250 \r\n354 \r\n")
    say(machine, b"250 \r\n")
    assert machine.result is None
    say(machine, b"250 \r\n250 and more\r\n")
    assert verdicts(machine, 2) == [D, D]
    assert at(machine, Step.CLOSED)


def test_one_message_alone_in_lmtp_after_a_batch() -> None:
    machine = ready(manner=LMTP)
    send(machine, batch(2))
    say(machine, b"250 \r\n250 \r\n250 \r\n354 \r\n")
    say(machine, b"250 \r\n250 \r\n")
    results(machine, 2)
    machine.send(message(9, body=BODY), BODY)
    written(machine)
    say(machine, b"250 \r\n250 \r\n354 \r\n")
    say(machine, b"550 5.7.1 no\r\n")
    assert machine.result is not None and machine.result.verdict is F and not machine.own


def test_parameters_of_rcpt_are_each_ones_own() -> None:
    machine = ready(b"250-mx\r\n250-PIPELINING\r\n250 DSN\r\n")
    heard = send(
        machine,
        [
            message(1, body=BODY, notify=Notify.NEVER),
            message(2, body=BODY, orcpt="rfc822;two@example.org"),
            message(3, body=BODY),
        ],
    )
    assert heard == (
        b"MAIL FROM:<sender@example.com>\r\nRCPT TO:<user1@example.net> NOTIFY=NEVER\r\n"
        b"RCPT TO:<user2@example.net> ORCPT=rfc822;two@example.org\r\nRCPT TO:<user3@example.net>\r\nDATA\r\n"
    )


def secured(made: Message) -> Message:
    made.context = {REQUIRE_TLS: "yes"}
    return made


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (message(2, body=BODY, sender="other@example.com"), APART),
        (message(2, body=BODY, envid="x"), APART),
        (message(2, body=BODY, ret=Ret.HEADERS), APART),
        (message(2, body=BODY, recipient="дом@example.net", smtputf8=True), APART),
    ],
)
def test_another_mail_command_is_another_transaction(other: Message, expected: Result) -> None:
    machine = ready(b"250-mx\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250 DSN\r\n")
    heard = send(machine, [message(1, body=BODY), other, message(3, body=BODY)])
    assert heard.count(b"RCPT") == 2
    say(machine, b"250 \r\n250 \r\n250 \r\n354 \r\n")
    say(machine, b"250 \r\n")
    found = results(machine)
    assert found[1] is expected and [found[0].verdict, found[2].verdict] == [D, D]


def test_what_this_host_can_not_have_is_said_of_that_message_alone() -> None:
    machine = ready()
    forged = message(1, body=BODY, recipient="a@b\r\nRSET")
    heard = send(machine, [secured(message(0, body=BODY)), forged, message(2, body=BODY)])
    assert heard.count(b"RCPT") == 1 and b"user2" in heard
    say(machine, b"250 \r\n250 \r\n354 \r\n")
    say(machine, b"250 \r\n")
    found = results(machine)
    assert [each.reply.text[:6] for each in found[:2]] == ["5.7.30", "5.1.3 "]
    assert found[2].verdict is D


def test_a_batch_of_nothing_that_can_be_sent() -> None:
    machine = ready()
    large = Body(b"x" * 1001)
    assert send(machine, [message(number, body=large) for number in range(3)]) == b""
    assert [each.reply.code for each in results(machine)] == [552] * 3
    assert at(machine, Step.READY)


@pytest.mark.parametrize(
    ("other", "together"),
    [
        (message(2, body=BODY), True),
        (message(2, body=Body(BODY.content)), False),
        (message(2, body=Body(BODY.content), place=7), True),
        (message(2, loaded=False, place=7), True),
        (message(2, loaded=False, place=8), False),
        (message(2, body=BODY, sender="x@example.com"), False),
        (message(2, body=BODY, envid="x"), False),
        (message(2, body=BODY, ret=Ret.FULL), False),
        (message(2, body=BODY, smtputf8=True), False),
        (secured(message(2, body=BODY)), False),
        (message(2, body=BODY, notify=Notify.NEVER, orcpt="rfc822;x@y"), True),
    ],
)
def test_what_shares_a_transaction(other: Message, together: bool) -> None:
    first = message(1, body=BODY, place=7)
    assert share(first, other) is together
    assert share(other, first) is together


CODES = st.sampled_from([250, 250, 250, 450, 452, 550])


@given(
    st.lists(CODES, min_size=2, max_size=6),
    st.sampled_from([250, 250, 250, 250, 451, 554]),
    st.sampled_from([354, 354, 354, 451, 554]),
    st.lists(st.sampled_from([250, 451, 554]), min_size=6, max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_each_message_ends_as_the_replies_say(
    rcpts: list[int], mail: int, data: int, contents: list[int], pipelining: bool, lmtp: bool
) -> None:
    """Against a host that keeps to the protocol, whatever it says."""
    count = len(rcpts)
    machine = ready(EHLO if pipelining else PLAIN_EHLO, LMTP if lmtp else SMTP)
    send(machine, batch(count))
    replies = iter([mail, *rcpts, data])
    while machine.result is None and machine.step is not Step.CONTENT:
        emptying = machine.step is Step.EMPTY
        say(machine, b"%d \r\n" % (554 if emptying else next(replies)))
    accepted = [place for place, code in enumerate(rcpts) if code == 250] if mail == 250 else []
    told = iter(contents)
    while machine.result is None:
        say(machine, b"%d \r\n" % next(told))
    assert at(machine, Step.READY)
    by_code = {250: D, 450: T, 451: T, 452: T, 550: F, 554: F}
    found = results(machine, count)
    for place, each in enumerate(found):
        if mail != 250:
            assert (each.verdict, each.stage) == (by_code[mail], Stage.MAIL)
        elif place not in accepted:
            assert (each.verdict, each.stage) == (by_code[rcpts[place]], Stage.RCPT)
            carried = rcpts[place] == 452 and any(before < place for before in accepted)
            assert (each.again is Again.NEXT_TRANSACTION) == carried
        elif data != 354:
            assert (each.verdict, each.stage) == (by_code[data], Stage.DATA)
        else:
            code = contents[accepted.index(place) if lmtp else 0]
            assert (each.verdict, each.stage) == (by_code[code], Stage.CONFIRMATION)


@given(CHAOS, st.booleans(), st.integers(1, 4))
def test_whatever_a_peer_does_each_batch_ends_once(events: list[bytes | str], lmtp: bool, count: int) -> None:
    machine = BatchMachine("us.example", manner=LMTP if lmtp else SMTP)
    begun = ended = 0

    def look() -> None:
        nonlocal ended
        if machine.result is not None:
            found = results(machine, count)
            ended += 1
            assert ended == begun and len(found) == count

    for event in events:
        if isinstance(event, bytes):
            say(machine, event)
        elif event == "loss":
            machine.lost()
        else:
            machine.timed_out(1)
        look()
        if machine.step is Step.READY:
            assert ended == begun
            begun += 1
            send(machine, batch(count))
            look()
    machine.lost()
    look()
    assert ended == begun
