import email
import email.message
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.message import REQUIRE_TLS, Body, Message, Notify, Outcome, Reply, Ret, Stage, Verdict
from postroad.queue import dsn

ORIGINAL = b"From: a@a.example\r\nSubject: hello\r\nMessage-ID: <1@a.example>\r\n\r\nthe body\r\n"


def message(sender: str = "a@a.example", recipient: str = "b@b.example", content: bytes = ORIGINAL) -> Message:
    made = Message()
    made.id, made.sender, made.recipient, made.body = 0xFF, sender, recipient, Body(content, b"Received: us\r\n")
    made.notify, made.orcpt, made.ret, made.envid = Notify.UNSET, "", Ret.UNSET, ""
    made.method, made.connection, made.context = "rest", {}, {}
    made.received, made.expires, made.attempts = 1_700_000_000.0, 1_700_086_400.0, 3
    return made


REFUSED = Outcome(Verdict.FAILED, Reply(550, "5.1.1 no such user"), Stage.RCPT, host="mx.b.example", peer="192.0.2.1")


def built(made: Message, outcome: Outcome = REFUSED, action: dsn.Action = dsn.Action.FAILED) -> EmailMessage:
    transaction = dsn.build(
        made, outcome, action, hostname="mx.example", identifier="id1", wall=1_700_000_060.0, default_ret="headers"
    )
    assert transaction.sender == "" and [r.address for r in transaction.recipients] == [made.sender]
    content = bytes(transaction.body)
    assert b"\n" not in content.replace(b"\r\n", b"") and b"\r" not in content.replace(b"\r\n", b"")
    assert max(map(len, content.split(b"\r\n"))) <= 998
    parsed = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage) and not parsed.defects
    return parsed


def status_of(parsed: EmailMessage) -> list[dict[str, str]]:
    part = list(parsed.iter_parts())[1]
    assert part.get_content_type() == "message/delivery-status"
    groups = part.get_payload()
    assert isinstance(groups, list)
    return [{k: str(v) for k, v in group.items()} for group in groups if isinstance(group, email.message.Message)]


def test_a_failure() -> None:
    parsed = built(message())
    assert parsed["To"] == "a@a.example" and parsed["Auto-Submitted"] == "auto-replied"
    assert parsed.get_content_type() == "multipart/report" and parsed.get_param("report-type") == "delivery-status"
    whole, recipient = status_of(parsed)
    assert whole == {"Reporting-MTA": "dns; mx.example", "Arrival-Date": "Tue, 14 Nov 2023 22:13:20 +0000"}
    assert recipient == {
        "Final-Recipient": "rfc822; b@b.example",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.b.example",
        "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
        "Last-Attempt-Date": "Tue, 14 Nov 2023 22:14:20 +0000",
    }
    parts = list(parsed.iter_parts())
    assert "b@b.example" in parts[0].get_content() and "no such user" in parts[0].get_content()
    assert parts[2].get_content_type() == "text/rfc822-headers"
    assert "Subject: hello" in parts[2].get_content() and "the body" not in parts[2].get_content()


def test_what_the_client_asked_for_comes_back() -> None:
    made = message()
    made.ret, made.envid, made.orcpt = Ret.FULL, "env+2B1", "rfc822;bob+2Btag@old.example"
    whole, recipient = status_of(built(made))
    assert whole["Original-Envelope-Id"] == "env+1"
    assert recipient["Original-Recipient"] == "rfc822; bob+tag@old.example"
    returned = list(built(made).iter_parts())[2]
    assert returned.get_content_type() == "message/rfc822"
    assert "the body" in returned.get_content().get_content()


@pytest.mark.parametrize(
    ("connection", "kind"), [({}, "text/rfc822-headers"), ({"can_relay": "true"}, "message/rfc822")]
)
def test_strangers_can_not_have_a_whole_message_returned(connection: dict[str, str], kind: str) -> None:
    """One big message to a thousand unknown users of ours would be a thousand big messages to whoever the stranger
    names as its sender."""
    made = message()
    made.ret, made.method, made.connection = Ret.FULL, "esmtp", connection
    assert list(built(made).iter_parts())[2].get_content_type() == kind


