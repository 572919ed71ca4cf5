"""What of a dialogue is shown: commands and replies as they are, secrets never, of content its first line and size."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.console.dialogue import Dialogue

SECRET = base64.b64encode(b"\0ann\0correct horse").decode()
Step = tuple[str, str]

SESSION: list[Step] = [
    ("S", "220 mx.test ESMTP\r\n"),
    ("C", "EHLO client.test\r\n"),
    ("S", "250-mx.test\r\n250 AUTH PLAIN\r\n"),
    ("C", f"AUTH PLAIN {SECRET}\r\n"),
    ("S", "235 2.7.0 ok\r\n"),
    ("C", "MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n"),
    ("S", "250 ok\r\n250 ok\r\n354 go on\r\n"),
    ("C", "Subject: private\r\n\r\nhidden words\r\n..\r\n.\r\nQUIT\r\n"),
    ("S", "250 kept\r\n221 bye\r\n"),
]
SHOWN = [
    "S: 220 mx.test ESMTP",
    "C: EHLO client.test",
    "S: 250-mx.test",
    "S: 250 AUTH PLAIN",
    "C: AUTH PLAIN (secret)",
    "S: 235 2.7.0 ok",
    "C: MAIL FROM:<a@a.test>",
    "C: RCPT TO:<b@b.test>",
    "C: DATA",
    "S: 250 ok",
    "S: 250 ok",
    "S: 354 go on",
    "C: Subject: private ... (38 octets of content)",
    "C: .",
    "C: QUIT",
    "S: 250 kept",
    "S: 221 bye",
]


def play(steps: list[Step], cuts: int = 10**6, *, whole: bool = True) -> list[str]:
    dialogue = Dialogue(whole=whole)
    shown = []
    for side, text in steps:
        data = text.encode()
        for at in range(0, len(data), cuts):
            shown += (dialogue.client if side == "C" else dialogue.server)(data[at : at + cuts])
    return shown


@pytest.mark.parametrize("cuts", [1, 2, 3, 5, 7, 1000])
def test_a_session(cuts: int) -> None:
    assert play(SESSION, cuts) == SHOWN


def test_secrets_of_a_challenge_are_masked() -> None:
    steps = [
        ("S", "220 x\r\n"),
        ("C", "AUTH LOGIN\r\n"),
        ("S", "334 VXNlcm5hbWU6\r\n"),
        ("C", "YW5u\r\n"),
        ("S", "334 UGFzc3dvcmQ6\r\n"),
        ("C", f"{SECRET}\r\n"),
        ("S", "535 5.7.8 no\r\n"),
        ("C", "QUIT\r\n"),
    ]
    shown = play(steps)
    assert "YW5u" not in str(shown) and SECRET not in str(shown)
    assert [line for line in shown if line.startswith("C")] == [
        "C: AUTH LOGIN",
        "C: (secret)",
        "C: (secret)",
        "C: QUIT",
    ]


@pytest.mark.parametrize("first", ["AUTH LOGIN\r\nYW5u\r\n", "AUTH LOGIN YW5u\r\n", "EHLO x\r\nAUTH LOGIN YW5u\r\n"])
def test_secrets_that_come_before_they_are_asked_for_are_masked(first: str) -> None:
    steps = [("S", "220 x\r\n"), ("C", f"{first}{SECRET}\r\n"), ("S", "250 AUTH LOGIN\r\n334 UGFzc3dvcmQ6\r\n")]
    steps += [("C", f"{SECRET}\r\n"), ("S", "235 ok\r\n"), ("C", "QUIT\r\n")]
    shown = play(steps)
    assert "YW5u" not in str(shown) and SECRET not in str(shown)
    assert shown[-1] == "C: QUIT"


@pytest.mark.parametrize("cuts", [1, 4, 1000])
def test_chunks_are_passed_over(cuts: int) -> None:
    steps = [
        ("S", "220 x\r\n"),
        ("C", "BDAT 12\r\nQUIT\r\nHELP\r\nBDAT 4 LAST\r\nNOOPQUIT\r\n"),
        ("S", "250 ok\r\n250 ok\r\n"),
    ]
    assert play(steps, cuts) == ["S: 220 x", "C: BDAT 12", "C: BDAT 4 LAST", "C: QUIT", "S: 250 ok", "S: 250 ok"]


@given(st.integers(0, 400), st.integers(1, 30))
def test_who_joins_in_the_middle_sees_neither_secrets_nor_content(start: int, cuts: int) -> None:
    octets = [(side, text[at : at + 1]) for side, text in SESSION for at in range(len(text))][start:]
    shown = str(play(octets, whole=False))
    assert SECRET[-12:] not in shown and "hidden" not in shown


@given(st.lists(st.tuples(st.sampled_from("CS"), st.binary(max_size=300)), max_size=30))
def test_whatever_passes_the_lines_shown_are_printable_and_bounded(steps: list[tuple[str, bytes]]) -> None:
    dialogue = Dialogue(whole=True)
    for side, data in steps:
        for line in (dialogue.client if side == "C" else dialogue.server)(data):
            assert line.isprintable() and len(line) < 5000


def test_an_endless_line_is_not_kept() -> None:
    dialogue = Dialogue(whole=True)
    for _ in range(100):
        dialogue.client(b"x" * 10_000)
    assert len(dialogue._client.held) < 2000
