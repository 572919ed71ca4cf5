"""Making, listing and revoking the store's API keys for commands: what the control socket answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from postroad.api.grants import ALL, FAMILIES
from postroad.store.database import Database
from postroad.store.errors import StoreError
from postroad.store.keys import create_key, list_keys, revoke_key
from postroad.store.subaccounts import read_subaccount

GRANTS = frozenset((*(word for pair in FAMILIES.values() for word in pair), "smtp/inject", ALL))


class Keyring:
    """database(): the store that is open; None while there is none. All methods raise ValueError with a text for the
    operator."""

    def __init__(self, database: Callable[[], Database | None]) -> None:
        self._database = database

    def answers(self) -> dict[str, Callable[..., object]]:
        """The verbs of the control socket."""
        return {"key-create": self.key_create, "key-list": self.key_list, "key-revoke": self.key_revoke}

    async def key_create(
        self, *, label: str, grants: list[str], subaccount: int = 0, networks: list[str], rate: float = 0.0
    ) -> dict[str, Any]:
        unknown = sorted(set(grants) - GRANTS)
        if unknown or not grants:
            wrong = f"{', '.join(unknown)[:100]!r} is no grant" if unknown else "a key needs a grant"
            raise ValueError(f"{wrong}; known: {', '.join(sorted(GRANTS))}")
        if not label.strip():
            raise ValueError("a key needs a label")
        try:
            async with self._open().begin() as tx:
                if subaccount and await read_subaccount(tx, subaccount) is None:
                    raise ValueError(f"there is no subaccount {subaccount}")
                secret, row = await create_key(
                    tx, label, grants, now=_now(), subaccount=subaccount, networks=networks, rate=rate
                )
        except StoreError as error:
            raise ValueError(str(error)) from error
        return {"key": secret, **row._asdict()}

    async def key_list(self) -> list[dict[str, Any]]:
        try:
            async with self._open().read() as connection:
                return [row._asdict() for row in await list_keys(connection)]
        except StoreError as error:
            raise ValueError(str(error)) from error

    async def key_revoke(self, *, identifier: str) -> dict[str, Any]:
        try:
            async with self._open().begin() as tx:
                row = await revoke_key(tx, identifier)
        except StoreError as error:
            raise ValueError(str(error)) from error
        if row is None:
            raise ValueError(f"there is no key {identifier[:40]!r} (postroad key list)")
        return row._asdict()

    def _open(self) -> Database:
        database = self._database()
        if database is None:
            raise ValueError("the store is not open (see the server's log)")
        return database


def _now() -> int:
    return time.time_ns() // 1_000_000
