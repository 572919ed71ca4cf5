import pytest

from postroad.deliver.envelope import (
    BadEnvelope,
    Capabilities,
    NeedsSmtputf8,
    commands,
    parse_capabilities,
)
from postroad.message import Message, Notify, Ret
from tests.deliver.supply import message

ALL = Capabilities(pipelining=True, eight_bit=True, smtputf8=True, dsn=True, size=0)
NONE = Capabilities()


def written(each: Message, offered: Capabilities = ALL) -> tuple[str, str]:
    mail, rcpt = commands(each, 100, offered)
    assert mail.endswith(b"\r\n") and rcpt.endswith(b"\r\n")
    return mail.decode().removesuffix("\r\n"), rcpt.decode().removesuffix("\r\n")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"host"], NONE),
        ([b"PIPELINING"], NONE),  # the first line is a greeting, whatever it says
        ([b"h", b"PIPELINING", b"8BITMIME", b"SMTPUTF8", b"DSN", b"SIZE 5"], ALL._replace(size=5)),
        ([b"h", b"pipelining", b"8bitMime"], Capabilities(pipelining=True, eight_bit=True)),
        ([b"h", b"SIZE"], Capabilities(size=0)),
        ([b"h", b"SIZE 0"], Capabilities(size=0)),
        ([b"h", b"SIZE nine"], Capabilities(size=0)),
        ([b"h", b"SIZE -5"], Capabilities(size=0)),
        ([b"h", b"SIZE " + b"9" * 400], Capabilities(size=0)),
        (
            [b"h", b"AUTH PLAIN LOGIN", b"AUTH=PLAIN", b"STARTTLS"],
            Capabilities(starttls=True, auth=("PLAIN", "LOGIN", "PLAIN")),
        ),
        ([b"h", b"", b"\xff\xfe", b"XPIPELINING"], NONE),
    ],
)
def test_capabilities(lines: list[bytes], expected: Capabilities) -> None:
    assert parse_capabilities(lines) == expected


@pytest.mark.parametrize(
    ("each", "offered", "mail", "rcpt"),
    [
        (message(), NONE, "MAIL FROM:<sender@example.com>", "RCPT TO:<user1@example.net>"),
        (message(sender=""), NONE, "MAIL FROM:<>", "RCPT TO:<user1@example.net>"),
        (message(), ALL, "MAIL FROM:<sender@example.com> SIZE=100", "RCPT TO:<user1@example.net>"),
        (
            message(content=b"\r\ncaf\xc3\xa9\r\n"),
            ALL,
            "MAIL FROM:<sender@example.com> SIZE=100 BODY=8BITMIME",
            "RCPT TO:<user1@example.net>",
        ),
        # RFC 6152 asks for a conversion; like other large MTAs we send it as it is.
        (message(content=b"\r\n\xe9\r\n"), NONE, "MAIL FROM:<sender@example.com>", "RCPT TO:<user1@example.net>"),
        (
            message(ret=Ret.HEADERS, envid="QQ+2B1", notify=Notify.SUCCESS | Notify.DELAY, orcpt="rfc822;a+2Bb@x.org"),
            ALL,
            "MAIL FROM:<sender@example.com> SIZE=100 RET=HDRS ENVID=QQ+2B1",
            "RCPT TO:<user1@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@x.org",
        ),
        (
            message(ret=Ret.FULL, notify=Notify.NEVER),
            ALL,
            "MAIL FROM:<sender@example.com> SIZE=100 RET=FULL",
            "RCPT TO:<user1@example.net> NOTIFY=NEVER",
        ),
        (
            message(ret=Ret.FULL, envid="x", notify=Notify.NEVER, orcpt="rfc822;a@b"),
            NONE,
            "MAIL FROM:<sender@example.com>",
            "RCPT TO:<user1@example.net>",
        ),
        # Malformed ones came from a client, and are not passed on.
        (
            message(envid="a b", orcpt="rfc822;a b NOTIFY=NEVER"),
            ALL,
            "MAIL FROM:<sender@example.com> SIZE=100",
            "RCPT TO:<user1@example.net>",
        ),
    ],
)
def test_parameters(each: Message, offered: Capabilities, mail: str, rcpt: str) -> None:
    assert written(each, offered) == (mail, rcpt)


UTF8 = ALL._replace(size=-1, dsn=False, eight_bit=False)


@pytest.mark.parametrize(
    ("each", "offered", "expected"),
    [
        # International after all: as it is, with the parameter.
        (
            message(recipient="дом@пример.example", smtputf8=True),
            UTF8,
            ("MAIL FROM:<sender@example.com> SMTPUTF8", "RCPT TO:<дом@пример.example>"),
        ),
        (message(recipient="дом@example.net", smtputf8=True), NONE, NeedsSmtputf8),
        (message(sender="дом@example.net", smtputf8=True), NONE, NeedsSmtputf8),
        # Only the domain is: it has an ASCII form, and the host need not know SMTPUTF8.
        (
            message(recipient="u@bücher.example", smtputf8=True),
            NONE,
            ("MAIL FROM:<sender@example.com>", "RCPT TO:<u@xn--bcher-kva.example>"),
        ),
        (
            message(sender="u@bücher.example"),
            UTF8,
            ("MAIL FROM:<u@xn--bcher-kva.example>", "RCPT TO:<user1@example.net>"),
        ),
        # The header is, and the client said so.
        (message(content="Subject: é\r\n\r\n".encode(), smtputf8=True), NONE, NeedsSmtputf8),
        (
            message(content="Subject: é\r\n\r\n".encode(), smtputf8=True),
            UTF8,
            ("MAIL FROM:<sender@example.com> SMTPUTF8", "RCPT TO:<user1@example.net>"),
        ),
        # Nothing but the body is.
        (
            message(content="Subject: e\r\n\r\né".encode(), smtputf8=True),
            NONE,
            ("MAIL FROM:<sender@example.com>", "RCPT TO:<user1@example.net>"),
        ),
        (
            message(trace="Received: from é\r\n".encode(), content=b"\r\n", smtputf8=True),
            NONE,
            NeedsSmtputf8,
        ),
    ],
)
def test_smtputf8(each: Message, offered: Capabilities, expected: tuple[str, str] | type[Exception]) -> None:
    if isinstance(expected, tuple):
        assert written(each, offered) == expected
    else:
        with pytest.raises(expected):
            written(each, offered)


def test_an_international_orcpt_goes_only_with_smtputf8() -> None:
    each = message(recipient="дом@example.net", smtputf8=True, orcpt="utf-8;дом@example.net")
    assert written(each)[1].endswith(" ORCPT=utf-8;дом@example.net")
    plain = message(orcpt="utf-8;дом@example.net")
    assert "ORCPT" not in written(plain)[1]


@pytest.mark.parametrize("bad", ["a@b.c>\r\nRCPT TO:<x@y.z", "a\n@b.c", "a\r@b.c", "\udc80@b.c"])
def test_an_address_can_not_carry_a_command(bad: str) -> None:
    with pytest.raises(BadEnvelope):
        commands(message(sender=bad), 1, UTF8)
    with pytest.raises(BadEnvelope):
        commands(message(recipient=bad), 1, UTF8)
