"""Which binding a message gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from postroad.config import parse
from postroad.message import Accepted, Body, Message, Recipient, Refused, Rejection, Reply, Transaction
from postroad.policy import BINDING, GROUP, BindingChoice, marked

TEXT = """
[[binding]]
name = "a"
[[binding]]
name = "b"
[[binding]]
name = "c"
[[binding]]
name = "alone"
[[group]]
name = "g"
members = [{ binding = "a" }, { binding = "b", weight = 3 }, { binding = "c", weight = 0 }]
"""


def choice(text: str = TEXT, held: Callable[[str, str], bool] = lambda binding, domain: False) -> BindingChoice:
    return BindingChoice(parse(text).config, held, Random(7))


def message(context: dict[str, str] | None = None, domain: str = "d.test", sender: str = "x@s.test") -> Message:
    made = Message()
    made.context = context or {}
    made.domain = domain
    made.sender = sender
    made.method = "esmtp"
    return made


@pytest.mark.parametrize(
    ("context", "allowed"),
    [
        ({}, {"default"}),
        ({BINDING: "alone"}, {"alone"}),
        ({BINDING: "alone", GROUP: "g"}, {"alone"}),
        ({BINDING: "unknown", GROUP: "g"}, {"a", "b"}),
        ({GROUP: "g"}, {"a", "b"}),
        ({GROUP: "unknown"}, {"default"}),
    ],
)
def test_what_decides(context: dict[str, str], allowed: set[str]) -> None:
    bindings = choice()
    assert {bindings.choose(message(context)) for _ in range(200)} == allowed


def test_weights_are_shares() -> None:
    bindings = choice()
    counts = Counter(bindings.choose(message({GROUP: "g"})) for _ in range(8000))
    assert counts["b"] / counts["a"] == pytest.approx(3, rel=0.1)


def test_the_suspended_are_avoided_for_what_is_suspended() -> None:
    bindings = choice(held=lambda binding, domain: binding == "b" and domain == "bad.test")
    assert {bindings.choose(message({GROUP: "g"}, "bad.test")) for _ in range(100)} == {"a"}
    assert {bindings.choose(message({GROUP: "g"})) for _ in range(100)} == {"a", "b"}


def test_when_all_are_suspended_the_message_waits_for_one_of_them() -> None:
    bindings = choice(held=lambda binding, domain: True)
    assert {bindings.choose(message({GROUP: "g"})) for _ in range(100)} == {"a", "b"}


def test_a_group_named_default_takes_what_nothing_is_said_of() -> None:
    bindings = choice(TEXT.replace('name = "g"', 'name = "default"'))
    assert {bindings.choose(message()) for _ in range(100)} == {"a", "b"}


@pytest.mark.parametrize(("sticky", "vary"), [("sender_domain", "domain"), ("recipient_domain", "sender")])
def test_sticky_groups(sticky: str, vary: str) -> None:
    text = TEXT.replace('name = "g"', f'name = "g"\nsticky = "{sticky}"').replace("weight = 0", "weight = 4")
    held: set[str] = set()
    bindings = choice(text, lambda binding, domain: binding in held)

    def chosen(number: int, other: str = "x.test") -> str:
        if sticky == "sender_domain":
            return bindings.choose(message({GROUP: "g"}, other, f"x@{number}.test"))
        return bindings.choose(message({GROUP: "g"}, f"{number}.test", f"x@{other}"))

    before = {number: chosen(number) for number in range(4000)}
    assert {number: chosen(number, "y.test") for number in before} == before
    counts = Counter(before.values())
    assert [counts[name] / 4000 for name in "abc"] == pytest.approx([1 / 8, 3 / 8, 4 / 8], abs=0.03)
    held.add("b")
    after = {number: chosen(number) for number in before}
    assert all(after[number] == name for number, name in before.items() if name != "b")
    moved = Counter(after[number] for number, name in before.items() if name == "b")
    assert moved["b"] == 0 and moved["c"] / moved["a"] == pytest.approx(4, rel=0.35)
    held.clear()
    assert {number: chosen(number) for number in before} == before


def test_without_a_default_binding_unassigned_mail_is_refused_but_not_our_own() -> None:
    bindings = choice('[delivery]\ndefault_binding = "none"\n' + TEXT)
    assert bindings.choose(message()) == ""
    assert bindings.choose(message({GROUP: "g"})) in ("a", "b")
    ours = message(sender="")
    ours.method = "internal"
    assert bindings.choose(ours) == "default"


def test_a_new_configuration() -> None:
    bindings = choice()
    assert bindings.is_group("g") and not bindings.is_group("h")
    bindings.reconfigure(parse('[[binding]]\nname = "z"\n[[group]]\nname = "h"\nmembers = [{ binding = "z" }]').config)
    assert bindings.is_group("h") and not bindings.is_group("g")
    assert bindings.choose(message({GROUP: "h"})) == "z"
    assert bindings.choose(message({GROUP: "g"})) == bindings.choose(message({BINDING: "a"})) == "default"


class Taker:
    """An acceptor that keeps what it is given."""

    def __init__(self) -> None:
        self.taken: list[Transaction] = []
        self.rejections: list[Rejection] = []

    def refusal(self) -> Reply | None:
        return Reply(452, "4.3.1 full")

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        self.taken.append(transaction)
        done(Accepted([1]))

    def rejected(self, rejection: Rejection) -> None:
        self.rejections.append(rejection)


def test_a_listener_marks_its_mail() -> None:
    taker = Taker()
    assert marked(taker) is taker
    door = marked(taker, group="g")
    assert door.refusal() == Reply(452, "4.3.1 full")
    answers: list[Accepted | Refused] = []
    for context in (None, {GROUP: "h", "other": "1"}):
        recipients = [Recipient("a@d.test", "d.test")]
        door.accept(Transaction("s@s.test", recipients, Body(b"x\r\n"), context=context), answers.append)
    assert [each.context for each in taker.taken] == [{GROUP: "g"}, {GROUP: "h", "other": "1"}]
    assert len(answers) == 2
    rejection = Rejection(Reply(550, "5.7.1 no"), "", "", "192.0.2.1", "esmtp", {})
    door.rejected(rejection)
    assert taker.rejections == [rejection]
