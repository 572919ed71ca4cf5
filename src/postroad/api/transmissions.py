"""POST /transmissions (api.md 2): every accepted recipient is kept before the 200."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from postroad.api.body import BodyReader, Budget
from postroad.inject.http import Code, Failure, Fault, Mailing, Setting, decode, fault
from postroad.message import Accepted, Acceptor, Context, Refused, Reply, Transaction
from postroad.net import Clock

SLICE = 20  # recipients between two looks at the event loop
MAX_PENDING = 64  # transactions on their way to the journal at once, each with its body
RETRY_AFTER = {"Retry-After": "10"}


@dataclass(slots=True)
class Injection:
    """What POST /transmissions works with."""

    acceptor: Acceptor
    clock: Clock
    setting: Setting
    max_body: int
    budget: Budget

    async def create(
        self, receive: Any, headers: Mapping[str, str], query: Mapping[str, str], connection: Context
    ) -> dict[str, Any]:
        """The reply of a request. receive: the ASGI channel. Raises Failure."""
        shown = _shown_faults(query.get("num_rcpt_errors"))
        refusal = self.acceptor.refusal()
        if refusal is not None:
            raise _unavailable(refusal)
        _require_json(headers)
        with BodyReader(receive, headers, self.max_body, self.budget) as reader:
            mailing = Mailing(decode(await reader.read()), self.setting, self.clock.wall(), connection)
            for start in range(0, mailing.total, SLICE):
                if start:
                    await asyncio.sleep(0)
                mailing.read(start, start + SLICE)
            mailing.require_recipient()
            refused = await keep(self.acceptor, mailing)
        return _results(mailing, refused, shown)


class _Keeping:
    """Transactions handed to the acceptor and not answered yet."""

    def __init__(self) -> None:
        self.pending = 0
        self.refused: list[tuple[Transaction, Reply]] = []
        self._waiting: asyncio.Future[None] | None = None
        self._enough = 0

    def hand_over(self, acceptor: Acceptor, transaction: Transaction) -> None:
        self.pending += 1

        def done(result: Accepted | Refused) -> None:
            self.pending -= 1
            if isinstance(result, Refused):
                self.refused.append((transaction, result.reply))
            if self._waiting is not None and self.pending <= self._enough and not self._waiting.done():
                self._waiting.set_result(None)

        acceptor.accept(transaction, done)

    async def wait(self, enough: int) -> None:
        """Until no more than `enough` are pending."""
        if self.pending > enough:
            self._enough = enough
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting


async def keep(acceptor: Acceptor, mailing: Mailing) -> list[tuple[Transaction, Reply]]:
    """Hand all of the mailing to the acceptor and wait until each transaction is kept or refused; the refused ones."""
    keeping = _Keeping()
    for built, transaction in enumerate(mailing.transactions(), 1):
        keeping.hand_over(acceptor, transaction)
        if built % SLICE == 0:
            await asyncio.sleep(0)
        await keeping.wait(MAX_PENDING - 1)
    await keeping.wait(0)
    return keeping.refused


def _results(mailing: Mailing, refused: list[tuple[Transaction, Reply]], shown: int | None) -> dict[str, Any]:
    lost = sum(len(transaction.recipients) for transaction, _ in refused)
    accepted = mailing.accepted - lost
    if not accepted:
        reply = refused[0][1]
        if reply.code < 500:
            raise _unavailable(reply)
        raise Failure(Code.REJECTED, str(reply))
    results: dict[str, Any] = {}
    faults = mailing.faults
    if lost:
        faults = faults + _refusals(refused)
    if faults:
        results["rcpt_to_errors"] = faults if shown is None else faults[:shown]
    results["total_rejected_recipients"] = mailing.total - accepted
    results["total_accepted_recipients"] = accepted
    results["id"] = mailing.id
    if faults:
        return {"errors": [fault(Code.PARTLY_CREATED)], "results": results}
    return {"results": results}


def _refusals(refused: list[tuple[Transaction, Reply]]) -> list[Fault]:
    faults = []
    for transaction, reply in refused:
        code = Code.RESOURCES_UNAVAILABLE if reply.code < 500 else Code.REJECTED
        faults += [fault(code, f"recipient {recipient.address}: {reply}") for recipient in transaction.recipients]
    return faults


def _unavailable(reply: Reply) -> Failure:
    return Failure(Code.UNAVAILABLE, str(reply), headers=RETRY_AFTER)


def _shown_faults(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Failure(Code.INVALID_PARAMS, "num_rcpt_errors must be a whole number")
    return int(text)


def _require_json(headers: Mapping[str, str]) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Failure(Code.UNSUPPORTED_TYPE, "Content-Type must be application/json")
