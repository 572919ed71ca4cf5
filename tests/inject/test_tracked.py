"""Links and pixels in mail that came by SMTP: asked for by its header or its account, each recipient's own."""

from __future__ import annotations

import email
import email.policy
import json
import re
from email.message import EmailMessage

import pytest

from postroad.generate import Site
from postroad.inject.http import AccountOptions
from postroad.message import Accepted, Body, Transaction
from postroad.message.links import About, LinkKeys
from tests.inject.http.stock import MemoryStock
from tests.inject.test_msysapi import WALL, mail, take

KEYS = LinkKeys({1: b"k" * 32}, 1)
BASE = "https://click.s.test"
TRACKED = {"open_tracking": True, "click_tracking": True, "initial_open": False}
HTML = b"<html><body><p class=x>{{name}}</p><a href='https://s.test/?a=1&amp;b=2'>go</a></body></html>\r\n"
MIXED = (
    b"From: Shop <shop@s.test>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
    b"--b\r\n\r\nSee https://s.test/t today\r\n--b\r\nContent-Type: text/html\r\n\r\n" + HTML + b"\r\n--b--\r\n"
)


@pytest.fixture
def stock() -> MemoryStock:
    made = MemoryStock()
    made.sites["s.test"] = Site(BASE, KEYS)
    return made


def given(content: bytes, header: dict[str, object] | None, *recipients: str) -> Transaction:
    made = mail(header or {}, *recipients)
    said = b"" if header is None else b"X-MSYS-API: " + json.dumps(header).encode() + b"\r\n"
    made.body = Body(said + content, b"Received: x\r\n")
    return made


def parsed(transaction: Transaction) -> EmailMessage:
    message = email.message_from_bytes(bytes(transaction.body), policy=email.policy.default)
    assert all(not part.defects for part in message.walk())
    return message


def text(transaction: Transaction, kind: str) -> str:
    part = parsed(transaction).get_body((kind,))
    assert part is not None
    found: str = part.get_content()
    return found


def links(transaction: Transaction, kind: str) -> list[tuple[About, str]]:
    tokens = re.findall(rf"{BASE}/f/([\w-]+)", text(transaction, kind))
    return [(about, linked.url) for about, linked in (KEYS.read(token, WALL) for token in tokens)]


def test_each_recipient_has_links_of_his_own(stock: MemoryStock) -> None:
    header: dict[str, object] = {
        "options": TRACKED,
        "campaign_id": "spring",
        "metadata": {"tier": "gold"},
        "tags": ["t"],
        "archive": ["archive@x.test"],
        "bcc": ["bcc@x.test"],
    }
    result, kept = take(given(MIXED, header, "b@x.test", "c@x.test"), stock)
    assert [one.recipients[0].address for one in kept.transactions] == [
        *("b@x.test", "c@x.test", "archive@x.test", "bcc@x.test"),
    ]
    assert result == Accepted([1, 2])
    for one in kept.transactions:
        (recipient,) = one.recipients
        original = kept.transactions[0] if recipient.address == "archive@x.test" else one
        for kind, url in (("html", "https://s.test/?a=1&b=2"), ("plain", "https://s.test/t")):
            ((about, found),) = links(one, kind)
            assert found == url
            assert about == About(
                str(original.id),
                "77",
                original.recipients[0].address,
                int(WALL),
                campaign="spring",
                sender="shop@s.test",
                metadata={"tier": "gold"},
                tags=["t"],
            )
        assert "{{name}}" in text(one, "html")  # the template language is not for SMTP
        assert re.findall(rf"{BASE}/([oq])/", text(one, "html")) == ["q"]
        assert parsed(one)["List-Unsubscribe"].startswith(f"<{BASE}/u/")
        flags = ("open_tracking", "click_tracking", "initial_pixel")
        assert [one.event[flag] for flag in flags] == [True, True, False]
        assert one.body.trace.startswith(b"Received: x\r\n")
    assert kept.transactions[0].id == 77
    assert len({one.id for one in kept.transactions}) == 4


@pytest.mark.parametrize(
    ("account", "header", "clicks", "pixels"),
    [
        ({}, None, 0, 0),
        ({}, {}, 0, 0),
        ({"smtp_tracking_default": True}, None, 1, 2),
        ({"smtp_tracking_default": True}, {}, 1, 2),
        ({"smtp_tracking_default": True}, {"options": {"open_tracking": False}}, 1, 0),
        ({"smtp_tracking_default": True, "click_tracking": False}, None, 0, 2),
        ({}, {"options": {"click_tracking": True}}, 1, 0),
    ],
)
def test_what_the_account_says(
    stock: MemoryStock, account: dict[str, bool], header: dict[str, object] | None, clicks: int, pixels: int
) -> None:
    stock.options = AccountOptions(**account)
    _, kept = take(given(MIXED, header), stock)
    (one,) = kept.transactions
    assert len(links(one, "html")) == clicks
    assert len(re.findall(rf"{BASE}/[oq]/", text(one, "html"))) == pixels
    if not clicks and not pixels:
        assert bytes(one.body) == b"Received: x\r\n" + MIXED


def test_a_list_unsubscribe_of_its_client_stays(stock: MemoryStock) -> None:
    content = b"List-Unsubscribe: <mailto:u@s.test>\r\n" + MIXED
    _, kept = take(given(content, {"options": TRACKED}), stock)
    assert parsed(kept.transactions[0]).get_all("List-Unsubscribe") == ["<mailto:u@s.test>"]


HEAD = b"From: a@s.test\r\nMIME-Version: 1.0\r\n"


@pytest.mark.parametrize(
    "content",
    [
        HEAD
        + b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
        + HTML
        + b"\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n",
        HEAD + b"\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\nsee https://s.test/\r\n",
        HEAD + b"Content-Type: application/pkcs7-mime\r\n\r\nhttps://s.test/\r\n",
        HEAD.replace(b"s.test", b"elsewhere.test") + b"Content-Type: text/html\r\n\r\n" + HTML,  # no site for it
        b"Content-Type: text/html\r\n\r\n" + HTML,  # from nobody
        b"From: a@s.test, b@s.test\r\nContent-Type: text/html\r\n\r\n" + HTML,
    ],
    ids=["signed", "PGP", "S/MIME", "no site", "no From", "two in From"],
)
def test_what_stays_as_it_came(stock: MemoryStock, content: bytes) -> None:
    result, kept = take(given(content, {"options": {**TRACKED, "transactional": True}}, "b@x.test", "c@x.test"), stock)
    assert result == Accepted([1, 2])
    assert {bytes(one.body) for one in kept.transactions} == {b"Received: x\r\n" + content}


def test_css_alone_is_one_body_for_all() -> None:
    content = (
        HEAD + b"Content-Type: text/html\r\n\r\n<html><head><style>p {color: red}</style></head>"
        b"<body><p>x</p></body></html>\r\n"
    )
    _, kept = take(given(content, {"options": {"inline_css": True}}, "b@x.test", "c@x.test"))
    (one,) = kept.transactions
    assert len(one.recipients) == 2
    assert '<p style="color: red;">' in text(one, "html")
    assert one.id == 77


def test_suppression_goes_with_its_recipient(stock: MemoryStock) -> None:
    stock.wanted_not.add(("c@x.test", False, ""))
    _, kept = take(given(MIXED, {"options": TRACKED}, "b@x.test", "c@x.test"), stock)
    decided = {one.recipients[0].address: bool(one.recipients[0].context) for one in kept.transactions}
    assert decided == {"b@x.test": False, "c@x.test": True}
