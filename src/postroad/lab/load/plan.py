"""What a load run sends."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

MAX_COUNT = 10_000_000
_LINE = b"The quick brown fox sends a letter to the lazy dog, and the dog answers by return of post.\r\n"
_DOTTED = b".A line that begins with a dot, as some do.\r\n"


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """Bounded: `count` messages and `seconds` at the most. Servers are (IP address, port) on loopback, nothing else.

    recipients: weight by domain, or by whole address. sizes: weight by octets of content (about; at least the header).
    http_share: part of the messages that go by HTTP. per_session: messages of one SMTP session; 0: all of them.
    """

    count: int
    smtp: tuple[str, int] | None = None
    http: tuple[str, int] | None = None
    http_share: float = 0.0
    api_key: str = ""
    smtp_connections: int = 20
    http_connections: int = 8
    pipelining: bool = True
    per_session: int = 100
    sender: str = "news@sender.test"
    recipients: Mapping[str, float] = field(default_factory=lambda: {"bigmail.test": 1.0})
    sizes: Mapping[int, float] = field(default_factory=lambda: {2_000: 3, 10_000: 5, 40_000: 1})
    seed: int = 1
    seconds: float = 300.0
    keep_ids: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for a plan that can't be carried out or must not be."""
        if not 0 <= self.count <= MAX_COUNT:
            raise ValueError(f"count lies between 0 and {MAX_COUNT}")
        if not 0 <= self.http_share <= 1:
            raise ValueError("http_share lies between 0 and 1")
        if not self.recipients or not self.sizes:
            raise ValueError("there must be a recipient and a size to choose from")
        for needed, target in ((self.http_share < 1, self.smtp), (self.http_share > 0, self.http)):
            if needed and target is None:
                raise ValueError("a server is missing: smtp, http or both, as http_share says")
            if target is not None:
                loopback(target[0])


def loopback(host: str) -> str:
    """The host itself. Raises ValueError when it is not a loopback address: load is never sent anywhere else."""
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise ValueError(f"load goes to loopback addresses only (127.0.0.0/8 or ::1), not to {host!r}")


class Item(NamedTuple):
    """One message to be sent. key: unique in and between runs of different seeds."""

    number: int
    key: str
    sender: str
    recipient: str
    size: int


def items(plan: LoadPlan) -> Iterator[Item]:
    """The messages of a plan: the same ones for the same plan."""
    rng = random.Random(plan.seed)
    targets, sizes = list(plan.recipients), list(plan.sizes)
    target_weights = list(accumulate(plan.recipients.values()))
    size_weights = list(accumulate(plan.sizes.values()))
    run = f"{rng.getrandbits(48):012x}"
    for number in range(plan.count):
        (target,) = rng.choices(targets, cum_weights=target_weights)
        (size,) = rng.choices(sizes, cum_weights=size_weights)
        recipient = target if "@" in target else f"user{number}@{target}"
        yield Item(number, f"{run}-{number}", plan.sender, recipient, size)


def head(item: Item) -> bytes:
    """Header section of a message, with the blank line."""
    return (
        f"From: Lab <{item.sender}>\r\nTo: <{item.recipient}>\r\nSubject: Letter {item.number}\r\n"
        f"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{item.key}@load.test>\r\nX-Lab-Id: {item.key}\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
    ).encode()


def body(size: int) -> bytes:
    """A text of about `size` octets; some of its lines begin with a dot."""
    lines = max(1, size // len(_LINE))
    return b"".join(_DOTTED if number % 50 == 49 else _LINE for number in range(lines))


def stuffed(text: bytes) -> bytes:
    """With a dot before each line that begins with one (RFC 5321 4.5.2). text: ends in CRLF."""
    text = text.replace(b"\r\n.", b"\r\n..")
    return b"." + text if text.startswith(b".") else text
