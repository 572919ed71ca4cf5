"""Every event the encoder makes keeps the schema, and says what went in."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.events import EventEncoder, Kind, check, event_id
from postroad.events.pieces import iso_time
from postroad.message import Body, Outcome, Recipient, Rejection, Reply, Ruled, Stage, Transaction, Verdict

WALL = 1_493_050_627.25
ID = 0x04A1B2C3D4000001
CONTENT = b"From: News <news@a.example>\r\nSubject: Your order\r\n\r\nHi\r\n"
TAKEN = Outcome(
    *(Verdict.DELIVERED, Reply(250, "2.0.0 Ok: queued as A1B2"), Stage.CONFIRMATION),
    *("mx1.b.example", "198.51.100.7", "192.0.2.4", "TLSv1.3"),
)
REFUSED = Outcome(
    *(Verdict.FAILED, Reply(550, "5.1.1 [192.0.2.4] no such user"), Stage.RCPT, "mx1.b.example", "198.51.100.7")
)
EXPIRED = Outcome(Verdict.FAILED, Reply(554, "5.4.7 expired after 1 day"), Stage.NOT_CONNECTED, internal=True)

encoder = EventEncoder()


def transaction(content: bytes = CONTENT, sender: str = "b-1@bounce.a.example", **rest: Any) -> Transaction:
    return Transaction(sender, [], Body(content), **rest)


def common(recipient: Recipient | None = None, of: Transaction | None = None) -> bytes:
    of = of or transaction()
    return encoder.common(encoder.shared(of, WALL), ID, recipient or Recipient("X@B.example", "b.example"))


def read(octets: bytes) -> dict[str, Any]:
    """The event, after checking it against the schema. A member written twice is an error no JSON reader reports."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({name for name, _ in pairs}) == len(pairs), f"member twice in {octets!r}"
        return dict(pairs)

    event: dict[str, Any] = json.loads(octets, object_pairs_hook=once)
    assert check(event) == []
    return event


def test_injection() -> None:
    assert read(encoder.injection(common(), ID, WALL, "default")) == {
        "type": "injection",
        "event_id": event_id(ID, Kind.INJECTION),
        "timestamp": "1493050627",
        "customer_id": "1",
        "binding": "default",
        "message_id": "04a1b2c3d4000001",
        "rcpt_to": "x@b.example",
        "raw_rcpt_to": "X@B.example",
        "rcpt_hash": hashlib.sha1(b"x@b.example").hexdigest(),
        "recipient_domain": "b.example",
        "routing_domain": "b.example",
        "injection_time": "2017-04-24T16:17:07.250Z",
        "msg_from": "b-1@bounce.a.example",
        "recv_method": "esmtp",
        "msg_size": str(len(CONTENT)),
        "rcpt_meta": {},
        "rcpt_tags": [],
        "subject": "Your order",
        "friendly_from": "news@a.example",
    }


def test_delivery() -> None:
    event = read(encoder.delivery(common(), ID, WALL, TAKEN, 2, 1200))
    assert {name: event.get(name) for name in ("type", "event_id", "num_retries", "queue_time", "delv_method")} == {
        "type": "delivery",
        "event_id": event_id(ID, Kind.DELIVERY, 2),
        "num_retries": "1",
        "queue_time": "1200",
        "delv_method": "esmtp",
    }
    assert event["outbound_tls"] == "1" and event["remote_reply"] == "250 2.0.0 Ok: queued as A1B2"
    assert (event["mx_host"], event["ip_address"], event["sending_ip"]) == (
        "mx1.b.example",
        "198.51.100.7",
        "192.0.2.4",
    )
    assert "binding" not in event and event["subject"] == "Your order"


def test_delay_tells_why_and_when_next() -> None:
    event = read(encoder.delay(common(), ID, WALL, REFUSED, 1, 3, "b1", next_attempt=WALL + 1200))
    assert event["next_attempt"] == "1493051827" and event["num_retries"] == "0" and event["conn_stage"] == "4"
    assert (event["reason"], event["raw_reason"]) == (
        "550 5.1.1 [a.b.c.d] no such user",
        "550 5.1.1 [192.0.2.4] no such user",
    )
    assert (event["error_code"], event["bounce_class"], event["outbound_tls"]) == ("550", "10", "0")
    assert event["binding"] == "b1" and "sending_ip" not in event
    assert "next_attempt" not in read(encoder.delay(common(), ID, WALL, REFUSED, 1, 3))


def test_bounce_of_an_expired_message() -> None:
    event = read(encoder.bounce(common(), ID, WALL, EXPIRED, 0, 86_400_000))
    assert event["reason"] == "554 5.4.7 [internal] expired after 1 day"
    assert (event["bounce_class"], event["num_retries"], event["conn_stage"]) == ("24", "0", "0")
    assert not {"mx_host", "ip_address", "sending_ip"} & event.keys()


def test_a_classifier_overrides_the_class() -> None:
    assert read(encoder.bounce(common(), ID, WALL, REFUSED, 1, 0, bounce_class=25))["bounce_class"] == "25"
    assert read(encoder.delay(common(), ID, WALL, REFUSED, 1, 0, bounce_class=22))["bounce_class"] == "22"


