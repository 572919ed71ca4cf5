"""What each address did of late, and whether that is too much. Bounded: who was quiet longest is forgotten first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from postroad.auth.guesses import network_of
from postroad.config.schema import Rate
from postroad.message import Reply

Deed = Literal["connection", "message", "recipient", "error"]
_TOO_MUCH = {
    "connection": Reply(421, "4.7.0 Too many connections in too short a time, please come back later"),
    "message": Reply(450, "4.7.0 Too many messages in too short a time, please come back later"),
    "recipient": Reply(450, "4.7.0 Too many recipients in too short a time, please come back later"),
    "error": Reply(421, "4.7.0 Too many errors from your address, please come back later"),
}


class Audit:
    """Counts in windows that follow each other, a count a rate: where two meet an address may do twice its rate.

    An IPv6 network of 64 bits counts as one address. Times: seconds of one clock, given by the caller.
    """

    def __init__(self, rates: Mapping[Deed, Rate], capacity: int = 50_000) -> None:
        self._rates: dict[Deed, Rate] = {deed: rate for deed, rate in rates.items() if rate}
        self._capacity = capacity
        self._counts: dict[tuple[str, Deed], list[list[float]]] = {}  # (begin of the window, count) a rate

    @property
    def counts_anything(self) -> bool:
        return bool(self._rates)

    def __len__(self) -> int:
        return len(self._counts)

    def count(self, peer: str, deed: Deed, now: float) -> Reply | None:
        """It does this once more. None, or the reply for doing it too often. Errors are held against connections."""
        network = network_of(peer)
        over = self._over(network, deed, now, 1) if deed in self._rates else False
        if not over and deed == "connection" and "error" in self._rates and self._over(network, "error", now, 0):
            deed, over = "error", True
        return _TOO_MUCH[deed] if over else None

    def _over(self, network: str, deed: Deed, now: float, more: int) -> bool:
        rate = self._rates[deed]
        windows = self._counts.pop((network, deed), None)
        if windows is None:
            if not more:
                return False
            windows = [[now, 0] for _ in rate]
        over = False
        for window, (most, seconds) in zip(windows, rate, strict=True):
            if now - window[0] >= seconds:
                window[:] = [now, 0]
            window[1] += more
            over = over or (window[1] > most if more else window[1] >= most)
        self._counts[network, deed] = windows  # last in order
        if len(self._counts) > self._capacity:
            self._counts.pop(next(iter(self._counts)))
        return over
