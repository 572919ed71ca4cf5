"""Rules: what they see, what they do, and how bad ones are refused when the configuration is read."""

from __future__ import annotations

import pytest

from postroad.config.schema import RuleOptions
from postroad.message import Outcome, Reply, Stage
from postroad.message import Verdict as Ended
from postroad.policy import (
    Content,
    Discard,
    Fail,
    Hooks,
    Incoming,
    OneRecipient,
    Outgoing,
    RcptTo,
    Reject,
    Replied,
    Retry,
    RuleError,
    Session,
    Verdict,
    load_rules,
)

MAIL = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-Tag: a\r\nX-Tag: b\r\n\r\nhello World\r\n"


def incoming() -> Incoming:
    session = Session("127.0.0.1:25", "192.0.2.7", "client.example", "user", "TLSv1.3", {"k": "v"})
    return Incoming(session, "a@Sender.example", ["b@x.example", "c@y.example"], Content(MAIL), {"m": "1"}, "esmtp")


def one() -> OneRecipient:
    return OneRecipient(Session(), "a@s.example", "b@x.example", "x.example", Content(MAIL), {}, "esmtp")


def said(facts: object, **options: object) -> Verdict | None:
    hooks = Hooks(load_rules([RuleOptions(**options)]))  # type: ignore[arg-type]
    result = hooks.ask(hooks.chain(hooks.all[0].phase), facts)
    assert result is None or isinstance(result, Verdict)
    assert not hooks.all[0].errors
    return result


@pytest.mark.parametrize(
    ("when", "fits"),
    [
        ("peer == '192.0.2.7' && listener.endsWith(':25')", True),
        ("sender_domain == 'sender.example' && size > 10", True),
        ("'b@x.example' in recipients && recipients.size() == 2", True),
        ("connection.k == 'v' && context.m == '1' && user == 'user' && tls != ''", True),
        ("header('subject') == 'Grüße' && headers('x-tag') == ['a', 'b'] && header_count('X-TAG') == 2", True),
        ("body_contains('WORLD') && has_part('text/plain') && !has_part('image/')", True),
        ("recipients.exists(one, one.startsWith('c@')) && recipients.all(peer, peer.contains('@'))", True),
        ("headers('x-tag').filter(tag, tag != 'a').map(t, t + t) == ['bb'] && peer == '192.0.2.7'", True),
        ("attachments().exists_one(name, name.matches('[.]exe$'))", False),
        ("'x' in connection && connection.x == '1'", False),
        ("header('missing') != ''", False),
        ("sender.matches('^b@')", False),
    ],
)
def test_expressions(when: str, fits: bool) -> None:
    assert said(incoming(), when=when, action="reject", text="no") == (Reject("no") if fits else None)


def test_what_a_rule_changes() -> None:
    facts = incoming()
    assert (
        said(
            facts,
            set={"seen": "yes"},
            set_header={"X-Tag": "c"},
            add_header={"X-First": "1"},
            remove_header=["Subject"],
            add_recipient=["d@z.example", "b@x.example"],
        )
        is None
    )
    assert facts.content.octets == b"X-First: 1\r\nX-Tag: c\r\n\r\nhello World\r\n"
    assert facts.context == {"m": "1", "seen": "yes"}
    assert facts.recipients == ["b@x.example", "c@y.example", "d@z.example"]
    single = one()
    said(single, phase="set_binding", group="g", priority=1, domain="MÜNCHEN.example", expires_in=60.0)
    assert (single.group, single.priority, single.domain) == ("g", 1, "xn--mnchen-3ya.example")
    assert single.expires_in == 60


def test_phases_of_a_session_and_of_the_way_out() -> None:
    rcpt = RcptTo(Session(), "", "b@x.example", "x.example")
    assert said(rcpt, phase="rcpt_to", when="sender == ''", action="reject", text="no") == Reject("no")
    out = Outgoing(1, "a@s.example", "b@x.example", "x.example", "default", 3, {})
    assert said(out, phase="before_attempt", when="attempts > 2", action="retry", seconds=9) == Retry(9)
    outcome = Outcome(Ended.DEFERRED, Reply(450, "4.2.2 mailbox full"), Stage.RCPT)
    fits = "code == 450 && reply.contains('full')"
    assert said(Replied(out, outcome), phase="reply", when=fits, action="fail", text="full") == Fail("full")
    assert said(incoming(), action="discard", text="spam") == Discard("spam")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"when": "1 +", "action": "reject"}, "no expression"),
        ({"when": "size", "action": "reject"}, "true or false"),
        ({"when": "nosuch == 1", "action": "reject"}, "knows no nosuch"),
        ({"when": "recipient == ''", "action": "reject"}, "knows no recipient"),
        ({"when": "foo(size)", "action": "reject"}, "foo"),
        ({"when": "header('x') == ''", "phase": "connect", "action": "reject"}, "no message content"),
        ({"phase": "greeting", "action": "reject"}, "no phase 'greeting'"),
        ({"phase": "connect", "action": "discard"}, "knows no discard"),
        ({"phase": "delivered", "action": "fail"}, "knows no fail"),
        ({}, "neither says nor changes"),
        ({"action": "reject", "code": 250}, "code from 500"),
        ({"set_header": {"X": "a\r\nBcc: b"}}, "line break"),
        ({"add_header": {"bad name": "a"}}, "no name"),
        ({"remove_header": ["bad name"]}, "no name"),
        ({"phase": "connect", "set_header": {"X": "a"}}, "nothing that `set_header`"),
        ({"phase": "before_attempt", "set": {"a": "b"}}, "nothing that `set`"),
        ({"add_recipient": ["nobody"]}, "rule"),
        ({"phase": "set_binding", "add_recipient": ["a@b.example"]}, "phase message"),
        ({"binding": "b"}, "nothing that `binding`"),
        ({"phase": "set_binding", "domain": "a b"}, "rule"),
        ({"action": "tarpit"}, "seconds"),
    ],
)
def test_bad_rules_are_refused_with_their_name(options: dict[str, object], text: str) -> None:
    with pytest.raises(RuleError, match=f"(?s)rule 'mine': .*{text}" if text != "rule" else "rule 'mine'"):
        load_rules([RuleOptions(name="mine", **options)])  # type: ignore[arg-type]


def test_an_expression_that_fails_for_one_message_is_a_failed_hook() -> None:
    hooks = Hooks(load_rules([RuleOptions(when="connection.absent == '1'", action="reject")]))
    result = hooks.ask(hooks.chain("message"), incoming())
    assert isinstance(result, Verdict)
    assert hooks.all[0].errors == 1
