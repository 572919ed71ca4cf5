"""Policy of a real server, from outside: plug-ins, rules and signatures, their reload, and the proof that nothing is
lost by them."""

from __future__ import annotations

import asyncio
import json
import smtplib
from pathlib import Path
from typing import Any

import pytest

from postroad.auth.dkim import Algorithm, PrivateKey, Result, verify
from postroad.lab.rules import Rule
from tests.scenarios.ends import audit
from tests.scenarios.far_end import FarEnd
from tests.scenarios.server import Server, serving, until
from tests.scenarios.test_reload import reload, rewrite

PLUGIN = '''
"""A tenant's own policy."""
import asyncio
from postroad.policy import Discard, Fail, Reject, Retry

class Policy:
    def __init__(self, kit):
        self.banned = kit.options["banned"]

    async def rcpt_to(self, facts):
        await asyncio.sleep(0)
        return Reject("5.1.1 nobody here") if facts.recipient in self.banned else None

    def message(self, facts):
        if facts.content.get("X-Boom"):
            raise RuntimeError("boom")
        facts.content.add("X-Tenant", facts.session.helo)
        if facts.content.get("Subject") == "drop":
            return Discard("dropped by policy")

    def each_recipient(self, facts):
        if facts.recipient.startswith("one-of-two"):
            return Reject("5.7.1 not this one")
        if facts.recipient.startswith("own"):
            facts.content.set("Subject", "for " + facts.recipient)

    def before_attempt(self, facts):
        return Fail("5.7.1 not to be tried") if facts.recipient.startswith("never") else None

    def reply(self, facts):
        return Retry(3600) if facts.outcome.reply.text.startswith("5.9.9") else None
'''

EXTRA = """
[[policy]]
file = "mine.py"
options = { banned = ["banned@a.test"] }

[[rule]]
name = "no-viruses"
phase = "message"
when = "header('Subject').contains('virus')"
action = "reject"
text = "5.7.1 no viruses, please"

[[rule]]
name = "gold"
phase = "set_binding"
when = "domain == 'gold.test'"
priority = 1
set = { tier = "gold" }
"""


class Setting:
    def __init__(self, folder: Path, far: FarEnd, server: Server) -> None:
        self.folder, self.far, self.server = folder, far, server

    def send(self, *recipients: str, subject: str = "s", more: str = "") -> dict[str, tuple[int, bytes]]:
        """The recipients that were refused at RCPT. Raises smtplib's errors for the whole message."""
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port, "client.test", timeout=30) as client:
            content = f"From: a@s.test\r\nSubject: {subject}\r\n{more}\r\nbody\r\n"
            return client.sendmail("a@s.test", list(recipients), content)

    def arrived(self, recipient: str) -> bytes:
        until(lambda: recipient in self.far.copies(), f"{recipient} has its mail")
        (found,) = [taken.content for taken in self.far.taken if taken.recipient == recipient]
        return found

    def events(self, kind: str) -> list[dict[str, Any]]:
        done = self.server.command("events", "tail", "--json", "--type", kind, "--config", str(self.server.config))
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def ended(self, kind: str, recipient: str) -> dict[str, Any]:
        until(lambda: any(event["rcpt_to"] == recipient for event in self.events(kind)), f"{kind} of {recipient}")
        (found,) = [event for event in self.events(kind) if event["rcpt_to"] == recipient]
        return found


@pytest.fixture
def setting(tmp_path: Path) -> Any:
    (tmp_path / "mine.py").write_text(PLUGIN)
    with FarEnd(keep=True) as far, serving(tmp_path, gateway=far.port, extra=EXTRA) as server:
        yield Setting(tmp_path, far, server)
        until(server.quiet, "everything has come to its end")
        audit(server)


def test_a_plug_in_and_rules_decide(setting: Setting) -> None:
    refused = setting.send("banned@a.test", "u@a.test")
    assert refused == {"banned@a.test": (550, b"5.1.1 nobody here")}
    assert b"\r\nX-Tenant: client.test\r\n" in setting.arrived("u@a.test")

    for subject, code, text in (("a virus", 550, b"5.7.1 no viruses, please"), ("x\r\nX-Boom: 1", 451, b"4.3.0")):
        with pytest.raises(smtplib.SMTPDataError) as caught:
            setting.send("v@a.test", subject=subject)
        assert caught.value.smtp_code == code and text in caught.value.smtp_error

    assert not setting.send("one-of-two@a.test", "own@a.test", "plain@a.test")
    assert b"Subject: for own@a.test\r\n" in setting.arrived("own@a.test")
    assert b"Subject: s\r\n" in setting.arrived("plain@a.test")
    assert setting.ended("bounce", "one-of-two@a.test")["raw_reason"] == "550 5.7.1 [internal] not this one"

    setting.send("x@a.test", subject="drop")
    assert "dropped by policy" in setting.ended("bounce", "x@a.test")["raw_reason"]
    setting.send("never@a.test")
    assert setting.ended("bounce", "never@a.test")["raw_reason"] == "550 5.7.1 [internal] not to be tried"
    assert {"x@a.test", "never@a.test", "one-of-two@a.test"}.isdisjoint(setting.far.copies())


