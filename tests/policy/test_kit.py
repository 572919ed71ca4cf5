"""The plug-in kit, as the author of a plug-in uses it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from postroad.message import Outcome, Reply, Stage
from postroad.message import Verdict as Ended
from postroad.policy import Fail, Outgoing, PluginError, Reject, Replied, RuleError, Tarpit, Tempfail
from postroad.policy.kit import Policy, Result, load

pytest_plugins = ["pytester"]

SPAM = """
import asyncio
import msgspec
from postroad.policy import Discard, Disconnect, Fail, Reject, Tarpit, Tempfail

class Options(msgspec.Struct, forbid_unknown_fields=True):
    word: str = "spam"

class Policy:
    def __init__(self, kit):
        self.kit = kit
        self.life = []
    def open(self): self.life.append("open")
    def close(self): self.life.append("close")
    def connect(self, facts):
        facts.session.context["seen"] = "yes"
        return Disconnect("go away") if facts.session.peer == "192.0.2.66" else Tarpit(30)
    def ehlo(self, facts):
        return Reject("that is me") if facts.name == "me.example" else None
    def auth(self, facts):
        return Reject("not you", 535) if facts.user == "mallory" else None
    async def mail_from(self, facts):
        await asyncio.sleep(0)
        return Tempfail("later") if facts.sender == "later@x.example" else None
    def rcpt_to(self, facts):
        if facts.recipient.startswith("alias@"):
            facts.recipient = "real@other.example"
        if facts.recipient.startswith("hole@"):
            return Discard("a hole")
        return Reject("5.1.1 who?") if facts.recipient.startswith("nobody@") else None
    def data(self, facts):
        return Reject("too many") if len(facts.recipients) > 2 else None
    def message(self, facts):
        facts.content.add("X-Checked", f"for {facts.session.helo} {facts.session.context.get('seen', 'no')}")
        word = self.kit.options.word
        return Reject(f"no {word}") if word in (facts.content.get("Subject") or "") else None
    def each_recipient(self, facts):
        if facts.recipient == "b@x.example":
            facts.binding, facts.priority, facts.expires_in, facts.context["k"] = "bulk", 1, 60.0, "v"
            facts.content.set("Subject", "for b")
        if facts.recipient == "broken@x.example":
            raise RuntimeError("boom")
        return Reject("not c") if facts.recipient == "c@x.example" else None
    def reply(self, facts):
        return Fail("5.1.1 so it is") if facts.outcome.reply.text.startswith("4.2.2") else None
"""

RULE = """
[[rule]]
phase = "rcpt_to"
when = "domain == 'closed.example'"
action = "reject"
text = "5.7.1 closed"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "spam.py"
    path.write_text(SPAM)
    return path


async def test_what_each_recipients_message_became(file: Path) -> None:
    async with load(file) as policy:
        result = await policy.message(
            "Subject: hi\n\ntext\n", recipients=["a@x.example", "b@x.example", "c@x.example"], helo="client.example"
        )
    assert result.refused is None and result.errors == []
    a, b, c = result.copies
    assert bytes(a.content.octets) == b"X-Checked: for client.example no\r\nSubject: hi\r\n\r\ntext\r\n"
    assert (b.content.get("Subject"), b.binding, b.priority, b.expires_in, b.context["k"]) == (
        *("for b", "bulk", 1),
        *(60.0, "v"),
    )
    assert a.kept and b.kept and not c.kept
    assert c.refused == Reply(550, "5.7.1 not c")
    assert result.to("c@x.example") is c
    with pytest.raises(LookupError, match=r"nothing went to d@x.example, but to \['a@x.example'"):
        result.to("d@x.example")
    assert [(one.phase, one.recipient, one.text) for one in result.said] == [
        ("message", "", "continue"),
        ("each_recipient", "a@x.example", "continue"),
        ("each_recipient", "b@x.example", "continue"),
        ("each_recipient", "c@x.example", "reject 550 5.7.1 not c"),
    ]
    assert result.said[0].changed == ["content"]
    assert sorted(result.said[2].changed) == ["binding", "content", "context.k", "expires_in", "priority"]


