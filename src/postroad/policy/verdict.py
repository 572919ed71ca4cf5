"""What a hook says: the value objects it returns. None says the same as Continue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from postroad.message import Reply

_MAX_TEXT = 400  # octets; a reply line may have 512 (RFC 5321 4.5.3.1.5)


class Verdict:
    """What all of them are."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Continue(Verdict):
    """Nothing to say against it: the next hook is asked."""


@dataclass(frozen=True, slots=True)
class Accept(Verdict):
    """Good: the other hooks of this phase are not asked."""


@dataclass(frozen=True, slots=True)
class Refusal(Verdict):
    """A refusal with an SMTP reply. Raises ValueError for a code of another class, or a text that is no reply."""

    text: str
    code: int = 0

    _usual: ClassVar[int] = 550
    _codes: ClassVar[range] = range(400, 600)

    def __post_init__(self) -> None:
        if not self.code:
            object.__setattr__(self, "code", self._usual)
        if self.code not in self._codes:
            first, last = self._codes[0], self._codes[-1]
            raise ValueError(f"{type(self).__name__} takes a code from {first} to {last}, not {self.code}")
        if not self.text.isascii() or not self.text.isprintable() or not self.text.strip():
            raise ValueError(f"the text of a reply is one line of printable ASCII, not {self.text[:60]!r}")
        if len(self.text) > _MAX_TEXT:
            raise ValueError(f"the text of a reply has at most {_MAX_TEXT} characters, not {len(self.text)}")

    @property
    def reply(self) -> Reply:
        """An enhanced code is put in front where the text begins with none (RFC 3463: X.7.1, by policy)."""
        first = self.text.partition(" ")[0]
        if first.count(".") == 2 and first.replace(".", "").isdigit():
            return Reply(self.code, self.text)
        return Reply(self.code, f"{self.code // 100}.7.1 {self.text}")


@dataclass(frozen=True, slots=True)
class Reject(Refusal):
    """No, for good: 550 unless the code says otherwise."""

    _codes: ClassVar[range] = range(500, 600)


@dataclass(frozen=True, slots=True)
class Tempfail(Refusal):
    """Not now: 450 unless the code says otherwise."""

    _usual: ClassVar[int] = 450
    _codes: ClassVar[range] = range(400, 500)


@dataclass(frozen=True, slots=True)
class Disconnect(Refusal):
    """The session ends: its last reply is 421 unless the code says otherwise."""

    _usual: ClassVar[int] = 421


@dataclass(frozen=True, slots=True)
class Discard(Verdict):
    """Taken, and thrown away: the client hears of success, the event hose of the reason."""

    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip() or len(self.reason) > _MAX_TEXT:
            raise ValueError(f"a discard wants a reason of 1 to {_MAX_TEXT} characters")


@dataclass(frozen=True, slots=True)
class Tarpit(Verdict):
    """The client waits so many seconds for the answer; then the next hook is asked."""

    seconds: float

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 300:
            raise ValueError(f"a tarpit takes more than 0 and at most 300 seconds, not {self.seconds!r}")


@dataclass(frozen=True, slots=True)
class Retry(Verdict):
    """On the way out: the attempt counts as deferred, and is tried again in so many seconds; None: by the schedule."""

    seconds: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Fail(Verdict):
    """On the way out: the message ends here, undelivered, with a bounce event."""

    text: str
