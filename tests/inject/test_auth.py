"""AUTH (RFC 4954): every mechanism over real sockets, what a login opens, and what guessing costs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import smtplib
from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Any

import pytest

from postroad.inject import SmtpListener
from tests.inject.kit import Answer, Client, MemoryAcceptor
from tests.inject.trusted import KEY, PASSWORD, USER, Authority, ScramClient, coded, listening


@contextlib.asynccontextmanager
async def talking(**changes: Any) -> AsyncIterator[tuple[Client, SmtpListener, MemoryAcceptor]]:
    """A client that has said EHLO to a listener with AUTH in the clear."""
    acceptor = MemoryAcceptor()
    listener = listening(acceptor, **{"auth": True, "auth_without_tls": True, **changes})
    await listener.start()
    client = await Client.connect(listener)
    try:
        await client.hello()
        yield client, listener, acceptor
    finally:
        await client.close()
        await listener.close()


def plain(user: str, password: str, identity: str = "") -> bytes:
    return b"AUTH PLAIN " + coded(f"{identity}\0{user}\0{password}") + b"\r\n"


async def dialogue(client: Client, *lines: bytes) -> list[Answer]:
    return [await client.say(line + b"\r\n") for line in lines]


GOOD = {
    "plain": [b"AUTH PLAIN " + coded(f"\0{USER}\0{PASSWORD}")],
    "plain, own identity": [b"AUTH PLAIN " + coded(f"{USER}\0{USER}\0{PASSWORD}")],
    "plain, asked": [b"auth plain", coded(f"\0{USER}\0{PASSWORD}")],
    "login": [b"AUTH LOGIN", coded(USER), coded(PASSWORD)],
    "login, initial": [b"AUTH LOGIN " + coded(USER), coded(PASSWORD)],
    "key": [b"AUTH LOGIN", coded("smtp_Injection"), coded(KEY)],
    "key of a subaccount": [b"AUTH PLAIN " + coded(f"\0SMTP_Injection:X-MSYS-SUBACCOUNT=123\0{KEY}")],
    "token": [b"AUTH XOAUTH2 " + coded(f"user=app@client.example\x01auth=Bearer {KEY}\x01\x01")],
}


@pytest.mark.parametrize("lines", GOOD.values(), ids=GOOD.keys())
async def test_a_login_opens_the_relay(lines: list[bytes]) -> None:
    async with talking() as (client, _, acceptor):
        *asked, last = await dialogue(client, *lines)
        assert all(answer.code == 334 for answer in asked)
        assert str(last) == "235 2.7.0 Authentication successful"
        assert (await client.send()).code == 250
        (transaction,) = acceptor.transactions
        assert transaction.connection["auth_user"] == ("sparky" if KEY_LINES & set(lines) else USER)
        assert transaction.connection["can_relay"] == "true"
        assert b"with ESMTPA id " in transaction.body.trace
        assert b"\r\nDate: " in transaction.body.trace and b"\r\nMessage-ID: " in transaction.body.trace


KEY_LINES = {line for name in ("key", "key of a subaccount", "token") for line in GOOD[name][-1:]}

BAD = {
    "password": [b"AUTH PLAIN " + coded(f"\0{USER}\0wrong")],
    "user": [b"AUTH PLAIN " + coded(f"\0nobody\0{PASSWORD}")],
    "somebody else's identity": [b"AUTH PLAIN " + coded(f"root\0{USER}\0{PASSWORD}")],
    "no password": [b"AUTH PLAIN " + coded(f"\0{USER}\0")],
    "not three parts": [b"AUTH PLAIN " + coded(f"{USER}\0{PASSWORD}")],
    "not UTF-8": [b"AUTH PLAIN " + coded(b"\0\xff\0\xff")],
    "empty": [b"AUTH PLAIN ="],
    "login": [b"AUTH LOGIN", coded(USER), coded("wrong")],
    "login, no name": [b"AUTH LOGIN", b""],
    "key": [b"AUTH PLAIN " + coded("\0SMTP_Injection\0" + "0" * 40)],
    "token": [b"AUTH XOAUTH2 " + coded("user=a\x01auth=Bearer " + "0" * 40 + "\x01\x01")],
    "key, no subaccount": [b"AUTH PLAIN " + coded(f"\0SMTP_Injection:X-MSYS-SUBACCOUNT=\0{KEY}")],
    "key, something else": [b"AUTH PLAIN " + coded(f"\0SMTP_Injection:123\0{KEY}")],
    "key, too large": [b"AUTH PLAIN " + coded(f"\0SMTP_Injection:X-MSYS-SUBACCOUNT={'9' * 300}\0{KEY}")],
    "token, malformed": [b"AUTH XOAUTH2 " + coded("user=a")],
    "scram, malformed": [b"AUTH SCRAM-SHA-256 " + coded("n=a,r=b")],
    "scram, channel binding": [b"AUTH SCRAM-SHA-256 " + coded("p=tls-unique,,n=a,r=b")],
}


@pytest.mark.parametrize("lines", BAD.values(), ids=BAD.keys())
async def test_what_is_wrong_is_535_and_opens_nothing(lines: list[bytes]) -> None:
    async with talking() as (client, listener, _):
        assert str((await dialogue(client, *lines))[-1]) == "535 5.7.8 Authentication credentials invalid"
        assert listener.auth_failures == 1
        assert (await client.say(b"MAIL FROM:<a@b.example>\r\n")).code == 250
        assert (await client.say(b"RCPT TO:<c@d.example>\r\n")).code == 550


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        ([b"AUTH"], "501 5.5.4"),
        ([b"AUTH CRAM-MD5"], "504 5.5.4"),
        ([b"AUTH PLAIN ***"], "501 5.5.2"),
        ([b"AUTH PLAIN", b"*"], "501 5.7.0"),
        ([b"AUTH PLAIN", b"no base64"], "501 5.5.2"),
        ([b"AUTH LOGIN", b"a" * 13_000], "500 5.5.2"),
        ([b"MAIL FROM:<a@b.example>", b"AUTH PLAIN"], "503 5.5.1"),
        ([plain(USER, PASSWORD).strip(), b"AUTH PLAIN"], "503 5.5.1"),
    ],
)
async def test_what_is_no_exchange(lines: list[bytes], reply: str) -> None:
    async with talking() as (client, _, _):
        assert str((await dialogue(client, *lines))[-1]).startswith(reply)
        assert (await client.say(b"NOOP\r\n")).code == 250


@pytest.mark.parametrize("gs2", ["n,,", "y,,", f"n,a={USER},"])
async def test_scram_proves_both_sides(gs2: str) -> None:
    async with talking() as (client, _, acceptor):
        scram = ScramClient(USER, PASSWORD, gs2=gs2)
        answer = await client.say(b"AUTH SCRAM-SHA-256 " + coded(scram.first()) + b"\r\n")
        answer = await client.say(coded(scram.final(b64decode(answer.text))) + b"\r\n")
        assert b64decode(answer.text) == b"v=" + coded(scram.signature)
        assert (await client.say(b"\r\n")).code == 235
        assert (await client.send()).code == 250
        assert acceptor.transactions[0].connection["auth_user"] == USER


@pytest.mark.parametrize(("user", "password"), [(USER, "wrong"), ("nobody", PASSWORD)])
async def test_scram_with_the_wrong_password_looks_like_scram_with_no_user(user: str, password: str) -> None:
    async with talking() as (client, _, _):
        salts = set()
        for _ in range(2):
            scram = ScramClient(user, password)
            first = b64decode((await client.say(b"AUTH SCRAM-SHA-256 " + coded(scram.first()) + b"\r\n")).text)
            salts.add(first.split(b",")[1])
            assert (await client.say(coded(scram.final(first)) + b"\r\n")).code == 535
        assert len(salts) == 1


async def test_scram_proofs_can_not_be_replayed() -> None:
    async with talking() as (client, _, _):
        scram = ScramClient(USER, PASSWORD)
        answer = await client.say(b"AUTH SCRAM-SHA-256 " + coded(scram.first()) + b"\r\n")
        proof = coded(scram.final(b64decode(answer.text))) + b"\r\n"
        await client.say(b"*\r\n")
        assert (await client.say(b"AUTH SCRAM-SHA-256 " + coded(scram.first()) + b"\r\n")).code == 334
        assert (await client.say(proof)).code == 535


async def test_without_tls_no_password_is_asked_for(tmp_path: Any) -> None:
    acceptor = MemoryAcceptor()
    listener = listening(acceptor, Authority(tmp_path), auth=True)
    await listener.start()
    client = await Client.connect(listener)
    await client.read()
    answer = await client.say(b"EHLO c.example\r\n")
    assert not any(line.startswith("AUTH") for line in answer.lines)
    assert str(await client.say(plain(USER, PASSWORD))).startswith("538 5.7.11")
    await client.close()
    await listener.close()


async def test_submission_wants_a_login_and_lets_users_write_as_themselves() -> None:
    async with talking(kind="submission", relay_domains=["ours.example"]) as (client, _, acceptor):
        assert str(await client.say(b"MAIL FROM:<a@b.example>\r\n")).startswith("530 5.7.0")
        assert (await client.say(plain("bound", PASSWORD))).code == 235
        assert str(await client.say(b"MAIL FROM:<a@b.example>\r\n")).startswith("553 5.7.1")
        assert str(await client.say(b"MAIL FROM:<>\r\n")).startswith("553 5.7.1")
        assert (await client.say(b"MAIL FROM:<a@OURS.example> AUTH=<>\r\n")).code == 250
        assert [rejection.reply.code for rejection in acceptor.rejections] == [553, 553]


async def test_guessing_is_put_off_and_the_right_password_too() -> None:
    async with talking(max_bad_commands=100) as (client, listener, _):
        codes = [(await client.say(plain(USER, f"guess {number}"))).code for number in range(5)]
        assert codes == [535] * 5
        answer = await client.say(plain(USER, PASSWORD))
        assert str(answer).startswith("454 4.7.0")
        assert listener.auth_failures == 5


async def test_a_second_login_costs_no_hashing() -> None:
    async with talking() as (client, listener, _):
        assert listener.users.quickly(USER, PASSWORD, "127.0.0.1") is None
        assert (await client.say(plain(USER, PASSWORD))).code == 235
        account = listener.users.quickly(USER, PASSWORD, "127.0.0.1")
        assert account and account.name == USER
        assert listener.users.quickly(USER, "wrong", "127.0.0.1") is None


async def test_a_client_that_leaves_in_the_middle_harms_nobody() -> None:
    async with talking() as (client, listener, _):
        impatient = await Client.connect(listener)
        await impatient.hello()
        impatient.writer.write(plain(USER, PASSWORD))
        impatient.writer.transport.abort()
        assert (await client.say(plain(USER, PASSWORD))).code == 235


async def test_no_secret_in_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with talking() as (client, listener, acceptor):
        await client.say(plain(USER, PASSWORD))
        await client.say(plain(USER, "wrong"))
        assert (await client.send()).code == 250
        told = caplog.text + repr(acceptor.transactions[0].connection) + repr(listener.users.verifier(USER))
    assert PASSWORD not in told and coded(PASSWORD).decode() not in told
    assert coded(f"\0{USER}\0{PASSWORD}").decode() not in told


async def test_smtplib_logs_in_by_what_it_likes_best(tmp_path: Any) -> None:
    acceptor = MemoryAcceptor()
    authority = Authority(tmp_path)
    listener = listening(acceptor, authority, kind="submission", tls="required")
    await listener.start()

    def run(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.starttls(context=authority.client())
            client.login("SMTP_Injection", KEY)
            client.sendmail("a@b.example", ["c@d.example"], "Subject: x\r\n\r\ny\r\n")

    await asyncio.get_running_loop().run_in_executor(None, run, listener.addresses[0][1])
    await listener.close()
    assert b"with ESMTPSA id " in acceptor.transactions[0].body.trace


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_swaks_logs_in(tmp_path: Any, mechanism: str) -> None:
    acceptor = MemoryAcceptor()
    listener = listening(acceptor, Authority(tmp_path), kind="submission", tls="implicit")
    await listener.start()
    process = await asyncio.create_subprocess_exec(
        *("swaks", "--server", f"127.0.0.1:{listener.addresses[0][1]}", "--tls-on-connect", "--auth", mechanism),
        *("--auth-user", "SMTP_Injection", "--auth-password", KEY, "--from", "a@b.example", "--to", "c@d.example"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    await listener.close()
    assert process.returncode == 0, told.decode("utf-8", "replace")
    assert acceptor.transactions[0].connection["auth_user"] == "sparky"
