"""What rates have granted, kept over restarts in a small file.

Written about once a second while something is granted, and at the end. Each file says until when it is good: a grant
after that waits for the next file to be written first (`cover`). So after a crash no more can have been granted than
the pace of a rate allows between the file and its end; that much counts as granted.

Times in the file are those of the system's monotonic clock, which a clock that is set does not move. It begins anew
when the machine does: then the wall clock tells how long ago that was, and one that went back meanwhile makes nothing
older than it was when it was written.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from math import ceil, inf
from pathlib import Path

import msgspec
import structlog

from postroad.net import SystemClock
from postroad.shaping import Throttle
from postroad.shaping.leases import RateTerms

log = structlog.get_logger()

GOOD = 2.0  # seconds for which a file is good
_LONGEST = 31 * 86400.0  # seconds of the longest window
_EVERY = 1.0  # seconds after which it is written anew when something is granted


class _Kept(msgspec.Struct, frozen=True):
    """runs: of each window, (when it ends, how many), the first to end first. lent: may be granted at any moment."""

    windows: tuple[tuple[int, float], ...]
    runs: tuple[list[tuple[float, int]], ...]
    lent: int


class _File(msgspec.Struct, frozen=True):
    """boot: which start of the machine `now` belongs to. good: until when more may have been granted than it says; 0
    after an orderly end. doubt: seconds, up to doubt_at, for which earlier crashes left unknown what throttles granted
    that are not named here."""

    boot: str
    now: float
    wall: float
    good: float
    rates: dict[str, _Kept]
    doubt: float = 0.0
    doubt_at: float = 0.0


def _possible(seconds: float, shortest: tuple[int, float]) -> int:
    """The most that can be granted in these seconds: by the pace of the shortest window, a tenth of it at once."""
    most, length = shortest
    return ceil(seconds * most / length) + most // 10 + 1 if seconds else 0


class Windows:
    """now: seconds of the monotonic clock; wall: Unix seconds. boot: names this start of the machine. throttles: those
    there are, to be set by their owner."""

    def __init__(self, path: Path, now: Callable[[], float], wall: Callable[[], float], boot: str) -> None:
        self._path = path
        self._now = now
        self._wall = wall
        self._boot = boot
        self.throttles: Callable[[], Mapping[str, Throttle]] = dict
        self._next = -inf
        self._doubt = 0.0
        self._doubt_at = 0.0
        self._failed = False
        self._kept: dict[str, _Kept] = {}  # of throttles that nobody has asked for yet
        if path.exists():
            try:
                self._read(msgspec.json.decode(path.read_bytes(), type=_File))
            except (OSError, msgspec.DecodeError) as error:
                log.warning("alarm", alarm="rates", text=f"{path.name} can't be read, all windows begin empty: {error}")

    def throttle(self, terms: RateTerms) -> Throttle:
        """A throttle that remembers what it granted in an earlier life."""
        throttle = Throttle(terms.rate)
        self.recall(terms.key, throttle)
        return throttle

    def recall(self, key: str, throttle: Throttle) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            # It may have begun to grant after the file of a life that crashed.
            more, now = _possible(self._doubt, throttle.rate[0]), self._now()
            for window in throttle.windows:
                end = self._doubt_at + window.seconds
                if more and end > now:
                    window.remember([(end, min(more, window.most))])
        else:
            runs = {seconds: found for (_, seconds), found in zip(kept.windows, kept.runs, strict=True)}
            for window in throttle.windows:
                window.remember(runs.get(window.seconds, []))

    def cover(self) -> None:
        """To be called before anything is granted."""
        now = self._now()
        if now >= self._next:
            self._write(now, now + GOOD)
            self._next = now + _EVERY

    def close(self) -> None:
        """Nothing will be granted any more."""
        self._write(self._now(), 0.0)

    def _read(self, file: _File) -> None:
        """Make its times ours, and add what it can't know of."""
        now = self._now()
        same = file.boot == self._boot and file.now <= now
        shift = 0.0 if same else now - max(0.0, self._wall() - file.wall) - file.now
        unknown = max(0.0, file.good - file.now)
        latest = min(now, file.now + unknown + shift)
        self._doubt = unknown
        if now - latest < _LONGEST:
            self._doubt += file.doubt
        self._doubt_at = latest if unknown else file.doubt_at + shift
        for key, kept in file.rates.items():
            more = kept.lent + _possible(unknown, kept.windows[0])
            found = []
            for (most, seconds), old in zip(kept.windows, kept.runs, strict=True):
                runs = [(end + shift, number) for end, number in old]
                # What is over by then may have made room for more.
                late = min(more, most - sum(number for end, number in runs if end > latest))
                if late > 0:
                    runs.append((max([latest + seconds, *(end for end, _ in runs)]), late))
                found.append([(end, number) for end, number in runs if end > now])
            if any(found):
                self._kept[key] = _Kept(kept.windows, tuple(found), 0)

    def _write(self, now: float, good: float) -> None:
        rates = {
            key: _Kept(
                tuple(throttle.rate),
                tuple(window.runs(now) for window in throttle.windows),
                throttle.lent,
            )
            for key, throttle in self.throttles().items()
            if not throttle.forgotten(now)
        }
        rates = self._kept | rates
        text = msgspec.json.encode(_File(self._boot, now, self._wall(), good, rates, self._doubt, self._doubt_at))
        new = self._path.with_suffix(".new")
        try:
            new.write_bytes(text)
            os.replace(new, self._path)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("alarm", alarm="rates", text=f"{self._path.name} can't be written: {error}")
            self._failed = True


def rate_windows(data_dir: Path) -> Windows:
    """Those of this server. Construct them inside the running loop."""
    boot = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return Windows(data_dir / "rates.json", asyncio.get_running_loop().time, SystemClock().wall, boot)
