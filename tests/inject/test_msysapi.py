"""The X-MSYS-API header: what it makes of a message, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.inject.http import AccountOptions
from postroad.inject.msysapi import MsysApi
from postroad.message import Accepted, Body, IdSource, Recipient, Refused, Transaction
from tests.inject.http.stock import MemoryStock
from tests.policy.doors import Kept

WALL = 1_700_000_000.0


def mail(header: str | dict[str, object], *recipients: str) -> Transaction:
    text = header if isinstance(header, str) else json.dumps(header)
    content = b"To: b@x.test\r\nX-MSYS-API: " + text.encode() + b"\r\nSubject: s\r\n\r\nbody\r\n"
    made = [Recipient(address, address.rpartition("@")[2]) for address in recipients or ("b@x.test",)]
    about = {"remote_addr": "192.0.2.1", "can_relay": "true"}
    event: dict[str, object] = {"transmission_id": "77"}
    return Transaction("a@s.test", made, Body(content, b"Received: x\r\n"), connection=about, event=event, id=77)


def take(given: Transaction, stock: MemoryStock | None = None) -> tuple[Accepted | Refused, Kept]:
    kept = Kept()
    result: list[Accepted | Refused] = []
    ids = IdSource(lambda: WALL)
    MsysApi(kept, lambda name: name == "pool", stock or MemoryStock(), ids, lambda: WALL).accept(given, result.append)
    return result[0], kept


def test_mail_without_it_or_of_strangers_passes_as_it_is() -> None:
    plain = mail({})
    plain.body = Body(b"Subject: s\r\n\r\nX-MSYS-API: {}\r\n")
    stranger = mail({"campaign_id": "c"})
    stranger.connection = {}
    for one in (plain, stranger):
        _, kept = take(one)
        assert kept.transactions == [one]


def test_what_it_says_is_in_the_events_and_never_goes_out() -> None:
    wanted: dict[str, object] = {
        "campaign_id": "spring",
        "metadata": {"k": ["v", 1]},
        "tags": [str(n) for n in range(12)],
        "options": {"open_tracking": False, "click_tracking": True, "transactional": True, "ip_pool": "pool"},
        "substitution_data": {"ignored": True},
    }
    result, kept = take(mail(wanted, "b@x.test", "c@x.test"))
    assert result == Accepted([1, 2])
    (one,) = kept.transactions
    assert bytes(one.body) == b"Received: x\r\nTo: b@x.test\r\nSubject: s\r\n\r\nbody\r\n"
    assert one.event == {
        "transmission_id": "77",
        "campaign_id": "spring",
        "open_tracking": False,
        "click_tracking": True,
        "transactional": "1",
        "ip_pool": "pool",
    }
    assert one.context == {"priority": "1", "binding_group": "pool"}
    own = {"rcpt_meta": {"k": ["v", 1]}, "rcpt_tags": [str(n) for n in range(10)]}
    assert [recipient.event for recipient in one.recipients] == [own, own]
    assert one.id == 77


DECIDED = "unwanted 554 5.7.1 recipient address was suppressed due to customer policy"


def unwanted(kept: Kept) -> list[str]:
    """Whose end is decided."""
    found = [each for one in kept.transactions for each in one.recipients if (each.context or {}).get("#policy")]
    assert {(each.context or {})["#policy"] for each in found} <= {DECIDED}
    return sorted(each.address for each in found)


@pytest.mark.parametrize(
    ("row", "options", "account", "suppressed"),
    [
        (("b@x.test", False, ""), {}, {}, ["b@x.test"]),
        (("b@x.test", True, ""), {}, {}, []),
        (("b@x.test", True, ""), {"transactional": True}, {}, ["b@x.test"]),
        (("b@x.test", False, ""), {"transactional": True}, {}, []),
        (("b@x.test", True, ""), {}, {"transactional_default": True}, ["b@x.test"]),
        (("b@x.test", False, ""), {"transactional": False}, {"transactional_default": True}, ["b@x.test"]),
        (("b@x.test", False, ""), {"skip_suppression": True}, {}, []),
        (("cc@x.test", False, ""), {}, {}, ["cc@x.test"]),
        (("bcc@x.test", False, ""), {}, {}, ["bcc@x.test"]),
        (("b@x.test", False, "news.s.test"), {}, {}, ["b@x.test"]),
        (("b@x.test", False, "other.s.test"), {}, {}, []),
    ],
)
def test_suppressed_recipients_are_taken_and_their_end_is_decided(
    row: tuple[str, bool, str], options: dict[str, bool], account: dict[str, bool], suppressed: list[str]
) -> None:
    stock = MemoryStock()
    stock.wanted_not.add(row)
    stock.options = AccountOptions(**account)
    given = mail({"options": options, "cc": ["cc@x.test"], "bcc": ["bcc@x.test"]}, "a@x.test", "b@x.test")
    given.body = Body(b"List-Id: News <news.s.test>\r\n" + given.body.content)
    result, kept = take(given, stock)
    assert result == Accepted([1, 2])
    assert unwanted(kept) == suppressed


def test_suppression_without_the_header() -> None:
    stock = MemoryStock()
    stock.wanted_not = {("b@x.test", False, ""), ("c@x.test", True, "")}
    for account, suppressed in (
        (AccountOptions(), "b@x.test"),
        (AccountOptions(transactional_default=True), "c@x.test"),
    ):
        stock.options = account
        given = mail({}, "a@x.test", "b@x.test", "c@x.test")
        given.body = Body(b"Subject: s\r\n\r\nX-MSYS-API: {}\r\n")
        _, kept = take(given, stock)
        assert unwanted(kept) == [suppressed]
        assert ("transactional" in kept.transactions[0].event) == account.transactional_default


def test_a_stranger_is_told_nothing_of_whom_we_suppress() -> None:
    stock = MemoryStock()
    stock.wanted_not = {("b@x.test", False, "")}
    given = mail({}, "b@x.test")
    given.connection = {}
    _, kept = take(given, stock)
    assert unwanted(kept) == []


def test_copies() -> None:
    wanted: dict[str, object] = {
        "cc": ["cc@x.test", {"email": "named@x.test", "name": "Ünal"}],
        "bcc": ["bcc1@x.test", {"email": "bcc2@x.test"}, "cc@x.test"],
        "archive": ["archive@x.test", "b@x.test"],
    }
    result, kept = take(mail(wanted))
    assert result == Accepted([1])
    seen = {
        recipient.address: ((recipient.event or {}).get("rcpt_type"), one.body.content)
        for one in kept.transactions
        for recipient in one.recipients
    }
    kinds = {address: kind for address, (kind, _) in seen.items()}
    assert kinds == {
        "b@x.test": None,
        "cc@x.test": "cc",
        "named@x.test": "cc",
        "archive@x.test": "archive",
        "bcc1@x.test": "bcc",
        "bcc2@x.test": "bcc",
    }
    cc = b"Cc: cc@x.test, =?UTF-8?"
    for address, (kind, content) in seen.items():
        assert cc in content
        assert content.count(b"Bcc: ") == (kind == "bcc")
        assert (b"Bcc: " + address.encode() + b"\r\n" in content) == (kind == "bcc")
        assert b"MSYS" not in content
    assert [one.id for one in kept.transactions] == [77, 0, 0]
    assert {one.event["transmission_id"] for one in kept.transactions} == {"77"}


def test_a_folded_field() -> None:
    _, kept = take(mail('{"campaign_id":\r\n "a b",\r\n\t"tags": ["x"]}'))
    assert kept.transactions[0].event["campaign_id"] == "a b"
    assert b"campaign" not in kept.transactions[0].body.content


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("{", "5.6.0 JSON parsing error in X-MSYS-API"),
        ("\xff", "5.6.0 JSON parsing error in X-MSYS-API"),
        ("[" * 5000, "5.6.0 "),
        ("[]", "5.6.0 X-MSYS-API must be of type 'json object'"),
        ({"metadata": "x"}, "5.6.0 X-MSYS-API 'metadata' must be of type 'json object'"),
        ({"tags": {}}, "5.6.0 X-MSYS-API 'tags' must be of type 'json array'"),
        ({"campaign_id": 1}, "5.6.0 X-MSYS-API 'campaign_id' must be of type 'json string'"),
        ({"options": {"transactional": 1}}, "5.6.0 X-MSYS-API 'options.transactional' must be of type 'json boolean'"),
        ({"campaign_id": "x" * 65}, "5.6.0 smtpapi_campaign_id context is limited to 64 bytes"),
        ({"cc": ["nobody"]}, "5.6.0 X-MSYS-API 'cc': nobody"),
        ({"bcc": ["a@x.test\r\nTo: evil@x.test"]}, "5.6.0 X-MSYS-API 'bcc'"),
        ({"cc": [{"email": "a@x.test", "name": "x\r\nTo: y"}]}, "5.6.0 X-MSYS-API 'cc'"),
        ({"archive": ["a@x.test"] * 1001}, "limited to 1000"),
        ({"options": {"ip_pool": "nosuch"}}, "no pool 'nosuch'"),
        ({"options": {"dkim_key": "nosuch"}}, "no key 'nosuch'"),
    ],
)
def test_what_is_refused(header: str | dict[str, object], text: str) -> None:
    result, kept = take(mail(header))
    assert isinstance(result, Refused)
    assert result.reply.code == 550
    assert text in result.reply.text
    assert result.reply.text.isascii() and result.reply.text.isprintable()
    assert not kept.transactions
    assert [rejection.reply for rejection in kept.rejections] == [result.reply]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just("a@x.test"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
_MEMBERS = st.sampled_from(["campaign_id", "metadata", "tags", "cc", "bcc", "archive", "options", "other"])


@given(st.dictionaries(_MEMBERS, _JSON))
def test_any_json_is_taken_or_refused_with_a_reply(header: dict[str, object]) -> None:
    result, kept = take(mail(header))
    if isinstance(result, Refused):
        assert result.reply.code == 550 and result.reply.text.isascii() and result.reply.text.isprintable()
        assert not kept.transactions
    else:
        assert all(b"MSYS" not in one.body.content for one in kept.transactions)