async def test_a_refusal_and_options(file: Path) -> None:
    policy = load(file, options={"word": "ham"})
    result = await policy.message("Subject: ham\n\n")
    assert result.refused == Reply(550, "5.7.1 no ham") and result.copies == []
    assert (await policy.message("Subject: spam\n\n")).refused is None
    await policy.close()
    assert policy.plugins[0].policy.life == ["open", "close"]  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match="unknown field"):
        load(file, options={"words": "x"})


async def test_a_hook_that_fails_is_told(file: Path) -> None:
    async with load(file) as policy:
        result = await policy.message("Subject: s\n\n", recipients=["broken@x.example"])
    assert result.refused is not None and result.refused.code == 451
    assert result.errors == ["spam.each_recipient: RuntimeError: boom"]
    assert result.said[-1].text == "failed: RuntimeError: boom"
    async with load(file, on_error="continue") as lenient:
        result = await lenient.message("Subject: s\n\n", recipients=["broken@x.example"])
    assert result.refused is None and len(result.errors) == 1


async def test_a_hook_that_takes_too_long_or_says_nonsense(tmp_path: Path) -> None:
    path = tmp_path / "slow.py"
    path.write_text(
        "import asyncio\nasync def message(facts):\n    await asyncio.Event().wait()\n"
        "def routing(facts):\n    return 1\n"
    )
    async with load(path, time_limit=0.01, on_error="continue") as policy:
        result = await policy.message("\n")
    assert result.errors == [
        "slow.message: TimeoutError: slow.message took longer than 0.01 s",
        "slow.routing: TypeError: slow.routing returned 1; here it may return None, Continue, Accept",
    ]


async def test_threads(tmp_path: Path) -> None:
    path = tmp_path / "blocks.py"
    path.write_text(
        "import threading\nfrom postroad.policy import Reject\n"
        "def message(facts):\n    return Reject(threading.current_thread().name.partition('_')[0])\n"
    )
    async with load(path, thread=True) as policy:
        result = await policy.message("\n")
    assert result.refused == Reply(550, "5.7.1 policy")


async def test_a_session_step_by_step(file: Path) -> None:
    async with load(file) as policy:
        session = policy.session(peer="192.0.2.9")
        greeted = await session.connect()
        assert greeted.refused is None and greeted.waited == 30 and isinstance(greeted.said[0].verdict, Tarpit)
        assert (await session.ehlo("me.example")).refused == Reply(550, "5.7.1 that is me")
        await session.ehlo("client.example")
        assert (await session.auth("mallory")).refused == Reply(535, "5.7.1 not you")
        assert session.session.user == ""
        await session.auth("ann")
        assert session.session.user == "ann"
        assert (await session.mail_from("later@x.example")).verdict == Tempfail("later")
        with pytest.raises(RuntimeError, match="RCPT without a sender"):
            await session.rcpt_to("a@x.example")
        await session.mail_from("")
        with pytest.raises(RuntimeError, match="DATA without a recipient"):
            await session.data("\n")
        assert (await session.rcpt_to("nobody@x.example")).verdict == Reject("5.1.1 who?")
        assert (await session.rcpt_to("alias@x.example")).refused is None
        assert (await session.rcpt_to("hole@x.example")).refused is None
        result = await session.data("Subject: s\n\n")
        assert isinstance(result, Result)
        real, hole = result.copies
        assert (real.recipient, real.domain, real.kept) == ("real@other.example", "other.example", True)
        assert (hole.discarded, hole.kept) == ("a hole", False)
        assert real.content.get("X-Checked") == "for client.example yes"
        await session.mail_from("s@x.example")
        for name in "abc":
            await session.rcpt_to(f"{name}@x.example")
        refused = await session.data("\n")
        assert not isinstance(refused, Result) and refused.refused == Reply(550, "5.7.1 too many")
        assert [step.phase for step in session.steps].count("rcpt_to") == 6


