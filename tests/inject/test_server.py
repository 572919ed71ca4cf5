"""The listener over real sockets: transactions, relay control, back-pressure, limits, drain, close."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from postroad.config.schema import ListenerOptions, PeerOptions, Size
from postroad.inject import SmtpListener
from postroad.message import Notify, Reply, Ret
from postroad.message.header import field
from tests.inject.kit import HOSTNAME, Client, MemoryAcceptor, make_listener, until


@pytest.fixture
def acceptor() -> MemoryAcceptor:
    return MemoryAcceptor()


@asynccontextmanager
async def serving(acceptor: MemoryAcceptor, **changes: Any) -> AsyncIterator[SmtpListener]:
    listener = make_listener(acceptor, **changes)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.close()
        assert listener.sessions == 0 and listener.held == 0


async def test_a_message_becomes_a_transaction(acceptor: MemoryAcceptor) -> None:
    async with serving(acceptor) as listener:
        client = await Client.connect(listener)
        await client.hello()
        await client.say(b"MAIL FROM:<s@client.example> RET=HDRS ENVID=e+2Bv BODY=8BITMIME\r\n")
        await client.say(b"RCPT TO:<a@b.example> NOTIFY=SUCCESS ORCPT=rfc822;x@b.example\r\n")
        await client.say(b"RCPT TO:<C@D.Example>\r\n")
        await client.say(b"DATA\r\n")
        answer = await client.say(b"Subject: hi\r\n\r\n..dots\r\n\xff\r\n.\r\n")
        assert (await client.say(b"QUIT\r\n")).code == 221
        assert await client.ended() == b""
        await client.close()
    (transaction,) = acceptor.transactions
    assert answer.code == 250 and answer.text.startswith("2.0.0 Ok: queued as ")
    identifier = answer.text.rpartition(" ")[2]
    assert f" id {identifier};" in transaction.body.trace.decode()
    assert transaction.body.content == b"Subject: hi\r\n\r\n.dots\r\n\xff\r\n"
    assert transaction.body.dotted and transaction.body.eight_bit
    assert (transaction.sender, transaction.ret, transaction.envid) == ("s@client.example", Ret.HEADERS, "e+2Bv")
    first, second = transaction.recipients
    assert (first.address, first.notify, first.orcpt) == ("a@b.example", Notify.SUCCESS, "rfc822;x@b.example")
    assert (second.address, second.domain) == ("C@D.Example", "d.example")
    assert transaction.connection == {
        "remote_addr": "127.0.0.1",
        "ehlo_string": "client.example",
        "ehlo_domain": "client.example",
        "can_relay": "true",
    }
    assert field(bytes(transaction.body), b"Message-ID") == f"<{identifier}@{HOSTNAME}>".encode()


async def test_contexts_handed_over_do_not_change(acceptor: MemoryAcceptor) -> None:
    async with serving(acceptor) as listener:
        client = await Client.connect(listener)
        await client.hello()
        await client.send()
        await client.send()
        await client.say(b"EHLO [192.168.1.1.]\r\n")
        await client.send()
        await client.close()
    one, two, three = (transaction.connection for transaction in acceptor.transactions)
    assert one is two and one["ehlo_domain"] == "client.example"
    assert three["ehlo_string"] == "[192.168.1.1.]" and "ehlo_domain" not in three


async def test_a_stranger_may_send_to_our_domains_only(acceptor: MemoryAcceptor) -> None:
    async with serving(acceptor, relay=False, relay_domains=["ours.example", ".wide.example"]) as listener:
        client = await Client.connect(listener)
        await client.hello()
        await client.say(b"MAIL FROM:<s@client.example>\r\n")
        for address in (
            "a@ours.example",
            "a@OURS.example",
            "a@x.wide.example",
            "a%else.example@ours.example",
            "postmaster@ours.example",
        ):
            assert (await client.say(f"RCPT TO:<{address}>\r\n".encode())).code == 250, address
        denied = (
            "a@else.example",
            "a@sub.ours.example",
            "a@[127.0.0.1]",
            "@ours.example:a@else.example",
            '"a@ours.example"@else.example',
        )
        for address in denied:
            answer = await client.say(f"RCPT TO:<{address}>\r\n".encode())
            assert str(answer) == "550 5.7.1 Relaying denied", address
        await client.say(b"DATA\r\n")
        assert (await client.say(b"x\r\n.\r\n")).code == 250
        await client.close()
    (transaction,) = acceptor.transactions
    assert len(transaction.recipients) == 5 and "can_relay" not in transaction.connection
    assert field(bytes(transaction.body), b"Date") is None
    assert [r.recipient for r in acceptor.rejections][:3] == ["a@else.example", "a@sub.ours.example", "a@[127.0.0.1]"]
    rejection = acceptor.rejections[0]
    assert (rejection.reply.code, rejection.sender, rejection.remote) == (550, "s@client.example", "127.0.0.1")
    assert rejection.method == "esmtp" and rejection.connection["ehlo_string"] == "client.example"


async def test_nobody_relays_by_default(acceptor: MemoryAcceptor) -> None:
    async with serving(acceptor, relay=ListenerOptions().relay) as listener:
        client = await Client.connect(listener)
        await client.hello()
        await client.say(b"MAIL FROM:<s@client.example>\r\n")
        assert (await client.say(b"RCPT TO:<a@b.example>\r\n")).code == 550
        assert (await client.say(f"RCPT TO:<a@{HOSTNAME}>\r\n".encode())).code == 550
        assert (await client.say(b"RCPT TO:<Postmaster>\r\n")).code == 550
        await client.close()


async def test_our_postmaster_hears_everybody_where_there_is_one(acceptor: MemoryAcceptor) -> None:
    """RFC 5321 4.5.1."""
    async with serving(acceptor, relay=False, postmaster="ops@b.example") as listener:
        client = await Client.connect(listener)
        await client.hello()
        await client.say(b"MAIL FROM:<s@client.example>\r\n")
        assert (await client.say(b"RCPT TO:<Postmaster>\r\n")).code == 250
        await client.say(b"DATA\r\n")
        assert (await client.say(b"x\r\n.\r\n")).code == 250
        await client.close()
    (transaction,) = acceptor.transactions
    assert [r.address for r in transaction.recipients] == ["ops@b.example"]


async def test_refused_content_is_told_for_each_recipient(acceptor: MemoryAcceptor) -> None:
    async with serving(acceptor, max_message_size=Size(1000)) as listener:
        client = await Client.connect(listener)
        await client.hello()
        assert (await client.say(b"MAIL FROM:<s@client.example> SIZE=1001\r\n")).code == 552
        await client.open("a@b.example")
        await client.say(b"RCPT TO:<c@d.example>\r\n")
        await client.say(b"DATA\r\n")
        assert (await client.say(b"bare\nlf\r\n.\r\n")).code == 550
        assert (await client.say(b"FOO\r\n")).code == 500
        await client.close()
    assert [(r.reply.code, r.recipient) for r in acceptor.rejections] == [
        (552, ""),
        (550, "a@b.example"),
        (550, "c@d.example"),
    ]


async def test_back_pressure_at_mail_and_at_the_end_of_data(acceptor: MemoryAcceptor) -> None:
    full = Reply(452, "4.3.1 Disk full")
    async with serving(acceptor) as listener:
        client = await Client.connect(listener)
        await client.hello()
        acceptor.busy = full
        assert str(await client.say(b"MAIL FROM:<s@client.example>\r\n")) == "452 4.3.1 Disk full"
        acceptor.busy = None
        await client.open()
        await client.say(b"DATA\r\n")
        acceptor.busy = full
        assert str(await client.say(b"x\r\n.\r\n")) == "452 4.3.1 Disk full"
        acceptor.busy = None
        acceptor.verdict = Reply(451, "4.3.0 The journal failed")
        assert str(await client.send()) == "451 4.3.0 The journal failed"
        acceptor.verdict = None
        assert (await client.send()).code == 250
        await client.close()
    assert len(acceptor.transactions) == 1 and acceptor.rejections == []


async def test_replies_wait_for_the_commit_and_keep_their_order(acceptor: MemoryAcceptor) -> None:
    acceptor.hold = True
    async with serving(acceptor) as listener:
        client = await Client.connect(listener)
        await client.hello()
        await client.open()
        await client.say(b"DATA\r\n")
        client.writer.write(b"one\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nBDAT 5 LAST\r\ntwo\r\nNOOP\r\n")
        await acceptor.held()
        other = await Client.connect(listener)  # somebody else is served meanwhile
        await other.hello()
        assert acceptor.transactions == []
        acceptor.release()
        assert [(await client.read()).text[:9] for _ in range(3)] == ["2.0.0 Ok:", "2.1.0 Sen", "2.1.5 Rec"]
        await acceptor.held()
        acceptor.release()
        assert [(await client.read()).text[:9] for _ in range(2)] == ["2.0.0 Ok:", "2.0.0 Ok"]
        await client.close()
        await other.close()
    assert [t.body.content for t in acceptor.transactions] == [b"one\r\n", b"two\r\n"]


async def test_the_client_may_go_before_the_commit(acceptor: MemoryAcceptor) -> None:
    acceptor.hold = True
    async with serving(acceptor) as listener:
        client = await Client.connect(listener)
        await client.hello()
        await client.open()
        await client.say(b"DATA\r\n")
        client.writer.write(b"x\r\n.\r\n")
        await acceptor.held()
        (session,) = listener._sessions
        client.writer.transport.abort()
        await until(lambda: session._eof)
        acceptor.release()
        await until(lambda: listener.sessions == 0)
    assert len(acceptor.transactions) == 1


async def test_half_a_message_is_no_message(acceptor: MemoryAcceptor) -> None:
    async with serving(acceptor) as listener:
        for last in (b"DATA\r\nSubject: x\r\n\r\nhalf", b"DATA\r\nx\r\n.\r", b"BDAT 9 LAST\r\nx\r\n"):
            client = await Client.connect(listener)
            await client.hello()
            await client.open()
            client.writer.write(last)
            client.writer.write_eof()
            await client.ended()
            await client.close()
    assert acceptor.transactions == []


async def test_all_is_answered_though_the_client_sends_no_more(acceptor: MemoryAcceptor) -> None:
    acceptor.hold = True
    async with serving(acceptor) as listener:
        client = await Client.connect(listener)
        client.writer.write(
            b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nx\r\n.\r\nNOOP\r\nVRFY x\r\n"
        )
        client.writer.write_eof()
        await acceptor.held()
        acceptor.release()
        codes = [line[:4] for line in (await client.ended()).splitlines()]
        assert codes[0] == b"220 " and codes[-5:] == [b"250 ", b"354 ", b"250 ", b"250 ", b"252 "]
        await client.close()
    assert len(acceptor.transactions) == 1


async def test_session_limits(acceptor: MemoryAcceptor) -> None:
    async with serving(acceptor, max_sessions=2) as listener:
        first, second = await Client.connect(listener), await Client.connect(listener)
        await first.hello()
        await second.hello()
        third = await Client.connect(listener)
        assert str(await third.read()).startswith("421 4.4.5") and await third.ended() == b""
        await first.say(b"QUIT\r\n")
        await first.ended()
        await until(lambda: listener.sessions == 1)
        fourth = await Client.connect(listener)
        await fourth.hello()
        for client in (first, second, third, fourth):
            await client.close()


async def test_session_limits_of_an_address_and_of_a_network(acceptor: MemoryAcceptor) -> None:
    async with serving(
        acceptor, max_sessions_per_peer=2, peers=[PeerOptions(network="127.0.1.0/24", max_sessions=1)]
    ) as listener:
        clients = [await Client.connect(listener) for _ in range(3)]
        assert [(await client.read()).code for client in clients] == [220, 220, 421]
        other = await Client.connect(listener, local_addr=("127.0.0.2", 0))
        assert (await other.read()).code == 220
        near = [await Client.connect(listener, local_addr=(f"127.0.1.{n}", 0)) for n in (1, 2)]
        answers = [await client.read() for client in near]
        assert [str(a)[:9] for a in answers][1] == "421 4.7.0" and answers[0].code == 220
        for client in (*clients, other, *near):
            await client.close()


async def test_peers_have_options_of_their_own(acceptor: MemoryAcceptor) -> None:
    peers = [
        PeerOptions(network="127.0.0.2/32", allow=False),
        PeerOptions(network="127.0.0.3/32", relay=True, smtputf8=False, max_message_size=Size(77)),
    ]
    async with serving(acceptor, relay=False, peers=peers) as listener:
        barred = await Client.connect(listener, local_addr=("127.0.0.2", 0))
        assert str(await barred.read()).startswith("554 5.7.1") and await barred.ended() == b""
        friend = await Client.connect(listener, local_addr=("127.0.0.3", 0))
        await friend.read()
        lines = (await friend.say(b"EHLO c.example\r\n")).lines
        assert "SIZE 77" in lines and "SMTPUTF8" not in lines
        await friend.open()
        for client in (barred, friend):
            await client.close()


async def test_ipv6(acceptor: MemoryAcceptor) -> None:
    async with serving(acceptor, address="[::1]:0") as listener:
        assert listener.addresses[0][0] == "::1"
        client = await Client.connect(listener)
        await client.hello()
        await client.send()
        await client.close()
    assert b"([IPv6:::1])" in acceptor.transactions[0].body.trace
    assert acceptor.transactions[0].connection["remote_addr"] == "::1"


async def test_drain_sends_the_idle_away_and_lets_the_busy_finish(acceptor: MemoryAcceptor) -> None:
    acceptor.hold = True
    async with serving(acceptor) as listener:
        idle, mid, busy = [await Client.connect(listener) for _ in range(3)]
        for client in (idle, mid, busy):
            await client.hello()
        await mid.open()
        await busy.open()
        await busy.say(b"DATA\r\n")
        busy.writer.write(b"x\r\n.\r\nMAIL FROM:<next@client.example>\r\n")
        await acceptor.held()
        drained = asyncio.ensure_future(listener.drain(60))
        assert str(await idle.read()).startswith("421 4.3.2") and await idle.ended() == b""
        with pytest.raises(OSError):
            await asyncio.open_connection(*mid.writer.get_extra_info("peername"))
        await mid.say(b"DATA\r\n")
        mid.writer.write(b"y\r\n.\r\n")
        await acceptor.held(2)
        acceptor.release()
        for client in (mid, busy):
            assert (await client.read()).code == 250
            assert str(await client.read()).startswith("421 4.3.2")
            assert await client.ended() == b""
        for client in (idle, mid, busy):
            await client.close()
        assert await drained == 0 and listener.sessions == 0
    assert len(acceptor.transactions) == 2


async def test_drain_cuts_who_does_not_finish(acceptor: MemoryAcceptor) -> None:
    acceptor.hold = True
    async with serving(acceptor) as listener:
        slow, waiting = await Client.connect(listener), await Client.connect(listener)
        for client in (slow, waiting):
            await client.hello()
            await client.open()
            await client.say(b"DATA\r\n")
        slow.writer.write(b"half a mess")
        waiting.writer.write(b"whole\r\n.\r\n")
        await acceptor.held()
        assert await listener.drain(0.01) == 2
        assert str(await slow.read()).startswith("421 4.3.2")
        # Its message may be kept this moment: neither yes nor no would be true.
        assert await _rest(waiting) == b""
        acceptor.release()
        for client in (slow, waiting):
            await client.close()
    assert [t.body.content for t in acceptor.transactions] == [b"whole\r\n"]


async def test_start_says_what_is_wrong(acceptor: MemoryAcceptor) -> None:
    async with serving(acceptor) as listener:
        taken = listener.addresses[0][1]
        with pytest.raises(OSError):
            await make_listener(acceptor, address=f"127.0.0.1:{taken}").start()
    with pytest.raises(ValueError):
        make_listener(acceptor, address="nonsense")
    listener = make_listener(acceptor)
    assert listener.addresses == []
    await listener.close()
    await listener.close()


async def test_two_listeners_may_share_a_port(acceptor: MemoryAcceptor) -> None:
    def shared(port: int) -> SmtpListener:
        one = make_listener(acceptor, address=f"127.0.0.1:{port}")
        return SmtpListener(
            one.options, hostname=HOSTNAME, acceptor=acceptor, clock=one.clock, ids=one.ids, reuse_port=True
        )

    first = shared(0)
    await first.start()
    second = shared(first.addresses[0][1])
    await second.start()
    assert first.addresses == second.addresses
    await first.close()
    client = await Client.connect(second)
    await client.hello()
    await client.close()
    await second.close()


async def test_a_last_word_is_heard_though_the_client_talks_on(acceptor: MemoryAcceptor) -> None:
    async with serving(acceptor, max_bad_commands=5) as listener:
        client = await Client.connect(listener)
        client.writer.write(b"BAD\r\n" * 200_000)
        heard = (await client.ended()).splitlines()
        assert len(heard) == 6 and heard[-1].startswith(b"421 4.7.0")
        await client.close()


async def test_who_does_not_read_is_not_read(acceptor: MemoryAcceptor) -> None:
    """A client that sends commands and never reads: what it may send, and what we hold for it, ends somewhere."""
    async with serving(acceptor, max_idle_commands=10_000_000) as listener:
        client = await Client.connect(listener, limit=1024)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: listener.sessions == 1)
        (session,) = listener._sessions
        flood = b"HELP\r\n" * 10_000
        sent = 0
        while session._reading:
            client.writer.write(flood)
            sent += len(flood)
            assert sent < 400 * len(flood), "the listener reads it all"
            await asyncio.sleep(0)
        assert session._transport.get_write_buffer_size() < 1 << 20
        other = await Client.connect(listener)
        await other.hello()
        await other.close()
        client.writer.transport.abort()
        await client.close()


async def test_much_that_is_sent_behind_a_commit_is_not_read(acceptor: MemoryAcceptor) -> None:
    acceptor.hold = True
    async with serving(acceptor, max_idle_commands=10_000_000) as listener:
        client = await Client.connect(listener)
        await client.hello()
        await client.open()
        await client.say(b"DATA\r\n")
        client.writer.write(b"x\r\n.\r\n")
        await acceptor.held()
        count = 1_000_000
        client.writer.write(b"NOOP\r\n" * count)
        (session,) = listener._sessions
        await until(lambda: not session._reading)
        assert session._machine.unread < 1 << 20
        acceptor.release()
        answers = 0
        while answers < count + 1:
            answers += (await client.reader.read(1 << 16)).count(b"\n")
        assert answers == count + 1
        await client.close()


async def test_memory_of_unfinished_messages_is_bounded(acceptor: MemoryAcceptor) -> None:
    async with serving(acceptor, max_unfinished=Size(300_000)) as listener:
        clients = [await Client.connect(listener) for _ in range(3)]
        for client in clients:
            await client.hello()
            await client.open()
            await client.say(b"DATA\r\n")
            client.writer.write(b"x" * 900 + b"\r\n" + (b"y" * 998 + b"\r\n") * 200)
        await until(
            lambda: any(s._machine._reader is not None and s._machine._reader.fault for s in listener._sessions)
        )
        assert listener.held <= 500_000
        codes = [(await client.say(b".\r\n")).code for client in clients]
        assert 452 in codes and 250 in codes
        # Small ones pass all the while.
        assert (await clients[0].send()).code == 250
        assert listener.held == 0
        for client in clients:
            await client.close()


async def _rest(client: Client) -> bytes:
    try:
        return await client.ended()
    except ConnectionResetError:
        return b""