def test_a_clock_set_back_gives_no_negative_queue_time() -> None:
    for event in (
        encoder.delivery(common(), ID, WALL, TAKEN, 1, -5),
        encoder.delay(common(), ID, WALL, REFUSED, 1, -5),
    ):
        assert read(event)["queue_time"] == "0"


def test_reception_tells_the_session() -> None:
    session = {"tls_version": "TLSv1.3", "tls_cipher": "TLS_AES_256_GCM_SHA384", "auth_method": "PLAIN"}
    known = session | {"remote_addr": "203.0.113.9", "auth_user": "a"}
    injection = read(encoder.injection(common(), ID, WALL, "default", known))
    assert injection == read(encoder.injection(common(), ID, WALL, "default")) | session
    rejection = Rejection(Reply(550, "5.7.1 no"), "s@a.example", "x@b.example", "203.0.113.9", "esmtp", known)
    assert read(encoder.policy_rejection(rejection, 77, WALL)).items() >= session.items()


@pytest.mark.parametrize("connection", [None, {}, {"remote_addr": "203.0.113.9"}])
def test_a_session_in_the_clear_has_nothing_to_tell(connection: dict[str, str] | None) -> None:
    assert encoder.injection(common(), ID, WALL, "b", connection) == encoder.injection(common(), ID, WALL, "b")


def test_policy_rejection() -> None:
    rejection = Rejection(Reply(550, "5.7.1 relaying denied"), "s@a.example", "X@b.example", "203.0.113.9", "esmtp", {})
    event = read(encoder.policy_rejection(rejection, 77, WALL, {"campaign_id": "spring", "msg_size": "12"}))
    assert event == {
        "type": "policy_rejection",
        "event_id": event_id(77, Kind.POLICY_REJECTION),
        "timestamp": "1493050627",
        "customer_id": "1",
        "reason": "550 5.7.1 relaying denied",
        "raw_reason": "550 5.7.1 relaying denied",
        "error_code": "550",
        "bounce_class": "50",
        "recv_method": "esmtp",
        "campaign_id": "spring",
        "msg_from": "s@a.example",
        "remote_addr": "203.0.113.9",
        "rcpt_to": "x@b.example",
        "raw_rcpt_to": "X@b.example",
        "rcpt_hash": hashlib.sha1(b"x@b.example").hexdigest(),
        "recipient_domain": "b.example",
    }


def test_policy_rejection_of_a_whole_message() -> None:
    event = read(encoder.policy_rejection(Rejection(Reply(552, "5.3.4 too big"), "", "", "", "esmtp", {}), 77, WALL))
    assert event["bounce_class"] == "23" and not {"rcpt_to", "msg_from", "remote_addr"} & event.keys()


def test_generation_failure() -> None:
    failed = transaction(method="rest", event={"transmission_id": "84579", "template_id": "welcome", "subject": "no"})
    recipient = Recipient("Al@b.example", "b.example", event={"rcpt_subs": {"name": "Al"}, "rcpt_tags": ["gold"]})
    reply = Reply(554, "5.3.3 [internal] substitution value 'x' did not exist")
    event = read(encoder.generation_failure(failed, recipient, reply, 78, WALL))
    assert event["event_id"] == event_id(78, Kind.GENERATION_FAILURE)
    assert event["rcpt_subs"] == {"name": "Al"} and event["rcpt_tags"] == ["gold"] and event["rcpt_meta"] == {}
    assert event["raw_reason"] == event["reason"] == "554 5.3.3 [internal] substitution value 'x' did not exist"
    assert not {"subject", "message_id", "msg_size"} & event.keys()


def test_the_recipient_overlays_the_transaction_and_neither_overrides_us() -> None:
    of = transaction(
        event={
            "campaign_id": "spring",
            "rcpt_meta": {"a": 1},
            "subject": "given",
            "friendly_from": "given@a.example",
            "rcpt_to": "forged@b.example",
            "binding": "forged",
            "unheard_of": "x",
            "subaccount_id": None,
            "template_id": "",
        }
    )
    recipient = Recipient("x@b.example", "b.example", event={"rcpt_meta": {"b": 2}, "rcpt_type": "cc"})
    event = read(encoder.injection(common(recipient, of), ID, WALL))
    assert (event["rcpt_meta"], event["rcpt_type"], event["campaign_id"]) == ({"b": 2}, "cc", "spring")
    assert (event["subject"], event["friendly_from"], event["rcpt_to"]) == ("given", "given@a.example", "x@b.example")
    assert not {"binding", "unheard_of", "subaccount_id", "template_id"} & event.keys()


def test_the_null_sender_has_no_member() -> None:
    assert "msg_from" not in read(encoder.injection(common(of=transaction(sender="")), ID, WALL))


def test_international_addresses() -> None:
    event = read(encoder.injection(common(Recipient("JÖRG@bücher.example", "xn--bcher-kva.example")), ID, WALL))
    assert (event["rcpt_to"], event["recipient_domain"]) == ("jörg@bücher.example", "bücher.example")
    assert event["routing_domain"] == "xn--bcher-kva.example"
    assert event["rcpt_hash"] == hashlib.sha1("jörg@bücher.example".encode()).hexdigest()


