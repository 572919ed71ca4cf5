"""What the account has set holds where a transmission, its template and its recipients say nothing (api.md 2.3, 21)."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from postroad.inject.http import AccountOptions, StoredTemplate, Tracking, TransmissionContent
from tests.inject.http.stock import MemoryStock
from tests.inject.http.test_mailing import SITE, content, mailing, only, parse, text

HTML = '<html><body><a href="https://a.example/">go</a></body></html>'


@pytest.fixture
def stock() -> MemoryStock:
    made = MemoryStock()
    made.sites["a.example"] = SITE
    return made


@pytest.mark.parametrize(
    ("account", "options", "told", "clicks", "opens"),
    [
        ({}, {}, (True, True, True), 1, 2),
        ({"rest_tracking_default": False}, {}, (False, False, False), 0, 0),
        ({"rest_tracking_default": False}, {"open_tracking": True}, (True, False, True), 0, 2),
        ({"rest_tracking_default": False}, {"initial_open": True}, (False, False, True), 0, 1),
        ({"rest_tracking_default": False}, {"click_tracking": True}, (False, True, False), 1, 0),
        ({"initial_open_pixel_tracking": False}, {}, (True, True, False), 1, 1),
        ({"initial_open_pixel_tracking": False}, {"initial_open": True}, (True, True, True), 1, 2),
        ({"click_tracking": False}, {"click_tracking": True}, (True, False, True), 0, 2),
        ({"smtp_tracking_default": False}, {}, (True, True, True), 1, 2),
    ],
)
def test_tracking(
    stock: MemoryStock,
    account: dict[str, bool],
    options: dict[str, bool],
    told: tuple[bool, bool, bool],
    clicks: int,
    opens: int,
) -> None:
    stock.options = AccountOptions(**account)
    transaction = only(mailing(stock, content=content(html=HTML, text=None), options=options))
    event = transaction.event
    assert (event["open_tracking"], event["click_tracking"], event["initial_pixel"]) == told
    html = text(parse(transaction))
    assert len(re.findall("click.a.example/f/", html)) == clicks
    assert len(re.findall("click.a.example/[oq]/", html)) == opens


def test_a_template_wins_over_the_account(stock: MemoryStock) -> None:
    stock.options = AccountOptions(rest_tracking_default=False, transactional_default=True)
    inside = msgspec.convert(content(html=HTML, text=None), TransmissionContent)
    stock.templates["t", False] = StoredTemplate("t", 1, inside, Tracking(open_tracking=True), False)
    event = only(mailing(stock, content={"template_id": "t"})).event
    assert event["open_tracking"] is True
    assert "transactional" not in event


@pytest.mark.parametrize(
    ("account", "options", "transactional", "unsubscribe"),
    [
        ({}, {}, False, True),
        ({}, {"transactional": True}, True, False),
        ({"transactional_default": True}, {}, True, False),
        ({"transactional_default": True}, {"transactional": False}, False, True),
        ({"transactional_unsub": True}, {"transactional": True}, True, True),
    ],
)
def test_transactional(
    stock: MemoryStock, account: dict[str, bool], options: dict[str, Any], transactional: bool, unsubscribe: bool
) -> None:
    stock.options = AccountOptions(**account)
    stock.wanted_not.add(("Kim@b.example", not transactional, ""))  # of the other kind of mail
    transaction = only(mailing(stock, options=options))
    assert ("transactional" in transaction.event) == transactional
    assert (parse(transaction)["List-Unsubscribe"] is not None) == unsubscribe
