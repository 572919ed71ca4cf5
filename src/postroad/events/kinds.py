"""Numbers of the event types, and the stable ids of events.

The journal stores a kind in one octet, so numbers are never reused. Room is left by group (api.md 14.1): 1-15 message
and generation events, 16-31 engagement, 32-39 unsubscribe, 40-47 relay, 48-55 A/B tests, 56-63 ingest, 64-71 adaptive.
"""

from __future__ import annotations

from enum import IntEnum

_KIND_BITS = 8
_ATTEMPT_BITS = 12
MAX_ATTEMPTS = (1 << _ATTEMPT_BITS) - 1


class Kind(IntEnum):
    INJECTION = 1
    DELIVERY = 2
    DELAY = 3
    BOUNCE = 4
    POLICY_REJECTION = 5
    GENERATION_FAILURE = 6

    @property
    def type_name(self) -> str:
        """The `type` member of its events."""
        return self.name.lower()

    @classmethod
    def of(cls, type_name: str) -> Kind:
        """The kind of a `type` member. Raises ValueError that names the known types."""
        try:
            return cls[type_name.upper()]
        except KeyError:
            known = ", ".join(kind.type_name for kind in cls)
            raise ValueError(f"there is no event type {type_name[:40]!r}; known: {known}") from None


def event_id(message_id: int, kind: int, attempts: int = 0) -> str:
    """Decimal digits that name one event for ever: the same after a restart, a retry or a re-read.

    message_id: 64 bits; for events about no message, any other id of the same IdSource. attempts: those made when the
    event happened. Attempts beyond 4095 share an id with the last; the retry schedule takes years to get there.
    """
    attempts = attempts if attempts <= MAX_ATTEMPTS else MAX_ATTEMPTS
    return str((message_id << _ATTEMPT_BITS | attempts) << _KIND_BITS | kind)
