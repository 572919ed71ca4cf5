"""Relay control: what a stranger may send to."""

from __future__ import annotations

import pytest

from postroad.inject.commands import parse_rcpt
from postroad.inject.relay import RelayDomains
from postroad.message.address import AddressError

_DOMAINS = RelayDomains(["Example.com", ".sub.example", "bücher.example", "[192.0.2.1]"], "MX.example")


def taken(path: str, domains: RelayDomains = _DOMAINS) -> bool:
    return domains.take(parse_rcpt(f"TO:<{path}>", extended=True, smtputf8=True, hostname="mx.example"))


@pytest.mark.parametrize(
    "path",
    [
        "a@example.com",
        "a@EXAMPLE.COM",
        "a@sub.example",
        "a@x.sub.example",
        "a@x.y.sub.example",
        "a@bücher.example",
        "a@xn--bcher-kva.example",
        "a@[192.0.2.1]",
        "a%elsewhere.example@example.com",
        '"a@elsewhere.example"@example.com',
        "@elsewhere.example:a@example.com",
    ],
)
def test_ours(path: str) -> None:
    assert taken(path)


@pytest.mark.parametrize(
    "path",
    [
        "a@www.example.com",
        "a@notexample.com",
        "a@com",
        "a@xsub.example",
        "a@example",
        "a@a.xn--bcher-kva.example",
        "a@[192.0.2.2]",
        "a@mx.example",
        "Postmaster",
        "postmaster@mx.example",
        "postmaster@elsewhere.example",
        "@example.com:a@elsewhere.example",
        '"a@example.com"@elsewhere.example',
        "a%example.com@elsewhere.example",
        "a@example.com.elsewhere.example",
    ],
)
def test_not_ours(path: str) -> None:
    assert not taken(path)


@pytest.mark.parametrize("path", ["postmaster", "Postmaster@MX.example"])
def test_our_postmaster_is_the_mailbox_that_stands_for_it(path: str) -> None:
    domains = RelayDomains([], "mx.example", "Ops@Elsewhere.example")
    recipient = parse_rcpt(f"TO:<{path}>", extended=True, smtputf8=True, hostname="mx.example")
    assert domains.take(recipient)
    assert (recipient.address, recipient.domain) == ("Ops@Elsewhere.example", "elsewhere.example")
    assert not taken("a@mx.example", domains) and not taken("ops@elsewhere.example", domains)
    assert not taken("postmaster", RelayDomains([], "not a name", "ops@elsewhere.example"))


def test_a_domain_that_is_none_is_refused() -> None:
    with pytest.raises(AddressError):
        RelayDomains(["exa mple"], "mx.example")
