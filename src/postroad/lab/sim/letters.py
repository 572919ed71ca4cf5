"""Mail for simulated worlds: every letter and every recipient is unique, so that each can be followed to its end."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

_WORDS = (b"wind", b"rain", b"post", b"road", b"bridge", b"inn", b"horse", b"horn", b"bag", b"seal", b"night", b"noon")


@dataclass(frozen=True)
class Letter:
    """content: CRLF line ends, not dot-stuffed, ends in CRLF. Recipient addresses occur in no other letter."""

    number: int
    sender: str
    recipients: tuple[str, ...]
    content: bytes


class Writer:
    """Makes letters. domains: where recipients live; home: where senders live, who get the bounces."""

    def __init__(self, rng: Random, domains: list[str], home: str = "home.test", largest: int = 30_000) -> None:
        self._rng = rng
        self._domains = domains
        self._home = home
        self._largest = largest
        self._count = 0

    def letter(self, *, null_sender: float = 0.1) -> Letter:
        """null_sender: chance that it comes from nobody, as bounces do."""
        rng = self._rng
        self._count += 1
        number = self._count
        size = int(rng.choice((0.0, 0.02, 0.1, 1.0)) * rng.random() * self._largest)
        several = rng.randint(2, 5) if rng.random() < 0.25 else 1
        recipients = tuple(f"r{number}-{i}@{rng.choice(self._domains)}" for i in range(several))
        sender = "" if rng.random() < null_sender else f"s{number}@{self._home}"
        head = (
            f"From: <{sender or 'postmaster@' + self._home}>\r\nTo: undisclosed-recipients:;\r\n"
            f"Subject: letter {number}\r\nDate: Sun, 15 Jun 2025 12:00:00 +0000\r\n"
            f"Message-ID: <{number}@{self._home}>\r\n\r\n"
        ).encode()
        return Letter(number, sender, recipients, head + _text(rng, size))


def _text(rng: Random, size: int) -> bytes:
    """About this many octets of lines: words, dots in first place, 8-bit, empty and 998-octet lines."""
    lines: list[bytes] = []
    left = size
    while left > 0:
        kind = rng.random()
        if kind < 0.7:
            line = b" ".join(rng.choices(_WORDS, k=rng.randint(1, 12)))
        elif kind < 0.8:
            line = b"." * rng.randint(1, 3) + rng.choice((b"", b"dot", b" "))
        elif kind < 0.9:
            line = "Größe, 手紙".encode()
        elif kind < 0.95:
            line = b""
        else:
            line = b"x" * 998
        lines.append(line)
        left -= len(line) + 2
    return b"".join(line + b"\r\n" for line in lines)
