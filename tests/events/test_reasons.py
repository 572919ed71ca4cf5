import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.events.pieces import json_text
from postroad.events.reasons import MAX_REASON, masked, raw_reason
from postroad.message import Reply


@pytest.mark.parametrize(
    ("raw", "calm"),
    [
        ("550 5.7.1 [192.0.2.4] blocked", "550 5.7.1 [a.b.c.d] blocked"),
        ("550 192.0.2.4,198.51.100.255: no", "550 a.b.c.d,a.b.c.d: no"),
        ("550 see 192.0.2.4.", "550 see a.b.c.d."),
        ("550 5.1.1 no", "550 5.1.1 no"),
        ("550 999.1.1.1", "550 999.1.1.1"),
        ("550 1.2.3.4.5", "550 1.2.3.4.5"),
        ("550 v1.2.3.4", "550 v1.2.3.4"),
        ("550 [2001:db8::25] no", "550 [a.b.c.d] no"),
        ("550 2001:0db8:0:0:0:0:0:1 no", "550 a.b.c.d no"),
        ("550 [IPv6:2001:db8::25]: no", "550 [IPv6:a.b.c.d]: no"),
        ("550 ::ffff:192.0.2.4 no", "550 a.b.c.d no"),
        ("550 at 12:30:00 tomorrow: no", "550 at 12:30:00 tomorrow: no"),
        ("550 user::name", "550 user::name"),
        ("550 id=dead:beef", "550 id=dead:beef"),
    ],
)
def test_addresses_are_masked(raw: str, calm: str) -> None:
    assert masked(raw) == calm


@given(st.ip_addresses())
def test_every_address_is_masked(address: object) -> None:
    assert masked(f"550 5.7.1 host [{address}] is listed") == "550 5.7.1 host [a.b.c.d] is listed"


@pytest.mark.parametrize(
    ("reply", "internal", "expected"),
    [
        (Reply(550, "5.1.1 no such user"), False, "550 5.1.1 no such user"),
        (Reply(554, "5.4.7 expired"), True, "554 5.4.7 [internal] expired"),
        (Reply(451, "lost"), True, "451 [internal] lost"),
        (Reply(554, "5.4.7 [internal] expired"), True, "554 5.4.7 [internal] expired"),
        (Reply(554, ""), False, "554"),
        (Reply(554, ""), True, "554 [internal]"),
        (Reply(554, "a\r\nb\x00\x1bc"), False, "554 a b c"),
    ],
)
def test_a_reason_is_one_line(reply: Reply, internal: bool, expected: str) -> None:
    assert raw_reason(reply, internal) == expected


# Hypothesis leaves surrogates out of text() by default only in categories; here they are wanted.
@given(st.integers(400, 599), st.text(st.characters(), max_size=3000), st.booleans())
def test_any_reply_can_be_stored(code: int, text: str, internal: bool) -> None:
    reason = raw_reason(Reply(code, text), internal)
    assert len(reason) <= MAX_REASON and reason.startswith(str(code))
    assert json.loads(json_text(reason)) == reason
    masked(reason)


def test_octets_that_were_no_utf8_are_shown_as_such() -> None:
    text = b"caf\xe9 closed".decode("utf-8", "surrogateescape")
    assert raw_reason(Reply(550, text)) == "550 caf\ufffd closed"


@pytest.mark.parametrize("piece", ["1.", ":", "1:", "a:1.1.1.", "::1.", "0.0.0.0.", "[internal"])
def test_a_flood_is_bounded_before_it_is_searched(piece: str) -> None:
    reason = raw_reason(Reply(550, piece * 1_000_000))
    assert len(reason) == MAX_REASON and reason.endswith("...")
    assert masked(reason).startswith("550 ")
