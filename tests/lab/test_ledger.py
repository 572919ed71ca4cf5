"""The record of arrivals: counts, duplicates, and a bounded memory."""

from __future__ import annotations

from hashlib import sha256

import pytest

from postroad.lab.ledger import Arrival, Counts, Ledger, message_key


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (b"Message-ID: <a@b>\r\n\r\nx", b"<a@b>"),
        (b"Subject: s\r\nMESSAGE-ID:<a@b>\r\n\r\n", b"<a@b>"),
        (b"Message-ID: <a@b>\r\nX-Lab-Id: 7\r\n\r\n", b"7"),
        (b"Subject: s\r\n\r\nMessage-ID: <in-the-body@b>\r\n", b""),
        (b"Not-Message-ID: <a@b>\r\n\r\n", b""),
        (b"", b""),
    ],
)
def test_message_key(content: bytes, key: bytes) -> None:
    assert message_key(content) == key


def test_counts_by_domain_and_duplicates_by_recipient() -> None:
    ledger = Ledger()
    content = b"X-Lab-Id: one\r\n\r\nhello\r\n"
    ledger.record(0, "p", "127.0.0.1", "s@s.test", ["a@X.test", "b@y.test"], content)
    ledger.record(0, "p", "127.0.0.1", "s@s.test", ["A@x.test"], content)
    ledger.record(0, "p", "127.0.0.1", "s@s.test", ["a@x.test"], b"no key\r\n")
    ledger.record(0, "p", "127.0.0.1", "s@s.test", ["a@x.test"], b"no key\r\n")
    size = len(content)
    assert ledger.domains == {"x.test": Counts(4, 2 * size + 16, 1), "y.test": Counts(1, size, 0)}
    assert (ledger.messages, ledger.duplicates) == (5, 1)
    assert [ledger.copies("one", who) for who in ("a@x.test", "b@Y.test", "c@x.test")] == [2, 1, 0]


def test_arrivals_are_kept_within_both_bounds() -> None:
    ledger = Ledger(keep=3, max_kept_octets=100)
    for number in range(5):
        ledger.record(number, "p", "127.0.0.1", "", ["a@x.test"], b"%d" % number)
    assert [arrival.content for arrival in ledger.arrivals] == [b"2", b"3", b"4"]
    ledger.record(5, "p", "127.0.0.1", "", ["a@x.test"], b"x" * 99)
    assert [len(arrival.content) for arrival in ledger.arrivals] == [1, 99]
    ledger.record(6, "p", "127.0.0.1", "", ["a@x.test"], b"y" * 500)
    assert [len(arrival.content) for arrival in ledger.arrivals] == [500]


def test_callback_sees_every_arrival_without_keeping_any() -> None:
    seen: list[Arrival] = []
    ledger = Ledger(on_arrival=seen.append)
    ledger.record(1.5, "p", "127.0.0.1", "s@s.test", ["a@x.test"], b"text")
    assert seen == [Arrival(1.5, "p", "127.0.0.1", "s@s.test", ("a@x.test",), b"text")]
    assert seen[0].digest() == sha256(b"text").hexdigest()
    assert not ledger.arrivals


def test_a_full_memory_of_keys_says_so() -> None:
    ledger = Ledger(max_keys=2)
    for number in (1, 2, 3, 3, 1):
        ledger.record(0, "p", "127.0.0.1", "", ["a@x.test"], b"X-Lab-Id: %d\r\n\r\n" % number)
    assert ledger.forgetful
    assert ledger.messages == 5
    # The repetition of 3 went unseen, that of 1 did not.
    assert ledger.duplicates == 1
