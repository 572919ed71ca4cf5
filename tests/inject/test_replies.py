"""Replies: codes with their enhanced codes (RFC 3463, 2034), and nothing that could break out of its line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.config.schema import ListenerOptions
from postroad.inject import replies
from postroad.inject.offer import hello_reply, offer_for
from postroad.inject.replies import encode
from postroad.message import Reply
from tests.inject.kit import read_answers

_ALL = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}
_WITHOUT = {"SEND_CONTENT", "EHLO_SYNTAX"}  # RFC 2034 4: not on 354, nor on any reply to EHLO


@pytest.mark.parametrize("name", sorted(_ALL))
def test_the_enhanced_code_fits_the_code(name: str) -> None:
    reply = _ALL[name]
    (answer,) = read_answers(encode(reply))
    assert answer.code == reply.code
    enhanced = re.match(r"([245])\.\d{1,3}\.\d{1,3} [A-Z]", answer.lines[0])
    if name in _WITHOUT:
        assert enhanced is None
    else:
        assert enhanced is not None and enhanced[1] == str(reply.code)[0]


def test_names_are_unique() -> None:
    assert len(set(_ALL.values())) == len(_ALL)


def test_several_lines_repeat_the_enhanced_code() -> None:
    assert encode(Reply(550, "5.7.1 No / Never / Ever")) == b"550-5.7.1 No\r\n550-5.7.1 Never\r\n550 5.7.1 Ever\r\n"
    assert encode(Reply(250, "a / b")) == b"250-a\r\n250 b\r\n"


def test_hello() -> None:
    assert hello_reply("mx.example", True, 1000, True) == (
        b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
        b"250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n250 DSN\r\n"
    )
    assert b"SMTPUTF8" not in hello_reply("mx.example", True, 1000, False)
    assert hello_reply("mx.example", False, 1000, True) == b"250 mx.example\r\n"


@given(st.sampled_from([250, 421, 450, 550]), st.text(max_size=1200))
def test_no_text_breaks_out(code: int, text: str) -> None:
    (answer,) = read_answers(encode(Reply(code, text)))
    assert answer.code == code


@given(st.text(st.sampled_from("ab \r\n/.5-\x00é"), max_size=40))
def test_no_short_text_breaks_out(text: str) -> None:
    (answer,) = read_answers(encode(Reply(550, "5.7.1 " + text)))
    assert all(line.startswith("5.7.1") for line in answer.lines)


@pytest.mark.parametrize("secure", [False, True])
def test_requiretls_is_offered_inside_tls_alone(secure: bool) -> None:
    """RFC 8689 2."""
    offer = offer_for(ListenerOptions(tls="offered"), secure, logged_in=False, trusted=False)
    lines = hello_reply("mx.example", True, 1000, True, offer).split(b"\r\n")
    assert (b"250-REQUIRETLS" in lines or b"250 REQUIRETLS" in lines) is secure