def test_a_no_is_taken_for_a_not_now(setting: Setting) -> None:
    setting.far.behave(Rule(name="odd", domain="odd.test", reply="550 5.9.9 odd"))
    setting.send("u@odd.test")
    delayed = setting.ended("delay", "u@odd.test")
    assert delayed["raw_reason"] == "550 5.9.9 odd"
    setting.far.behave()
    assert setting.server.command("path", "flush", "odd.test", "--config", str(setting.server.config)).returncode == 0
    setting.arrived("u@odd.test")


def test_a_reload_swaps_policy_or_changes_nothing(setting: Setting) -> None:
    plugin = setting.folder / "mine.py"
    setting.send("u1@a.test")
    plugin.write_text(PLUGIN + "\nthis is no Python\n")
    failed = setting.server.command("config", "reload", "--config", str(setting.server.config))
    assert failed.returncode == 1
    assert "policy 'mine'" in failed.stderr and "mine.py" in failed.stderr and "Traceback" not in failed.stderr
    assert b"X-Tenant" in setting.arrived("u1@a.test")
    setting.send("u2@a.test")
    assert b"X-Tenant" in setting.arrived("u2@a.test")

    plugin.write_text(PLUGIN.replace("X-Tenant", "X-Other"))
    rewrite(setting.server, "contains('virus')", "contains('spam')")
    reload(setting.server)
    setting.send("u3@a.test", subject="a virus")
    assert b"X-Other" in setting.arrived("u3@a.test")

    rewrite(setting.server, "header('Subject')", "heder('Subject')")
    failed = setting.server.command("config", "reload", "--config", str(setting.server.config))
    assert failed.returncode == 1 and "rule 'no-viruses'" in failed.stderr


def test_a_server_with_a_broken_policy_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import nothing_of_the_kind\n")
    server = Server(tmp_path, extra=EXTRA)
    done = server.command("serve", "--config", str(server.config))
    assert done.returncode == 1
    assert "policy 'mine'" in done.stderr and "nothing_of_the_kind" in done.stderr
    assert "Traceback" not in done.stderr


class Names:
    def __init__(self, *keys: PrivateKey) -> None:
        self._keys = {key.name: key.record().encode() for key in keys}

    async def txt(self, name: str) -> list[bytes]:
        return [self._keys[name]] if name in self._keys else []


def test_what_goes_out_is_signed_after_all_policy(tmp_path: Path) -> None:
    keys = [PrivateKey.generate("s.test", kind.name.lower(), kind) for kind in Algorithm]
    extra = EXTRA
    for key in keys:
        (tmp_path / f"{key.selector}.pem").write_bytes(key.pem())
        extra += f'[[dkim]]\ndomain = "s.test"\nselector = "{key.selector}"\nkey = "{key.selector}.pem"\n'
    (tmp_path / "mine.py").write_text(PLUGIN)
    with FarEnd(keep=True) as far, serving(tmp_path, gateway=far.port, extra=extra) as server:
        setting = Setting(tmp_path, far, server)
        setting.send("u@a.test", "own@a.test")
        for recipient in ("u@a.test", "own@a.test"):
            content = setting.arrived(recipient)
            results = asyncio.run(verify(content, Names(*keys), now=1.8e9))
            assert [one.result for one in results] == [Result.PASS, Result.PASS], results
            assert b"X-Tenant: client.test" in content
        until(server.quiet, "all is over")
        audit(server)


def test_hooks_are_counted_over_all_engines(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    with FarEnd() as far, serving(tmp_path, gateway=far.port, extra=EXTRA, engines=2) as server:
        setting = Setting(tmp_path, far, server)
        for number in range(10):
            setting.send(f"u{number}@d{number}.test", "banned@a.test")
        until(lambda: len(far.copies()) == 10, "all arrive")
        done = server.command("policy", "list", "--json", "--config", str(server.config))
        assert done.returncode == 0, done.stderr
        rows = {(row["plugin"], row["phase"]): row for row in json.loads(done.stdout)}
        assert rows["mine", "rcpt_to"]["calls"] == 20
        assert rows["mine", "rcpt_to"]["said"] == {"reject": 10}
        assert rows["mine", "before_attempt"]["calls"] == 10
        assert rows["no-viruses", "message"]["calls"] == 10
        until(server.quiet, "all is over")
        audit(server)
