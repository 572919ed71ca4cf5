"""Transactions in parts: made of one, and kept as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from postroad.message.model import Body, Context, Recipient, Transaction
from postroad.message.seams import Accepted, Acceptor, Refused


def part(
    transaction: Transaction,
    recipients: Sequence[Recipient],
    number: int,
    *,
    sender: str | None = None,
    body: Body | None = None,
    context: Context | None = None,
    event: dict[str, object] | None = None,
) -> Transaction:
    """The same for these recipients, and with these things where they are given. number: the id that the first of the
    recipients gets; 0: any."""
    return Transaction(
        transaction.sender if sender is None else sender,
        list(recipients),
        transaction.body if body is None else body,
        connection=transaction.connection,
        context=transaction.context if context is None else context,
        method=transaction.method,
        ret=transaction.ret,
        envid=transaction.envid,
        smtputf8=transaction.smtputf8,
        event=transaction.event if event is None else event,
        id=number,
    )


def accept_together(
    acceptor: Acceptor, parts: Sequence[Transaction], done: Callable[[Accepted | Refused], None]
) -> None:
    """Hand all parts over in one turn of the loop, so that they share a commit and are kept or refused together. done
    gets the ids in the order of the parts and their recipients; or a refusal, when there was one."""
    results: list[Accepted | Refused | None] = [None] * len(parts)

    def part_done(at: int, result: Accepted | Refused) -> None:
        results[at] = result
        if None in results:
            return
        refused = [each for each in results if isinstance(each, Refused)]
        ids = [number for each in results if isinstance(each, Accepted) for number in each.ids]
        done(refused[0] if refused else Accepted(ids))

    for at, part in enumerate(parts):
        acceptor.accept(part, partial(part_done, at))
