"""Whole dialogues with the machine: transactions, limits, errors, answers that refuse or come late."""

from __future__ import annotations

import pytest

from postroad.config.schema import ListenerOptions, Size
from postroad.inject import Content, Data, Event, Hello, Mail, Rcpt, State, replies
from postroad.message import Notify, Reply
from tests.inject.kit import Talk


def test_one_transaction() -> None:
    talk = Talk()
    talk.open("a@b.example", "c@d.example")
    assert talk.one(b"DATA\r\n").lines == ["Send the message, end it with <CRLF>.<CRLF>"]
    assert talk.one(b"Subject: x\r\n\r\n..dot\r\n.\r\n").text == "2.0.0 Ok"
    (content,) = talk.contents
    assert content.content == b"Subject: x\r\n\r\n.dot\r\n" and content.dotted and content.body_start == 14
    assert content.envelope.sender == "sender@client.example"
    assert [r.address for r in content.envelope.recipients] == ["a@b.example", "c@d.example"]
    assert talk.machine.state is State.READY and talk.machine.envelope is None


def test_commands_in_one_read_are_answered_in_order() -> None:
    talk = Talk()
    answers = talk.say(
        b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<bad>\r\nDATA\r\n"
        b"x\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<e@f.example> NOTIFY=NEVER\r\nBDAT 3\r\nab\rBDAT 3 LAST\r\n\ncdQUIT\r\n"
    )
    assert [a.code for a in answers] == [250, 250, 250, 501, 354, 250, 250, 250, 250, 250, 221]
    first, second = talk.contents
    assert first.content == b"x\r\n" and second.content == b"ab\r\ncd\r\n"
    assert second.envelope.recipients[0].notify == Notify.NEVER and second.envelope.sender == ""


def test_chunks() -> None:
    talk = Talk()
    talk.open("a@b.example")
    assert talk.one(b"BDAT 10\r\nA: b\r\n\r\nxy").text == "2.0.0 10 octets"
    assert talk.one(b"NOOP\r\n").code == 250
    assert talk.one(b"RCPT TO:<late@b.example>\r\n").code == 503
    assert talk.one(b"DATA\r\n").code == 503
    assert talk.one(b"BDAT 0\r\n").code == 250
    assert talk.one(b"BDAT 5\r\nz\r\n.\r").code == 250
    assert talk.one(b"BDAT 1 LAST\r\n\n").code == 250
    assert talk.contents[0].content == b"A: b\r\n\r\nxyz\r\n.\r\n" and talk.contents[0].dotted
    assert talk.machine.state is State.READY


def test_an_empty_last_chunk_ends_the_message() -> None:
    talk = Talk()
    talk.open("a@b.example")
    assert talk.one(b"BDAT 6\r\nA: b\r\n").code == 250
    assert talk.one(b"BDAT 0 LAST\r\n").code == 250
    assert talk.contents[0].content == b"A: b\r\n"
    talk.open("a@b.example")
    assert talk.one(b"BDAT 0 LAST\r\n").code == 250
    assert talk.contents[1].content == b""


def test_a_misplaced_bdat_still_takes_its_octets() -> None:
    talk = Talk()
    assert [a.code for a in talk.say(b"BDAT 6\r\nQUIT\r\nNOOP\r\n")] == [503, 250]
    talk.one(b"EHLO c.example\r\n")
    assert talk.say(b"BDAT 12 LAST\r\nQUIT\r\n") == []
    assert talk.machine.content_under_way
    assert [a.code for a in talk.say(b"NOOP\r\nNOOP\r\n")] == [503, 250]
    assert [a.code for a in talk.say(b"BDAT 0\r\nNOOP\r\n")] == [503, 250]


def test_a_malformed_bdat_ends_the_session() -> None:
    talk = Talk()
    talk.open("a@b.example")
    assert talk.one(b"BDAT six\r\nRSET\r\nMAIL FROM:<evil@b.example>\r\n").code == 501
    assert talk.machine.closed and not talk.machine.parted


def test_a_chunk_that_is_refused_ends_the_transaction() -> None:
    talk = Talk(ListenerOptions(max_message_size=Size(10)))
    talk.open("a@b.example")
    answers = talk.say(b"BDAT 4000\r\n" + b"x" * 4000 + b"BDAT 4 LAST\r\nabcdNOOP\r\n")
    assert [str(a)[:9] for a in answers] == ["552 5.3.4", "503 5.5.1", "250 2.0.0"]
    assert [r.reply.code for r in talk.refusals] == [552] and talk.contents == []


