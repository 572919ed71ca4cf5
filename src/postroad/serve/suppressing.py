"""The suppression list for commands: what the control socket answers, and what commands do where no server runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from postroad.store.database import Database
from postroad.store.errors import StoreError
from postroad.store.subaccounts import Listing, list_subaccounts
from postroad.store.suppressionlist import (
    COMPLIANCE,
    Search,
    Suppression,
    of_recipient,
    page,
    put,
    remove,
    summary,
)

_PAGE = 2000


class SuppressionDesk:
    """database(): the store that is open; None while there is none. All methods raise ValueError with a text for the
    operator. Rows: the members of a Suppression, in order; recipients are folded."""

    piece = 1 << 20  # octets of rows that are well put at once: some thousands

    def __init__(self, database: Callable[[], Database | None]) -> None:
        self._database = database

    def answers(self) -> dict[str, Callable[..., object]]:
        """The verbs of the control socket."""
        return {
            "suppression-put": self.put,
            "suppression-page": self.page,
            "suppression-remove": self.remove,
            "suppression-of": self.of,
            "suppression-summary": self.summary,
            "suppression-subaccounts": self.subaccounts,
        }

    async def put(self, *, rows: list[Any], compliance: bool = False) -> int:
        """How many were written. compliance: those that are there for compliance may be changed, too."""
        try:
            entries = msgspec.convert(rows, list[Suppression])
        except msgspec.ValidationError as error:
            raise ValueError(f"these are no entries: {error}") from error
        with _told():
            async with self._open().begin() as tx:
                if compliance:
                    for row in entries:
                        await remove(
                            tx, row.subaccount, row.recipient, transactional=row.transactional, list_id=row.list_id
                        )
                return await put(tx, entries, now_ms())

    async def page(self, *, subaccount: int | None = None, cursor: str = "") -> dict[str, Any]:
        """Rows, the last changed last, and where it goes on; "": it does not."""
        with _told():
            async with self._open().read() as connection:
                wanted = Search(subaccount, ascending=True)
                rows, following = await page(connection, wanted, now_ms(), limit=_PAGE, cursor=cursor)
        return {"rows": rows, "cursor": following}

    async def remove(
        self,
        *,
        subaccount: int,
        recipient: str,
        transactional: bool | None = None,
        list_id: str | None = None,
        compliance: bool = False,
    ) -> int:
        """How many rows went. compliance: those that are there for compliance, too."""
        with _told():
            async with self._open().begin() as tx:
                rows = await of_recipient(tx, subaccount, recipient, now_ms())
                rows = [
                    row for row in rows if transactional in (None, row.transactional) and list_id in (None, row.list_id)
                ]
                if not compliance and any(row.source == COMPLIANCE for row in rows):
                    raise ValueError(f"{recipient} is there for compliance; --compliance takes it away all the same")
                return await remove(tx, subaccount, recipient, transactional=transactional, list_id=list_id)

    async def of(self, *, recipient: str, subaccount: int | None = None) -> list[Suppression]:
        """subaccount None: of all."""
        with _told():
            async with self._open().read() as connection:
                return await of_recipient(connection, subaccount, recipient, now_ms())

    async def summary(self, *, subaccount: int | None = None) -> dict[str, int]:
        with _told():
            async with self._open().read() as connection:
                return await summary(connection, subaccount, now_ms())

    async def subaccounts(self) -> list[int]:
        """The numbers of all there are, without the primary account."""
        with _told():
            async with self._open().read() as connection:
                found, _ = await list_subaccounts(connection, Listing())
                return [each.subaccount for each in found]

    def _open(self) -> Database:
        database = self._database()
        if database is None:
            raise ValueError("the store is not open (see the server's log)")
        return database


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise ValueError(str(error)) from error


def now_ms() -> int:
    return time.time_ns() // 1_000_000
