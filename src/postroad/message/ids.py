"""Message and transmission ids: 64-bit integers that grow with time and never repeat on one engine.

Layout, high to low: milliseconds since 2024-01-01 UTC (42 bits), engine number (6 bits), counter (16 bits).
A message id is written as 16 hexadecimal digits, a transmission id as decimal digits (api.md 2.6).
"""

from collections.abc import Callable

_ORIGIN = 1_704_067_200.0  # 2024-01-01T00:00:00Z
_STEP = 1 << 22  # one millisecond
_ENGINE_SHIFT = 16
_COUNTER_MASK = (1 << _ENGINE_SHIFT) - 1
MAX_ENGINES = 64


class IdSource:
    """Hands out ids. A clock that stands still or jumps back never makes an id repeat: the last one is remembered."""

    def __init__(self, wall: Callable[[], float], engine: int = 0, last: int = 0) -> None:
        if not 0 <= engine < MAX_ENGINES:
            raise ValueError(f"engine {engine} is not within 0..{MAX_ENGINES - 1}")
        self._wall = wall
        self._engine = engine << _ENGINE_SHIFT
        self._last = self._after(last) if last else 0

    def next(self) -> int:
        now = int((self._wall() - _ORIGIN) * 1000) * _STEP | self._engine
        self._last = now if now > self._last else self._after(self._last)
        return self._last

    def seen(self, used: int) -> None:
        """Recovery met this id: all later ids are greater."""
        if used >= self._last:
            self._last = self._after(used)

    def _after(self, used: int) -> int:
        if used & _COUNTER_MASK < _COUNTER_MASK and used & ~_COUNTER_MASK & (_STEP - 1) == self._engine:
            return used + 1
        return (used // _STEP + 1) * _STEP | self._engine


def id_time(number: int) -> float:
    """Unix seconds at which the id was given."""
    return number // _STEP / 1000 + _ORIGIN


def message_id_text(number: int) -> str:
    return f"{number:016x}"


def parse_message_id(text: str) -> int:
    """The integer behind 16 hexadecimal digits. Raises ValueError on anything else."""
    if len(text) != 16:
        raise ValueError(f"a message id has 16 hexadecimal digits, not {len(text)}: {text[:40]!r}")
    return int(text, 16)
