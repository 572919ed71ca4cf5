"""The two seams through which rooms hand a message on without knowing each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from postroad.message.model import Context, Message, Transaction
from postroad.message.outcome import Outcome, Reply


class Accepted(NamedTuple):
    """The transaction is kept at the configured durability. ids: message ids, in the order of its recipients."""

    ids: list[int]


class Refused(NamedTuple):
    """Nothing was kept. reply: what the SMTP client is told; HTTP maps 4xx to 503 and 5xx to 400 (api.md 1.7)."""

    reply: Reply


class Rejection(NamedTuple):
    """Something refused at injection, for the policy_rejection event (api.md 14.2). times: so many like it."""

    reply: Reply
    sender: str
    recipient: str
    remote: str
    method: str
    connection: Context
    times: int = 1


class Acceptor(Protocol):
    """Where inject hands its transactions over. Implemented by queue."""

    def refusal(self) -> Reply | None:
        """Back-pressure: None when new mail is welcome, else the 4xx reply to give (452 4.3.1 disk full ...)."""

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        """Keep the transaction. `done` is called once, on the event loop, when it is kept or refused. Never raises."""

    def rejected(self, rejection: Rejection) -> None:
        """Tell the hose about a refusal. Fire and forget."""


class Supply(Protocol):
    """Where deliver takes messages from and reports to. Implemented by queue. All calls are made on the event loop."""

    def waiting(self, binding: str, domain: str) -> int:
        """Active (due, not in flight) messages of this path."""

    def take(self, binding: str, domain: str) -> Message | None:
        """The next due message, now in flight. Its body may be None: then `load` it."""

    async def load(self, message: Message) -> bool:
        """Fetch the body from the journal. False: it can't be read (quarantined); the message was settled by queue."""

    def settle(self, message: Message, outcome: Outcome) -> None:
        """The attempt is over. Every taken message is settled exactly once."""
