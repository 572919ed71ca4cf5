"""What queue needs of events: the words, not the room (events/ implements this; serve/ introduces them)."""

from __future__ import annotations

from typing import Protocol, TypeVar

from postroad.message import Context, Outcome, Recipient, Rejection, Transaction

SharedT = TypeVar("SharedT")


class Teller(Protocol[SharedT]):
    """Encodes events as JSON (api.md 14). wall: Unix seconds. attempts: made so far, this one included."""

    def shared(self, transaction: Transaction, received: float) -> SharedT:
        """What the events of all recipients have in common; made once a transaction."""

    def common(self, shared: SharedT, message_id: int, recipient: Recipient) -> bytes:
        """The members that every event of this message repeats; kept as Message.event."""

    def injection(
        self, common: bytes, message_id: int, wall: float, binding: str = "", connection: Context | None = None
    ) -> bytes: ...

    def delivery(
        self,
        common: bytes,
        message_id: int,
        wall: float,
        outcome: Outcome,
        attempts: int,
        queue_time_ms: int,
        binding: str = "",
    ) -> bytes: ...

    def delay(
        self,
        common: bytes,
        message_id: int,
        wall: float,
        outcome: Outcome,
        attempts: int,
        queue_time_ms: int,
        binding: str = "",
        next_attempt: float | None = None,
    ) -> bytes: ...

    def bounce(
        self,
        common: bytes,
        message_id: int,
        wall: float,
        outcome: Outcome,
        attempts: int,
        queue_time_ms: int,
        binding: str = "",
    ) -> bytes: ...

    def policy_rejection(self, rejection: Rejection, number: int, wall: float) -> bytes: ...


class Kinds(Protocol):
    """The numbers that the journal stores beside each event."""

    @property
    def INJECTION(self) -> int: ...

    @property
    def DELIVERY(self) -> int: ...

    @property
    def DELAY(self) -> int: ...

    @property
    def BOUNCE(self) -> int: ...

    @property
    def POLICY_REJECTION(self) -> int: ...
