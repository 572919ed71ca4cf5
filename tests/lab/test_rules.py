"""The rules table: which case meets which rule, in which order, and what a rule may not say."""

from __future__ import annotations

import random

import msgspec
import pytest

from postroad.lab.rules import Case, Rule, RuleBook, RuleError, Step

CASE = Case("127.0.0.1", "News@Sender.test", ("Ann@Bigmail.test",), b"Subject: hi\r\n\r\nbuy now\r\n")


def book(*rules: Rule) -> RuleBook:
    return RuleBook(rules, random.Random(7))


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        (Rule(name="r"), True),
        (Rule(name="r", domain="bigmail.test"), True),
        (Rule(name="r", domain="BIGMAIL.TEST"), True),
        (Rule(name="r", domain="mail.test"), False),
        (Rule(name="r", domain=".test"), True),
        (Rule(name="r", domain=".bigmail.test"), False),
        (Rule(name="r", recipient="a*@bigmail.test"), True),
        (Rule(name="r", recipient="a*"), True),
        (Rule(name="r", recipient="ann"), False),
        (Rule(name="r", recipient="[b-z]*"), False),
        (Rule(name="r", sender="news@*"), True),
        (Rule(name="r", sender="<>"), False),
        (Rule(name="r", source="127.0.0.0/8"), True),
        (Rule(name="r", source="127.0.0.2/32"), False),
        (Rule(name="r", source="::/0"), False),
        (Rule(name="r", percent=0), False),
        (Rule(name="r", step="message", content="buy now"), True),
        (Rule(name="r", step="message", content="buy later"), False),
        (Rule(name="r", domain="bigmail.test", sender="other@*"), False),
    ],
)
def test_conditions(rule: Rule, matches: bool) -> None:
    rules = book(rule)
    assert (rules.match(rule.step, CASE, 0.0) is rule) is matches
    assert rules.hits == {"r": int(matches)}


def test_null_sender_pattern_matches_the_null_sender_only() -> None:
    rules = book(Rule(name="bounces", sender="<>"))
    assert rules.match("rcpt", CASE._replace(sender=""), 0) is not None
    assert rules.match("rcpt", CASE, 0) is None


def test_first_match_wins_and_only_it_counts() -> None:
    rules = book(
        Rule(name="elsewhere", step="mail"),
        Rule(name="first", recipient="ann@*"),
        Rule(name="second"),
    )
    first = rules.match("rcpt", CASE, 0)
    other = rules.match("rcpt", CASE._replace(recipients=("bob@bigmail.test",)), 0)
    assert first is not None and other is not None
    assert (first.name, other.name) == ("first", "second")
    assert rules.hits == {"elsewhere": 0, "first": 1, "second": 1}


def test_greylisting_is_by_triple_and_ends_after_its_time() -> None:
    rules = book(Rule(name="grey", greylist=10))
    assert rules.match("rcpt", CASE, 100) is not None
    assert rules.match("rcpt", CASE, 109.9) is not None
    assert rules.match("rcpt", CASE, 110) is None
    assert rules.match("rcpt", CASE._replace(recipients=("ANN@bigmail.TEST",)), 110) is None
    assert rules.match("rcpt", CASE._replace(source="127.0.0.2"), 110) is not None
    assert rules.match("rcpt", CASE._replace(sender="x@y.test"), 110) is not None


def test_rate_counts_what_it_lets_pass_in_a_sliding_window() -> None:
    rules = book(Rule(name="rate", rate=2, window=10))
    times = (0, 5, 6, 9, 10, 11, 15, 16)
    assert [rules.match("rcpt", CASE, time) is None for time in times] == [
        *(True, True, False, False),  # two pass, the rest of the window is refused
        *(True, False),  # at 10 the one of 0 has left
        *(True, False),  # at 15 the one of 5 has
    ]


def test_a_case_that_another_condition_excludes_does_not_use_up_the_rate() -> None:
    rules = book(Rule(name="rate", recipient="ann@*", rate=1, window=10))
    for _ in range(5):
        assert rules.match("rcpt", CASE._replace(recipients=("bob@bigmail.test",)), 0) is None
    assert rules.match("rcpt", CASE, 0) is None
    assert rules.match("rcpt", CASE, 0) is not None


def test_limits_of_sessions_and_messages() -> None:
    rules = book(Rule(name="many", step="connect", connections=2), Rule(name="long", step="mail", messages=3))
    assert [rules.match("connect", CASE._replace(connections=n), 0) is not None for n in (1, 2, 3)] == [0, 0, 1]
    assert [rules.match("mail", CASE._replace(messages=n), 0) is not None for n in (2, 3, 4)] == [0, 1, 1]


def test_percent_follows_the_seed() -> None:
    def draws(seed: int) -> list[bool]:
        rules = RuleBook([Rule(name="some", percent=30)], random.Random(seed))
        return [rules.match("rcpt", CASE, 0) is not None for _ in range(1000)]

    assert draws(1) == draws(1) != draws(2)
    assert 240 < sum(draws(1)) < 360


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Rule(name="r", step="mail", domain="x.test"), "no recipient"),
        (Rule(name="r", step="connect", recipient="*"), "no recipient"),
        (Rule(name="r", step="ehlo", sender="*"), "no sender"),
        (Rule(name="r", content="x"), "step 'message'"),
        (Rule(name="r", step="mail", greylist=1), "step 'rcpt'"),
        (Rule(name="r", reply="nonsense"), "not a code"),
        (Rule(name="r", reply="550 two\r\nlines"), "not a code"),
        (Rule(name="r", reply="999 x"), "not a code"),
        (Rule(name="r", step="data", reply="250 OK"), "DATA"),
        (Rule(name="r", percent=101), "percent"),
        (Rule(name="r", delay=-1), "negative"),
        (Rule(name="r", rate=1, window=0), "window"),
        (Rule(name="r", source="127.0.0.300/8"), "127.0.0.300"),
    ],
)
def test_rules_that_cannot_be_meant(rule: Rule, reason: str) -> None:
    with pytest.raises(RuleError, match=reason) as caught:
        book(rule)
    assert "'r'" in str(caught.value)


def test_names_are_unique() -> None:
    with pytest.raises(RuleError, match="taken"):
        book(Rule(name="same"), Rule(name="same", step="mail"))


def test_an_unknown_step_or_field_is_refused_when_a_file_is_read() -> None:
    for wrong in ({"name": "r", "step": "quit"}, {"name": "r", "repyl": "550 x"}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, Rule)


def test_steps_without_rules_are_known() -> None:
    rules = book(Rule(name="r", step="message"))
    steps: tuple[Step, ...] = ("connect", "rcpt", "message")
    assert [rules.has(step) for step in steps] == [False, False, True]
