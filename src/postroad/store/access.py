"""Keys and subaccounts as a process holds them: who may come in, and as whom. No SQL."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import msgspec

from postroad.auth.keys import Entry, Key
from postroad.store.catalog import FILE, Catalog
from postroad.store.catalogfile import File, Head, Place
from postroad.store.suppressions import KIND as SUPPRESSION
from postroad.store.suppressions import Suppressions
from postroad.store.views import Placed, View

KEYS = "key"
SUBACCOUNTS = "subaccount"
LISTS = "recipient-list"  # the kind whose values may be large


class StoredKeys:
    """A view of the catalog's kind "key": ready to be compared with, by SHA-256."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def fresh(self, head: Head, file: File) -> Self:
        return type(self)()

    def put(self, subaccount: int, key: str, value: bytes, place: Place) -> None:
        content: dict[str, Any] = msgspec.msgpack.decode(value)
        found = Key(content["label"], frozenset(content["grants"]), subaccount or None, content["rate"])
        networks = tuple(ipaddress.ip_network(network) for network in content["networks"])
        self._entries[bytes.fromhex(key)] = Entry(found, networks)

    def drop(self, subaccount: int, key: str) -> None:
        self._entries.pop(bytes.fromhex(key), None)

    def get(self, digest: bytes) -> Entry | None:
        return self._entries.get(digest)


class Access:
    """What a catalog says of keys and subaccounts."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def key(self, digest: bytes) -> Entry | None:
        """For ApiKeys: asked at each authentication, so a revoked key is dead at once."""
        view = self._catalog.view(KEYS)
        assert isinstance(view, StoredKeys)
        return view.get(digest)

    def keys(self) -> int:
        """How many there are."""
        view = self._catalog.view(KEYS)
        assert isinstance(view, StoredKeys)
        return len(view)

    def status(self, number: int) -> str | None:
        """Of a subaccount: active, suspended or terminated; None: there is none."""
        found = self._catalog.values(SUBACCOUNTS).get(number, "")
        return None if found is None else str(found["status"])

    def active(self, subaccount: int | None) -> bool:
        """May mail be sent for it? None and 0 are the primary account."""
        return not subaccount or self.status(subaccount) == "active"


# How an engine holds the kinds that are not held as Values.
SPECIAL: dict[str, Callable[[], View]] = {SUPPRESSION: Suppressions, LISTS: Placed, KEYS: StoredKeys}


def engine_catalog(data_dir: Path) -> Catalog:
    """All that engines know of the store."""
    return Catalog(data_dir / FILE, SPECIAL)


def access_catalog(data_dir: Path) -> Catalog:
    """A catalog that holds keys and subaccounts alone, for control."""
    return Catalog(data_dir / FILE, {KEYS: StoredKeys}, only=(KEYS, SUBACCOUNTS))
