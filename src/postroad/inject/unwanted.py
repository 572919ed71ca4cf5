"""Recipients that mail of an account may not go to: they are taken, and bounce at once (api.md 8.6, 18.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from postroad.message import Recipient
from postroad.policy import DECIDED

# Programs look for these words (api.md 2.7).
SUPPRESSED = "5.7.1 recipient address was suppressed due to customer policy"
_END = f"unwanted 554 {SUPPRESSED}"


class Unwanted(Protocol):
    """The suppression lists, in memory."""

    def suppressed(
        self, subaccount: int, address: str, *, transactional: bool, now: float, list_id: str = ""
    ) -> bool: ...


def mark_unwanted(
    recipients: Iterable[Recipient],
    unwanted: Unwanted,
    subaccount: int,
    *,
    transactional: bool,
    now: float,
    list_id: str = "",
) -> None:
    """Decide the end of those that are suppressed. now: Unix seconds. list_id: of the List-Id field, "" for none."""
    for recipient in recipients:
        if unwanted.suppressed(subaccount, recipient.address, transactional=transactional, now=now, list_id=list_id):
            recipient.context = {**(recipient.context or {}), DECIDED: _END}


def list_token(field: str) -> str:
    """What names a list in a List-Id field (RFC 2919): `News <news.shop.example>` is news.shop.example."""
    before, bracket, rest = field.rpartition("<")
    return rest.partition(">")[0].strip() if bracket else before.strip() or rest.strip()
