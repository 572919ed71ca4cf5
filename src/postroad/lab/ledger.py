"""What reached the far end: counts by domain, duplicates, and the last messages themselves."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_KEY = re.compile(rb"(?:^|\r\n)(x-lab-id|message-id):[ \t]*([^\r\n]*)", re.IGNORECASE)
_HEAD = 8192


class Arrival(NamedTuple):
    """One message, as received: content without dot-stuffing, at: seconds of the receiver's event loop."""

    at: float
    provider: str
    source: str
    sender: str
    recipients: tuple[str, ...]
    content: bytes

    def digest(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(slots=True)
class Counts:
    """Of one domain. One message to two recipients of the domain counts twice. octets: content, once a recipient."""

    messages: int = 0
    octets: int = 0
    duplicates: int = 0


def message_key(content: bytes) -> bytes:
    """What two copies of one message share: X-Lab-Id, else Message-ID, else b"". Looks at the first 8 KB only."""
    key = b""
    for name, value in _KEY.findall(content[:_HEAD].partition(b"\r\n\r\n")[0]):
        if name.lower() == b"x-lab-id":
            return bytes(value)
        key = key or bytes(value)
    return key


class Ledger:
    """Records arrivals; one ledger may serve many providers of one event loop.

    keep: how many of the last messages stay in `arrivals`, and max_kept_octets their content at the most. A duplicate
    is a second arrival of the same (key, recipient); `max_keys` of those pairs are remembered, and `forgetful` says
    that more came than that, so that duplicates may have gone unseen.
    """

    def __init__(
        self,
        *,
        keep: int = 0,
        max_kept_octets: int = 256 << 20,
        max_keys: int = 2_000_000,
        on_arrival: Callable[[Arrival], None] | None = None,
    ) -> None:
        self.arrivals: deque[Arrival] = deque()
        self.domains: dict[str, Counts] = {}
        self.forgetful = False
        self._keep = keep
        self._max_kept = max_kept_octets
        self._kept = 0
        self._max_keys = max_keys
        self._on_arrival = on_arrival
        # Times each pair arrived. Hashes instead of the pairs themselves: a million of them stay small.
        self._seen: dict[int, int] = {}

    @property
    def messages(self) -> int:
        return sum(counts.messages for counts in self.domains.values())

    @property
    def duplicates(self) -> int:
        return sum(counts.duplicates for counts in self.domains.values())

    def copies(self, key: str, recipient: str) -> int:
        """How often the message with this X-Lab-Id (or Message-ID) arrived for the recipient."""
        return self._seen.get(hash((key.encode(), recipient.lower())), 0)

    def record(
        self, at: float, provider: str, source: str, sender: str, recipients: Sequence[str], content: bytes
    ) -> None:
        """A receiver took responsibility for the message (it is about to say 250)."""
        size = len(content)
        key = message_key(content)
        for recipient in recipients:
            address = recipient.lower()
            domain = address.rpartition("@")[2]
            counts = self.domains.get(domain)
            if counts is None:
                counts = self.domains[domain] = Counts()
            counts.messages += 1
            counts.octets += size
            if key:
                counts.duplicates += self._seen_before(hash((key, address)))
        if self._keep or self._on_arrival:
            self._show(Arrival(at, provider, source, sender, tuple(recipients), content))

    def _seen_before(self, pair: int) -> bool:
        times = self._seen.get(pair, 0)
        if not times and len(self._seen) >= self._max_keys:
            self.forgetful = True
            return False
        self._seen[pair] = times + 1
        return times > 0

    def _show(self, arrival: Arrival) -> None:
        if self._keep:
            self.arrivals.append(arrival)
            self._kept += len(arrival.content)
            while len(self.arrivals) > self._keep or (self._kept > self._max_kept and len(self.arrivals) > 1):
                self._kept -= len(self.arrivals.popleft().content)
        if self._on_arrival:
            self._on_arrival(arrival)
