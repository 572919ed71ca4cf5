"""Rules on replies decide what becomes of a refusal: which message ends, which waits, and what is told of it."""

from __future__ import annotations

import pytest

from postroad.config.schema import Config, Duration, ProviderOptions, ReplyOptions
from postroad.deliver.replies import ReplyRules
from postroad.deliver.steps import Again, Result
from postroad.message import Reply, Ruled, Stage, Verdict
from postroad.shaping import Limits
from tests.deliver.peers import DOMAIN, Peer, peers, scene
from tests.deliver.supply import Shelf, message

D, T, F = Verdict.DELIVERED, Verdict.DEFERRED, Verdict.FAILED
LATER = Reply(450, "4.2.0 come back later")
NEVER = Reply(550, "5.1.1 no such user")


def rules(*given: ReplyOptions) -> ReplyRules:
    provider = ProviderOptions(name="p", domains=["p.example"])
    return ReplyRules(Limits(Config(reply=list(given), provider=[provider]), lambda: 0.0))


def refusal(reply: Reply = LATER, stage: Stage = Stage.RCPT, again: Again = Again.NO) -> Result:
    return Result(T if reply.code < 500 else F, reply, stage, again=again)


@pytest.mark.parametrize(
    ("rule", "reply", "verdict", "became"),
    [
        (ReplyOptions(name="r", action="permanent"), LATER, F, Reply(550, "5.2.0 come back later")),
        (ReplyOptions(name="r", action="temporary"), NEVER, T, Reply(450, "4.1.1 no such user")),
        (ReplyOptions(name="r", action="temporary"), Reply(550, "no"), T, Reply(450, "no")),
        (ReplyOptions(name="r", action="permanent"), NEVER, F, NEVER),
        (ReplyOptions(name="r", enhanced="4.2.2"), LATER, T, Reply(450, "4.2.2 come back later")),
        (ReplyOptions(name="r", enhanced="5.2.2"), Reply(552, "full"), F, Reply(552, "5.2.2 full")),
        (ReplyOptions(name="r", action="temporary", enhanced="4.2.2"), NEVER, T, Reply(450, "4.2.2 no such user")),
        (ReplyOptions(name="r", enhanced="4.2.2"), Reply(421, "4.3.0"), T, Reply(421, "4.2.2")),
        (ReplyOptions(name="r"), LATER, T, LATER),
    ],
)
def test_actions(rule: ReplyOptions, reply: Reply, verdict: Verdict, became: Reply) -> None:
    judge = rules(rule)
    found = judge.judged(refusal(reply), "default", DOMAIN)
    assert (found.verdict, found.reply, found.ruled) == (verdict, became, Ruled("r", reply))
    assert judge.counts == {"r": 1}


def test_class_and_wait_go_with_it() -> None:
    judge = rules(ReplyOptions(name="r", bounce_class=52, wait=Duration(900)))
    found = judge.judged(refusal(), "default", DOMAIN)
    assert found.ruled == Ruled("r", LATER, 900.0, 52)


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (ReplyOptions(name="r"), True),
        (ReplyOptions(name="r", binding="default"), True),
        (ReplyOptions(name="r", binding="b"), False),
        (ReplyOptions(name="r", group="default"), True),
        (ReplyOptions(name="r", group="g"), False),
        (ReplyOptions(name="r", domain="P.example"), True),
        (ReplyOptions(name="r", domain="*.example"), True),
        (ReplyOptions(name="r", domain="*.p.example"), False),
        (ReplyOptions(name="r", provider="p"), True),
        (ReplyOptions(name="r", provider="q"), False),
        (ReplyOptions(name="r", stages=["mail", "rcpt"]), True),
        (ReplyOptions(name="r", stages=["content"]), False),
        (ReplyOptions(name="r", codes=["550", "45x"]), True),
        (ReplyOptions(name="r", codes=["451"]), False),
        (ReplyOptions(name="r", pattern="^450 4.2.0 come"), True),
        (ReplyOptions(name="r", pattern="COME"), False),
        (ReplyOptions(name="r", pattern="(?i)COME"), True),
    ],
)
def test_what_a_rule_is_about(rule: ReplyOptions, fits: bool) -> None:
    found = rules(rule).judged(refusal(), "default", "p.example")
    assert (found.ruled is not None) is fits