def test_rset_and_ehlo_forget_the_transaction() -> None:
    for command in (b"RSET\r\n", b"EHLO again.example\r\n", b"HELO again.example\r\n"):
        talk = Talk()
        talk.open("a@b.example")
        assert talk.one(command).code == 250
        assert talk.one(b"DATA\r\n").code == 503
        assert talk.machine.envelope is None
        talk.open("c@d.example")
        assert talk.one(b"BDAT 2\r\nab").code == 250
        assert talk.one(command).code == 250
        assert talk.machine.held == 0
        talk.open("e@f.example")
        assert talk.one(b"BDAT 4 LAST\r\ncd\r\n").code == 250
        assert talk.contents[0].content == b"cd\r\n"
        assert [r.address for r in talk.contents[0].envelope.recipients] == ["e@f.example"]


def test_helo_has_no_extensions() -> None:
    talk = Talk()
    assert talk.one(b"HELO c.example\r\n").lines == ["mx.example"]
    assert talk.one(b"MAIL FROM:<a@b.example> SIZE=5\r\n").code == 555
    assert talk.one(b"MAIL FROM:<a@b.example>\r\n").code == 250


def test_smtputf8_holds_for_its_transaction_only() -> None:
    talk = Talk()
    talk.one(b"EHLO c.example\r\n")
    assert talk.one("MAIL FROM:<é@b.example>\r\n".encode()).text.startswith("5.6.7")
    assert talk.one("MAIL FROM:<é@b.example> SMTPUTF8\r\n".encode()).code == 250
    assert talk.one("RCPT TO:<ü@b.example>\r\n".encode()).code == 250
    talk.one(b"RSET\r\n")
    assert talk.one(b"MAIL FROM:<a@b.example>\r\n").code == 250
    assert talk.one("RCPT TO:<ü@b.example>\r\n".encode()).text.startswith("5.6.7")
    quiet = Talk(ListenerOptions(smtputf8=False))
    assert "SMTPUTF8" not in quiet.one(b"EHLO c.example\r\n").lines
    assert quiet.one(b"MAIL FROM:<a@b.example> SMTPUTF8\r\n").code == 555


@pytest.mark.parametrize(
    ("line", "start"),
    [
        (b"\r\n", "500 5.5.1"),
        (b" NOOP\r\n", "500 5.5.1"),
        (b"FOO\r\n", "500 5.5.1"),
        (b"MAILFROM:<a@b.example>\r\n", "500 5.5.1"),
        (b"EXPN list\r\n", "502 5.5.1"),
        (b"STARTTLS\r\n", "502 5.5.1"),
        (b"AUTH PLAIN\r\n", "502 5.5.1"),
        (b"noop\r\n", "250 2.0.0"),
        (b"NoOp with words\r\n", "250 2.0.0"),
        (b"RSET   \r\n", "250 2.0.0"),
        (b"RSET now\r\n", "501 5.5.4"),
        (b"QUIT now\r\n", "501 5.5.4"),
        (b"VRFY\r\n", "501 5.5.4"),
        (b"EHLO\r\n", "501 Syntax"),
        (b"HELO  \r\n", "501 Syntax"),
        (b"EHLO \xc3\xa9.example\r\n", "501 Syntax"),
        (b"NOOP\0\r\n", "500 5.5.2"),
        (b"NOOP\t\r\n", "500 5.5.2"),
        (b"NOOP\rRSET\r\n", "500 5.5.2"),
        (b"NOOP\nRSET\r\n", "500 5.5.2"),
        (b"\nNOOP\r\n", "500 5.5.2"),
        (b"NOOP \xff\r\n", "500 5.5.2"),
        (b"NOOP \xc2\x85\r\n", "500 5.5.2"),
        (b"NOOP\r\r\n", "500 5.5.2"),
    ],
)
def test_lines(line: bytes, start: str) -> None:
    talk = Talk()
    assert str(talk.one(line)).startswith(start)
    assert talk.machine.state is State.START


@pytest.mark.parametrize("cut", [1, 7, 4095, 4096, 4097, 10_000])
def test_a_line_may_be_so_long_and_no_longer(cut: int) -> None:
    for extra, code in ((0, 250), (1, 500)):
        talk = Talk()
        line = b"NOOP " + b"x" * (4096 - 7 + extra) + b"\r\n"
        answers = []
        for at in range(0, len(line), cut):
            answers += talk.say(line[at : at + cut])
        assert [a.code for a in answers] == [code]
        assert talk.one(b"NOOP\r\n").code == 250


