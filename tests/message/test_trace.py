import email
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message.header import count, field, header_end
from postroad.message.trace import date_field, date_text, message_id_field, received_field


def received(helo: str = "client.example", peer: str = "192.0.2.1", recipient: str = "") -> bytes:
    return received_field(
        helo=helo, peer=peer, hostname="mx.example", protocol="ESMTP", identifier="00ff", wall=0.9, recipient=recipient
    )


def test_received() -> None:
    assert received(recipient="a@b.example") == (
        b"Received: from client.example ([192.0.2.1])\r\n"
        b"\tby mx.example with ESMTP id 00ff\r\n"
        b"\tfor <a@b.example>;\r\n"
        b"\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
    )
    assert b"([IPv6:2001:db8::1])" in received(peer="2001:db8::1")


@given(st.text(max_size=80))
def test_helo_cannot_add_a_field(helo: str) -> None:
    line = received(helo)
    assert count(line, b"Received") == 1 and header_end(line) == len(line)
    assert len(email.message_from_bytes(line).items()) == 1


@pytest.mark.parametrize("wall", [0.0, 951_782_400.0, 1_700_000_000.5, 4_102_444_799.0])
def test_date_agrees_with_the_standard_library(wall: float) -> None:
    assert email.utils.parsedate_to_datetime(date_text(wall)).timestamp() == int(wall)
    assert field(date_field(wall), b"Date") == date_text(wall).encode()


def test_message_id() -> None:
    assert message_id_field("00ff", "mx.example") == b"Message-ID: <00ff@mx.example>\r\n"
