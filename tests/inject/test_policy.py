"""Policy in a session: hooks of each phase over a real socket, as a client sees them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from postroad.auth import ApiKeys, new_key
from postroad.auth.smtpauth import SmtpUsers
from postroad.config.schema import ApiKey, ListenerOptions
from postroad.inject import SmtpListener
from postroad.message import IdSource
from postroad.net import SystemClock
from postroad.policy import DECIDED, Discard, Disconnect, Hook, Hooks, Intake, RcptTo, Reject, Tarpit, Tempfail, Verdict
from tests.policy.doors import Kept

MAIL = ["EHLO client.example", "MAIL FROM:<a@s.example>", "RCPT TO:<b@x.example>"]


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def reply(self) -> str:
        """The last line of the next reply; "" at the end."""
        while True:
            line = (await self._reader.readline()).decode().rstrip()
            if line[3:4] != "-":
                return line

    async def say(self, *lines: str) -> list[str]:
        """Send them one after the other, each when the one before is answered."""
        replies = []
        for line in lines:
            self._writer.write(line.encode() + b"\r\n")
            replies.append(await self.reply())
        return replies

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def session(*hooks: Hook, **options: Any) -> AsyncIterator[tuple[Client, Kept]]:
    kept, made = Kept(), Hooks(hooks)
    clock = SystemClock()
    users = options.pop("users", None)
    wanted = ListenerOptions(address="127.0.0.1:0", relay=True, **options)
    listener = SmtpListener(
        wanted,
        hostname="mx.example",
        acceptor=Intake(kept, lambda: made, wanted.address),
        clock=clock,
        ids=IdSource(clock.wall),
        users=users,
        hooks=lambda: made,
    )
    await listener.start()
    client = Client(*await asyncio.open_connection(*listener.addresses[0]))
    try:
        yield client, kept
    finally:
        client.close()
        await listener.drain(5)
        await listener.close()
        made.close()


def hook(phase: str, call: Any) -> Hook:
    return Hook("test", phase, call)


def late(verdict: Verdict | None) -> Callable[[object], Any]:
    async def call(facts: object) -> Verdict | None:
        await asyncio.sleep(0)
        return verdict

    return call


def now(verdict: Verdict | None) -> Callable[[object], Any]:
    return lambda facts: verdict


async def test_hooks_that_say_nothing_change_nothing() -> None:
    phases = ("connect", "ehlo", "mail_from", "rcpt_to", "data", "message", "each_recipient")
    async with session(*(hook(phase, late(None)) for phase in phases)) as (client, kept):
        assert (await client.reply()).startswith("220 ")
        assert [reply[:3] for reply in await client.say(*MAIL, "DATA")] == ["250", "250", "250", "354"]
        assert (await client.say("Subject: s\r\n\r\nbody\r\n."))[0].startswith("250 2.0.0 Ok: queued as ")
    assert [r.address for one in kept.transactions for r in one.recipients] == ["b@x.example"]


@pytest.mark.parametrize("when", [now, late])
@pytest.mark.parametrize("at", range(3))
async def test_each_command_can_be_refused(at: int, when: Callable[[Verdict], Any]) -> None:
    phase = ("ehlo", "mail_from", "rcpt_to")[at]
    async with session(hook(phase, when(Reject("5.7.1 not you")))) as (client, kept):
        await client.reply()
        replies = await client.say(*MAIL[: at + 1])
        assert replies[at] == "550 5.7.1 not you"
        # The session goes on.
        assert (await client.say("NOOP"))[0].startswith("250")
    told = [(one.reply.code, one.recipient) for one in kept.rejections]
    assert told == ([] if phase == "ehlo" else [(550, "b@x.example" if phase == "rcpt_to" else "")])


@pytest.mark.parametrize("when", [now, late])
@pytest.mark.parametrize("phase", ["connect", "ehlo", "mail_from", "rcpt_to", "data", "message"])
async def test_a_session_can_be_ended_in_each_phase(phase: str, when: Callable[[Verdict], Any]) -> None:
    async with session(hook(phase, when(Disconnect("4.7.0 go away")))) as (client, _):
        said = [await client.reply()]
        for line in (*MAIL, "DATA", "Subject: s\r\n\r\nbody\r\n."):
            if said[-1].startswith("421"):
                break
            said += await client.say(line)
        assert said[-1] == "421 4.7.0 go away"
        assert await client.reply() == ""


async def test_a_refusal_at_connect_data_and_message() -> None:
    async with session(hook("connect", now(Reject("5.7.1 no", 554)))) as (client, _):
        assert await client.reply() == "554 5.7.1 no"
    async with session(hook("data", now(Tempfail("4.7.1 not now")))) as (client, _):
        await client.reply()
        assert (await client.say(*MAIL, "DATA"))[-1] == "450 4.7.1 not now"
    async with session(hook("message", late(Reject("5.7.1 spam")))) as (client, kept):
        await client.reply()
        assert (await client.say(*MAIL, "DATA", "Subject: s\r\n\r\nbody\r\n."))[-1] == "550 5.7.1 spam"
        assert not kept.transactions


async def test_recipients_are_changed_and_discarded() -> None:
    def judge(facts: RcptTo) -> Verdict | None:
        if facts.recipient.startswith("d@"):
            return Discard("nobody reads it")
        facts.recipient = "other@y.example"
        return None

    async with session(hook("rcpt_to", judge)) as (client, kept):
        await client.reply()
        await client.say(*MAIL, "RCPT TO:<d@x.example>", "DATA", "Subject: s\r\n\r\nbody\r\n.")
    recipients = [recipient for one in kept.transactions for recipient in one.recipients]
    assert [(r.address, r.domain) for r in recipients] == [
        ("other@y.example", "y.example"),
        ("d@x.example", "x.example"),
    ]
    assert (recipients[1].context or {})[DECIDED] == "discard nobody reads it"


async def test_a_hook_that_makes_a_recipient_none_is_451() -> None:
    def change(facts: RcptTo) -> None:
        facts.recipient = "x\r\nDATA"

    async with session(hook("rcpt_to", change)) as (client, _):
        await client.reply()
        assert (await client.say(*MAIL))[-1].startswith("451 4.3.0")


async def test_context_goes_with_the_session_and_its_messages() -> None:
    def mark(facts: Any) -> None:
        facts.session.context["mark"] = "1"

    seen: list[str] = []
    look = hook("rcpt_to", lambda facts: seen.append(facts.session.context.get("mark", "")))
    async with session(hook("connect", mark), look) as (client, kept):
        await client.reply()
        await client.say(*MAIL, "DATA", "Subject: s\r\n\r\nbody\r\n.")
    assert seen == ["1"]
    assert kept.transactions[0].connection["mark"] == "1"
    assert kept.transactions[0].connection["ehlo_string"] == "client.example"


async def test_a_client_that_leaves_while_a_hook_waits() -> None:
    begun, release, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def waits(facts: object) -> None:
        begun.set()
        try:
            await release.wait()
        finally:
            ended.set()

    async with session(hook("mail_from", waits)) as (client, _):
        await client.reply()
        await client.say(MAIL[0])
        client._writer.write(MAIL[1].encode() + b"\r\n")
        await begun.wait()
        client.close()
        await ended.wait()


async def test_a_tarpit_answers_later() -> None:
    async with session(hook("ehlo", now(Tarpit(0.01)))) as (client, _):
        await client.reply()
        assert (await client.say(MAIL[0]))[0].startswith("250")


@pytest.mark.parametrize("when", [now, late])
async def test_auth(when: Callable[[Verdict | None], Any]) -> None:
    key, digest = new_key()
    users = SmtpUsers([], ApiKeys([ApiKey(label="k", sha256=digest, grants=["smtp"])]))
    seen: list[tuple[str, str, bool]] = []
    look = hook("auth", lambda facts: seen.append((facts.user, facts.mechanism, facts.passed)))

    def plain(secret: str) -> str:
        return "AUTH PLAIN " + base64.b64encode(f"\0SMTP_Injection\0{secret}".encode()).decode()

    more = {"auth": True, "auth_without_tls": True, "users": users}
    async with session(look, hook("auth", when(None)), **more) as (client, _):
        await client.reply()
        replies = await client.say(MAIL[0], plain("wrong"), plain(key))
        assert [reply[:3] for reply in replies] == ["250", "535", "235"]
    assert [(mechanism, passed) for _, mechanism, passed in seen] == [("PLAIN", False), ("PLAIN", True)]
    async with session(hook("auth", when(Reject("5.7.8 not today", 535))), **more) as (client, _):
        await client.reply()
        replies = await client.say(MAIL[0], plain(key), "NOOP")
        assert replies[1:] == ["535 5.7.8 not today", replies[2]]
        assert replies[2].startswith("250")