def test_an_endless_line_is_not_kept() -> None:
    talk = Talk()
    for _ in range(1000):
        assert talk.say(b"x" * 1000) == []
        assert talk.machine.unread <= 4096
    assert [str(a)[:9] for a in talk.say(b"\r\nNOOP\r\n")] == ["500 5.5.2", "250 2.0.0"]


def test_errors_end_the_session() -> None:
    talk = Talk(ListenerOptions(max_bad_commands=3))
    assert [str(a)[:9] for a in talk.say(b"X\r\nY\r\nZ\r\nNOOP\r\n")] == ["500 5.5.1", "500 5.5.1", "421 4.7.0"]
    assert talk.machine.closed and not talk.machine.parted


def test_refusals_count_as_errors_and_are_said_all_the_same() -> None:
    def policy(event: Event) -> Reply | None:
        return replies.NO_RELAY if isinstance(event, Rcpt) and event.recipient.address.startswith("no@") else None

    talk = Talk(ListenerOptions(max_bad_commands=3), policy)
    talk.one(b"EHLO c.example\r\n")
    talk.one(b"MAIL FROM:<a@b.example>\r\n")
    answers = talk.say(b"RCPT TO:<no@d.example>\r\n" * 2 + b"RCPT TO:<c@d.example>\r\nDATA\r\nx\r\n.\r\n")
    assert [a.code for a in answers] == [550, 550, 250, 354, 250]
    # The accepted message has wiped the slate.
    talk.one(b"MAIL FROM:<a@b.example>\r\n")
    assert [a.code for a in talk.say(b"RCPT TO:<no@d.example>\r\n" * 5)] == [550, 550, 550, 421]
    assert talk.machine.closed


def test_the_last_refused_message_is_still_told() -> None:
    talk = Talk(ListenerOptions(max_bad_commands=1))
    talk.open("a@b.example")
    assert [a.code for a in talk.say(b"DATA\r\nbare\nlf\r\n.\r\nNOOP\r\n")] == [354, 550, 421]
    assert len(talk.refusals) == 1 and talk.machine.closed


def test_a_pipelining_client_is_not_blamed_for_what_it_could_not_know() -> None:
    def policy(event: Event) -> Reply | None:
        return Reply(452, "4.3.1 Full") if isinstance(event, Mail) else None

    talk = Talk(ListenerOptions(max_bad_commands=3), policy)
    talk.one(b"EHLO c.example\r\n")
    for _ in range(5):
        answers = talk.say(b"MAIL FROM:<>\r\n" + b"RCPT TO:<a@b.example>\r\n" * 10 + b"DATA\r\n")
        assert [a.code for a in answers] == [452] + [503] * 11
    assert talk.one(b"RSET\r\n").code == 250
    assert [a.code for a in talk.say(b"DATA\r\n" * 3)] == [503, 503, 421]


def test_browsers_are_turned_away_before_their_data() -> None:
    talk = Talk()
    answer = talk.one(b"POST / HTTP/1.1\r\nHost: mx.example\r\n\r\nEHLO x.example\r\n")
    assert str(answer).startswith("421 4.7.0") and talk.machine.closed


def test_limits_of_a_transaction() -> None:
    talk = Talk(ListenerOptions(max_recipients=2, max_message_size=Size(1000), max_messages_per_session=2))
    talk.one(b"EHLO c.example\r\n")
    assert str(talk.one(b"MAIL FROM:<a@b.example> SIZE=1001\r\n")).startswith("552 5.3.4")
    assert talk.refusals[0].envelope.sender == "a@b.example"
    assert talk.one(b"MAIL FROM:<a@b.example> SIZE=1000\r\n").code == 250
    answers = talk.say(b"RCPT TO:<a@b.example>\r\n" * 3)
    assert [str(a)[:9] for a in answers] == ["250 2.1.5", "250 2.1.5", "452 4.5.3"]
    talk.one(b"DATA\r\n")
    assert str(talk.one(b"x" * 999 + b"\r\n.\r\n")).startswith("552 5.3.4")
    assert talk.data(b"x\r\n.\r\n").code == 250
    assert str(talk.one(b"MAIL FROM:<a@b.example>\r\n")).startswith("421 4.7.0")
    assert talk.machine.closed


def test_a_refused_message_leaves_the_session_in_step() -> None:
    talk = Talk(ListenerOptions(max_message_size=Size(100)))
    talk.open("a@b.example", "c@d.example")
    answers = talk.say(b"DATA\r\n" + b"x\r\n" * 5000 + b".\r\nNOOP\r\n")
    assert [a.code for a in answers] == [354, 552, 250]
    assert [r.address for r in talk.refusals[0].envelope.recipients] == ["a@b.example", "c@d.example"]
    assert talk.data(b"y\r\n.\r\n").code == 250


