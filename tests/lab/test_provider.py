"""Simulated providers, met by real clients and by hand: what each rule does on the wire, and what the ledger holds."""

from __future__ import annotations

import asyncio
import random
import shutil
import smtplib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.lab.ledger import Ledger
from postroad.lab.provider import Provider
from postroad.lab.rules import Rule, RuleError
from tests.lab.talk import talk

HOST = "127.0.0.1"
ENVELOPE = ("MAIL FROM:<s@sender.test>", "RCPT TO:<a@big.test>")


@asynccontextmanager
async def provider(*rules: Rule, **options: Any) -> AsyncIterator[tuple[Provider, int]]:
    one = Provider("big.test", ["big.test"], rules=rules, rng=random.Random(1), ledger=Ledger(keep=1000), **options)
    port = await one.start()
    try:
        yield one, port
    finally:
        await one.stop()


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return f"{process.returncode}\n{out.decode(errors='replace')}"


# Real clients


async def test_smtplib_octets_arrive_equal() -> None:
    content = (
        b"Subject: \xc3\xa4\r\n\r\n.dot\r\n..two\r\n.\r\n\r\n\x00\xff bare\nlf and\rcr\r\n.\r\n" + b"x" * 998 + b"\r\n"
    )
    async with provider() as (one, port):

        def send() -> dict[str, tuple[int, bytes]]:
            with smtplib.SMTP(HOST, port) as client:
                client.ehlo()
                assert client.mail("s@sender.test", ["BODY=8BITMIME"])[0] == 250
                assert client.rcpt("a@big.test")[0] == 250
                # smtplib.data() would mend bare line ends; we want them as they are.
                assert client.docmd("DATA")[0] == 354
                client.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
                assert client.getreply()[0] == 250
                return client.sendmail("s@sender.test", ["b@big.test", "c@elsewhere.test"], b"Subject: 2\r\n\r\n.\r\n")

        assert await asyncio.to_thread(send) == {"c@elsewhere.test": (550, b"5.7.1 We do not relay")}
        first, second = one.ledger.arrivals
        assert first.content == content
        assert (first.sender, first.recipients, first.source) == ("s@sender.test", ("a@big.test",), HOST)
        assert (second.content, second.recipients) == (b"Subject: 2\r\n\r\n.\r\n", ("b@big.test",))


async def test_swaks() -> None:
    async with provider(Rule(name="unknown", recipient="nobody@*", reply="550 5.1.1 No such user")) as (one, port):
        common = ("swaks", "--server", f"{HOST}:{port}", "--from", "s@sender.test", "--h-Subject", "swaks")
        assert (await run(*common, "--to", "a@big.test", "--pipeline")).startswith("0\n")
        refused = await run(*common, "--to", "nobody@big.test")
        assert refused.startswith("24\n")
        assert "550 5.1.1 No such user" in refused
        assert [arrival.recipients for arrival in one.ledger.arrivals] == [("a@big.test",)]
        assert b"\r\nSubject: swaks\r\n" in one.ledger.arrivals[0].content