@pytest.mark.parametrize("more", range(-2, 3))
def test_a_huge_header_is_cut_between_lines(more: int) -> None:
    """Wherever the limit falls, also between the CR and the LF of a line."""
    first, filling, last = b"From: a@a.example\r\n", b"X-A: 1234567\r\n" * 4676, b"X-B: " + b"b" * (32 + more) + b"\r\n"
    made = message(content=first + filling + last + b"X-C: c\r\n" * 99 + b"\r\nthe body\r\n")
    returned = list(built(made).iter_parts())[2]
    assert returned.get_content_type() == "text/rfc822-headers"


def test_our_own_words_are_no_diagnostic_code() -> None:
    ours = Outcome(Verdict.FAILED, Reply(554, "5.4.7 expired"), Stage.NOT_CONNECTED, internal=True)
    (_, recipient) = status_of(built(message(), ours))
    assert recipient["Status"] == "5.4.7" and "Diagnostic-Code" not in recipient and "Remote-MTA" not in recipient


def test_a_status_of_another_class_is_not_repeated() -> None:
    odd = Outcome(Verdict.FAILED, Reply(550, "4.2.1 try again"), Stage.RCPT)
    assert status_of(built(message(), odd))[1]["Status"] == "5.0.0"


def test_delay_and_relay() -> None:
    deferred = Outcome(Verdict.DEFERRED, Reply(450, "4.2.1 busy"), Stage.RCPT)
    delayed = status_of(built(message(), deferred, dsn.Action.DELAYED))[1]
    assert delayed["Action"] == "delayed" and delayed["Status"] == "4.2.1"
    assert delayed["Will-Retry-Until"] == "Wed, 15 Nov 2023 22:13:20 +0000"
    accepted = Outcome(Verdict.DELIVERED, Reply(250, "2.0.0 ok"), Stage.CONFIRMATION)
    assert status_of(built(message(), accepted, dsn.Action.RELAYED))[1]["Action"] == "relayed"


def test_international_addresses() -> None:
    content = bytes(
        dsn.build(
            message(recipient="bjørn@b.example"),
            REFUSED,
            dsn.Action.FAILED,
            hostname="mx.example",
            identifier="x",
            wall=0.0,
            default_ret="headers",
        ).body
    ).decode()
    assert "message/global-delivery-status" in content and "Final-Recipient: utf-8; bjørn@b.example" in content


@pytest.mark.parametrize(
    ("notify", "sender", "told"),
    [
        (Notify.UNSET, "a@a.example", {dsn.Action.DELAYED, dsn.Action.FAILED}),
        (Notify.NEVER, "a@a.example", set()),
        (Notify.FAILURE, "a@a.example", {dsn.Action.FAILED}),
        (Notify.SUCCESS, "a@a.example", {dsn.Action.RELAYED}),
        (Notify.DELAY | Notify.FAILURE, "a@a.example", {dsn.Action.DELAYED, dsn.Action.FAILED}),
        (Notify.UNSET, "", set()),
        (Notify.SUCCESS | Notify.FAILURE, "", set()),
    ],
)
def test_who_is_told_of_what(notify: Notify, sender: str, told: set[dsn.Action]) -> None:
    made = message(sender=sender)
    made.notify = notify
    assert {action for action in dsn.Action if dsn.wanted(made, action)} == told


@given(st.text(max_size=3000), st.text(max_size=50), st.binary(max_size=300))
@settings(max_examples=150)
def test_nothing_a_peer_says_can_add_a_field_or_a_part(text: str, host: str, junk: bytes) -> None:
    outcome = Outcome(Verdict.FAILED, Reply(550, text), Stage.RCPT, host=host)
    made = message()
    made.orcpt = "rfc822;" + "".join(f"+{octet:02X}" for octet in junk)
    parsed = built(made, outcome)
    assert len(list(parsed.iter_parts())) == 3
    assert set(status_of(parsed)[1]) <= {
        "Original-Recipient",
        "Final-Recipient",
        "Action",
        "Status",
        "Remote-MTA",
        "Diagnostic-Code",
        "Last-Attempt-Date",
    }


@pytest.mark.parametrize("required", [False, True])
def test_what_is_told_of_a_message_that_requires_tls_requires_it_too_and_returns_no_body(required: bool) -> None:
    """RFC 8689 5."""
    about = message()
    about.ret = Ret.FULL
    about.context = {REQUIRE_TLS: "yes"} if required else {}
    made = dsn.build(
        *(about, REFUSED, dsn.Action.FAILED),
        hostname="mx.example",
        identifier="id1",
        wall=1_700_000_060.0,
        default_ret="full",
    )
    assert (made.context.get(REQUIRE_TLS) == "yes") is required
    assert (b"the body" in made.body.content) is not required