@pytest.mark.parametrize("kind", [Hello, Mail, Rcpt, Data, Content])
@pytest.mark.parametrize("reply", [Reply(450, "4.7.1 Later"), Reply(550, "5.7.1 Never"), Reply(421, "4.7.0 Go")])
def test_any_question_can_be_answered_no(kind: type, reply: Reply) -> None:
    talk = Talk(policy=lambda event: reply if isinstance(event, kind) else None)
    answers = talk.say(b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nBDAT 3 LAST\r\nx\r\n")
    at = [Hello, Mail, Rcpt, Data, Content].index(kind)
    # Data has no reply of its own before a chunk: its refusal stands where the message's would.
    assert answers[min(at, 3)].code == reply.code
    assert talk.machine.closed is (reply.code == 421)
    if reply.code != 421:
        assert len(answers) == 4 and all(a.code == 503 or a.code == 554 for a in answers[at + 1 :])
        assert talk.machine.envelope is None or kind is Rcpt
        assert talk.one(b"NOOP\r\n").code == 250


def test_a_refused_data_command_ends_the_transaction() -> None:
    talk = Talk(policy=lambda event: Reply(450, "4.7.1 Later") if isinstance(event, Data) else None)
    talk.open("a@b.example")
    assert talk.one(b"DATA\r\n").code == 450
    assert talk.one(b"DATA\r\n").code == 503
    talk.open("a@b.example")
    assert [a.code for a in talk.say(b"BDAT 4\r\nabcdBDAT 2 LAST\r\nefNOOP\r\n")] == [450, 503, 250]
    assert talk.contents == []


def test_a_good_answer_may_have_its_own_words() -> None:
    words = {Hello: None, Mail: Reply(250, "2.1.0 m"), Rcpt: Reply(251, "2.1.5 r"), Content: Reply(250, "2.0.0 c")}
    talk = Talk(policy=lambda event: words.get(type(event)))
    answers = talk.say(b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nx\r\n.\r\n")
    assert [str(a)[:11] for a in answers[1:]] == ["250 2.1.0 m", "251 2.1.5 r", "354 Send th", "250 2.0.0 c"]


def test_nothing_is_read_past_an_open_question() -> None:
    machine = Talk().machine
    machine.receive(b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n")
    kinds = []
    while (event := machine.next_event()) is not None:
        kinds.append(type(event))
        assert machine.waiting and machine.next_event() is None and machine.take_output() == b""
        machine.answer()
        assert machine.take_output()
    assert kinds == [Hello, Mail, Rcpt, Data, Content]
    assert machine.take_output() == b"221 2.0.0 Bye\r\n"


def test_replies_that_nobody_takes_stop_the_reading() -> None:
    machine = Talk(ListenerOptions(max_idle_commands=1_000_000)).machine
    machine.receive(b"HELP\r\n" * 10_000)
    assert machine.next_event() is None
    first = machine.take_output()
    assert len(first) < 10_000 and machine.unread > 50_000
    assert machine.next_event() is None and len(machine.take_output()) == len(first)


def test_end_says_its_word_and_forgets_everything() -> None:
    talk = Talk()
    talk.open("a@b.example")
    talk.say(b"DATA\r\nhalf a mess")
    talk.machine.end(replies.SHUTTING_DOWN)
    assert talk.machine.closed and talk.machine.held == 0 and talk.machine.envelope is None
    assert [a.code for a in talk.say(b"age\r\n.\r\n")] == [421]
    talk.machine.end(replies.SHUTTING_DOWN)
    assert talk.say(b"") == [] and talk.contents == []


@pytest.mark.parametrize("command", [b"NOOP\r\n", b"RSET\r\n", b"HELP\r\n", b"VRFY x\r\n", b"EHLO c.example\r\n"])
def test_commands_that_lead_nowhere_end_the_session_after_many(command: bytes) -> None:
    talk = Talk(ListenerOptions(max_idle_commands=5))
    talk.one(b"EHLO c.example\r\n")
    for _ in range(4):
        assert talk.one(command).code in (214, 250, 252)
    assert talk.one(command).text == "4.7.0 Too many commands without a message"
    assert talk.machine.closed


def test_an_accepted_message_forgives_them() -> None:
    talk = Talk(ListenerOptions(max_idle_commands=3))
    for _ in range(5):
        talk.one(b"EHLO c.example\r\n")
        assert talk.one(b"NOOP\r\n").code == 250
        talk.say(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n")
        assert talk.one(b"x\r\n.\r\n").code == 250