def test_only_the_first_that_fits_acts() -> None:
    judge = rules(
        ReplyOptions(name="other", codes=["5xx"]),
        ReplyOptions(name="exception", domain="p.example"),
        ReplyOptions(name="all", action="permanent"),
    )
    assert judge.judged(refusal(), "default", "p.example").verdict is T
    assert judge.judged(refusal(), "default", DOMAIN).verdict is F
    assert judge.counts == {"other": 0, "exception": 1, "all": 1}


@pytest.mark.parametrize(
    "left_alone",
    [
        Result(D, Reply(250, "ok"), Stage.CONFIRMATION),
        Result(T, Reply(451, "4.4.2 lost"), Stage.MAIL, internal=True),
        refusal(stage=Stage.STARTTLS),
        refusal(again=Again.HAND_OVER),
    ],
)
def test_what_no_rule_touches(left_alone: Result) -> None:
    assert rules(ReplyOptions(name="r", action="permanent")).judged(left_alone, "default", DOMAIN) is left_alone


def test_a_message_that_is_refused_for_good_goes_to_no_other_host() -> None:
    given = refusal(again=Again.NEXT_HOST)
    assert rules(ReplyOptions(name="r", action="permanent")).judged(given, "default", DOMAIN).again is Again.NO
    assert rules(ReplyOptions(name="r", bounce_class=50)).judged(given, "default", DOMAIN).again is Again.NEXT_HOST


def test_a_reload_swaps_the_rules_and_keeps_the_counts_of_those_that_stay() -> None:
    judge = rules(ReplyOptions(name="a"), ReplyOptions(name="b"))
    judge.judged(refusal(), "default", DOMAIN)
    judge.reconfigure(Config(reply=[ReplyOptions(name="a", action="permanent"), ReplyOptions(name="c")]))
    assert judge.counts == {"a": 1, "c": 0}
    assert judge.judged(refusal(), "default", DOMAIN).verdict is F


@pytest.mark.parametrize("step", ["banner", "mail", "rcpt", "content"])
async def test_on_the_wire_a_no_becomes_a_not_now(step: str) -> None:
    peer = Peer(**{step: b"554 5.7.1 your mail is not wanted now\r\n"})
    rule = ReplyOptions(name="soft", stages=[step], action="temporary", wait=Duration(600), bounce_class=51)
    async with peers(peer) as port, scene(port, shelf=Shelf([message()]), replies=[rule]) as at:
        await at.run(1)
        outcome = at.shelf.outcome()
        assert (outcome.verdict, outcome.reply) == (T, Reply(450, "4.7.1 your mail is not wanted now"))
        assert outcome.ruled == Ruled("soft", Reply(554, "5.7.1 your mail is not wanted now"), 600.0, 51)
        assert outcome.retry_after == 600
        assert at.deliverer.rule_counts() == {"soft": 1}


async def test_on_the_wire_a_not_now_becomes_a_no() -> None:
    peer = Peer(mail=b"450 4.7.1 blocked, see our site\r\n")
    rule = ReplyOptions(name="hard", pattern="blocked", action="permanent")
    names = ("127.0.0.1", "127.0.0.2")
    backup = Peer()
    async with peers(peer, backup, hosts=names) as port, scene(port, shelf=Shelf([message()]), replies=[rule]) as at:
        at.names.point(DOMAIN, *names)
        await at.run(1)
        assert (at.shelf.outcome().verdict, at.shelf.outcome().reply.code) == (F, 550)
    assert backup.connections == 0


@pytest.mark.parametrize("step", ["banner", "rcpt", "content"])
async def test_a_host_that_says_when_to_come_back_is_heard(step: str) -> None:
    peer = Peer(**{step: b"450 4.2.0 Greylisted, try again\r\n".replace(b"again", b"again in 5 minutes")})
    async with peers(peer) as port, scene(port, shelf=Shelf([message()])) as at:
        await at.run(1)
        assert (at.shelf.outcome().verdict, at.shelf.outcome().hint) == (T, 300.0)


async def test_a_refusal_for_good_hints_at_nothing() -> None:
    peer = Peer(rcpt=b"550 5.7.1 try again in 5 minutes\r\n")
    async with peers(peer) as port, scene(port, shelf=Shelf([message()])) as at:
        await at.run(1)
        assert (at.shelf.outcome().verdict, at.shelf.outcome().hint) == (F, None)