async def test_the_end_of_a_session(file: Path) -> None:
    async with load(file) as policy:
        session = policy.session(peer="192.0.2.66")
        assert (await session.connect()).refused == Reply(421, "4.7.1 go away")
        assert not session.open
        with pytest.raises(RuntimeError, match="ehlo after the end of the session"):
            await session.ehlo("x")


async def test_phases_on_the_way_out(file: Path) -> None:
    message = Outgoing(1, "s@x.example", "b@y.example", "y.example", "default", 0, {})
    facts = Replied(message, Outcome(Ended.DEFERRED, Reply(452, "4.2.2 full"), Stage.RCPT))
    async with load(file) as policy:
        answer = await policy.ask("reply", facts)
    assert answer.verdict == Fail("5.1.1 so it is")
    assert [(one.plugin, one.recipient) for one in answer.said] == [("spam", "b@y.example")]


async def test_a_whole_configuration(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "postroad.toml"
    path.write_text(f'[[policy]]\nfile = "{file.name}"\n{RULE}')
    async with load(path) as policy:
        session = policy.session()
        await session.mail_from("a@x.example")
        step = await session.rcpt_to("b@closed.example")
        assert step.refused == Reply(550, "5.7.1 closed")
        assert [one.plugin for one in step.said] == ["spam", "rule 1"]
    only = load(path, phases=["mail_from"])
    assert [one.phase for one in (await only.session().mail_from("a@x.example")).said] == ["mail_from"]
    assert (await only.message("Subject: spam\n\n")).refused is None
    await only.close()
    with pytest.raises(TypeError, match="options are for a plug-in"):
        load(path, options={})
    path.write_text(RULE.replace("domain ==", "nonsense =="))
    with pytest.raises(RuleError):
        load(path)


async def test_generated_mail_meets_its_own_phases(tmp_path: Path) -> None:
    path = tmp_path / "g.py"
    path.write_text(
        "from postroad.policy import Reject\n"
        "def message(facts):\n    return Reject('smtp')\n"
        "def generated(facts):\n    return Reject(facts.session.listener)\n"
    )
    async with load(path) as policy:
        result = await policy.message("\n", method="rest")
    assert result.refused == Reply(550, "5.7.1 http")


async def test_what_a_plug_in_opened_is_closed_when_another_cannot_open(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name, text in (("first", ""), ("second", "raise OSError('no database')")):
        (tmp_path / f"{name}.py").write_text(
            f"def message(facts): pass\ndef open():\n    {text or 'pass'}\n"
            f"def close():\n    from pathlib import Path; Path({str(log)!r}).write_text({name!r})\n"
        )
    (tmp_path / "p.toml").write_text('[[policy]]\nfile = "first.py"\n[[policy]]\nfile = "second.py"\n')
    policy: Policy = load(tmp_path / "p.toml")
    with pytest.raises(PluginError, match="no database"):
        await policy.message("\n")
    assert log.read_text() == "first"


def test_the_fixture_in_a_users_own_tests(pytester: pytest.Pytester, file: Path) -> None:
    pytester.makeconftest('pytest_plugins = ["postroad.policy.fixtures"]\n')
    pytester.makepyfile(
        textwrap.dedent(f"""
        import pytest

        @pytest.mark.asyncio
        async def test_spam(load_policy):
            policy = load_policy({str(file)!r}, options={{"word": "ham"}})
            assert (await policy.message("Subject: ham\\n\\n")).refused == (550, "5.7.1 no ham")

        @pytest.mark.asyncio
        async def test_wrong(load_policy):
            assert (await load_policy({str(file)!r}).message("Subject: ham\\n\\n")).refused
        """)
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
