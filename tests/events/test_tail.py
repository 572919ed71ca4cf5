"""Starts as people write them, and events as lines."""

import json
from base64 import b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.events import At, EventEncoder, Kind, json_line, parse_start, text_line
from postroad.journal import HoseEvent
from postroad.message import Body, Outcome, Recipient, Reply, Stage, Transaction, Verdict

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("begin", "begin"),
        ("end", "end"),
        ("0", 0),
        (str(5 << 32 | 64), 5 << 32 | 64),
        ("@1493050627", At(1493050627)),
        ("@1493050627.25", At(1493050627.25)),
        ("2h", At(NOW - 7200)),
        ("2017-04-24T16:17:07Z", At(1493050627)),
        ("2017-04-24T18:17:07+02:00", At(1493050627)),
        ("2017-04-24T16:17:07", At(1493050627)),
        ("2017-04-24", At(1492992000)),
    ],
)
def test_starts(text: str, start: object) -> None:
    assert parse_start(text, NOW) == start


@pytest.mark.parametrize("text", ["", "start", "-1", "@", "@x", "yesterday", "2017-13-01", "٣", "9" * 21])
def test_no_starts(text: str) -> None:
    with pytest.raises(ValueError, match="is not begin, end, a cursor, @SECONDS, a time such as"):
        parse_start(text, NOW)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_any_moment_can_be_written(moment: datetime) -> None:
    assert parse_start(moment.isoformat(), NOW) == At(moment.timestamp())


def bounce(reason: str, subject: bytes = b"Hi") -> HoseEvent:
    encoder = EventEncoder()
    content = b"From: news@a.example\r\nSubject: " + subject + b"\r\n\r\nHi\r\n"
    shared = encoder.shared(Transaction("s@a.example", [], Body(content)), NOW)
    common = encoder.common(shared, 7, Recipient("x@b.example", "b.example"))
    outcome = Outcome(Verdict.FAILED, Reply(550, reason), Stage.RCPT, "mx1.b.example", "198.51.100.7")
    payload = encoder.bounce(common, 7, NOW, outcome, 1, 30)
    return HoseEvent(4294967360, 4294967999, 7, Kind.BOUNCE, 2, int(NOW * 1000), payload)


def test_a_line_for_programs_is_the_event_and_its_cursor() -> None:
    event = bounce("5.1.1 no such user")
    line = json_line(event)
    assert b"\n" not in line
    assert json.loads(line) == {"cursor": "4294967360", **json.loads(event.payload)}


def test_a_line_for_people() -> None:
    assert text_line(bounce("5.1.1 no such user")) == (
        "4294967360 2026-09-21T14:13:20Z bounce x@b.example message_id=0000000000000007 msg_from=s@a.example"
        " msg_size=41 mx_host=mx1.b.example ip_address=198.51.100.7 num_retries=0 queue_time=30 bounce_class=10"
        " raw_reason='550 5.1.1 no such user'"
    )


@given(st.text(st.characters()), st.binary(max_size=60))
def test_strangers_cannot_command_the_terminal(reason: str, subject: bytes) -> None:
    assert text_line(bounce(reason, subject)).isprintable()
    event = bounce(reason, subject)
    line = json_line(event)
    assert line.decode().isprintable()
    assert json.loads(line) == {"cursor": "4294967360", **json.loads(event.payload)}


def test_what_a_terminal_would_obey_is_escaped_in_json() -> None:
    """U+009B is CSI to a terminal, U+202E turns what follows round; neither is escaped by JSON itself."""
    line = json_line(bounce("ok", b"=?utf-8?B?" + b64encode("\x9b2J\u202e\U000e0001\u00e9".encode()) + b"?="))
    assert b"\\u009b2J\\u202e\\udb40\\udc01\xc3\xa9" in line
