"""Times and sizes as people write them, and back."""

from __future__ import annotations

import re
from fractions import Fraction

from postroad.config.schema import Duration, Rate, Size

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB)", re.IGNORECASE | re.ASCII)
_RATE = re.compile(r"(\d+)\s*/\s*(\d*)\s*(s|sec|m|min|h|d)", re.ASCII)
_WINDOWS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_MOST_IN_A_WINDOW = 100_000_000
_LONGEST_WINDOW = 31 * 86400
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_OCTETS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def parse_duration(text: str) -> Duration:
    """ "20m" -> 1200 seconds. Raises ValueError that says what is expected."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError('must be a time such as "500ms", "30s", "20m", "12h" or "5d"')
    return Duration(float(match[1]) * _SECONDS[match[2]])


def parse_size(text: str) -> Size:
    """ "64KB" -> 65536 octets (powers of 1024). Raises ValueError that says what is expected."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError('must be a size such as "512B", "64KB", "20MB" or "2GB"')
    octets = Fraction(match[1]) * _OCTETS[match[2].upper()]  # a float would lose bytes of large sizes
    if octets.denominator != 1:
        raise ValueError("is not a whole number of bytes")
    return Size(octets)


def parse_rate(text: str) -> Rate:
    """ "100/s, 20000/h" -> Rate(((100, 1.0), (20000, 3600.0))); "" is no limit. Raises ValueError that says why not."""
    windows: dict[float, int] = {}
    for part in text.split(",") if text.strip() else ():
        match = _RATE.fullmatch(part.strip())
        if match is None or (match[2] and not int(match[2][:9])):
            raise ValueError('must be a rate such as "100/s", "20/30s" or "100/s, 20000/h, 300000/d"')
        count = int(match[1][:12])
        seconds = float(int(match[2][:9] or 1) * _WINDOWS[match[3]])
        if not 1 <= count <= _MOST_IN_A_WINDOW:
            raise ValueError(f"must allow 1 to {_MOST_IN_A_WINDOW} in a window (suspend_delivery stops all)")
        if seconds > _LONGEST_WINDOW:
            raise ValueError("has a window longer than 31 days")
        if seconds in windows:
            raise ValueError(f"names a window twice: {part.strip()}")
        windows[seconds] = count
    return Rate((windows[seconds], seconds) for seconds in sorted(windows))


def rate_text(rate: Rate) -> str:
    return ", ".join(f"{count}/{_window_text(seconds)}" for count, seconds in rate)


def _window_text(seconds: float) -> str:
    for unit in ("d", "h", "m", "s"):
        if seconds % _WINDOWS[unit] == 0:
            number = round(seconds / _WINDOWS[unit])
            return unit if number == 1 else f"{number}{unit}"
    raise ValueError(f"no window of {seconds} s can be written")


def duration_text(seconds: float) -> str:
    """The shortest form that reads back as the same value."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    if 0 < seconds < 1:
        text = f"{seconds * 1000:.6f}".rstrip("0").rstrip(".") + "ms"
        if parse_duration(text) == seconds:
            return text
    text = f"{float(seconds)!r}s"
    return text.replace(".0s", "s")


def size_text(octets: int) -> str:
    for unit in ("TB", "GB", "MB", "KB"):
        if octets and octets % _OCTETS[unit] == 0:
            return f"{octets // _OCTETS[unit]}{unit}"
    return f"{octets}B"
