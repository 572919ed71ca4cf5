"""TLS on listeners: STARTTLS and implicit, over real sockets, and the protocol machine around it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import smtplib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from postroad.inject import SmtpListener
from postroad.inject.offer import Offer
from tests.inject.kit import Client, MemoryAcceptor, Talk
from tests.inject.trusted import Authority, listening, users

MESSAGE = b"Subject: x\r\n\r\ny\r\n"


@contextlib.asynccontextmanager
async def serving(listener: SmtpListener) -> AsyncIterator[int]:
    await listener.start()
    try:
        yield listener.addresses[0][1]
    finally:
        await listener.close()


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


async def secured(listener: SmtpListener, context: ssl.SSLContext, name: str = "mx.example") -> Client:
    """A client behind STARTTLS, which has not said EHLO again."""
    client = await Client.connect(listener)
    await client.hello()
    assert (await client.say(b"STARTTLS\r\n")).code == 220
    await client.writer.start_tls(context, server_hostname=name)
    return client


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def send(port: int, context: ssl.SSLContext, implicit: bool) -> tuple[dict[str, str], str | None]:
    """What the server announces before TLS ("" for implicit TLS), and the version agreed on."""
    client: smtplib.SMTP
    if implicit:
        client = smtplib.SMTP_SSL("127.0.0.1", port, timeout=20, context=context)
        before: dict[str, str] = {}
    else:
        client = smtplib.SMTP("127.0.0.1", port, timeout=20)
        client.ehlo("c.example")
        before = client.esmtp_features
        client.starttls(context=context)
    with client:
        client.sendmail("a@b.example", ["c@ours.example"], MESSAGE)
        assert isinstance(client.sock, ssl.SSLSocket)
        return before, client.sock.version()


@pytest.mark.parametrize("kind", ["offered", "required", "implicit"])
async def test_a_message_over_tls(authority: Authority, kind: str) -> None:
    acceptor = MemoryAcceptor()
    async with serving(listening(acceptor, authority, tls=kind, relay_domains=["ours.example"])) as port:
        before, version = await in_thread(send, port, authority.client(), kind == "implicit")
    assert kind == "implicit" or "starttls" in before
    (transaction,) = acceptor.transactions
    trace = transaction.body.trace
    assert b"with ESMTPS id " in trace
    assert f"\r\n\t(using {version} ".encode() in trace
    assert transaction.connection["tls_version"] == version
    assert transaction.connection["tls_cipher"].startswith(("TLS_", "ECDHE"))


async def test_required_means_before_mail(authority: Authority) -> None:
    async with serving(listener := listening(MemoryAcceptor(), authority, tls="required", relay=True)):
        client = await Client.connect(listener)
        await client.hello()
        assert str(await client.say(b"MAIL FROM:<a@b.example>\r\n")).startswith("530 5.7.0")
        assert str(await client.say(b"NOOP\r\n")).startswith("250")
        await client.close()


async def test_what_was_said_in_the_clear_is_forgotten(authority: Authority) -> None:
    async with serving(listener := listening(MemoryAcceptor(), authority, relay=True)):
        client = await secured(listener, authority.client())
        assert str(await client.say(b"MAIL FROM:<a@b.example>\r\n")) == "503 5.5.1 EHLO or HELO first"
        answer = await client.say(b"EHLO c.example\r\n")
        assert "STARTTLS" not in answer.lines
        assert str(await client.say(b"STARTTLS\r\n")).startswith("503 5.5.1")
        await client.close()


async def test_commands_sent_along_with_starttls_are_not_obeyed(authority: Authority) -> None:
    async with serving(listener := listening(MemoryAcceptor(), authority, relay=True)):
        client = await Client.connect(listener)
        await client.hello()
        client.writer.write(b"STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@evil.example>\r\n")
        assert (await client.ended()).startswith(b"554 5.7.0 ")
        await client.close()


async def test_plain_text_after_the_220_ends_the_session(authority: Authority) -> None:
    async with serving(listener := listening(MemoryAcceptor(), authority, relay=True)):
        client = await Client.connect(listener)
        await client.hello()
        assert (await client.say(b"STARTTLS\r\n")).code == 220
        client.writer.write(b"MAIL FROM:<evil@evil.example>\r\n")
        rest = await client.ended()
        assert not rest.startswith(b"2")
        assert listener.tls_failures == 1
        await client.close()


async def test_certificates_are_chosen_by_name_and_read_again(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "nonsense").write_text("nonsense")
    given = [authority.options("mx.example"), authority.options("*.other.example"), authority.options("third.example")]
    async with serving(listener := listening(MemoryAcceptor(), authority, certificates=given)):
        for name in ("mx.example", "in.other.example", "third.example"):
            client = await secured(listener, authority.client(), name)  # the client refuses another's certificate
            await client.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await secured(listener, authority.client(), "fourth.example")

        certificate, key = authority.files("renewed.example")
        shutil.copy(certificate, given[0].certificate)
        shutil.copy(key, given[0].key)
        listener.reconfigure(users())
        await (await secured(listener, authority.client(), "renewed.example")).close()

        shutil.copy(tmp_path / "nonsense", given[0].certificate)
        listener.reconfigure(users())
        await (await secured(listener, authority.client(), "renewed.example")).close()


async def test_client_certificates_open_the_relay_and_strangers_stay_out(authority: Authority) -> None:
    acceptor = MemoryAcceptor()
    options: dict[str, Any] = {"tls_client": "optional", "tls_client_ca": authority.file, "tls_client_relay": True}
    async with serving(listener := listening(acceptor, authority, **options)):
        known = authority.client()
        known.load_cert_chain(*authority.files("app.client.example", common="app"))
        client = await secured(listener, known)
        assert (await client.say(b"EHLO c.example\r\n")).code == 250
        assert (await client.send()).code == 250
        assert acceptor.transactions[0].connection["tls_peer"] == "app"
        assert acceptor.transactions[0].connection["can_relay"] == "true"
        await client.close()

        stranger = await secured(listener, authority.client())
        assert (await stranger.say(b"EHLO c.example\r\n")).code == 250
        assert (await stranger.say(b"MAIL FROM:<a@b.example>\r\n")).code == 250
        assert str(await stranger.say(b"RCPT TO:<c@d.example>\r\n")).startswith("550 5.7.1")
        await stranger.close()


async def test_a_required_client_certificate_is_required(authority: Authority) -> None:
    options: dict[str, Any] = {"tls_client": "required", "tls_client_ca": authority.file}
    async with serving(listener := listening(MemoryAcceptor(), authority, **options)):
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            client = await secured(listener, authority.client())
            await client.say(b"EHLO c.example\r\n")
        assert listener.tls_failures == 1


async def test_old_versions_are_refused(authority: Authority) -> None:
    async with serving(listener := listening(MemoryAcceptor(), authority, tls_min_version="1.3")):
        old = authority.client()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await secured(listener, old)


async def test_a_big_message_over_tls_arrives_whole(authority: Authority) -> None:
    acceptor = MemoryAcceptor()
    content = b"Subject: x\r\n\r\n" + b"0123456789abcdef" * 4 + b"\r\n" * 100_000
    async with serving(listener := listening(acceptor, authority, relay=True, add_missing=False)):
        client = await secured(listener, authority.client())
        assert (await client.say(b"EHLO c.example\r\n")).code == 250
        assert (await client.send(content)).code == 250
        await client.close()
    assert acceptor.transactions[0].body.content == content


async def test_a_drain_takes_leave_under_tls(authority: Authority) -> None:
    async with serving(listener := listening(MemoryAcceptor(), authority)):
        client = await secured(listener, authority.client())
        assert (await client.say(b"EHLO c.example\r\n")).code == 250
        assert await listener.drain(20) == 0
        assert (await client.ended()).startswith(b"421 4.3.2")
        await client.close()


async def test_openssl_gets_through(authority: Authority) -> None:
    async with serving(listener := listening(MemoryAcceptor(), authority)):
        port = listener.addresses[0][1]
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{port}", "-crlf", "-quiet"),
            *("-CAfile", authority.file, "-verify_return_error", "-verify_hostname", "mx.example"),
            *("-servername", "mx.example"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"EHLO c.example\n")
        while not (await process.stdout.readline()).startswith(b"250 "):
            assert not process.stdout.at_eof()
        process.stdin.write(b"QUIT\n")  # not the command Q: that one is of openssl without -quiet
        assert (await process.stdout.read()).startswith(b"221 ")
        await process.wait()


def test_the_machine_reads_nothing_between_starttls_and_the_handshake() -> None:
    talk = Talk()
    talk.machine.offer = Offer(starttls=True)
    assert "STARTTLS" in talk.one(b"EHLO c.example\r\n").lines
    assert talk.one(b"STARTTLS\r\n").code == 220
    assert not talk.say(b"NOOP\r\n")
    assert talk.machine.closed


def test_starttls_takes_no_argument_and_no_open_transaction() -> None:
    talk = Talk()
    talk.machine.offer = Offer(starttls=True)
    assert str(talk.one(b"STARTTLS\r\n")).startswith("503 5.5.1")
    talk.open("a@b.example")
    assert str(talk.one(b"STARTTLS\r\n")).startswith("503 5.5.1")
    talk.one(b"RSET\r\n")
    assert str(talk.one(b"STARTTLS now\r\n")).startswith("501 5.5.4")