# All of Unicode with lone surrogates: what a careless decoder may have left in a text.
ANY_TEXT = st.text(st.characters(), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
MAKERS: list[Callable[[bytes, Outcome], bytes]] = [
    lambda own, outcome: encoder.injection(own, ID, WALL, "b"),
    lambda own, outcome: encoder.delivery(own, ID, WALL, outcome, 1, 5, "b"),
    lambda own, outcome: encoder.delay(own, ID, WALL, outcome, 1, 5, "b", next_attempt=WALL),
    lambda own, outcome: encoder.bounce(own, ID, WALL, outcome, 1, 5, "b"),
]


@pytest.mark.parametrize("make", MAKERS)
@given(
    content=st.binary(max_size=300),
    sender=ANY_TEXT,
    address=ANY_TEXT,
    meta=st.dictionaries(ANY_TEXT, JSON, max_size=3),
    words=st.lists(ANY_TEXT, min_size=5, max_size=5),
    code=st.integers(200, 599),
)
def test_whatever_goes_in_an_event_comes_out(
    make: Callable[[bytes, Outcome], bytes],
    content: bytes,
    sender: str,
    address: str,
    meta: dict[str, object],
    words: list[str],
    code: int,
) -> None:
    of = transaction(b"Subject:" + content, sender, event={"rcpt_meta": meta})
    own = common(Recipient(address + "@b.example", "b.example"), of)
    outcome = Outcome(Verdict.FAILED, Reply(code, words[0]), Stage.RCPT, words[1], words[2], words[3], words[4])
    read(make(own, outcome))


@pytest.mark.parametrize(
    ("head", "subject", "sender"),
    [
        (b"subject: a\r\nFROM: b@c.example\r\n", "a", "b@c.example"),
        (b"Subject: =?utf-8?q?caf=C3=A9?=\r\n", "café", None),
        (b'Subject: a\r\n\tb\r\nFrom:\r\n "x <y@z>, k" <b@c.example>\r\n', "a\tb", "b@c.example"),
        (b"From: b@c.example, Other <d@e.example>\r\n", None, "b@c.example"),
        (b"From: Group: b@c.example;\r\n", None, "b@c.example"),
        (b"From: nobody\r\nSubject:\r\n", None, None),
        (b"X-Subject: no\r\nTo: a@b\r\n", None, None),
        (b"Subject: in the header\r\n\r\nSubject: in the body\r\n", "in the header", None),
        (b"To: a@b\r\n\r\nSubject: in the body\r\nFrom: a@b\r\n", None, None),
        (b"", None, None),
    ],
)
def test_subject_and_author_are_read_from_the_header(head: bytes, subject: str | None, sender: str | None) -> None:
    event = read(encoder.injection(common(of=transaction(head + b"\r\nbody\r\n")), ID, WALL))
    assert (event.get("subject"), event.get("friendly_from")) == (subject, sender)


@pytest.mark.parametrize("flood", [b"a" * 3_000_000, b"a@" * 1_000_000, b"<a" * 1_000_000, b'"' * 1_000_001])
def test_a_hostile_header_is_bounded(flood: bytes) -> None:
    # With an unbounded search the second and third of these would take minutes: the test's time limit is the judge.
    event = read(encoder.injection(common(of=transaction(b"From: " + flood + b"\r\nSubject: " + flood)), ID, WALL))
    assert len(event.get("subject", "")) <= 998 and len(event.get("friendly_from", "")) <= 4096


@given(st.integers(0, 4_000_000_000_000))
def test_iso_time(milliseconds: int) -> None:
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    # A float holds these milliseconds to within a few tenths of a microsecond, so half of one makes the cut safe.
    text = iso_time((milliseconds + 0.5) / 1000)
    assert text == expected.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_rule_shows_with_what_it_made_of_the_reply_and_the_reply_as_it_came() -> None:
    raw = Reply(550, "5.1.1 [192.0.2.4] no such user")
    ruled = Ruled("soft", raw, 60.0, 22)
    outcome = REFUSED._replace(
        verdict=Verdict.DEFERRED, reply=Reply(450, "4.1.1 [192.0.2.4] no such user"), ruled=ruled
    )
    event = read(encoder.delay(common(), ID, WALL, outcome, 1, 0, next_attempt=WALL + 60))
    expected = {
        "reason": "450 4.1.1 [a.b.c.d] no such user",
        "raw_reason": "550 5.1.1 [192.0.2.4] no such user",
        "error_code": "450",
        "bounce_class": "22",
        "reply_rule": "soft",
    }
    assert {name: event[name] for name in expected} == expected


def test_a_hint_shows() -> None:
    outcome = REFUSED._replace(verdict=Verdict.DEFERRED, reply=Reply(450, "try again in 5 minutes"), hint=300.0)
    assert read(encoder.delay(common(), ID, WALL, outcome, 1, 0))["retry_hint"] == "300"