async def test_smtp_source_in_parallel_sessions() -> None:
    source = shutil.which("smtp-source", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert source is not None, "smtp-source is missing: make tools"
    async with provider() as (one, port):
        out = await run(
            *(source, "-s", "8", "-m", "200", "-l", "5000", "-d", "-f", "s@sender.test", "-t", "a@big.test"),
            f"inet:{HOST}:{port}",
        )
        assert out == "0\n"
        counts = one.ledger.domains["big.test"]
        assert counts.messages == 200
        assert counts.octets >= 200 * 5000
        assert counts.duplicates == 0
        await asyncio.wait_for(one.idle(), 10)
        assert one.sessions == 0


# What rules do, step by step

REFUSALS: Sequence[tuple[str, list[str]]] = [
    ("connect", ["451", "451", "451", "451", "451"]),
    ("ehlo", ["220", "451", "503", "503", "503"]),
    ("mail", ["220", "250", "451", "503", "503"]),
    ("rcpt", ["220", "250", "250", "451", "554"]),
    ("data", ["220", "250", "250", "250", "451"]),
]


@pytest.mark.parametrize(("step", "replies"), REFUSALS)
async def test_a_refusal_at_each_step_leaves_the_session_usable(step: Any, replies: list[str]) -> None:
    rule = Rule(name="no", step=step, reply="451 4.3.0 Not today")
    async with provider(rule) as (one, port), talk(HOST, port, greet=False) as client:
        found = [(await client.reply())[:3]]
        if step == "connect":
            # The banner refuses; what follows is up to the client.
            assert found == ["451"]
        else:
            found += await client.all("EHLO c.test", *ENVELOPE, "DATA")
            assert found == replies
            one.set_rules([])
            assert await client.all("EHLO c.test", *ENVELOPE, "DATA") == ["250", "250", "250", "354"]
            assert await client.all("Subject: x\r\n\r\n.") == ["250"]
            assert one.ledger.messages == 1


async def test_a_refused_message_is_not_kept_and_the_next_one_is() -> None:
    rule = Rule(name="spam", step="message", content="buy now", reply="554 5.7.1 Spam")
    async with provider(rule) as (one, port), talk(HOST, port) as client:
        for text, reply in (("buy now", "554 5.7.1 Spam"), ("hello", "250 2.0.0 OK")):
            await client.all(*ENVELOPE, "DATA")
            assert await client.ask(f"Subject: x\r\n\r\n{text}\r\n.") == reply
        assert [arrival.content for arrival in one.ledger.arrivals] == [b"Subject: x\r\n\r\nhello\r\n"]
        assert one.hits == {"spam": 1}


@pytest.mark.parametrize("step", ["connect", "ehlo", "mail", "rcpt", "data", "message"])
async def test_hanging_up_at_each_step(step: Any) -> None:
    async with provider(Rule(name="bye", step=step, close="instead")) as (one, port):
        async with talk(HOST, port, greet=False) as client:
            found = [(await client.reply())[:3]]
            for line in ("EHLO c.test", *ENVELOPE, "DATA", "Subject: x\r\n\r\n."):
                if found[-1]:
                    found += await client.all(line)
        steps = {"connect": "220", "ehlo": "250", "mail": "250", "rcpt": "250", "data": "354", "message": "250"}
        assert found == [*list(steps.values())[: list(steps).index(step)], ""]
        assert one.ledger.messages == 0
        await asyncio.wait_for(one.idle(), 10)


async def test_a_reply_that_never_comes_though_the_message_was_kept() -> None:
    rule = Rule(name="lost", step="message", reply="250 2.0.0 OK", close="instead")
    async with provider(rule) as (one, port):
        for _ in range(2):
            async with talk(HOST, port) as client:
                await client.all(*ENVELOPE, "DATA")
                assert await client.ask("Message-ID: <same@x>\r\n\r\n.") == ""
        assert (one.ledger.messages, one.ledger.duplicates) == (2, 1)
        assert one.ledger.copies("<same@x>", "a@big.test") == 2


async def test_421_and_close_after_end_the_session() -> None:
    rules = [
        Rule(name="enough", step="mail", messages=1, reply="421 4.7.0 Enough"),
        Rule(name="away", recipient="x@*", reply="550 5.7.1 Go away", close="after"),
    ]
    async with provider(*rules) as (_, port):
        async with talk(HOST, port) as client:
            await client.all(*ENVELOPE, "DATA", "Subject: 1\r\n\r\n.")
            assert await client.ask("MAIL FROM:<>") == "421 4.7.0 Enough"
            assert await client.reply() == ""
        async with talk(HOST, port) as client:
            assert await client.all("MAIL FROM:<>") == ["250"]
            assert await client.ask("RCPT TO:<x@big.test>") == "550 5.7.1 Go away"
            assert await client.reply() == ""


async def test_more_sessions_than_allowed_get_421() -> None:
    rule = Rule(name="many", step="connect", connections=2, reply="421 4.7.0 Too many")
    async with provider(rule) as (one, port):
        async with talk(HOST, port), talk(HOST, port):
            async with talk(HOST, port, greet=False) as third:
                assert await third.reply() == "421 4.7.0 Too many"
            assert one.hits == {"many": 1}
        await asyncio.wait_for(one.idle(), 10)
        async with talk(HOST, port):
            assert one.hits == {"many": 1}


async def test_a_delayed_reply_keeps_the_order_of_pipelined_commands() -> None:
    rules = [Rule(name="slow", recipient="slow@*", delay=0.05), Rule(name="slow end", step="message", delay=0.05)]
    async with provider(*rules) as (one, port), talk(HOST, port) as client:
        client.say(
            b"MAIL FROM:<>\r\nRCPT TO:<slow@big.test>\r\nRCPT TO:<a@other.test>\r\nDATA\r\n"
            b"Subject: 1\r\n\r\n.\r\nMAIL FROM:<>\r\nNOOP\r\n"
        )
        assert [(await client.reply())[:3] for _ in range(7)] == ["250", "250", "550", "354", "250", "250", "250"]
        assert one.ledger.messages == 1
        assert one.hits == {"slow": 1, "slow end": 1}


async def test_stopping_in_the_middle_of_a_delay() -> None:
    async with provider(Rule(name="stuck", delay=3600)) as (one, port):
        async with talk(HOST, port) as client:
            # The reply to MAIL goes out when the delay at RCPT begins.
            client.say(b"MAIL FROM:<>\r\nRCPT TO:<a@big.test>\r\n")
            assert await client.reply() == "250 2.1.0 OK"
            assert one.hits == {"stuck": 1}
            await one.stop()
            assert await client.reply() == ""
        await asyncio.wait_for(one.idle(), 10)


# The protocol


async def test_order_and_syntax() -> None:
    async with provider() as (_, port), talk(HOST, port, greet=False) as client:
        await client.reply()
        assert await client.all("MAIL FROM:<>", "RCPT TO:<a@big.test>", "DATA", "XYZZY", "") == [
            *("503", "503", "503", "500", "500")
        ]
        assert await client.all("HELO c.test", "MAIL FROM: <>", "MAIL FROM:<>") == ["250", "250", "503"]
        assert await client.all("DATA", "RCPT TO:<>", "RCPT TO:a@big.test", "RSET", "NOOP") == [
            *("554", "501", "501", "250", "250")
        ]
        assert await client.all('MAIL FROM:<"a>b"@x.test>', 'RCPT TO:<"q > \\" r"@big.test>') == ["250", "250"]
        assert await client.all("QUIT") == ["221"]
        assert await client.reply() == ""


async def test_extensions_are_what_was_configured() -> None:
    async with provider() as (_, port), talk(HOST, port, greet=False) as client:
        await client.reply()
        offered = await client.ask("EHLO c.test")
        assert offered.split("|")[1:] == [
            *("250-SIZE 67108864", "250-PIPELINING", "250-8BITMIME"),
            *("250-SMTPUTF8", "250-ENHANCEDSTATUSCODES", "250 DSN"),
        ]
        assert await client.all("MAIL FROM:<ä@x.test>", "MAIL FROM:<ä@x.test> SMTPUTF8") == ["553", "250"]
        assert await client.all("RCPT TO:<ü@big.test>") == ["250"]
    async with provider(extensions=()) as (_, port), talk(HOST, port, greet=False) as client:
        await client.reply()
        assert await client.ask("EHLO c.test") == "250-mx.big.test|250 SIZE 67108864"
        assert await client.all("MAIL FROM:<a@x> SMTPUTF8", "MAIL FROM:<a@x> BODY=8BITMIME", "MAIL FROM:<a@x>") == [
            *("555", "555", "250")
        ]


async def test_size_limits_announced_and_not() -> None:
    async with provider(max_size=1000) as (one, port), talk(HOST, port) as client:
        assert await client.all("MAIL FROM:<a@x> SIZE=1001", "MAIL FROM:<a@x> SIZE=1000") == ["552", "250"]
        assert await client.all("RCPT TO:<a@big.test>", "DATA") == ["250", "354"]
        # Far beyond the limit, in many reads, with line breaks and dots on the borders.
        client.say(b"\r\n..x" * 200_000)
        assert (await client.ask("\r\n."))[:3] == "552"
        assert await client.all(*ENVELOPE, "DATA", "x" * 998 + "\r\n.") == ["250", "250", "354", "250"]
        assert await client.all(*ENVELOPE, "DATA", "x" * 999 + "\r\n.") == ["250", "250", "354", "552"]
        assert one.ledger.messages == 1


async def test_an_endless_command_line_ends_the_session() -> None:
    async with provider() as (one, port), talk(HOST, port) as client:
        client.say(b"N" * 100_000)
        assert (await client.reply())[:3] in ("500", "")
        assert await client.reply() == ""
        await asyncio.wait_for(one.idle(), 10)


async def test_domains_and_subdomains() -> None:
    one = Provider("x", ["big.test", ".sub.test"], rng=random.Random(1), ledger=Ledger())
    served = ("a@BIG.test", "a@x.sub.TEST", "a@sub.test", "a@notbig.test", "a")
    assert [one.serves(address) for address in served] == [True, True, False, False, False]
    assert Provider("y", rng=random.Random(1), ledger=Ledger()).serves("a@any.thing")


def test_loopback_only_and_good_rules_only() -> None:
    for address in ("0.0.0.0", "192.0.2.1", "::"):
        with pytest.raises(ValueError, match="loopback"):
            Provider("x", address=address, rng=random.Random(1), ledger=Ledger())
    with pytest.raises(RuleError):
        Provider("x", rules=[Rule(name="r", reply="?")], rng=random.Random(1), ledger=Ledger())


# However the octets are cut, the content is the same

LINES = st.lists(st.sampled_from([b"", b".", b"..", b"a", b".a", b"\n.", b"\r", b"\r.", b".\n", b"ab\ncd"]), max_size=8)


@settings(max_examples=150, deadline=None)
@given(lines=LINES, data=st.data())
def test_content_is_found_however_it_is_cut(lines: list[bytes], data: st.DataObject) -> None:
    content = b"".join(line + b"\r\n" for line in lines)
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    stuffed = b"." + stuffed if stuffed.startswith(b".") else stuffed
    wire = b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@big.test>\r\nDATA\r\n" + stuffed + b".\r\nNOOP\r\n"
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1), max_size=6)))

    async def scenario() -> None:
        from postroad.lab.receiver import Receiver

        ledger = Ledger(keep=10)
        one = Provider("big.test", ["big.test"], rng=random.Random(1), ledger=ledger)
        transport = Pipe()
        session = Receiver(one)
        session.connection_made(transport)
        for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
            session.data_received(wire[start:end])
        session.connection_lost(None)
        assert [arrival.content for arrival in ledger.arrivals] == [content]
        codes = [line[:3] for line in b"".join(transport.written).split(b"\r\n") if line[3:4] == b" "]
        assert codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"250"]

    asyncio.run(scenario())


class Pipe(asyncio.Transport):
    """Remembers what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": (HOST, 1)})
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))
