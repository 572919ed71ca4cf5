"""An acceptor and a supply for tests of what stands in front of them: they keep what they are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from postroad.message import Accepted, Body, Message, Outcome, Recipient, Refused, Rejection, Reply, Transaction

MAIL = b"Subject: s\r\n\r\nbody\r\n"


@dataclass
class Kept:
    """full: refuse with this."""

    transactions: list[Transaction] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    full: Reply | None = None

    def refusal(self) -> Reply | None:
        return self.full

    def accept(self, transaction: Transaction, done: Callable[[Accepted | Refused], None]) -> None:
        if self.full is not None:
            done(Refused(self.full))
            return
        first = sum(len(one.recipients) for one in self.transactions) + 1
        self.transactions.append(transaction)
        done(Accepted(list(range(first, first + len(transaction.recipients)))))

    def rejected(self, rejection: Rejection) -> None:
        self.rejections.append(rejection)


def transaction(*recipients: str, method: str = "esmtp") -> Transaction:
    made = [Recipient(address, address.rpartition("@")[2]) for address in recipients or ("b@x.example",)]
    about = {"remote_addr": "192.0.2.1", "ehlo_string": "client.example"}
    return Transaction("a@s.example", made, Body(MAIL, b"Received: x\r\n"), connection=about, method=method, id=77)


def message(number: int = 1, context: dict[str, str] | None = None, body: Body | None = None) -> Message:
    made = Message()
    made.id, made.attempts = number, 0
    made.sender, made.recipient, made.domain, made.binding = "a@s.example", "b@x.example", "x.example", "default"
    made.context = context or {}
    made.body = body
    return made


@dataclass
class Line:
    """Messages that wait, and how they were settled. read: ids whose body `load` fetched."""

    left: list[Message] = field(default_factory=list)
    settled: list[tuple[int, Outcome]] = field(default_factory=list)
    read: list[int] = field(default_factory=list)

    def waiting(self, binding: str, domain: str) -> int:
        return len(self.left)

    def take(self, binding: str, domain: str) -> Message | None:
        return self.left.pop(0) if self.left else None

    async def load(self, message: Message) -> bool:
        message.body = Body(MAIL)
        self.read.append(message.id)
        return True

    def settle(self, message: Message, outcome: Outcome) -> None:
        self.settled.append((message.id, outcome))
