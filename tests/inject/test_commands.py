"""The arguments of commands, good and bad."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postroad.inject.commands import BadCommand, hello_domain, parse_bdat, parse_hello, parse_mail, parse_rcpt
from postroad.inject.events import Envelope
from postroad.message import Notify, Recipient, Ret


def mail(text: str, *, extended: bool = True, smtputf8: bool = True) -> Envelope:
    return parse_mail(text, extended=extended, smtputf8=smtputf8)


def rcpt(text: str, *, extended: bool = True, smtputf8: bool = False, hostname: str = "mx.example") -> Recipient:
    return parse_rcpt(text, extended=extended, smtputf8=smtputf8, hostname=hostname)


@pytest.mark.parametrize(
    ("text", "sender", "domain"),
    [
        ("FROM:<>", "", ""),
        ("FROM:<a@b.example>", "a@b.example", "b.example"),
        ("from:<a@b.example>", "a@b.example", "b.example"),
        ("FROM: <a@b.example>", "a@b.example", "b.example"),
        ("FROM:<A.B+c=d/e@B.Example>", "A.B+c=d/e@B.Example", "b.example"),
        ('FROM:<"a b"@c.example>', '"a b"@c.example', "c.example"),
        ('FROM:<"a>b"@c.example>', '"a>b"@c.example', "c.example"),
        ('FROM:<"a\\"b@x"@c.example>', '"a\\"b@x"@c.example', "c.example"),
        ("FROM:<@hop.example:a@b.example>", "a@b.example", "b.example"),
        ("FROM:<@hop.example,@[192.0.2.1],@[IPv6:2001:db8::1]:a@b.example>", "a@b.example", "b.example"),
        ("FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]", "[192.0.2.1]"),
        ("FROM:<a@[IPv6:2001:DB8::0:1]>", "a@[IPv6:2001:DB8::0:1]", "[ipv6:2001:db8::1]"),
        ("FROM:<é@bücher.example> SMTPUTF8", "é@bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_senders(text: str, sender: str, domain: str) -> None:
    envelope = mail(text)
    assert (envelope.sender, envelope.domain) == (sender, domain)


def test_mail_parameters() -> None:
    envelope = mail("FROM:<a@b.example> size=12345 BODY=8bitmime RET=HDRS ENVID=QQ314159+2Bx SMTPUTF8")
    assert (envelope.size, envelope.eight_bit, envelope.smtputf8) == (12345, True, True)
    assert (envelope.ret, envelope.envid) == (Ret.HEADERS, "QQ314159+2Bx")
    envelope = mail("FROM:<>  BODY=7BIT  RET=FULL")
    assert (envelope.size, envelope.eight_bit, envelope.ret, envelope.envid) == (0, False, Ret.FULL, "")


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("", "501 5.5.4"),
        ("FROM", "501 5.5.4"),
        ("FROM:", "501 5.5.4"),
        ("FROM:a@b.example", "501 5.5.4"),
        ("FROM:<a@b.example", "501 5.5.4"),
        ("FROM:<a@b.example>SIZE=1", "501 5.5.4"),
        ("FROM :<a@b.example>", "501 5.5.4"),
        ("TO:<a@b.example>", "501 5.5.4"),
        ("FROM:<<a@b.example>>", "501 5.5.4"),
        ("FROM:<a b@c.example>", "501 5.5.4"),
        ('FROM:<"a@c.example>', "501 5.5.4"),
        ("FROM:<a>", "501 5.1.7"),
        ("FROM:<@b.example>", "501 5.1.7"),
        ("FROM:<a@>", "501 5.1.7"),
        ("FROM:<a@b..example>", "501 5.1.7"),
        ("FROM:<a..b@c.example>", "501 5.1.7"),
        ("FROM:<a@10.0.0.1>", "501 5.1.7"),
        ("FROM:<a@[10.0.0.256]>", "501 5.1.7"),
        ("FROM:<@hop.example:>", "501 5.1.7"),
        ("FROM:<" + "a" * 65 + "@b.example>", "501 5.1.7"),
        ("FROM:<é@b.example>", "553 5.6.7"),
        ("FROM:<a@é.example>", "553 5.6.7"),
        ("FROM:<a@b.example> SIZE", "501 5.5.4"),
        ("FROM:<a@b.example> SIZE=", "501 5.5.4"),
        ("FROM:<a@b.example> SIZE=-1", "501 5.5.4"),
        ("FROM:<a@b.example> SIZE=1e3", "501 5.5.4"),
        ("FROM:<a@b.example> SIZE=\u0661", "501 5.5.4"),
        ("FROM:<a@b.example> SIZE=" + "9" * 21, "501 5.5.4"),
        ("FROM:<a@b.example> SIZE=1 SIZE=1", "501 5.5.4"),
        ("FROM:<a@b.example> BODY=BINARYMIME", "501 5.5.4"),
        ("FROM:<a@b.example> SMTPUTF8=1", "501 5.5.4"),
        ("FROM:<a@b.example> RET=SOME", "501 5.5.4"),
        ("FROM:<a@b.example> ENVID=", "501 5.5.4"),
        ("FROM:<a@b.example> ENVID=a+b", "501 5.5.4"),
        ("FROM:<a@b.example> ENVID=a=b", "501 5.5.4"),
        ("FROM:<a@b.example> ENVID=" + "a" * 101, "501 5.5.4"),
        ("FROM:<a@b.example> =x", "501 5.5.4"),
        ("FROM:<a@b.example> AUTH=<>", "555 5.5.4"),
        ("FROM:<a@b.example> NOTIFY=NEVER", "555 5.5.4"),
        ("FROM:<a@b.example> " + "X" * 1000, "555 5.5.4"),
    ],
)
def test_bad_mail(text: str, reply: str) -> None:
    with pytest.raises(BadCommand) as refused:
        mail(text)
    assert str(refused.value.reply).startswith(reply)
    assert len(refused.value.reply.text) < 200


def test_extensions_that_are_not_offered() -> None:
    with pytest.raises(BadCommand, match="555"):
        mail("FROM:<a@b.example> SMTPUTF8", smtputf8=False)
    with pytest.raises(BadCommand, match=r"555 5\.5\.4 Parameters need EHLO"):
        mail("FROM:<a@b.example> SIZE=1", extended=False)
    with pytest.raises(BadCommand, match=r"555 5\.5\.4 Parameters need EHLO"):
        rcpt("TO:<a@b.example> NOTIFY=NEVER", extended=False)


@pytest.mark.parametrize(
    ("text", "address", "domain"),
    [
        ("TO:<a@b.example>", "a@b.example", "b.example"),
        ("to: <a@B.EXAMPLE>", "a@B.EXAMPLE", "b.example"),
        ("TO:<Postmaster>", "Postmaster@mx.example", "mx.example"),
        ("TO:<POSTMASTER>", "POSTMASTER@mx.example", "mx.example"),
        ("TO:<@ours.example:a@b.example>", "a@b.example", "b.example"),
        ("TO:<a%b.example@ours.example>", "a%b.example@ours.example", "ours.example"),
        ('TO:<"a@b.example"@ours.example>', '"a@b.example"@ours.example', "ours.example"),
        ("TO:<b.example!a@ours.example>", "b.example!a@ours.example", "ours.example"),
    ],
)
def test_recipients(text: str, address: str, domain: str) -> None:
    recipient = rcpt(text)
    assert (recipient.address, recipient.domain) == (address, domain)


@pytest.mark.parametrize(
    ("text", "notify"),
    [
        ("NOTIFY=NEVER", Notify.NEVER),
        ("NOTIFY=success", Notify.SUCCESS),
        ("NOTIFY=FAILURE,DELAY", Notify.FAILURE | Notify.DELAY),
        ("NOTIFY=SUCCESS,FAILURE,DELAY", Notify.SUCCESS | Notify.FAILURE | Notify.DELAY),
        ("", Notify.UNSET),
    ],
)
def test_notify(text: str, notify: Notify) -> None:
    assert rcpt(f"TO:<a@b.example> {text}").notify == notify


def test_orcpt_is_kept_as_it_came() -> None:
    assert rcpt("TO:<a@b.example> ORCPT=rfc822;Bob+2B1@x.example").orcpt == "rfc822;Bob+2B1@x.example"
    assert rcpt("TO:<a@b.example> orcpt=utf-8;\\x{E9}@x.example").orcpt == "utf-8;\\x{E9}@x.example"
    assert rcpt("TO:<a@b.example> ORCPT=utf-8;é@x.example", smtputf8=True).orcpt == "utf-8;é@x.example"


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("", "501 5.5.4"),
        ("TO:<>", "501 5.1.3"),
        ("TO:<a>", "501 5.1.3"),
        ("TO:<postmaster2>", "501 5.1.3"),
        ("TO:<é@b.example>", "553 5.6.7"),
        ("TO:<a@b.example> NOTIFY=", "501 5.5.4"),
        ("TO:<a@b.example> NOTIFY=NEVER,DELAY", "501 5.5.4"),
        ("TO:<a@b.example> NOTIFY=SOMETIMES", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=a@b.example", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=rfc822;", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=;a", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=rfc822;a+b", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=rfc822;a+2b", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=utf-8;é@x.example", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=rfc822;" + "a" * 494, "501 5.5.4"),
        ("TO:<a@b.example> SIZE=1", "555 5.5.4"),
    ],
)
def test_bad_rcpt(text: str, reply: str) -> None:
    with pytest.raises(BadCommand) as refused:
        rcpt(text)
    assert str(refused.value.reply).startswith(reply)


def test_a_bare_postmaster_needs_a_domain_of_ours() -> None:
    with pytest.raises(BadCommand, match=r"501 5\.1\.3"):
        rcpt("TO:<postmaster>", hostname="not a name")


@pytest.mark.parametrize(
    ("text", "octets", "last"),
    [("0", 0, False), ("0 LAST", 0, True), ("86 last", 86, True), ("5  LAST ", 5, True), ("9" * 20, 10**20 - 1, False)],
)
def test_bdat(text: str, octets: int, last: bool) -> None:
    assert parse_bdat(text) == (octets, last)


@pytest.mark.parametrize("text", ["", "LAST", "-1", "+1", "1.0", "0x10", "5LAST", "5 FIRST", "9" * 21, "٣"])
def test_bad_bdat(text: str) -> None:
    with pytest.raises(BadCommand, match=r"501 5\.5\.4"):
        parse_bdat(text)


@pytest.mark.parametrize("text", ["client.example", "[192.0.2.1]", "my_pc", "192.168.1.5", "x", " x ", "a" * 255])
def test_hello_names(text: str) -> None:
    assert parse_hello(text) == text.strip()


@pytest.mark.parametrize("text", ["", " ", "a b", "é.example", "a" * 256, "a\tb"])
def test_bad_hello(text: str) -> None:
    with pytest.raises(BadCommand, match="501 Syntax"):
        parse_hello(text)


def test_hello_domain() -> None:
    assert hello_domain("Client.Example") == "client.example"
    assert hello_domain("[192.0.2.1]") == "[192.0.2.1]"
    assert hello_domain("192.168.1.5") == ""
    assert hello_domain("<script>") == ""


@given(st.text(max_size=200) | st.text(st.sampled_from('<>@:,"\\ []=;+aé.'), max_size=60))
@example("FROM:<" + '"\\' * 2000)
@example("FROM:<@" + ",@a" * 2000 + ":")
def test_any_text_is_read_or_refused(text: str) -> None:
    for prefix in ("", "FROM:<", "TO:<", "FROM:<a@b.example> ", "TO:<a@b.example> ORCPT="):
        for read in (mail, rcpt):
            try:
                read(prefix + text)
            except BadCommand as refused:
                assert refused.reply.code in (501, 553, 555)


def test_requiretls_is_taken_where_it_is_offered_and_has_no_value() -> None:
    given = "FROM:<a@b.example> REQUIRETLS"
    assert parse_mail(given, extended=True, smtputf8=True, requiretls=True).requiretls
    assert not parse_mail("FROM:<a@b.example>", extended=True, smtputf8=True, requiretls=True).requiretls
    for text, offered in ((given, False), (f"{given}=yes", True)):
        with pytest.raises(BadCommand):
            parse_mail(text, extended=True, smtputf8=True, requiretls=offered)
