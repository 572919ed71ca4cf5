import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message.address import AddressError, Mailbox, parse_mailbox, routing_domain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@b.example", Mailbox("a", "b.example", "b.example")),
        ("First.Last+tag@Example.COM", Mailbox("First.Last+tag", "Example.COM", "example.com")),
        ('"john smith"@b.example', Mailbox('"john smith"', "b.example", "b.example")),
        ('"a@b"@c.example', Mailbox('"a@b"', "c.example", "c.example")),
        ('"a\\"b"@c.example', Mailbox('"a\\"b"', "c.example", "c.example")),
        ("a@[192.0.2.1]", Mailbox("a", "[192.0.2.1]", "[192.0.2.1]")),
        ("a@[IPv6:2001:DB8::1]", Mailbox("a", "[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]")),
        ("käse@bücher.example", Mailbox("käse", "bücher.example", "xn--bcher-kva.example")),
        ("a@xn--bcher-kva.example", Mailbox("a", "xn--bcher-kva.example", "xn--bcher-kva.example")),
        ("a@localhost", Mailbox("a", "localhost", "localhost")),
        ("a@_dmarc.b.example", Mailbox("a", "_dmarc.b.example", "_dmarc.b.example")),
        ("x" * 64 + "@b.example", Mailbox("x" * 64, "b.example", "b.example")),
    ],
)
def test_reads(text: str, expected: Mailbox) -> None:
    assert parse_mailbox(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no @"),
        ("plain", "no @"),
        ("@b.example", "before the @"),
        ("a@", "after the @"),
        (".a@b.example", "local part"),
        ("a.@b.example", "local part"),
        ("a..b@b.example", "local part"),
        ("a b@b.example", "local part"),
        ("a@b@c.example", "local part"),
        ('"a\r\nb"@c.example', "local part"),
        ('"a\x00"@c.example', "local part"),
        ("a\r\nRCPT TO:<x@y>@b.example", "local part"),
        ("a@b.example\r\n", "domain is not well formed"),
        ("a@b..example", "domain is not well formed"),
        ("a@.example", "domain is not well formed"),
        ("a@b.example.", "domain is not well formed"),
        ("a@-b.example", "domain is not well formed"),
        ("a@b.example ", "domain is not well formed"),
        ("a@192.0.2.1", "ends in a number"),
        ("a@[192.0.2.1", "closing bracket"),
        ("a@[192.0.2.999]", "not an IP"),
        ("a@[IPv6:fe80::1%eth0]", "not an IP"),
        ("x" * 65 + "@b.example", "64 octets"),
        ("ä" * 33 + "@b.example", "64 octets"),
        ("a@" + "b" * 64 + ".example", "not well formed"),
        ("a@" + ".".join(["b" * 60] * 5), "254 octets"),
        ("a@\u2024.example", "domain"),
        ("\ud800@b.example", "Unicode"),
    ],
)
def test_refuses(text: str, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        parse_mailbox(text)


def test_utf8_only_where_asked_for() -> None:
    with pytest.raises(AddressError, match="SMTPUTF8"):
        parse_mailbox("käse@b.example", utf8=False)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        mailbox = parse_mailbox(text)
    except AddressError:
        return
    assert str(mailbox) == text
    assert not any(c in text for c in "\r\n\0")
    assert mailbox.routing.isascii()


@given(st.from_regex(r"[a-z0-9äöüß]{1,20}(\.[a-z0-9äöüß]{1,20}){0,3}\.example", fullmatch=True))
def test_routing_domain_is_a_fixed_point(domain: str) -> None:
    try:
        routing = routing_domain(domain)
    except AddressError:
        return
    assert routing_domain(routing) == routing == routing.lower()
