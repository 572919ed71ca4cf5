"""POST /transmissions (api.md 2): before the 200 every accepted recipient is kept, or the request that asks for all of
them, which a job then generates (serve/generation.py).

A request with an Idempotency-Key always becomes a job: its record keeps key and answer, in one commit with the mailing,
as long as the job is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec

from postroad.api.body import BodyReader, Budget
from postroad.inject.http import (
    Code,
    Failure,
    Fault,
    Mailing,
    Setting,
    Transmission,
    Unmade,
    decode,
    fault,
    pack_request,
)
from postroad.journal import MAX_JOB, JournalError
from postroad.message import Accepted, Acceptor, Context, Refused, Reply, Transaction
from postroad.net import Clock
from postroad.queue.jobs import About, Job, Jobs

SLICE = 20  # recipients between two looks at the event loop
MAX_KEY = 255  # octets of an Idempotency-Key
MAX_TOLD = 50  # recipients told of in a refusal of the whole request
MAX_PENDING = 64  # transactions on their way to the journal at once, each with its body
RETRY_AFTER = {"Retry-After": "10"}


@dataclass(slots=True)
class Injection:
    """What POST /transmissions works with. jobs: of this engine; None: everything is generated before the answer.
    job_above: transmissions to more recipients become jobs."""

    acceptor: Acceptor
    clock: Clock
    setting: Setting
    max_body: int
    budget: Budget
    jobs: Jobs | None = None
    job_above: int = 1
    _racing: dict[tuple[int, str], asyncio.Future[None]] = field(default_factory=dict)

    async def create(
        self,
        receive: Any,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        connection: Context,
    ) -> dict[str, Any]:
        """The reply of a request. receive: the ASGI channel. Raises Failure."""
        subaccount = int(connection.get("subaccount_id", "0"))
        key = headers.get("idempotency-key")
        if key is None:
            return await self._create(receive, headers, query, connection, subaccount)
        _check_key(key)
        mine = (subaccount, key)
        # Of two at once, one makes it and the other hears of it.
        while (racing := self._racing.get(mine)) is not None:
            await racing
        self._racing[mine] = asyncio.get_running_loop().create_future()
        try:
            return await self._create(receive, headers, query, connection, subaccount, key)
        finally:
            self._racing.pop(mine).set_result(None)

    async def _create(
        self,
        receive: Any,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        connection: Context,
        subaccount: int,
        key: str = "",
    ) -> dict[str, Any]:
        shown = _shown_faults(query.get("num_rcpt_errors"))
        refusal = self.acceptor.refusal()
        if refusal is not None:
            raise _unavailable(refusal)
        _require_json(headers)
        with BodyReader(receive, headers, self.max_body, self.budget) as reader:
            octets = await reader.read()
            digest = b""
            if key:
                digest = blake2b(octets, digest_size=16).digest()
                known = self._known(subaccount, key, digest)
                if known is not None:
                    return known
            decoded = decode(octets)
            mailing = Mailing(decoded, self.setting, self.clock.wall(), connection, subaccount=subaccount)
            for start in range(0, mailing.total, SLICE):
                if start:
                    await asyncio.sleep(0)
                mailing.read(start, start + SLICE)
            mailing.require_recipient()
            later = self.jobs is not None and bool(key or mailing.start or mailing.total > self.job_above)
            made: Iterable[Transaction] = mailing.transactions()
            if self.jobs is not None and not later:
                made = list(made)
                # A job tells of recipients whose message can't be made, or may not, by events (api.md 2.7).
                later = bool(mailing.unmade)
            if self.jobs is not None and later:
                results = _results(mailing, [], shown, later=True)
                about = About(
                    mailing.total,
                    mailing.total - mailing.accepted,
                    mailing.start,
                    subaccount,
                    decoded.transmission.campaign_id or "",
                    shown_request(decoded.transmission),
                    key,
                    digest,
                    msgspec.json.encode(results) if key else b"",
                    connection,
                )
                await _keep_job(self.jobs, int(mailing.id), about, pack_request(bytes(octets), mailing.named))
                return results
            refused = await keep(self.acceptor, made)
        return _results(mailing, refused, shown)

    def _known(self, subaccount: int, key: str, digest: bytes) -> dict[str, Any] | None:
        """What this key was answered before."""
        if self.jobs is None or not self.jobs.known:
            # A second mailing would be worse than a second try.
            raise Failure(
                Code.RESOURCES_UNAVAILABLE, "it is not known yet which keys were used; try again", headers=RETRY_AFTER
            )
        job = self.jobs.by_key(subaccount, key)
        if job is None:
            return None
        if job.about.digest != digest:
            raise Failure(Code.CONFLICT, "this Idempotency-Key was used before, with another request")
        answer: dict[str, Any] = msgspec.json.decode(job.about.reply)
        return answer


async def _keep_job(jobs: Jobs, number: int, about: About, request: bytes) -> None:
    if about.total > MAX_JOB:
        raise Failure(Code.INVALID_FORMAT, f"recipients is limited to {MAX_JOB} entries")
    kept: asyncio.Future[Job | JournalError] = asyncio.get_running_loop().create_future()
    jobs.create(number, about, request, kept.set_result)
    # Also when its client goes away: what is on its way to the disk will be kept.
    result = await asyncio.shield(kept)
    if isinstance(result, JournalError):
        raise Failure(Code.UNAVAILABLE, "the transmission can't be stored now; try again later", headers=RETRY_AFTER)


def shown_request(transmission: Transmission) -> bytes:
    """JSON of what GET tells of a request (api.md 2.8): no address, no content. `uses`: stored objects by their kind,
    which may not go before it is generated (api.md 3.3, 5)."""
    content, options = transmission.content, transmission.options
    shown: dict[str, Any] = {
        "description": transmission.description or "",
        "content": {"template_id": (content and content.template_id) or "inline"},
        "metadata": transmission.metadata or {},
        "options": {
            name: value
            for name in ("open_tracking", "click_tracking", "transactional", "sandbox", "skip_suppression")
            if (value := getattr(options, name, None)) is not None
        },
    }
    if content is not None and content.template_id is not None:
        shown["content"]["use_draft_template"] = bool(content.use_draft_template)
    uses = {
        "template": content and content.template_id,
        "ab-test": content and content.ab_test_id,
        "recipient-list": getattr(transmission.recipients, "list_id", None),
    }
    shown["uses"] = {kind: key for kind, key in uses.items() if key is not None}
    return msgspec.json.encode(shown)


def _check_key(key: str) -> None:
    if not key or len(key) > MAX_KEY or not (key.isascii() and key.isprintable()):
        raise Failure(Code.INVALID_PARAMS, f"Idempotency-Key must be 1 to {MAX_KEY} printable ASCII characters")


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


async def keep(acceptor: Acceptor, transactions: Iterable[Transaction]) -> list[tuple[Transaction, Reply]]:
    """Hand all to the acceptor and wait until each transaction is kept or refused; the refused ones."""
    keeping = _Keeping()
    for built, transaction in enumerate(transactions, 1):
        keeping.hand_over(acceptor, transaction)
        if built % SLICE == 0:
            await asyncio.sleep(0)
        await keeping.wait(MAX_PENDING - 1)
    await keeping.wait(0)
    return keeping.refused


def _results(
    mailing: Mailing, refused: list[tuple[Transaction, Reply]], shown: int | None, *, later: bool = False
) -> dict[str, Any]:
    """later: a job makes the messages, and tells of those that it can't make."""
    unmade = [] if later else mailing.unmade
    lost = sum(len(transaction.recipients) for transaction, _ in refused)
    accepted = mailing.accepted - lost - len(unmade)
    if not accepted and unmade:
        raise _unmade(mailing)
    if not accepted:
        reply = refused[0][1]
        if reply.code < 500:
            raise _unavailable(reply)
        raise Failure(Code.REJECTED, str(reply))
    results: dict[str, Any] = {}
    faults = mailing.faults
    if lost:
        faults = faults + _refusals(refused)
    faults = faults + [_not_made(each) for each in unmade]
    if faults:
        results["rcpt_to_errors"] = faults if shown is None else faults[:shown]
    results |= _counts(mailing, accepted)
    if faults:
        return {"errors": [fault(Code.PARTLY_CREATED)], "results": results}
    return {"results": results}


def _counts(mailing: Mailing, accepted: int) -> dict[str, Any]:
    return {
        "total_rejected_recipients": mailing.total - accepted,
        "total_accepted_recipients": accepted,
        "id": mailing.id,
    }


def _not_made(unmade: Unmade) -> Fault:
    return fault(Code.REJECTED if unmade.suppressed else Code.FAILED, unmade.text)


def _unmade(mailing: Mailing) -> Failure:
    """No message could be made (api.md 2.7)."""
    faults = [_not_made(each) for each in mailing.unmade[:MAX_TOLD]]
    code = Code.REJECTED if mailing.unmade[0].suppressed else Code.FAILED
    return Failure(code, faults=faults, results=_counts(mailing, 0))


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
