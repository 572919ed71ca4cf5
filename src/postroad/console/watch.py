"""What is measured from time to time because one look can't tell it: the rate of each path, and what stands still or
grows. Pure: snapshots and time are given."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

PERIOD = 15.0  # seconds between two looks
_RATES = 4  # looks that a rate is taken over
_GROWTH = 120  # looks that the journal's growth is taken over: half an hour
_STANDSTILL = 600.0  # seconds without an attempt that ended, while messages are due
_SEGMENTS = 16  # mail segments that the journal grows by before somebody is told
_LAG = 300.0  # seconds that a consumer of events may be behind


class Alarm(NamedTuple):
    """name: one of ALARMS. about: the path or consumer, or ""."""

    name: str
    about: str
    text: str


# Declared once: names and what to do. The how-to pages go by these names.
ALARMS = {
    "path_without_progress": "Messages are due on a path, and no attempt has ended there for ten minutes.",
    "journal_growing": "The journal's mail grows, and the queue with it: more comes in than goes out.",
    "consumer_lag": "A consumer of events is minutes behind, or will soon lose events.",
    "process_fell": "A process of the server is not there: it fell, and is started again, later each time.",
    "process_stuck": "A process of the server runs but does not answer; it is killed after `server.stuck_after`.",
    "disk": "New mail is refused because of the journal's disk.",
}


class PathLook(NamedTuple):
    """settled: attempts that ended on it. held: it is suspended."""

    binding: str
    domain: str
    active: int
    settled: int
    held: bool


class _Seen:
    __slots__ = ("marks", "moved_at")

    def __init__(self, now: float) -> None:
        self.marks: deque[tuple[float, int]] = deque(maxlen=_RATES + 1)
        self.moved_at = now


class Watch:
    """Paths are remembered as long as they have messages."""

    def __init__(self) -> None:
        self._paths: dict[tuple[str, str], _Seen] = {}
        self._journal: deque[tuple[int, int]] = deque(maxlen=_GROWTH)

    def look(self, paths: Iterable[PathLook], segments: int, messages: int, now: float) -> None:
        """segments: of mail; messages: queued ones."""
        before, self._paths = self._paths, {}
        for path in paths:
            key = path.binding, path.domain
            seen = before.get(key) or _Seen(now)
            if not path.active or path.held or not seen.marks or path.settled != seen.marks[-1][1]:
                seen.moved_at = now
            if seen.marks and path.settled < seen.marks[-1][1]:
                seen.marks.clear()  # it was forgotten and came to be again
            seen.marks.append((now, path.settled))
            self._paths[key] = seen
        self._journal.append((segments, messages))

    def rate(self, binding: str, domain: str, settled: int, now: float) -> float | None:
        """Attempts a second that ended on this path lately. None: it was not watched long enough to say."""
        seen = self._paths.get((binding, domain))
        if seen is None or not seen.marks:
            return None
        at, before = seen.marks[0]
        if now - at < 1.0 or settled < before:
            return None
        return (settled - before) / (now - at)

    def alarms(self, now: float, lags: dict[str, float], refusal: str | None) -> list[Alarm]:
        """lags: seconds that each consumer of events is behind. refusal: why the journal takes no mail, or None."""
        found = []
        for (binding, domain), seen in self._paths.items():
            still = now - seen.moved_at
            if still >= _STANDSTILL:
                text = f"{domain} on binding {binding}: messages are due, and none was tried for {still / 60:.0f} min"
                found.append(Alarm("path_without_progress", f"{binding}/{domain}", text))
        if self._journal:
            (segments, messages), (now_segments, now_messages) = self._journal[0], self._journal[-1]
            if now_segments - segments >= _SEGMENTS and now_messages > messages:
                minutes = len(self._journal) * PERIOD / 60
                text = (
                    f"{now_segments} mail segments, {now_segments - segments} more than {minutes:.0f} min ago; "
                    f"{now_messages} messages queued, {now_messages - messages} more"
                )
                found.append(Alarm("journal_growing", "", text))
        for name, lag in sorted(lags.items()):
            if lag >= _LAG:
                found.append(Alarm("consumer_lag", name, f"consumer {name} is {lag / 60:.0f} min behind"))
        if refusal is not None:
            found.append(Alarm("disk", "", refusal))
        return found
